"""The group `powdo rules`; its commands stand in the modules beside it."""

from __future__ import annotations

from powdo.options import group


@group("rules")
def rules() -> None:
    """Check the rules, tell which took what, and suggest new ones."""
