"""Where configuration, state and data lie, and how private files are made.

A flag beats `POWDO_*`, that beats systemd's directories, they beat platformdirs. A profile has a
configuration and a state of its own. Files are 0600, directories 0700, from their first instant.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from powdo.errors import CannotCreateError, ConfigurationError, KeyRejectedError, OutputError

_APP = "powdo"
_HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{16}\.tmp", re.ASCII)


def _profiled(path: Path, profile: str | None) -> Path:
    return path / "profiles" / profile if profile else path


def check_profile(profile: str | None) -> str | None:
    """Return *profile* if it can name a directory. Raises: ConfigurationError."""
    if profile is not None and (not profile.replace("-", "").replace("_", "").isalnum() or len(profile) > 64):
        raise ConfigurationError(f"'{profile}' cannot name a profile; use letters, digits, - and _")
    return profile


def _user_directory(kind: str, environment: Mapping[str, str]) -> Path:
    from platformdirs import PlatformDirs

    directories = PlatformDirs(_APP, appauthor=False)
    return Path(getattr(directories, f"user_{kind}_dir"))


def config_path(flag: str | None, profile: str | None, environment: Mapping[str, str]) -> Path:
    """Return the configuration file's path, whether it exists or not."""
    if flag:
        return Path(flag).absolute()
    if environment.get("POWDO_CONFIG"):
        named = Path(environment["POWDO_CONFIG"]).absolute()
        return _profiled(named.parent, profile) / named.name
    return _profiled(_user_directory("config", environment), profile) / "powdo.toml"


def state_dir(profile: str | None, environment: Mapping[str, str]) -> Path:
    """Return the state directory's path (`POWDO_STATE_DIR`, `$STATE_DIRECTORY`, platformdirs)."""
    chosen = environment.get("POWDO_STATE_DIR") or environment.get("STATE_DIRECTORY", "").split(":")[0]
    base = Path(chosen).absolute() if chosen else _user_directory("state", environment)
    return _profiled(base, profile)


def data_dir(profile: str | None, environment: Mapping[str, str]) -> Path:
    """Return the data directory's path (`POWDO_DATA_DIR`, `data` in `$STATE_DIRECTORY`, platformdirs)."""
    if environment.get("POWDO_DATA_DIR"):
        return _profiled(Path(environment["POWDO_DATA_DIR"]).absolute(), profile)
    if environment.get("STATE_DIRECTORY"):
        return state_dir(profile, environment) / "data"
    return _profiled(_user_directory("data", environment), profile)


def private_dir(path: Path) -> Path:
    """Make *path* and what it lies in directories of mode 0700 where there is none, and return it.

    Raises: CannotCreateError.
    """
    try:
        for folder in (*reversed(path.parents), path):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CannotCreateError(f"cannot create '{path}': {error.strerror}") from None
    return path


def write_private(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write *data* to *path* (0600) so that a reader sees the old or the new file, never a piece.

    Raises: CannotCreateError, also when the file exists and *replace* is false; OutputError.
    """
    import tempfile

    private_dir(path.parent)
    try:
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise CannotCreateError(f"cannot create '{path}': {error.strerror}") from None
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)  # the one way to a name that must not be there yet
        temporary.unlink(missing_ok=True)
        fsync_path(path.parent)
    except FileExistsError:
        raise CannotCreateError(f"'{path}' exists already", hint="nothing was overwritten") from None
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)  # also when a signal ends us here


def half_written(path: Path) -> Path:
    """Return a fresh name beside *path*, for what gets that name once it is whole; `sweep` knows it."""
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")


def sweep(folder: Path) -> None:
    """Remove what a killed run left half-written in *folder*; only for who holds the lock on it."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if _HALF_WRITTEN.fullmatch(entry.name):
                Path(entry.path).unlink(missing_ok=True)


def fsync_path(path: Path) -> None:
    """Put a file, or the names in a directory, on disk. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_secret_file(path: Path) -> str:
    """Return the stripped text of a secret file that only its owner can read. Raises: KeyRejectedError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(65536)
    except OSError as error:
        raise KeyRejectedError(f"cannot read the secret file '{path}': {error.strerror}") from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise KeyRejectedError(f"others can read the secret file '{path}'", hint=f"run: chmod 600 '{path}'")
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise KeyRejectedError(f"the secret file '{path}' is not text") from None
