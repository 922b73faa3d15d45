"""The group `powdo relay`; its commands stand in the modules beside it."""

from __future__ import annotations

from powdo.options import group


@group("relay")
def relay() -> None:
    """Run the relay, or make its decision for strfry."""
