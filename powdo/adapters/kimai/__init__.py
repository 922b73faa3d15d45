"""Kimai over its REST API, as version 2.65 behaves, and the syncer that brings timesheets there."""
