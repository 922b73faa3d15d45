"""powdo init: a configuration, a master key and the keys of one side. Run twice it harms nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from powdo.options import Run, command, group

if TYPE_CHECKING:
    from powdo.settings import Settings


@group("init")
def init() -> None:
    """Write a configuration, a master key and the keys of a worker, operator or server."""


def _line(name: str, value: object) -> str:
    """Return one TOML assignment; a value that is missing becomes a comment to fill in."""
    if value in (None, (), []):
        return f"# {name} ="
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"


def _section(title: str, pairs: Iterable[tuple[str, object]]) -> str:
    return "\n".join([f"[{title}]", *(_line(name, value) for name, value in pairs), ""])


def _write_configuration(run: Run, sections: list[str], missing: list[str], *, yes: bool) -> Settings:
    """Write the configuration if there is none, checked before anything is kept; return the settings."""
    from powdo.errors import ConfigurationError
    from powdo.settings import environment, load, parse
    from powdo.settings.paths import config_path, write_private

    flag, profile = run.config_choice
    path = config_path(flag, profile, environment.variables())
    if path.exists():
        run.console.note(f"'{path}' exists already and was left alone")
        return load(config=flag, profile=profile)
    content = "\n".join(["# powdo's configuration; see powdo.toml(5)", "", *sections])
    parse(content, path)
    _confirm(path, content, yes=yes)
    write_private(path, content.encode("utf-8"), replace=False)
    run.console.note(f"wrote '{path}'")
    for name in missing:
        run.console.warning(f"'{name}' is not set in '{path}' yet")
    try:
        return load(config=flag, profile=profile)
    except ConfigurationError:
        path.unlink()
        raise


def _confirm(path: Path, content: str, *, yes: bool) -> None:
    """Show what will be written and ask, if there is a terminal to ask on and --yes is not given."""
    import os

    if yes or not (os.isatty(0) and os.isatty(2)):
        return
    click.echo(f"{path} will hold:\n\n{content}", err=True)
    if not click.confirm("write it?", default=True, err=True):
        raise click.Abort


def _ensure_master_key(run: Run, settings: Settings) -> bytes:
    """Return the master key; without one, make the file that holds it."""
    import secrets

    from powdo.errors import KeyRejectedError
    from powdo.keyring import keystore_name
    from powdo.settings.paths import write_private

    source = settings.master_key_source()
    try:
        return settings.master_key()
    except KeyRejectedError:
        if source.file is None or source.file.exists() or source.command:
            raise
    write_private(source.file, secrets.token_hex(32).encode() + b"\n", replace=False)
    run.console.note(f"wrote the master key '{source.file}'; back it up apart from {keystore_name(settings)}")
    return settings.master_key()


def _ensure_keys(run: Run, settings: Settings, users: Iterable[str | None]) -> None:
    """Make the keys of *users* that are not there yet, and say every npub."""
    from powdo.keyring import keystore

    store, master = keystore(settings), _ensure_master_key(run, settings)
    for user in users:
        if user is None:
            continue
        record = store.find(user) or store.create(user, master)
        run.console.note(f"{user} is {record['nostr']['npub']}")


def _checked_name(name: str) -> str:
    from powdo.custody import check_username

    return check_username(name)


def _login() -> str:
    """Return who is logged in. Raises: UsageError."""
    import getpass

    from powdo.errors import UsageError

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise UsageError("nobody is logged in", hint="name the key with --user NAME") from None


_YES = click.option("--yes", is_flag=True, help="Do not ask before writing the configuration.")
_USER = click.option("--user", metavar="NAME", help="Name of the key; default: who is logged in.")
_RELAYS = click.option(
    "--relay", "relays", multiple=True, metavar="URL", help="A relay; the first is primary."
)
_BLOSSOM = click.option(
    "--blossom", multiple=True, metavar="URL", help="A Blossom server; the first must succeed."
)


@command(
    "worker",
    parent=init,
    epilog="powdo init worker --user ana --relay wss://relay.example \\\n"
    "    --blossom https://blossom.example --dvm npub1…",
)
@_USER
@_RELAYS
@_BLOSSOM
@click.option("--dvm", metavar="NPUB", help="The DVM that bundles are encrypted to.")
@_YES
def worker(
    run: Run, user: str | None, relays: tuple[str, ...], blossom: tuple[str, ...], dvm: str | None, yes: bool
) -> None:
    """Set up a worker: an identity NAME and an access key NAME-access."""
    name = _checked_name(user or _login())
    given = {"relays": relays, "blossom": blossom, "dvm": dvm}
    sections = [
        _section("identity", [("user", name), ("access_user", f"{name}-access")]),
        _section("worker", [("dvm", dvm), ("relays", list(relays)), ("blossom", list(blossom))]),
    ]
    missing = [f"[worker] {key}" for key, value in given.items() if not value]
    settings = _write_configuration(run, sections, missing, yes=yes)
    _ensure_keys(run, settings, (settings.identity.user, settings.identity.access_user))


@command(
    "operator",
    parent=init,
    epilog="powdo init operator --relay wss://relay.example --blossom https://blossom.example",
)
@_USER
@_RELAYS
@click.option("--blossom", multiple=True, metavar="URL", help="A Blossom server that bundles may lie on.")
@click.option(
    "--database", metavar="URL", help="The database; default: a SQLite file in the state directory."
)
@_YES
def operator(
    run: Run,
    user: str | None,
    relays: tuple[str, ...],
    blossom: tuple[str, ...],
    database: str | None,
    yes: bool,
) -> None:
    """Set up a DVM with one key, NAME (default: dvm); with --database keys lie there too."""
    name = _checked_name(user or "dvm")
    pairs: list[tuple[str, Any]] = [("relays", list(relays)), ("blossom_hosts", list(blossom))]
    if database:
        pairs.append(("database", database))
    identity = [("user", name), *([("keystore", "database")] if database else [])]
    sections = [_section("identity", identity), _section("dvm", pairs)]
    missing = [f"[dvm] {key}" for key, value in pairs if not value]
    settings = _write_configuration(run, sections, missing, yes=yes)
    _ensure_keys(run, settings, (settings.identity.user,))


@command(
    "server",
    parent=init,
    epilog="powdo init server --relay wss://relay.example --blossom https://blossom.example",
)
@click.option("--relay", metavar="URL", help="The relay's URL as clients see it, behind a TLS proxy.")
@click.option("--blossom", metavar="URL", help="The Blossom server's URL as clients see it.")
@_YES
def server(run: Run, relay: str | None, blossom: str | None, yes: bool) -> None:
    """Set up a public server: a relay and a Blossom server.

    Each has a data directory of its own, and both have one allowlist. One with a URL believes a TLS proxy
    on this machine where its clients come from. Blobs are kept for 30 days.
    """
    from powdo.settings import environment
    from powdo.settings.paths import data_dir, private_dir

    data = data_dir(run.config_choice[1], environment.variables())
    sections = [
        _section(
            name,
            [
                ("listen", listen),
                ("data", str(data / name)),
                ("allowlist", str(data / "allowlist.json")),
                ("url", url),
                ("trusted_proxy", ["127.0.0.1/32", "::1/128"] if url else None),
            ],
        )
        for name, listen, url in (("relay", "127.0.0.1:7777", relay), ("blossom", "127.0.0.1:3000", blossom))
    ]
    sections.append(_section("[blossom.retention]", [("keep", "30d")]))
    settings = _write_configuration(run, sections, [], yes=yes)
    for path in (settings.relay.data, settings.blossom.data):
        if path is not None:
            private_dir(path)
