"""powdo init: a configuration, a master key and the keys of one side. Run twice it harms nothing.

On a terminal what was not given is asked for, what will be written is shown, and every part is tried then.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from powdo.options import Run, command, group

if TYPE_CHECKING:
    from powdo.settings import Settings

_F = TypeVar("_F", bound=Callable[..., Any])
_RETENTION = "30d"


@group("init")
def init() -> None:
    """Write a configuration, a master key and the keys of a worker, operator or server."""


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


def _relay(text: str) -> str:
    from powdo.settings.units import check_url

    return check_url(text, ("ws",))


def _server(text: str) -> str:
    from powdo.settings.units import check_url

    return check_url(text, ("http",))


def _finish(run: Run, side: str, *, talking: bool, systemd: bool, cron: bool) -> None:
    """Install timers and services where they are wanted, and on a terminal try every part."""
    if systemd or cron:
        from powdo.commands.init.services import install

        install(run, side, systemd=systemd, cron=cron)
    if talking:
        from powdo.checkup import report

        run.console.show("\nEvery part, as `powdo doctor` shows it at any time:\n")
        report(run, 10.0)


def _common(function: _F) -> _F:
    """Add --yes, --systemd and --cron."""
    for option in (
        click.option("--cron", is_flag=True, help="Put the lines of this side into the crontab."),
        click.option("--systemd", is_flag=True, help="Install and start the units of this side."),
        click.option("--yes", is_flag=True, help="Ask nothing and show nothing before writing."),
    ):
        function = option(function)
    return function


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
@click.option("--dvm", metavar="NPUB", help="The DVM that bundles are encrypted to: npub or nprofile.")
@_common
def worker(
    run: Run,
    user: str | None,
    relays: tuple[str, ...],
    blossom: tuple[str, ...],
    dvm: str | None,
    yes: bool,
    systemd: bool,
    cron: bool,
) -> None:
    """Set up a worker: an identity NAME and an access key NAME-access."""
    from powdo.commands.init import files
    from powdo.commands.init.conversation import Conversation

    talk = Conversation(run, silent=yes)
    settings = files.existing(run, "worker", "worker")
    if settings is None:
        settings = _new_worker(run, talk, user, relays, blossom, dvm)
    files.keys(run, settings, (settings.identity.user, settings.identity.access_user))
    _finish(run, "worker", talking=talk.open, systemd=systemd, cron=cron)


def _new_worker(
    run: Run,
    talk: Any,
    user: str | None,
    relays: tuple[str, ...],
    blossom: tuple[str, ...],
    dvm: str | None,
) -> Settings:
    """Write a worker's configuration and return its settings."""
    from powdo.commands.init import files
    from powdo.nips.bech32 import encode_npub

    name = _checked_name(
        user or talk.ask("the name of your key", _checked_name, default=_login()) or _login()
    )
    found = talk.dvm(dvm)
    offered = found.relays if found is not None else ()
    relays = relays or talk.many("the relays", _relay, offered) or offered
    blossom = blossom or talk.many("the Blossom servers", _server)
    npub = encode_npub(found.pubkey) if found is not None else None
    given = {"relays": relays, "blossom": blossom, "dvm": npub}
    text = files.content([
        files.section("identity", [("user", name), ("access_user", f"{name}-access")]),
        files.section("worker", [("dvm", npub), ("relays", list(relays)), ("blossom", list(blossom))]),
    ])  # fmt: skip
    return _agreed(run, talk, text, [f"[worker] {key}" for key, value in given.items() if not value])


def _agreed(run: Run, talk: Any, text: str, missing: list[str]) -> Settings:
    """Write the configuration *text* once it is checked and agreed to, and return its settings."""
    from powdo.commands.init import files
    from powdo.settings import parse

    path = files.configuration(run)
    parse(text, path)
    talk.confirmed(text, path)
    return files.write(run, text, missing)


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
@click.option("--kimai", metavar="URL", help="The Kimai that timesheets go to.")
@click.option(
    "--kimai-token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file that holds Kimai's token.",
)
@_common
def operator(
    run: Run,
    user: str | None,
    relays: tuple[str, ...],
    blossom: tuple[str, ...],
    database: str | None,
    kimai: str | None,
    kimai_token_file: Path | None,
    yes: bool,
    systemd: bool,
    cron: bool,
) -> None:
    """Set up a DVM with one key, NAME (default: dvm); with --database keys lie there too."""
    from powdo.commands.init import files
    from powdo.commands.init.conversation import Conversation
    from powdo.commands.init.dvm import Wanted, announce, first_worker, new_operator

    talk = Conversation(run, silent=yes)
    settings = files.existing(run, "operator", "dvm")
    if settings is None:
        name = _checked_name(user or "dvm")
        settings = new_operator(
            run, talk, Wanted(name, relays, blossom, database, kimai, kimai_token_file), _agreed
        )
    files.keys(run, settings, (settings.identity.user,))
    announce(run, settings)
    first_worker(run, talk, settings)
    _finish(run, "operator", talking=talk.open, systemd=systemd, cron=cron)


@command(
    "server",
    parent=init,
    epilog="powdo init server --relay wss://relay.example --blossom https://blossom.example",
)
@click.option("--relay", metavar="URL", help="The relay's URL as clients see it, behind a TLS proxy.")
@click.option("--blossom", metavar="URL", help="The Blossom server's URL as clients see it.")
@_common
def server(run: Run, relay: str | None, blossom: str | None, yes: bool, systemd: bool, cron: bool) -> None:
    """Set up a public server: a relay and a Blossom server.

    Each has a data directory of its own, both have one allowlist, and the relay's admin API has a secret. One
    with a URL believes a TLS proxy on this machine where its clients come from. Blobs are kept for 30 days.
    """
    from powdo.commands.init import files
    from powdo.commands.init.conversation import Conversation
    from powdo.settings.paths import private_dir

    talk = Conversation(run, silent=yes)
    settings = files.existing(run, "server", "relay", "blossom")
    if settings is None:
        relay = relay or talk.ask("the relay's address for clients (wss://…)", _relay)
        blossom = blossom or talk.ask("the Blossom server's address for clients (https://…)", _server)
        settings = _agreed(run, talk, files.content(_server_sections(run, relay, blossom)), [])
    for path in (settings.relay.data, settings.blossom.data):
        if path is not None:
            private_dir(path)
    secret = settings.relay.admin_secret_file
    if secret is not None:
        files.secret_file(run, secret, "the secret of the relay's admin API", secrets.token_hex(32))
    _finish(run, "server", talking=talk.open, systemd=systemd, cron=cron)


def _server_sections(run: Run, relay: str | None, blossom: str | None) -> list[str]:
    """Return the sections of a public server's configuration."""
    from powdo.commands.init import files
    from powdo.settings import environment
    from powdo.settings.paths import data_dir

    data = data_dir(run.config_choice[1], environment.variables())
    secret = files.configuration(run).parent / "relay-admin.secret"
    sections = []
    for name, listen, url in (("relay", "127.0.0.1:7777", relay), ("blossom", "127.0.0.1:3000", blossom)):
        pairs: list[tuple[str, Any]] = [
            ("listen", listen),
            ("data", str(data / name)),
            ("allowlist", str(data / "allowlist.json")),
            ("url", url),
            ("trusted_proxy", ["127.0.0.1/32", "::1/128"] if url else None),
        ]
        if name == "relay":
            pairs.append(("admin_secret_file", str(secret)))
        sections.append(files.section(name, pairs))
    return [*sections, files.section("[blossom.retention]", [("keep", _RETENTION)])]
