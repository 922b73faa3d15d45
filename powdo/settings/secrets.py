"""Where secrets come from: the environment, a file, systemd's credentials, or a command; never argv.

The first of these sources that is set counts, in this order; a source that is set and fails is an error,
never a reason to try the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from powdo.errors import KeyRejectedError
from powdo.settings import environment
from powdo.settings.paths import read_secret_file

_COMMAND_TIMEOUT = 60


class SecretSource(NamedTuple):
    """Where one secret may come from: *variable*, *variable*_FILE, a credential, *file*, *command*."""

    label: str
    variable: str | None
    credential: str
    file: Path | None
    command: str | None
    hint: str

    def is_named(self, variables: Mapping[str, str]) -> bool:
        """Return whether any source is set, whatever it holds."""
        told = self.variable and (environment.secret(self.variable) or variables.get(f"{self.variable}_FILE"))
        return bool(told or self._credential(variables) or self.command or self.file)

    def read(self, variables: Mapping[str, str]) -> str:
        """Return the secret. Raises: KeyRejectedError when there is none, or it is unsafe."""
        if self.variable is not None:
            value = environment.secret(self.variable)
            if value is not None:
                return value.strip()
            named = variables.get(f"{self.variable}_FILE")
            if named:
                return read_secret_file(Path(named))
        credential = self._credential(variables)
        if credential is not None:
            return _read_credential(credential)
        if self.command:
            return self._run()
        if self.file is not None and self.file.exists():
            return read_secret_file(self.file)
        where = f": '{self.file}' is not there" if self.file is not None else ""
        raise KeyRejectedError(f"no {self.label}{where}", hint=self.hint)

    def _credential(self, variables: Mapping[str, str]) -> Path | None:
        folder = variables.get("CREDENTIALS_DIRECTORY")
        path = Path(folder) / self.credential if folder else None
        return path if path is not None and path.is_file() else None

    def _run(self) -> str:
        import shlex
        import subprocess

        try:
            done = subprocess.run(
                shlex.split(self.command or ""),
                stdin=subprocess.DEVNULL,  # ours holds records
                stdout=subprocess.PIPE,
                timeout=_COMMAND_TIMEOUT,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise KeyRejectedError(f"cannot run the command for the {self.label}: {error}") from None
        if done.returncode:
            raise KeyRejectedError(f"the command for the {self.label} ended with status {done.returncode}")
        secret = done.stdout.decode("utf-8", "replace").strip()
        if not secret:
            raise KeyRejectedError(f"the command for the {self.label} wrote nothing")
        return secret


def _read_credential(path: Path) -> str:
    """Return a systemd credential; its directory is private to the unit, whatever its mode says."""
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise KeyRejectedError(f"cannot read the credential '{path}'") from None
