"""The sections of powdo.toml: every key, its meaning, its check and its default.

A field's metadata holds the function that turns the TOML value into ours and refuses what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from powdo.errors import ConfigurationError, PowdoError
from powdo.settings.units import check_url, parse_duration, parse_listen, parse_size

if TYPE_CHECKING:
    from powdo.worktime.hours import Range

Parse = Callable[[Any], Any]

#: Squares of this many pixels leave no line of text legible, and windows still to be told apart.
BLUR = 12


def key(parse: Parse, default: Any = None) -> Any:
    """Return a dataclass field that is read by *parse*."""
    return field(default=default, metadata={"parse": parse})


def text(value: Any) -> str:
    """Return a non-empty string."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"'{value}' is not a text")
    return value


def flag(value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"'{value}' is neither true nor false")
    return value


def number(value: Any) -> int:
    """Return a whole number from 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"'{value}' is not a whole number")
    return value


def path(value: Any) -> Path:
    """Return an absolute path; `~` is the home directory."""
    return Path(text(value)).expanduser().absolute()


def many(parse: Parse) -> Parse:
    """Return a reader of a list (or one value) of what *parse* reads."""

    def read(value: Any) -> tuple[Any, ...]:
        return tuple(parse(item) for item in (value if isinstance(value, list | tuple) else [value]))

    return read


def http_url(value: Any) -> str:
    """Return an https URL, or http on loopback."""
    return check_url(value, ("http",))


def relay_url(value: Any) -> str:
    """Return a wss URL, or ws on loopback."""
    return check_url(value, ("ws",))


def relay_urls(value: Any) -> tuple[str, ...]:
    """Return relay URLs, each once."""
    found: tuple[str, ...] = many(relay_url)(value)
    return tuple(dict.fromkeys(found))


def public_url(value: Any) -> str:
    """Return the URL under which a server of ours is reached from outside."""
    return check_url(value, ("ws", "http"))


def pattern(value: Any) -> re.Pattern[str]:
    """Return a compiled regular expression."""
    try:
        return re.compile(text(value))
    except re.error as error:
        raise ConfigurationError(f"'{value}' is not a regular expression: {error}") from None


def pubkey(value: Any) -> str:
    """Return the hex of an npub (or of a hex pubkey)."""
    from powdo.nips.bech32 import parse_pubkey

    try:
        found: str = parse_pubkey(text(value))
    except PowdoError as error:
        raise ConfigurationError(error.message) from None
    return found


def zone(value: Any) -> str:
    """Return the name of a time zone that exists."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(text(value))
    except (OSError, ValueError, KeyError):
        raise ConfigurationError(f"'{value}' is not a time zone such as Europe/Berlin") from None
    return text(value)


def hours(value: Any) -> tuple[Range, ...]:
    """Return the wall-clock ranges that hours such as `Mo-Fr 08:00-18:00` mean."""
    from powdo.worktime.hours import parse_hours

    return parse_hours(value)


def blur(value: Any) -> int:
    """Return the side of the squares that a screenshot is made of, in pixels; 0 leaves it sharp."""
    if isinstance(value, bool):
        return BLUR if value else 0
    if not isinstance(value, int) or (value != 0 and not 2 <= value <= 256):
        raise ConfigurationError(f"'{value}' is neither true, false, 0 nor a whole number from 2 to 256")
    return value


def share(value: Any) -> float:
    """Return a number from 0.1 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.1 <= value <= 1:
        raise ConfigurationError(f"'{value}' is not a number from 0.1 to 1")
    return float(value)


def blossom_host(value: Any) -> str:
    """Return the origin `scheme://host[:port]` of an allowed Blossom server; a bare host means https."""
    from urllib.parse import urlsplit

    name = text(value)
    parts = urlsplit(http_url(name if "://" in name else f"https://{name}"))
    if parts.path or parts.query:
        raise ConfigurationError(f"'{value}' is not a host; leave out what follows it")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def listen(value: Any) -> str:
    """Return HOST:PORT."""
    parse_listen(value)
    return str(value)


@dataclass(frozen=True, slots=True)
class Identity:
    """[identity]: which keys in custody are ours."""

    user: str | None = key(text)
    access_user: str | None = key(text)
    master_key_file: Path | None = key(path)
    master_key_command: str | None = key(text)


@dataclass(frozen=True, slots=True)
class Worker:
    """[worker]: for whom, through whom, and what is kept."""

    dvm: str | None = key(pubkey)
    relays: tuple[str, ...] = key(relay_urls, ())
    fan_out: tuple[str, ...] = key(relay_urls, ())
    blossom: tuple[str, ...] = key(many(http_url), ())
    hold: int = key(parse_duration, 0)
    review: bool = key(flag, False)
    proof: bool = key(flag, True)
    resend_after: int = key(parse_duration, 86400)
    keep_days: int = key(number, 14)
    expiration: int | None = key(parse_duration)


@dataclass(frozen=True, slots=True)
class Capture:
    """[capture]: what is looked at, and what is left out before anything is encrypted."""

    activitywatch: str = key(http_url, "http://127.0.0.1:5600")
    activitywatch_key_file: Path | None = key(path)
    settle: int = key(parse_duration, 240)
    screenshots: bool = key(flag, True)
    blur: int = key(blur, 0)
    scale: float = key(share, 1.0)
    hours: tuple[Range, ...] = key(hours, ())
    spread: int = key(parse_duration, 0)
    redact: tuple[re.Pattern[str], ...] = key(many(pattern), ())
    deny: tuple[re.Pattern[str], ...] = key(many(pattern), ())
    private: tuple[re.Pattern[str], ...] = key(many(pattern), ())
    keep_urls: bool = key(flag, False)
    keep_titles: bool = key(flag, True)


@dataclass(frozen=True, slots=True)
class Dvm:
    """[dvm]: the operator's side."""

    relays: tuple[str, ...] = key(relay_urls, ())
    blossom_hosts: tuple[str, ...] = key(many(blossom_host), ())
    database: str | None = key(text)
    max_bundle: int = key(parse_size, 64 << 20)
    retain_blobs: int | None = key(parse_duration)
    retain_screenshots: int | None = key(parse_duration)
    timezone: str = key(zone, "UTC")
    day_start: int = key(parse_duration, 0)


@dataclass(frozen=True, slots=True)
class Kimai:
    """[kimai]: where timesheets go."""

    url: str | None = key(http_url)
    token_file: Path | None = key(path)
    token_command: str | None = key(text)
    create: bool = key(flag, False)
    tag: str = key(text, "powdo")


@dataclass(frozen=True, slots=True)
class Timesheets:
    """[timesheets]: how active time becomes blocks; seconds."""

    merge_gap: int = key(parse_duration, 300)
    minimum: int = key(parse_duration, 60)
    absorb: int = key(parse_duration, 60)
    rounding: int = key(parse_duration, 60)


@dataclass(frozen=True, slots=True)
class Relay:
    """[relay]: as the flags of `relay serve`."""

    listen: str = key(listen, "127.0.0.1:7777")
    data: Path | None = key(path)
    url: str | None = key(public_url)
    trusted_proxy: tuple[str, ...] = key(many(text), ())
    allow: tuple[str, ...] = key(many(pubkey), ())
    open: bool = key(flag, False)
    min_pow: int = key(number, 0)


@dataclass(frozen=True, slots=True)
class Blossom:
    """[blossom]: as the flags of `blossom serve`."""

    listen: str = key(listen, "127.0.0.1:3000")
    data: Path | None = key(path)
    url: str | None = key(public_url)
    trusted_proxy: tuple[str, ...] = key(many(text), ())
    allow: tuple[str, ...] = key(many(pubkey), ())
    open: bool = key(flag, False)
    max_size: int = key(parse_size, 64 << 20)
    private: bool = key(flag, False)
