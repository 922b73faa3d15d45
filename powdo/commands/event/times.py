"""Times as flags and templates give them, in the zone that is meant."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from powdo.errors import BadRecordError, ConfigurationError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


def zone_name(name: str | None) -> str:
    """Return *name* if it is an IANA zone; this machine's for None. Raises: BadRecordError."""
    if name is None:
        from powdo.settings import environment
        from powdo.settings.desktop import time_zone

        return time_zone(environment.variables())
    zone(name)
    return name


def zone(name: str) -> ZoneInfo:
    """Return the zone *name*. Raises: BadRecordError."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise BadRecordError(f"'{name[:40]}' is not a time zone", hint="such as Europe/Berlin") from None


def seconds(text: str, name: str) -> int:
    """Return the unix seconds of *text*, which is wall clock in the zone *name* if it has no offset.

    Raises: BadRecordError.
    """
    from powdo.settings.units import parse_moment

    place = zone(name)
    try:
        return int(parse_moment(text, now=datetime.now(place), zone=place).timestamp())
    except ConfigurationError as error:
        raise BadRecordError(error.message) from None
