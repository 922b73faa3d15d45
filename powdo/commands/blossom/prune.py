"""`powdo blossom prune`: remove the blobs whose time is over, beside the running server or without one."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from powdo.commands.blossom.group import blossom, data_option, folder_of
from powdo.commands.blossom.looks import row
from powdo.options import Run, command, dry_run_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from powdo.servers.blossom.rows import Blob


@command("prune", parent=blossom, epilog="powdo blossom prune -n --json | jq -s 'map(.size) | add'")
@data_option
@dry_run_option
@click.option("--json", is_flag=True, help="Write a JSON line for each blob that went.")
def prune(run: Run, data: Path | None, dry_run: bool, json: bool) -> None:
    """Remove the blobs whose time is over.

    A running server does so by itself every minute, and prune may work beside it. Rules that have changed
    count from the server's next start.
    """
    import sqlite3

    from powdo.errors import OutputError
    from powdo.servers.blossom import rows, tables
    from powdo.servers.blossom.storage import Folder
    from powdo.servers.blossom.sweeping import sweep

    folder = folder_of(run, data)
    now = int(time.time())
    with closing(tables.open_beside(folder)) as db:
        if dry_run:
            run.nothing = "no blob's time is over"
            over = rows.over(db, now, (0, ""), sys.maxsize)
            run.table([row(blob) for blob in over], json=json)
            return
        try:
            _tell(run, sweep(db, Folder(folder), now), json=json)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"cannot prune '{folder}': {error}") from None


def _tell(run: Run, batches: Iterator[list[Blob]], *, json: bool) -> None:
    """Let the blobs go, and say which and how many."""
    from powdo import signals

    count = size = 0
    more = True
    while more:
        with signals.deferred():  # a batch is finished, and told
            gone = next(batches, None)
            for blob in gone or ():
                count += 1
                size += blob.size
                if json:
                    run.emit(row(blob))
        more = gone is not None
    if count:
        run.console.info(f"removed {count} blobs of {size} bytes")
