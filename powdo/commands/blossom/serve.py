"""`powdo blossom serve`: the Blossom server."""

from __future__ import annotations

from pathlib import Path

import click

from powdo.commands.blossom.group import blossom
from powdo.options import Run, command


@command(
    "serve",
    parent=blossom,
    epilog="""powdo blossom serve --listen 127.0.0.1:3000 --data /var/lib/powdo/blossom --allow npub1…
powdo blossom serve --listen 127.0.0.1:0 --data /tmp/blobs --open""",
)
@click.option("--listen", metavar="HOST:PORT", help="Listen here; port 0 takes a free one.")
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path), help="Keep everything in DIR.")
@click.option("--url", metavar="URL", help="What the world calls this server, behind a TLS proxy.")
@click.option(
    "--trusted-proxy", "trusted_proxy", metavar="CIDR", multiple=True, help="Believe X-Forwarded-For of CIDR."
)
@click.option(
    "--allow", metavar="NPUB", multiple=True, help="Let NPUB upload, besides those of DIR/allowlist.json."
)
@click.option(
    "--allowlist",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read the allowlist in FILE instead of DIR/allowlist.json.",
)
@click.option("--open", "everyone", is_flag=True, help="Let everybody upload.")
@click.option("--max-size", metavar="BYTES", help="Take no blob larger than BYTES, such as 64MiB.")
@click.option("--private", is_flag=True, help="Serve blobs only to listed keys that say who they are.")
def serve(
    run: Run,
    listen: str | None,
    data: Path | None,
    url: str | None,
    trusted_proxy: tuple[str, ...],
    allow: tuple[str, ...],
    allowlist: Path | None,
    everyone: bool,
    max_size: str | None,
    private: bool,
) -> None:
    """Keep blobs for listed keys and serve them by their sha256."""
    from powdo import loops
    from powdo.errors import ConfigurationError, UsageError
    from powdo.records.network import Listening
    from powdo.servers.blossom.app import serve as serve_blossom
    from powdo.servers.blossom.config import Config
    from powdo.servers.proxies import parse_networks
    from powdo.settings import parsing, units

    told = run.settings.blossom
    where = data or told.data
    if where is None:
        raise UsageError("no folder to keep blobs in", hint="give --data DIR, or data in [blossom]")
    try:
        allowed = tuple(parsing.pubkey(npub) for npub in allow)
    except ConfigurationError as error:
        raise ConfigurationError(f"--allow: {error.message}", hint=error.hint) from None
    host, port = units.parse_listen(listen or told.listen)
    allowlist = allowlist or told.allowlist or where / "allowlist.json"
    config = Config.of(
        told,
        host=host,
        port=port,
        data=where,
        url=url or told.url,
        allow=told.allow + allowed,
        allowlist=allowlist,
        open=everyone or told.open,
        private=private or told.private,
        max_size=told.max_size if max_size is None else units.parse_size(max_size),
        trusted_proxies=parse_networks(trusted_proxy or told.trusted_proxy),
        ready=lambda base: run.emit(Listening(url=base)),
        log=run.console.debug,
        tell=run.console.info,
        warn=run.console.warning,
    )
    if not (config.open or config.allow or allowlist.exists()):
        run.console.warning("nobody may upload", hint="give --allow NPUB, or --open")
    if units.is_loopback(host) and config.url is not None and not config.trusted_proxies:
        run.console.warning(
            "all clients count as one address, which has its limits",
            hint="name the proxy with --trusted-proxy",
        )
    loops.run(lambda stop: serve_blossom(config, stop))
