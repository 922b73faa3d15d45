"""Whether the worker is away from the keyboard, as ActivityWatch's afk watchers know it."""

from __future__ import annotations

from powdo.adapters.activitywatch.source import Source
from powdo.errors import InputMissingError, PeerProtocolError, RetryLaterError
from powdo.worktime.intervals import SECOND

_KIND = "afkstatus"
#: Seconds without a key or a pointer after which the screen is nobody's work.
AWAY = 300


def is_away(source: Source, now: int) -> bool:
    """Return whether each afk watcher that is running has said `afk` for the last AWAY seconds.

    Whatever cannot be read counts as unknown, and unknown is not away: `read` reports the trouble.
    """
    try:
        latest = [
            max(events, key=lambda event: (event.end, event.begin))
            for bucket in source.buckets()
            # A watcher that has said nothing for AWAY seconds has stopped, or is of another machine.
            if bucket.type == _KIND and (bucket.last_updated or 0) > (now - AWAY) * SECOND
            if (events := source.events(bucket, now - 2 * AWAY, now + AWAY).events)
        ]
    except (RetryLaterError, PeerProtocolError, InputMissingError):
        return False
    return bool(latest) and all(
        event.data.get("status") == "afk" and event.begin <= (now - AWAY) * SECOND for event in latest
    )
