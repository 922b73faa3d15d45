"""The rules of powdo.toml and the lines they stand on, read even where something is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from powdo.errors import ConfigurationError
from powdo.settings import environment
from powdo.settings.paths import check_profile, config_path

# What may hold brackets and equal signs without meaning them: several lines of text, a comment, a text.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
_RULE = re.compile(r"\s*\[\[\s*rule\s*\]\]")
_TABLE = re.compile(r"\s*\[")
_KEY = re.compile(r"\s*(?:\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+))\s*=")


class RuleFile(NamedTuple):
    """The `[[rule]]` tables in *path*, and for each the line of every key, its own under `""`."""

    path: Path
    tables: Sequence[Mapping[str, Any]]
    lines: Sequence[Mapping[str, int]]

    def line(self, number: int, key: str) -> int | None:
        """Return the line of *key* in rule *number* (from 1), or of the rule, or None in another layout."""
        if len(self.lines) != len(self.tables):
            return None
        found = self.lines[number - 1]
        return found.get(key, found[""])


def rule_lines(text: str) -> list[dict[str, int]]:
    """Return for each `[[rule]]` in the TOML *text* the line of each of its keys, and under `""` its own."""

    def blank(match: re.Match[str]) -> str:
        token = match[0]
        whole = token.startswith(('"""', "'''", "#"))
        return "\n" * token.count("\n") if whole else token

    found: list[dict[str, int]] = []
    inside = False
    for number, line in enumerate(_TOKEN.sub(blank, text).split("\n"), 1):
        if _RULE.match(line):
            found.append({"": number})
            inside = True
        elif _TABLE.match(line):
            inside = False
        elif inside and (key := _KEY.match(line)):
            found[-1].setdefault(key[1] or key[2] or key[3], number)
    return found


def read_rule_file(config: str | None, profile: str | None) -> RuleFile:
    """Return the rules of the configuration that *config* and *profile* choose, unchecked.

    Raises: ConfigurationError when there is no such file, or it is no TOML.
    """
    import tomllib

    path = config_path(config, check_profile(profile), environment.variables())
    try:
        text = path.read_text("utf-8")
        tables = tomllib.loads(text).get("rule", [])
    except OSError as error:
        raise ConfigurationError(f"cannot open '{path}': {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read '{path}': {error}") from None
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationError(f"'{path}': 'rule' is not a list of tables", hint="write [[rule]]")
    return RuleFile(path, tables, rule_lines(text))
