"""`[[kimai.worker]]`: workers whose timesheets are sent with a token of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from powdo.errors import ConfigurationError, PowdoError
from powdo.settings import parsing
from powdo.settings.secrets import SecretSource


class Token(NamedTuple):
    """The token of the worker *name*, from a file or from what a command writes."""

    name: str
    token_file: Path | None = None
    token_command: str | None = None

    def source(self) -> SecretSource:
        """Return where the token comes from."""
        return SecretSource(
            label=f"Kimai token of '{self.name}'",
            variable=None,
            credential=f"kimai-token-{self.name}",
            file=self.token_file,
            command=self.token_command,
            hint="make one in Kimai (profile, API access) and write it into token_file of [[kimai.worker]]",
        )


_READERS: dict[str, parsing.Parse] = {
    "name": parsing.text,
    "token_file": parsing.path,
    "token_command": parsing.text,
}


def parse_tokens(value: Any) -> tuple[Token, ...]:
    """Return the tokens in a list of tables. Raises: ConfigurationError."""
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise ConfigurationError("not a list of tables; write [[kimai.worker]]")
    found = tuple(_token(number, table) for number, table in enumerate(value, 1))
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"'{name}' has {names.count(name)} tables")
    return found


def _token(number: int, table: dict[str, Any]) -> Token:
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in _READERS:
            raise ConfigurationError(
                f"worker {number}: unknown key '{name}'; known are {', '.join(_READERS)}"
            )
        try:
            values[name] = _READERS[name](value)
        except PowdoError as error:
            raise ConfigurationError(f"worker {number}: {name}: {error.message}") from None
    if "name" not in values:
        raise ConfigurationError(f"worker {number}: 'name' is missing")
    return Token(**values)
