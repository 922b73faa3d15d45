"""Proof of work (NIP-13): how much an event carries, and whether it was meant to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from powdo.nips.event import Event, Tags


def difficulty(event_id: str) -> int:
    """Return the number of leading zero bits of a hex id, at most 256 for an id of 64 digits."""
    return len(event_id) * 4 - int(event_id, 16).bit_length()


def committed(tags: Tags) -> int | None:
    """Return the target that the first nonce tag commits to, None without one."""
    for tag in tags:
        if tag[:1] == ("nonce",):
            target = tag[2] if len(tag) > 2 else ""
            return int(target) if target.isascii() and target.isdigit() and len(target) <= 3 else None
    return None


def check(event: Event, min_bits: int) -> bool:
    """Return whether *event* has *min_bits* and committed to at least as many; its id must be verified.

    Without the commitment a spammer could aim low in bulk and be lucky now and then.
    """
    if min_bits <= 0:
        return True
    target = committed(event.tags)
    return target is not None and target >= min_bits and difficulty(event.id) >= min_bits
