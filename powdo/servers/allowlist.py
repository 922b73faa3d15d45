"""The list of public keys a server lets in: a set in memory, and a file replaced atomically.

Rules:
- keys given on the command line or in the settings are always on the list and never in the file;
- a change is on disk before it counts;
- a file changed by another process (relay and Blossom server may share one) is read again, looked at
  no more than once a second; one that cannot be read leaves the last good list in force.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from pathlib import Path

from powdo.errors import ConfigurationError
from powdo.settings.paths import write_private

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LOOK_AGAIN = 1.0


class Allowlist:
    """The hex public keys that may write; *path* None keeps the list in memory only."""

    def __init__(self, path: Path | None, always: Iterable[str] = ()) -> None:
        self._path = path
        self._always = frozenset(_checked(always))
        self._listed: frozenset[str] = frozenset()
        self._signature: tuple[int, int, int] | None = None
        self._looked = 0.0
        if path is not None:
            self._signature = _signature(path)
            if self._signature is not None:
                self._listed = _read(path)

    def __contains__(self, pubkey: object) -> bool:
        self._refresh()
        return pubkey in self._always or pubkey in self._listed

    def add(self, pubkey: str) -> bool:
        """Return whether *pubkey* was new. Raises: ConfigurationError, OutputError."""
        (pubkey,) = _checked([pubkey])
        self._refresh(now=True)
        if pubkey in self._listed or pubkey in self._always:
            return False
        self._store(self._listed | {pubkey})
        return True

    def remove(self, pubkey: str) -> bool:
        """Return whether *pubkey* was on the changeable part of the list. Raises: OutputError."""
        self._refresh(now=True)
        if pubkey not in self._listed:
            return False
        self._store(self._listed - {pubkey})
        return True

    def _store(self, listed: frozenset[str]) -> None:
        if self._path is not None:
            _write(self._path, listed)
            self._signature = _signature(self._path)
        self._listed = listed

    def _refresh(self, *, now: bool = False) -> None:
        clock = time.monotonic()
        if self._path is None or (not now and clock - self._looked < _LOOK_AGAIN):
            return
        self._looked = clock
        signature = _signature(self._path)
        if signature is None or signature == self._signature:
            return
        try:
            self._listed = _read(self._path)
        except ConfigurationError:
            return  # half-edited by hand; the next change of the file is looked at again
        self._signature = signature


def _checked(pubkeys: Iterable[str]) -> list[str]:
    result = list(pubkeys)
    for pubkey in result:
        if not isinstance(pubkey, str) or not _HEX.fullmatch(pubkey):
            raise ConfigurationError("an allowlist holds public keys of 64 lower-case hex digits")
    return result


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path) -> frozenset[str]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read '{path}': {error}") from None
    pubkeys = value.get("pubkeys") if isinstance(value, dict) else None
    if not isinstance(pubkeys, list):
        raise ConfigurationError(f"'{path}' is not an allowlist", hint='it holds {"pubkeys": […]}')
    return frozenset(_checked(pubkeys))


def _write(path: Path, pubkeys: frozenset[str]) -> None:
    write_private(path, json.dumps({"pubkeys": sorted(pubkeys)}, indent=1).encode() + b"\n")
