"""`powdo blossom fsck`: whether what the server keeps is what it should be."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from powdo.commands.blossom.group import blossom, data_option, folder_of
from powdo.options import Run, command, report_options


@command(
    "fsck",
    parent=blossom,
    epilog="powdo blossom fsck && echo all is well\npowdo blossom fsck --repair --json",
)
@data_option
@click.option("--repair", is_flag=True, help="Put right what can be; damaged files are moved to DIR/damaged.")
@report_options
def fsck(run: Run, data: Path | None, repair: bool, json: bool, headers: bool) -> None:
    """Hash every blob again and compare files and rows; a server may run meanwhile.

    Writes a record for each thing that is wrong. The status is 76 where something is and was not repaired.
    """
    import sqlite3

    from powdo import signals
    from powdo.errors import OutputError, PeerProtocolError
    from powdo.servers.blossom import census, tables
    from powdo.servers.blossom.checking import check
    from powdo.servers.blossom.checking import repair as mend
    from powdo.servers.blossom.storage import Folder

    folder = folder_of(run, data)
    kept = Folder(folder)
    try:
        with (
            closing(tables.open_beside(folder)) as db,
            run.progress("fsck", census.total(db).bytes) as progress,
        ):
            found = []
            for finding in check(db, kept, progress.advance):
                with signals.deferred():  # what is put right is told
                    found.append((mend(db, kept, finding) if repair else finding)._asdict())
                    if json:
                        run.emit(found[-1])
    except (OSError, sqlite3.Error) as error:
        raise OutputError(f"cannot check '{folder}': {error}") from None
    if not json:
        run.table(found, json=False, headers=headers)
    if left := sum(not each["repaired"] for each in found):
        raise PeerProtocolError(
            f"'{folder}' has {left} problem{'s' if left > 1 else ''}",
            hint=None if repair else "--repair puts right what can be",
        )
