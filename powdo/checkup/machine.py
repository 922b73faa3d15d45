"""What every side needs: a supported Python, private directories with room in them, and unlocked keys."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from powdo import __version__
from powdo.checkup.findings import Finding, attempted, doubtful, failed, good
from powdo.errors import CannotCreateError, KeyRejectedError, UsageError
from powdo.settings import Settings

_SUPPORTED = ((3, 11), (3, 14))
_LITTLE = 1 << 30


def machine(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of program, configuration, directories and keys."""
    yield _versions()
    yield from _requirements()
    yield _configuration(settings)
    yield from attempted("state directory", lambda: directory("state directory", settings.state_dir))
    yield from attempted("data directory", lambda: directory("data directory", settings.data_dir))
    yield from attempted("master key", lambda: _keys(settings))


def _versions() -> Finding:
    detail = f"powdo {__version__}, Python {platform.python_version()}, {platform.system()}"
    if _SUPPORTED[0] <= sys.version_info[:2] < _SUPPORTED[1]:
        return good("version", detail)
    return doubtful("version", detail, "use Python 3.11, 3.12 or 3.13")


def _requirements() -> Iterator[Finding]:
    """Yield a finding where an installed package is older than powdo needs, or is missing."""
    try:
        wanted = importlib.metadata.requires("powdo") or []
    except importlib.metadata.PackageNotFoundError:
        return  # run from a checkout
    for line in wanted:
        specification, _, marker = line.partition(";")
        if "extra" in marker:
            continue
        name, lowest = _lowest(specification)
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if not marker:
                error = UsageError(f"{name} is not installed")
                yield failed("packages", error, f"install it: pip install '{specification.strip()}'")
            continue
        if lowest and _numbers(found) < _numbers(lowest):
            yield failed(
                "packages",
                UsageError(f"{name} {found} is too old"),
                f"upgrade it: pip install '{specification.strip()}'",
            )


def _lowest(specification: str) -> tuple[str, str | None]:
    """Return the name of a requirement (PEP 508) and its lower bound."""
    name, at_least = re.match(r"[\w.-]*", specification), re.search(r">=\s*([\d.]+)", specification)
    return name[0] if name else "", at_least[1] if at_least else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _configuration(settings: Settings) -> Finding:
    names = ", ".join(f"[{name}]" for name in sorted(settings.sections))
    if names:
        return good("configuration", f"'{settings.config_path}' has {names}")
    return doubtful("configuration", f"'{settings.config_path}' is empty or not there", "run powdo init")


def directory(part: str, path: Path) -> Iterable[Finding]:
    """Return what is found of a directory that only its owner may enter, and that must take files."""
    from powdo.settings.paths import private_dir

    private_dir(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return [doubtful(part, f"others can enter '{path}' (mode {mode:o})", f"run: chmod 700 '{path}'")]
    probe = path / f".doctor-{os.getpid()}"
    try:
        probe.touch(0o600)
        probe.unlink()
        free = shutil.disk_usage(path).free
    except OSError as error:
        raise CannotCreateError(
            f"cannot write in '{path}': {error.strerror}", hint="make room, or mend its owner and mode"
        ) from None
    if free < _LITTLE:
        return [doubtful(part, f"'{path}' has {free >> 20} MiB left", "make room on its disk")]
    return [good(part, f"'{path}', {free >> 30} GiB free")]


def _keys(settings: Settings) -> Iterator[Finding]:
    from powdo.keyring import keystore

    store = keystore(settings)
    names = [name for name in (settings.identity.user, settings.identity.access_user) if name]
    if not names and not store.records():
        yield good("keys", "this side has none, and needs none")
        return
    master = settings.master_key()
    yield good("master key", "it is there")
    for name in names:
        try:
            key = store.unlock(name, master)
        except KeyRejectedError as error:
            yield failed("keys", error)
        else:
            from powdo.nips.bech32 import encode_npub

            yield good("keys", f"{name} is {encode_npub(key.pubkey)}")
