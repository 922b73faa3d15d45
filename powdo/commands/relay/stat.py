"""`powdo relay stat`: what the relay has stored."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from powdo.commands.relay.group import data_option, events_file, relay
from powdo.errors import ConfigurationError
from powdo.lines import format_time
from powdo.options import Run, command, report_options

if TYPE_CHECKING:
    from powdo.servers.relay.reading import Statistics

#: The recipients that are named.
_MOST = 10


@command(
    "stat",
    parent=relay,
    epilog="powdo relay stat\npowdo relay stat --json | jq 'select(.what == \"database\").bytes'",
)
@data_option
@click.option(
    "--allowlist",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Count the allowlist in FILE instead of DIR/allowlist.json.",
)
@report_options
def stat(run: Run, data: Path | None, allowlist: Path | None, json: bool, headers: bool) -> None:
    """Show how much the relay has stored, for whom and since when.

    The relay may run meanwhile; nothing is changed.
    """
    from powdo.servers.allowlist import Allowlist
    from powdo.servers.relay.reading import read_statistics

    file = events_file(run, data)
    rows = _rows(read_statistics(file, _MOST))
    section = run.settings.relay
    try:
        listed = Allowlist(allowlist or section.allowlist or file.with_name("allowlist.json"), section.allow)
        rows.append(_row("allowlist", count=len(listed.pubkeys())))
    except ConfigurationError as error:
        run.fail(error)
    run.table(rows, json=json, headers=headers)


def _row(
    what: str,
    *,
    name: str | None = None,
    count: int | None = None,
    size: int | None = None,
    time: int | None = None,
) -> dict[str, Any]:
    """Return a row of the report; *time* is in unix seconds."""
    at = None if time is None else format_time(datetime.fromtimestamp(time, UTC))
    return {"what": what, "name": name, "count": count, "bytes": size, "time": at}


def _rows(found: Statistics) -> list[dict[str, Any]]:
    from powdo.nips.bech32 import encode_npub

    return [
        _row("events", count=sum(count for _, count in found.kinds)),
        *(_row("kind", name=str(kind), count=count) for kind, count in found.kinds),
        _row("recipients", count=found.recipients),
        *(_row("recipient", name=encode_npub(pubkey), count=count) for pubkey, count in found.top),
        _row("by work", count=found.by_work),
        _row("expiring", count=found.expiring),
        _row("oldest", time=found.oldest),
        _row("newest", time=found.newest),
        _row("database", size=found.database),
        _row("free", size=found.free),
        _row("log", size=found.log),
    ]
