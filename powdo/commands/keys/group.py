"""The group `powdo keys`, and what its commands share."""

from __future__ import annotations

from powdo.options import group


@group("keys")
def keys() -> None:
    """Make, show, import, export, rotate, delete and audit the keys of users in custody."""
