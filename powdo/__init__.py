"""powdo proves work time without surveillance: a toolkit of small commands."""

__version__ = "0.1.0"
