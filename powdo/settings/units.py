"""How durations, sizes, times and URLs are written in settings and flags."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from powdo.errors import ConfigurationError, PowdoError
from powdo.lines import parse_time

_DURATION = re.compile(r"(\d{1,12})([smhdw]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"(\d{1,15})\s*([KMGT]i?B|B)?", re.ASCII)
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES |= {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def parse_duration(value: object) -> int:
    """Return the seconds that `240`, `30m`, `24h` or `14d` mean. Raises: ConfigurationError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ConfigurationError(f"'{value}' is not a duration such as 240, 30m, 24h or 14d")
    return int(match[1]) * _SECONDS[match[2]]


def parse_size(value: object) -> int:
    """Return the bytes that `1048576` or `64MiB` mean. Raises: ConfigurationError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ConfigurationError(f"'{value}' is not a size such as 64MiB")
    return int(match[1]) * _BYTES[match[2] or "B"]


class Calendar(NamedTuple):
    """What time it is, and when days begin: *day_start* seconds after the midnights of *zone*.

    Without a *zone* it is the machine's own.
    """

    now: datetime
    zone: tzinfo | None = None
    day_start: int = 0

    @property
    def today(self) -> date:
        """Return the day it is, by the wall clock."""
        local = self.now.astimezone(self.zone) if self.zone else self.now
        return (local.replace(tzinfo=None) - timedelta(seconds=self.day_start)).date()

    def begin(self, day: date) -> datetime:
        """Return when *day* begins."""
        return self.local(datetime(day.year, day.month, day.day) + timedelta(seconds=self.day_start))

    def local(self, clock: datetime) -> datetime:
        """Return the instant at which the wall clock shows *clock*."""
        return clock.replace(tzinfo=self.zone) if self.zone else clock.astimezone()


def parse_moment(text: str, *, now: datetime, zone: tzinfo | None = None, day_start: int = 0) -> datetime:
    """Return the instant *text* names: RFC 3339, a date, `now`, `today`, `yesterday`, a weekday, or `2w` ago.

    Dates and words are beginnings of days in *zone*, by default the local one. Raises: ConfigurationError.
    """
    calendar = Calendar(now, zone, day_start)
    today, word = calendar.today, text.strip().lower()
    if word == "now":
        return now
    if word in ("today", "yesterday"):
        return calendar.begin(today - timedelta(days=word == "yesterday"))
    if word in _WEEKDAYS:
        back = (today.weekday() - _WEEKDAYS.index(word)) % 7
        return calendar.begin(today - timedelta(days=back))
    try:
        if _DURATION.fullmatch(word) and word[-1:] in "smhdw":
            return now - timedelta(seconds=parse_duration(word))
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            return calendar.begin(date.fromisoformat(text))
        if re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?", text, re.ASCII):
            return calendar.local(datetime.fromisoformat(text))
        return parse_time(text)
    except (ValueError, OverflowError, PowdoError):
        raise ConfigurationError(
            f"'{text[:40]}' is not a time: use RFC 3339, a date, or a word such as monday, yesterday, 2w"
        ) from None


def is_loopback(host: str) -> bool:
    """Return whether *host* names this machine only."""
    if host == "localhost":
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_onion(host: str) -> bool:
    """Return whether *host* is a name that Tor encrypts and proves by itself (RFC 7686)."""
    return host.rstrip(".").lower().endswith(".onion")


def check_url(text: object, schemes: tuple[str, ...]) -> str:
    """Return *text* without a trailing slash if it is a URL of one of *schemes* (`http`, `ws`; s is implied).

    Plain http:// and ws:// are for loopback and `.onion` only. Raises: ConfigurationError.
    """
    from urllib.parse import urlsplit

    wanted = " or ".join(f"{scheme}s://" for scheme in schemes)
    if not isinstance(text, str):
        raise ConfigurationError(f"'{text}' is not a URL; use {wanted}")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(f"'{text}' is not a URL; use {wanted}") from None
    if not host or parts.username is not None or parts.fragment or not text.isprintable() or " " in text:
        raise ConfigurationError(f"'{text}' is not a URL; use {wanted}")
    if parts.scheme in schemes:
        if not is_loopback(host) and not is_onion(host):
            raise ConfigurationError(f"'{text}' is not encrypted; use {parts.scheme}s:// off this machine")
    elif parts.scheme not in {f"{scheme}s" for scheme in schemes}:
        raise ConfigurationError(f"'{text}' is not a URL of the right kind; use {wanted}")
    return text.rstrip("/")


def parse_listen(text: object) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`. Raises: ConfigurationError."""
    host, _, port = str(text).rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"'{text}' is not HOST:PORT")
    return host.strip("[]"), int(port)
