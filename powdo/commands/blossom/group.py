"""The group `powdo blossom`; its commands stand in the modules beside it."""

from __future__ import annotations

from powdo.options import group


@group("blossom")
def blossom() -> None:
    """Run the Blossom server."""
