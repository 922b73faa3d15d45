"""NIP-13: how much proof of work an event carries."""

from __future__ import annotations

from powdo.nips.event import Event, Tags


def difficulty(event_id: str) -> int:
    """Return the number of leading zero bits of a hex id: 0 to 256."""
    return len(event_id) * 4 - int(event_id, 16).bit_length()


def committed(tags: Tags) -> int | None:
    """Return the target that the nonce tag commits to, or None."""
    for tag in tags:
        if len(tag) >= 3 and tag[0] == "nonce" and tag[2].isascii() and tag[2].isdigit() and len(tag[2]) < 4:
            return int(tag[2])
    return None


def check(event: Event, minimum: int) -> bool:
    """Return whether *event* has *minimum* bits and committed to at least as many."""
    target = committed(event.tags)
    return minimum == 0 or (target is not None and target >= minimum and difficulty(event.id) >= minimum)
