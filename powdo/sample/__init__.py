"""A sample day of ActivityWatch and rules for it, so that the demo needs neither."""
