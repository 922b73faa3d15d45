"""One side of the demo: worker, operator or server, each a directory that knows nothing of the others."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the line: a directory, and an environment that knows nothing but it."""

    directory: Path
    environment: Mapping[str, str]

    @classmethod
    def create(cls, root: Path, name: str) -> Side:
        """Make the side *name* below *root*, with a master key of its own."""
        from powdo.settings import environment
        from powdo.settings.paths import private_dir, write_private

        directory = private_dir(root / name)
        own = {
            "POWDO_CONFIG": str(directory / "powdo.toml"),
            "POWDO_STATE_DIR": str(directory / "state"),
            "POWDO_DATA_DIR": str(directory / "data"),
            "NSEC_MASTER_KEY": secrets.token_hex(32),
        }
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in own.items())
        write_private(root / f"{name}.env", exports.encode())
        inherited = {
            key: value
            for key, value in environment.variables().items()
            if not key.startswith(("POWDO_", "NOSTR_", "NSEC_"))
        }
        package = str(Path(__file__).resolve().parents[3])
        return cls(directory, inherited | {"PYTHONPATH": package} | own)

    def powdo(self, *arguments: str) -> str:
        """Run one command to its end and return what it wrote. Raises: the demo's failure."""
        import subprocess

        from powdo.errors import PeerProtocolError

        done = subprocess.run(
            argv(arguments),
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise PeerProtocolError(
                f"'powdo {shlex.join(arguments)}' ended with status {done.returncode}",
                hint=f"it said: {'; '.join(done.stderr.split(chr(10))).strip('; ')}",
            )
        return done.stdout


def argv(arguments: Sequence[str]) -> list[str]:
    """Return how this very powdo is started with *arguments*."""
    return [sys.executable, "-m", "powdo", *arguments]
