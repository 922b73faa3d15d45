"""`powdo allow serve`: the admin API beside a relay that has none, such as strfry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from powdo.commands.allow.group import allow
from powdo.errors import KeyRejectedError, UsageError
from powdo.options import Run, admin_options, command

if TYPE_CHECKING:
    from powdo.servers.admin.api import AdminApi
    from powdo.servers.admin.guard import Guard


@command(
    "serve",
    parent=allow,
    epilog="powdo allow serve --listen 127.0.0.1:7778 --allowlist /var/lib/powdo/allowlist.json "
    "--admin-secret-file /etc/powdo/admin.secret",
)
@click.option("--listen", metavar="HOST:PORT", required=True, help="Listen here; port 0 picks a free one.")
@click.option(
    "--allowlist", metavar="FILE", type=click.Path(path_type=Path), help="Keep the allowlist in FILE."
)
@admin_options
def serve(
    run: Run,
    listen: str,
    allowlist: Path | None,
    admin_secret_file: Path | None,
    admin_ip: tuple[str, ...],
    trusted_proxy: tuple[str, ...],
) -> None:
    """Serve the relay's admin API, and nothing else, over an allowlist that another program reads.

    A record with the address is written once clients can connect; SIGTERM ends it cleanly. What is not given
    is read from [relay].
    """
    import asyncio

    from powdo import loops
    from powdo.records.network import Listening
    from powdo.servers.admin import standalone
    from powdo.servers.admin.guard import Guard
    from powdo.servers.proxies import parse_networks
    from powdo.settings.units import is_loopback, parse_listen

    section = run.settings.relay
    host, port = parse_listen(listen)
    proxies = parse_networks(trusted_proxy or section.trusted_proxy)
    networks = parse_networks(admin_ip or section.admin_ip)
    api = _api(run, allowlist or section.allowlist, Guard(_secret(run, admin_secret_file), networks, proxies))
    if not is_loopback(host) and not proxies:
        run.console.warning(
            "the secret of the admin API comes unencrypted",
            hint="put a TLS proxy before it, and name it with --trusted-proxy",
        )

    async def main(stop: asyncio.Event) -> None:
        def listening(url: str) -> None:
            run.emit(Listening(url=url))

        await standalone.serve(api, host, port, stop, listening=listening, warn=run.console.warning)

    loops.run(main)


def _secret(run: Run, file: Path | None) -> str:
    secret = run.settings.served_admin_secret(file)
    if secret is None:
        raise KeyRejectedError(
            "no secret of the admin API",
            hint="make one with `openssl rand -hex 32`, and name its file with --admin-secret-file",
        )
    return secret


def _api(run: Run, path: Path | None, guard: Guard) -> AdminApi:
    """Return the API over the list in *path* and those in [relay] allow. Raises: UsageError."""
    from powdo.servers.admin.api import AdminApi
    from powdo.servers.admin.handlers import Handlers
    from powdo.servers.allowlist import Allowlist

    if path is None:
        raise UsageError("no file for the allowlist", hint="give --allowlist FILE, or allowlist in [relay]")
    say = run.console
    allowlist = Allowlist(path, run.settings.relay.allow, warn=say.warning)
    return AdminApi(Handlers(allowlist, tell=say.info, warn=say.warning), guard)
