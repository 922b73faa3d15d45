"""The values of powdo.toml: each function turns what TOML has into ours, and refuses what is wrong.

All raise ConfigurationError.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from powdo.errors import ConfigurationError, PowdoError
from powdo.settings.units import check_url, parse_duration, parse_listen, parse_size

if TYPE_CHECKING:
    from powdo.settings.kimai import Token
    from powdo.settings.retention import Rule
    from powdo.worktime.hours import Range

Parse = Callable[[Any], Any]

#: Squares of this many pixels leave no line of text legible, and windows still to be told apart.
BLUR = 12


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
