"""`powdo relay serve`: the community's own relay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from powdo.errors import UsageError
from powdo.options import Run, command, group

if TYPE_CHECKING:
    from powdo.servers.relay.application import Config
    from powdo.settings.schema import Relay as Section


@group("relay")
def relay() -> None:
    """Run the relay."""


@command("serve", parent=relay, epilog="powdo relay serve --listen 127.0.0.1:0 --data ./relay --allow npub1…")
@click.option("--listen", metavar="HOST:PORT", help="Listen here; port 0 picks a free one.")
@click.option("--data", metavar="DIR", help="Keep events and the allowlist in DIR.")
@click.option("--url", metavar="URL", help="What clients call the relay, when a proxy stands before it.")
@click.option("--trusted-proxy", metavar="CIDR", multiple=True, help="Believe X-Forwarded-For of these.")
@click.option(
    "--allow", metavar="NPUB", multiple=True, help="Let NPUB publish, besides who is in the allowlist file."
)
@click.option("--open", "open_", is_flag=True, help="Let everybody publish.")
@click.option(
    "--min-pow",
    type=click.IntRange(0, 64),
    metavar="BITS",
    help="Let strangers send gift wraps with BITS of proof of work to those on the allowlist.",
)
def serve(
    run: Run,
    listen: str | None,
    data: str | None,
    url: str | None,
    trusted_proxy: tuple[str, ...],
    allow: tuple[str, ...],
    open_: bool,
    min_pow: int | None,
) -> None:
    """Serve events, and gift wraps to their recipients only.

    A record with the address is written once clients can connect; SIGTERM ends it cleanly. What DIR's
    allowlist.json holds is read again when it changes.
    """
    import asyncio

    from powdo import loops
    from powdo.records.operator import Listening
    from powdo.servers.relay.application import Relay
    from powdo.settings.units import is_loopback

    section = run.settings.relay
    config = _config(
        section,
        listen=listen or section.listen,
        data=Path(data) if data else section.data,
        url=url or section.url,
        proxies=trusted_proxy or section.trusted_proxy,
        allow=allow,
        open_=open_ or section.open,
        min_pow=section.min_pow if min_pow is None else min_pow,
    )
    if not is_loopback(config.host) and config.url is None:
        run.console.warning(
            "clients that come by another name cannot authenticate", hint="give the public address with --url"
        )
    if is_loopback(config.host) and config.url is not None and not config.trusted_proxies:
        run.console.warning(
            "all clients count as one address, which has its limits",
            hint="name the proxy with --trusted-proxy",
        )
    server = Relay(config)

    async def main(stop: asyncio.Event) -> None:
        await server.serve(lambda address: run.emit(Listening(url=address)), stop)

    loops.run(main)


def _config(
    section: Section,
    *,
    listen: str,
    data: Path | None,
    url: str | None,
    proxies: tuple[str, ...],
    allow: tuple[str, ...],
    open_: bool,
    min_pow: int,
) -> Config:
    """Return what the server is started with. Raises: UsageError, ConfigurationError."""
    from powdo.errors import BadRecordError, CannotCreateError
    from powdo.nips.bech32 import parse_pubkey
    from powdo.servers.allowlist import Allowlist
    from powdo.servers.proxies import parse_networks
    from powdo.servers.relay.application import Config
    from powdo.servers.relay.limits import Limits
    from powdo.servers.relay.policy import Policy
    from powdo.settings.units import check_url, is_loopback, parse_listen

    if data is None:
        raise UsageError("no folder for the events", hint="give --data DIR, or data in [relay]")
    try:
        allowed = [*section.allow, *(parse_pubkey(item) for item in allow)]
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except BadRecordError as error:
        raise UsageError(f"--allow: {error.message}", hint=error.hint) from None
    except OSError as error:
        raise CannotCreateError(f"cannot create '{data}': {error.strerror}") from None
    host, port = parse_listen(listen)
    return Config(
        host=host,
        port=port,
        data=data,
        url=check_url(url, ("ws",)) if url else None,
        trusted_proxies=parse_networks(proxies),
        policy=Policy(
            allowed=Allowlist(data / "allowlist.json", allowed),
            open=open_,
            min_pow=min_pow,
            limits=Limits.of(section, public=url is not None or not is_loopback(host)),
        ),
    )
