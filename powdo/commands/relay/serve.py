"""`powdo relay serve`: the relay itself."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from powdo.commands.relay.group import relay
from powdo.errors import UsageError
from powdo.options import Run, admin_options, command

if TYPE_CHECKING:
    from powdo.pow_service import Setup
    from powdo.servers.relay.application import Config
    from powdo.servers.relay.limits import Limits
    from powdo.settings.schema import Relay as Section


@command("serve", parent=relay, epilog="powdo relay serve --listen 127.0.0.1:0 --data ./relay --allow npub1…")
@click.option("--listen", metavar="HOST:PORT", help="Listen here; port 0 picks a free one.")
@click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path), help="Keep events and the allowlist in DIR."
)
@click.option("--url", metavar="URL", help="What clients call the relay, when a proxy stands before it.")
@click.option(
    "--allow",
    "allowed",
    metavar="NPUB",
    multiple=True,
    help="Let NPUB publish, besides who is in the allowlist file.",
)
@click.option(
    "--allowlist",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Keep the allowlist in FILE instead of DIR/allowlist.json.",
)
@click.option("--open", is_flag=True, help="Let everybody publish.")
@click.option(
    "--min-pow",
    type=click.IntRange(0, 64),
    metavar="BITS",
    help="Let strangers send gift wraps with BITS of proof of work to those on the allowlist.",
)
@admin_options
@click.option("--pow-service", is_flag=True, help="Mine proof of work for clients too, as [pow] says.")
@click.option("--operator", metavar="NPUB", help="Let NPUB change the allowlist by signed calls (NIP-86).")
def serve(run: Run, allowed: tuple[str, ...], admin_secret_file: Path | None, **flags: Any) -> None:
    """Serve events, and gift wraps to their recipients only.

    A record with the address is written once clients can connect; SIGTERM ends it cleanly. The allowlist's
    file is read again when it changes.
    """
    import asyncio
    from dataclasses import replace

    from powdo import loops
    from powdo.records.network import Listening
    from powdo.servers.descriptors import watch
    from powdo.servers.relay.application import Relay

    given = {
        name: value for name, value in flags.items() if value not in (None, (), "") and value is not False
    }
    secret = run.settings.served_admin_secret(admin_secret_file)
    section = run.settings.relay._replace(**given)
    config = _config(run, section, _pubkeys("--allow", allowed), secret)
    if secret is None and flags["admin_ip"]:
        run.console.warning("the admin API is off", hint="give its secret with --admin-secret-file")
    _warn(run, config)
    with ExitStack() as resources:
        if section.pow_service:
            config = replace(config, pow=resources.enter_context(_pow_service(run, config)).service)
        server = Relay(config)

        async def main(stop: asyncio.Event) -> None:
            watch(asyncio.get_running_loop(), run.console.warning)
            await server.serve(lambda address: run.emit(Listening(url=address)), stop)

        loops.run(main)


def _pow_service(run: Run, config: Config) -> Setup:
    """Return the service inside the relay, whose members are the relay's. Raises: PowdoError."""
    from powdo.pow_service import Setup

    section = run.settings.pow
    if section.data is None:
        section = section._replace(data=config.data / "pow")
    return Setup(run, section, members=config.policy.allowed)


def _config(run: Run, section: Section, allowed: tuple[str, ...], secret: str | None) -> Config:
    """Return what the server is started with. Raises: UsageError, ConfigurationError, KeyRejectedError."""
    from powdo.servers.admin.api import AdminApi
    from powdo.servers.admin.guard import Guard
    from powdo.servers.admin.handlers import Handlers
    from powdo.servers.admin.management import Management
    from powdo.servers.allowlist import Allowlist
    from powdo.servers.proxies import parse_networks
    from powdo.servers.relay.about import About
    from powdo.servers.relay.application import Config
    from powdo.servers.relay.limits import Limits
    from powdo.servers.relay.policy import Policy
    from powdo.settings.units import check_url, is_loopback, parse_listen

    data = _data(section)
    host, port = parse_listen(section.listen)
    proxies, networks = parse_networks(section.trusted_proxy), parse_networks(section.admin_ip)
    say = run.console
    allowlist = Allowlist(
        section.allowlist or data / "allowlist.json", section.allow + allowed, warn=say.warning
    )
    handlers = Handlers(allowlist, tell=say.info, warn=say.warning)
    operator = _pubkeys("--operator", (section.operator,))[0] if section.operator else None
    return Config(
        host=host,
        port=port,
        data=data,
        about=About(
            name=section.name, description=section.description, contact=section.contact, operator=operator
        ),
        url=check_url(section.url, ("ws",)) if section.url else None,
        trusted_proxies=proxies,
        policy=Policy(
            allowed=allowlist,
            open=section.open,
            min_pow=section.min_pow,
            limits=_with_room(
                run, Limits.of(section, public=section.url is not None or not is_loopback(host))
            ),
        ),
        admin=None if secret is None else AdminApi(handlers, Guard(secret, networks, proxies)),
        management=Management(handlers, operator) if operator else None,
        warn=say.warning,
    )


def _with_room(run: Run, limits: Limits) -> Limits:
    """Return *limits* with no more connections than there are file descriptors for, which is told."""
    from dataclasses import replace

    from powdo.servers.descriptors import room_for

    room = room_for(limits.max_connections)
    if room < limits.max_connections:
        run.console.warning(
            f"there is room for {room} connections only", hint="raise the hard limit on open files"
        )
    return replace(limits, max_connections=room)


def _data(section: Section) -> Path:
    """Return the folder for the events, made if need be. Raises: UsageError, CannotCreateError."""
    from powdo.errors import CannotCreateError

    if section.data is None:
        raise UsageError("no folder for the events", hint="give --data DIR, or data in [relay]")
    try:
        section.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotCreateError(f"cannot create '{section.data}': {error.strerror}") from None
    return section.data


def _pubkeys(flag: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    from powdo.errors import BadRecordError
    from powdo.nips.bech32 import parse_pubkey

    try:
        return tuple(parse_pubkey(text) for text in texts)
    except BadRecordError as error:
        raise UsageError(f"{flag}: {error.message}", hint=error.hint) from None


def _warn(run: Run, config: Config) -> None:
    """Say what cannot work, or is not safe, where others than this machine reach us."""
    from powdo.settings.units import is_loopback

    if is_loopback(config.host):
        if config.url is not None and not config.trusted_proxies:
            run.console.warning(
                "all clients count as one address, which has its limits",
                hint="name the proxy with --trusted-proxy",
            )
        return
    if config.url is None:
        run.console.warning(
            "clients that come by another name cannot authenticate", hint="give the public address with --url"
        )
    if config.admin is not None and not config.trusted_proxies:
        run.console.warning(
            "the secret of the admin API comes unencrypted",
            hint="put a TLS proxy before the relay, and name it with --trusted-proxy",
        )
