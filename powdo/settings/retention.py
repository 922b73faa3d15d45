"""`[[blossom.retention]]`: which blobs the Blossom server keeps for how long."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from powdo.errors import ConfigurationError, PowdoError
from powdo.settings import parsing
from powdo.settings.units import parse_duration

#: A media type in lower case, in which * and ? stand for any characters and any one.
_GLOB = re.compile(r"[a-z0-9!#$&^_.+*?/-]{1,255}", re.ASCII)
_LONGEST = 100 * 365 * 86400


class Rule(NamedTuple):
    """Keep what is of a *type* (a glob), by one of *pubkeys* or by anybody, for *keep* seconds or always."""

    type: str = "*"
    pubkeys: frozenset[str] = frozenset()
    keep: int | None = None


def _glob(value: Any) -> str:
    text = parsing.text(value).strip().lower()
    if not _GLOB.fullmatch(text):
        raise ConfigurationError(f"'{value}' is not a media type such as application/zip or application/*")
    return text


def _keep(value: Any) -> int:
    seconds = parse_duration(value)
    if not 0 < seconds <= _LONGEST:
        raise ConfigurationError(f"'{value}' is not between a second and a hundred years")
    return seconds


def _pubkeys(value: Any) -> frozenset[str]:
    found = frozenset(parsing.many(parsing.pubkey)(value))
    if not found:
        raise ConfigurationError("there is none; leave the key out for everybody")
    return found


_READERS: Mapping[str, parsing.Parse] = {
    "type": _glob,
    "pubkeys": _pubkeys,
    "keep": _keep,
}


def parse_rules(value: Any) -> tuple[Rule, ...]:
    """Return the rules in a list of tables. Raises: ConfigurationError."""
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise ConfigurationError("not a list of tables; write [[blossom.retention]]")
    return tuple(_rule(number, table) for number, table in enumerate(value, 1))


def _rule(number: int, table: Mapping[str, Any]) -> Rule:
    values = {}
    for name, value in table.items():
        if name not in _READERS:
            raise ConfigurationError(f"rule {number}: unknown key '{name}'; known are {', '.join(_READERS)}")
        try:
            values[name] = _READERS[name](value)
        except PowdoError as error:
            raise ConfigurationError(f"rule {number}: {name}: {error.message}") from None
    return Rule(**values)
