"""`powdo blossom list` and `stat`: what the server keeps, whether it runs or not."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from powdo.commands.blossom.group import blossom, data_option, folder_of
from powdo.options import Run, command, report_options

if TYPE_CHECKING:
    from powdo.servers.blossom.census import Sum
    from powdo.servers.blossom.rows import Blob


@command(
    "list",
    parent=blossom,
    epilog="powdo blossom list --pubkey npub1… --json | jq -s 'map(.size) | add'",
    nothing="there are no blobs",
)
@data_option
@click.option("--pubkey", metavar="NPUB", help="Only the blobs of NPUB.")
@report_options
def list_blobs(run: Run, data: Path | None, pubkey: str | None, json: bool, headers: bool) -> None:
    """List the blobs in the order of their uploads, with their owners and when they go."""
    from powdo.errors import ConfigurationError, UsageError
    from powdo.nips.bech32 import encode_npub
    from powdo.servers.blossom import census, tables
    from powdo.settings import parsing

    try:
        owner = None if pubkey is None else parsing.pubkey(pubkey)
    except ConfigurationError as error:
        raise UsageError(f"--pubkey: {error.message}", hint=error.hint) from None
    with closing(tables.open_beside(folder_of(run, data))) as db:
        rows = (
            row(item.blob) | {"owners": list(map(encode_npub, item.owners))}
            for item in census.kept(db, owner)
        )
        if json:
            for each in rows:
                run.emit(each)
        else:
            cells = [each | {"owners": ", ".join(each["owners"])} for each in rows]
            run.table(cells, json=False, headers=headers)


@command("stat", parent=blossom, epilog="powdo blossom stat --json | jq 'select(.what == \"all\").bytes'")
@data_option
@report_options
def stat(run: Run, data: Path | None, json: bool, headers: bool) -> None:
    """Count blobs and bytes in all, by type and by owner, and show what the disk has left."""
    from powdo.nips.bech32 import encode_npub
    from powdo.servers.blossom import census, tables
    from powdo.servers.blossom.storage import Folder

    folder = folder_of(run, data)
    with closing(tables.open_beside(folder)) as db:
        rows = [_counted("all", None, census.total(db))]
        rows += [_counted("type", name, found) for name, found in census.by_type(db)]
        rows += [_counted("owner", encode_npub(pubkey), found) for pubkey, found in census.by_owner(db)]
    free = {"what": "free", "name": str(folder), "blobs": None, "bytes": Folder(folder).free()}
    rows.append(free | {"oldest": None, "expires": None})
    run.table(rows, json=json, headers=headers)


def row(blob: Blob) -> dict[str, Any]:
    """Return a row of a report on blobs."""
    return {
        "sha256": blob.sha256,
        "size": blob.size,
        "type": blob.type,
        "uploaded": _time(blob.uploaded),
        "expires": _time(blob.expires),
    }


def _counted(what: str, name: str | None, found: Sum) -> dict[str, Any]:
    times = {"oldest": _time(found.oldest), "expires": _time(found.expires)}
    return {"what": what, "name": name, "blobs": found.blobs, "bytes": found.bytes} | times


def _time(at: int | None) -> str | None:
    """Return a moment in unix seconds as we write times; None where there is none."""
    from powdo.lines import format_time
    from powdo.servers.blossom.tables import NEVER

    return None if at is None or at == NEVER else format_time(datetime.fromtimestamp(at, UTC))
