"""The group `powdo allow`; its commands stand in the modules beside it."""

from __future__ import annotations

from powdo.options import group


@group("allow")
def allow() -> None:
    """Keep the relay's allowlist in step, and serve one beside another relay."""
