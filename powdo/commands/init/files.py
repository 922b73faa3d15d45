"""The files that init makes: the configuration, the master key, other secrets. None is ever overwritten."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from powdo.run import Run

if TYPE_CHECKING:
    from powdo.settings import Settings


def line(name: str, value: object) -> str:
    """Return one TOML assignment; a value that is missing becomes a comment to fill in."""
    if value in (None, (), []):
        return f"# {name} ="
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"


def section(title: str, pairs: Iterable[tuple[str, object]]) -> str:
    """Return one section of the configuration."""
    return "\n".join([f"[{title}]", *(line(name, value) for name, value in pairs), ""])


def configuration(run: Run) -> Path:
    """Return the path of the configuration, whether it is there or not."""
    from powdo.settings import environment
    from powdo.settings.paths import config_path

    return config_path(*run.config_choice, environment.variables())


def existing(run: Run, side: str, *sections: str) -> Settings | None:
    """Return the settings of a configuration that is there already, and say that it is left alone.

    Raises: ConfigurationError where it has none of the *sections* of *side*, which is not set up then.
    """
    from powdo.errors import ConfigurationError
    from powdo.settings import load

    path = configuration(run)
    if not path.exists():
        return None
    flag, profile = run.config_choice
    settings = load(config=flag, profile=profile)
    if not settings.sections & set(sections):
        names = " or ".join(f"[{name}]" for name in sections)
        raise ConfigurationError(
            f"'{path}' is there and has no {names}",
            hint=f"keep two sides apart: powdo init {side} --profile {side}; or write the section by hand",
        )
    run.console.note(f"'{path}' exists already and was left alone")
    return settings


def content(sections: Iterable[str]) -> str:
    """Return the text of the configuration with *sections*."""
    return "\n".join(["# powdo's configuration; see powdo.toml(5)", "", *sections])


def write(run: Run, text: str, missing: Iterable[str]) -> Settings:
    """Write the configuration and return its settings; *missing* keys are told."""
    from powdo.errors import ConfigurationError
    from powdo.settings import load
    from powdo.settings.paths import write_private

    path = configuration(run)
    write_private(path, text.encode("utf-8"), replace=False)
    run.console.note(f"wrote '{path}'")
    for name in missing:
        run.console.warning(f"'{name}' is not set in '{path}' yet")
    flag, profile = run.config_choice
    try:
        return load(config=flag, profile=profile)
    except ConfigurationError:
        path.unlink()
        raise


def secret_file(run: Run, path: Path, what: str, text: str) -> None:
    """Make the file *path* that holds a secret, unless there is one."""
    from powdo.settings.paths import write_private

    if path.exists():
        return
    write_private(path, text.encode("utf-8") + b"\n", replace=False)
    run.console.note(f"wrote {what} '{path}'")


def _master_key(run: Run, settings: Settings) -> bytes:
    """Return the master key; without one, make the file that holds it."""
    from powdo.errors import KeyRejectedError
    from powdo.keyring import keystore_name

    source = settings.master_key_source()
    try:
        return settings.master_key()
    except KeyRejectedError:
        if source.file is None or source.file.exists() or source.command:
            raise
    secret_file(run, source.file, "the master key", secrets.token_hex(32))
    run.console.note(f"back the master key up apart from {keystore_name(settings)}")
    return settings.master_key()


def keys(run: Run, settings: Settings, users: Iterable[str | None]) -> None:
    """Make the keys of *users* that are not there yet, and say every npub."""
    from powdo.keyring import keystore

    store, master = keystore(settings), _master_key(run, settings)
    for user in users:
        if user is None:
            continue
        record = store.find(user) or store.create(user, master)
        run.console.note(f"{user} is {record['nostr']['npub']}")
