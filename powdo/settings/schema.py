"""The sections of powdo.toml: every key, its meaning, its check and its default.

A field's annotation holds the function that turns the TOML value into ours and refuses what is wrong. They
are read, so they stand here as they are, not as texts. Sections are named tuples: each run of each command
makes these classes, and a frozen dataclass takes six times as long to make.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from powdo.errors import ConfigurationError, PowdoError
from powdo.settings.units import check_url, parse_duration, parse_listen, parse_size

if TYPE_CHECKING:
    from powdo.settings.kimai import Token
    from powdo.settings.retention import Rule
    from powdo.worktime.hours import Range

Parse = Callable[[Any], Any]

#: Squares of this many pixels leave no line of text legible, and windows still to be told apart.
BLUR = 12


def readers(section: type) -> dict[str, Parse]:
    """Return the function that reads each key of *section*."""
    return {name: hint.__metadata__[0] for name, hint in section.__annotations__.items()}


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


def switch(value: Any) -> bool:
    """Return true or false, of an environment variable's text too."""
    word = value.strip().lower() if isinstance(value, str) else None
    if word in ("1", "true", "yes", "on"):
        return True
    return False if word in ("0", "false", "no", "off") else flag(value)


def number(value: Any) -> int:
    """Return a whole number from 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"'{value}' is not a whole number")
    return value


def some(value: Any) -> int:
    """Return a whole number from 1."""
    if number(value) == 0:
        raise ConfigurationError("'0' is too few")
    return number(value)


def bits(value: Any) -> int:
    """Return a number of bits that proof of work may have."""
    if number(value) > 64:
        raise ConfigurationError(f"'{value}' is more than the 64 bits that anybody mines")
    return number(value)


def amount(value: Any) -> int:
    """Return the bytes of a size that is not 0."""
    if parse_size(value) == 0:
        raise ConfigurationError(f"'{value}' is too little")
    return parse_size(value)


def age(value: Any) -> int:
    """Return a duration that a gift wrap's date allows: two days back (NIP-59), a day and more of waiting."""
    if parse_duration(value) < 4 * 86400:
        raise ConfigurationError(f"'{value}' is less than 4d: gift wraps are dated back and may wait")
    return parse_duration(value)


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


def wall_clock(value: Any) -> "tuple[Range, ...]":
    """Return the wall-clock ranges that hours such as `Mo-Fr 08:00-18:00` mean."""
    from powdo.worktime.hours import parse_hours

    return parse_hours(value)


def squares(value: Any) -> int:
    """Return the side of the squares that a screenshot is made of, in pixels; 0 leaves it sharp."""
    if isinstance(value, bool):
        return BLUR if value else 0
    if not isinstance(value, int) or (value != 0 and not 2 <= value <= 256):
        raise ConfigurationError(f"'{value}' is neither true, false, 0 nor a whole number from 2 to 256")
    return value


def pause(value: Any) -> int:
    """Return the seconds of a duration that is at least one."""
    seconds = parse_duration(value)
    if not seconds:
        raise ConfigurationError("0 is too short; use a second or more")
    return seconds


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


def retention_rules(value: Any) -> "tuple[Rule, ...]":
    """Return the rules in the tables [[blossom.retention]]."""
    from powdo.settings.retention import parse_rules

    return parse_rules(value)


def kimai_tokens(value: Any) -> "tuple[Token, ...]":
    """Return the tokens in the tables [[kimai.worker]]."""
    from powdo.settings.kimai import parse_tokens

    return parse_tokens(value)


def letters(count: int) -> Parse:
    """Return a reader of codes of *count* letters, such as those of countries and currencies."""

    def read(value: Any) -> str:
        code = text(value)
        if len(code) != count or not (code.isascii() and code.isalpha()):
            raise ConfigurationError(f"'{value}' is not a code of {count} letters")
        return code.upper()

    return read


def medium(value: Any) -> str:
    """Return where keys in custody lie: `file` or `database`."""
    if value not in ("file", "database"):
        raise ConfigurationError(f'\'{value}\' is neither "file" nor "database"')
    return str(value)


def address(value: Any) -> str:
    """Return HOST:PORT."""
    parse_listen(value)
    return str(value)


class Identity(NamedTuple):
    """[identity]: which keys in custody are ours."""

    user: Annotated[str | None, text] = None
    access_user: Annotated[str | None, text] = None
    master_key_file: Annotated[Path | None, path] = None
    master_key_command: Annotated[str | None, text] = None
    keystore: Annotated[str, medium] = "file"


class Worker(NamedTuple):
    """[worker]: for whom, through whom, and what is kept."""

    dvm: Annotated[str | None, pubkey] = None
    relays: Annotated[tuple[str, ...], relay_urls] = ()
    fan_out: Annotated[tuple[str, ...], relay_urls] = ()
    blossom: Annotated[tuple[str, ...], many(http_url)] = ()
    hold: Annotated[int, parse_duration] = 0
    review: Annotated[bool, flag] = False
    proof: Annotated[bool, flag] = True
    resend_after: Annotated[int, parse_duration] = 86400
    keep_days: Annotated[int, number] = 14
    expiration: Annotated[int | None, parse_duration] = None


class Capture(NamedTuple):
    """[capture]: what is looked at, and what is left out before anything is encrypted."""

    activitywatch: Annotated[str, http_url] = "http://127.0.0.1:5600"
    activitywatch_key_file: Annotated[Path | None, path] = None
    settle: Annotated[int, parse_duration] = 240
    screenshots: Annotated[bool, flag] = True
    blur: Annotated[int, squares] = 0
    scale: Annotated[float, share] = 1.0
    hours: Annotated["tuple[Range, ...]", wall_clock] = ()
    spread: Annotated[int, parse_duration] = 0
    redact: Annotated[tuple[re.Pattern[str], ...], many(pattern)] = ()
    deny: Annotated[tuple[re.Pattern[str], ...], many(pattern)] = ()
    private: Annotated[tuple[re.Pattern[str], ...], many(pattern)] = ()
    keep_urls: Annotated[bool, flag] = False
    keep_titles: Annotated[bool, flag] = True


class Dvm(NamedTuple):
    """[dvm]: the operator's side."""

    relays: Annotated[tuple[str, ...], relay_urls] = ()
    blossom_hosts: Annotated[tuple[str, ...], many(blossom_host)] = ()
    database: Annotated[str | None, text] = None
    max_bundle: Annotated[int, parse_size] = 64 << 20
    retain_blobs: Annotated[int | None, parse_duration] = None
    retain_screenshots: Annotated[int | None, parse_duration] = None
    timezone: Annotated[str, zone] = "UTC"
    day_start: Annotated[int, parse_duration] = 0


class Kimai(NamedTuple):
    """[kimai]: where timesheets go."""

    url: Annotated[str | None, http_url] = None
    token_file: Annotated[Path | None, path] = None
    token_command: Annotated[str | None, text] = None
    create: Annotated[bool, flag] = False
    country: Annotated[str | None, letters(2)] = None
    currency: Annotated[str | None, letters(3)] = None
    tag: Annotated[str, text] = "powdo"
    worker: Annotated["tuple[Token, ...]", kimai_tokens] = ()


class Timesheets(NamedTuple):
    """[timesheets]: how active time becomes blocks; seconds."""

    merge_gap: Annotated[int, parse_duration] = 300
    minimum: Annotated[int, parse_duration] = 60
    absorb: Annotated[int, parse_duration] = 60
    rounding: Annotated[int, parse_duration] = 60


class Relay(NamedTuple):
    """[relay]: as the flags of `relay serve`, who runs it, and what one client may ask of it."""

    name: Annotated[str, text] = "powdo relay"
    description: Annotated[str, text] = "Keeps gift wraps for their recipients."
    contact: Annotated[str | None, text] = None
    listen: Annotated[str, address] = "127.0.0.1:7777"
    data: Annotated[Path | None, path] = None
    url: Annotated[str | None, public_url] = None
    trusted_proxy: Annotated[tuple[str, ...], many(text)] = ()
    allow: Annotated[tuple[str, ...], many(pubkey)] = ()
    allowlist: Annotated[Path | None, path] = None
    open: Annotated[bool, flag] = False
    min_pow: Annotated[int, number] = 0
    admin_secret_file: Annotated[Path | None, path] = None
    admin_secret_command: Annotated[str | None, text] = None
    admin_ip: Annotated[tuple[str, ...], many(text)] = ("127.0.0.0/8", "::1/128")
    operator: Annotated[str | None, pubkey] = None
    pow_service: Annotated[bool, flag] = False
    retention: Annotated[int, parse_duration] = 30 * 86400
    stranger_wraps_per_recipient: Annotated[int, number] = 1000
    stranger_wraps: Annotated[int, number] = 100_000
    events_per_minute: Annotated[int | None, number] = None
    requests_per_minute: Annotated[int | None, number] = None
    auths_per_minute: Annotated[int | None, number] = None
    oldest: Annotated[int, age] = 3 * 365 * 86400
    newest: Annotated[int, parse_duration] = 900
    max_message: Annotated[int, parse_size] = 256 << 10
    max_tags: Annotated[int, some] = 2500
    max_subscriptions: Annotated[int, some] = 32
    max_filters: Annotated[int, some] = 16
    max_filter_values: Annotated[int, some] = 2000
    max_limit: Annotated[int, some] = 500
    max_connections: Annotated[int, some] = 10_000
    max_connections_per_address: Annotated[int, some] = 128


class Blossom(NamedTuple):
    """[blossom]: as the flags of `blossom serve`, and what keys and addresses may ask of it."""

    listen: Annotated[str, address] = "127.0.0.1:3000"
    data: Annotated[Path | None, path] = None
    url: Annotated[str | None, public_url] = None
    trusted_proxy: Annotated[tuple[str, ...], many(text)] = ()
    allow: Annotated[tuple[str, ...], many(pubkey)] = ()
    allowlist: Annotated[Path | None, path] = None
    open: Annotated[bool, flag] = False
    max_size: Annotated[int, parse_size] = 64 << 20
    mirror_hosts: Annotated[tuple[str, ...], many(blossom_host)] = ()
    retention: Annotated["tuple[Rule, ...]", retention_rules] = ()
    private: Annotated[bool, flag] = False
    quota: Annotated[int, amount] = 10 << 30
    quota_blobs: Annotated[int, some] = 100_000
    capacity: Annotated[int | None, amount] = None
    min_free: Annotated[int | None, parse_size] = None
    max_uploads: Annotated[int, some] = 128
    max_uploads_per_pubkey: Annotated[int, some] = 16
    max_uploads_per_address: Annotated[int, some] = 32
    max_connections: Annotated[int, some] = 1000
    max_connections_per_address: Annotated[int, some] = 128
    header_timeout: Annotated[int, pause] = 10
    idle_timeout: Annotated[int, pause] = 20
    min_rate: Annotated[int, amount] = 4096


class Allow(NamedTuple):
    """[allow]: how the relay is told whom to let in."""

    url: Annotated[str | None, http_url] = None
    secret_file: Annotated[Path | None, path] = None
    secret_command: Annotated[str | None, text] = None
    interval: Annotated[int, pause] = 300
    enabled: Annotated[bool, flag] = True


class Pow(NamedTuple):
    """[pow]: how long mining a wrap may take; else as the flags of `pow serve`, and the service's terms."""

    max_seconds: Annotated[int, pause] = 60
    listen: Annotated[str, address] = "127.0.0.1:7778"
    data: Annotated[Path | None, path] = None
    url: Annotated[str | None, public_url] = None
    trusted_proxy: Annotated[tuple[str, ...], many(text)] = ()
    database: Annotated[str | None, text] = None
    allow: Annotated[tuple[str, ...], many(pubkey)] = ()
    allowlist: Annotated[Path | None, path] = None
    members_only: Annotated[bool, flag] = False
    members_pay: Annotated[bool, flag] = False
    min_target: Annotated[int, bits] = 8
    max_target: Annotated[int, bits] = 28
    base: Annotated[int, number] = 1000
    rate: Annotated[int, number] = 1000
    job_seconds: Annotated[int, pause] = 60
    foreign: Annotated[bool, flag] = True
    jobs_per_pubkey: Annotated[int, some] = 4
    backlog: Annotated[int, pause] = 120
    threads: Annotated[int | None, some] = None
    max_message: Annotated[int, amount] = 128 << 10
    idle_timeout: Annotated[int, pause] = 600
    max_connections: Annotated[int, some] = 1000
    max_connections_per_address: Annotated[int, some] = 64
