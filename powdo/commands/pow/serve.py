"""`powdo pow serve`: the service that mines for others, alone."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from powdo.commands.pow.group import miner_options, nice_option, proof
from powdo.errors import UsageError
from powdo.options import Run, command


@command("serve", parent=proof, epilog="powdo pow serve --listen 127.0.0.1:0 --data ./pow --allow npub1…")
@click.option("--listen", metavar="HOST:PORT", help="Listen here; port 0 picks a free one.")
@click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path), help="Keep accounts and the allowlist in DIR."
)
@click.option("--url", metavar="URL", help="What clients call the service, when a proxy stands before it.")
@click.option("--trusted-proxy", metavar="CIDR", multiple=True, help="Believe X-Forwarded-For of these.")
@click.option(
    "--allow",
    "allowed",
    metavar="NPUB",
    multiple=True,
    help="Mine for NPUB for nothing, as for who is in the allowlist file.",
)
@click.option(
    "--allowlist",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read the allowlist in FILE, such as the relay's, instead of DIR/allowlist.json.",
)
@click.option("--members-only", is_flag=True, help="Mine for those on the allowlist only.")
@click.option("--members-pay", is_flag=True, help="Let those on the allowlist pay like others.")
@click.option("--min-target", type=click.IntRange(0, 64), metavar="BITS", help="Mine no less than BITS.")
@click.option("--max-target", type=click.IntRange(0, 64), metavar="BITS", help="Mine no more than BITS.")
@click.option("--database", metavar="URL", help="Keep the accounts in this database.")
@miner_options
@nice_option
def serve(run: Run, allowed: tuple[str, ...], kernel: str | None, nice: int, **flags: Any) -> None:
    """Mine proof of work for clients who have authenticated, and charge their accounts.

    A record with the address is written once clients can connect; SIGTERM ends it cleanly. What is under way
    then is charged nothing.
    """
    import asyncio
    import os

    from powdo import loops
    from powdo.pow_service import Setup
    from powdo.records.network import Listening
    from powdo.servers.pow.application import Config, PowServer
    from powdo.servers.proxies import parse_networks
    from powdo.servers.relay.limits import Limits
    from powdo.settings.units import check_url, is_loopback, parse_listen

    given = {name: value for name, value in flags.items() if value not in (None, ()) and value is not False}
    section = run.settings.pow._replace(**given)
    host, port = parse_listen(section.listen)
    if not is_loopback(host) and section.url is None:
        run.console.warning(
            "clients that come by another name cannot authenticate", hint="give the public address with --url"
        )
    config = Config(
        host=host,
        port=port,
        warn=run.console.warning,
        url=check_url(section.url, ("ws",)) if section.url else None,
        trusted_proxies=parse_networks(section.trusted_proxy),
        idle=section.idle_timeout,
        limits=Limits(
            max_message=section.max_message,
            max_connections=section.max_connections,
            max_connections_per_address=section.max_connections_per_address,
            requests_per_minute=600,
            auths_per_minute=20,
        ),
    )
    os.nice(nice)
    with ExitStack() as resources:
        setup = resources.enter_context(Setup(run, section, allowed=_pubkeys(allowed), kernel=kernel))

        async def main(stop: asyncio.Event) -> None:
            server = PowServer(config, setup.service())
            await server.serve(lambda address: run.emit(Listening(url=address)), stop)

        loops.run(main)


def _pubkeys(texts: tuple[str, ...]) -> tuple[str, ...]:
    from powdo.errors import BadRecordError
    from powdo.nips.bech32 import parse_pubkey

    try:
        return tuple(parse_pubkey(text) for text in texts)
    except BadRecordError as error:
        raise UsageError(f"--allow: {error.message}", hint=error.hint) from None
