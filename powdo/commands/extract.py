"""`powdo extract`: one stored bundle, opened into a folder.

The folder gets its name once all is in it and on the disk, so a run that is killed leaves none; everything
in it is made with names and modes of our own, and checked against the manifest on its way.
"""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from powdo.options import Run, command

if TYPE_CHECKING:
    from powdo.adapters.database import Kept


@command(
    "extract",
    epilog="powdo extract 3fa9c1 look\n"
    "powdo ingest < wraps.jsonl | jq -r .sha256 | xargs -I{} powdo extract {} {}.look",
)
@click.argument("bundle")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def extract(run: Run, bundle: str, folder: Path) -> None:
    """Open one stored bundle into the new folder DIR.

    BUNDLE is the id of its capture, of its rumor or gift wrap, or the unique start of its sha256.
    """
    from powdo.adapters.database import Database, Store
    from powdo.errors import CannotCreateError

    if os.path.lexists(folder):
        raise CannotCreateError(f"'{folder}' is there already", hint="name a folder that is not there yet")
    with closing(Store(Database(run.settings.database_url, create=False))) as store:
        kept = store.bundle(bundle)
    _open(run, kept, folder.absolute())


def _open(run: Run, kept: Kept, folder: Path) -> None:
    from powdo.adapters.archive_reader import open_bundle
    from powdo.adapters.evidence import place
    from powdo.errors import InputMissingError
    from powdo.lines import format_time
    from powdo.nips.event import Unsigned
    from powdo.nips.nip17 import FileMessage

    if kept.blob_removed_at is not None:
        at = format_time(datetime.fromtimestamp(kept.blob_removed_at, UTC))
        raise InputMissingError(
            f"the blob of '{kept.sha256}' was removed at {at}", hint="retain_blobs in [dvm] says for how long"
        )
    message = FileMessage.from_rumor(Unsigned.parse(kept.rumor_event))
    opened = open_bundle(
        place(run.settings.data_dir / "evidence", kept.sha256),
        key_hex=message.decryption_key,
        salt_hex=message.decryption_nonce,
        x=kept.sha256,
        ox=message.ox,
        size=message.size,
        max_size=message.size,
        destination=folder,
    )
    run.console.info(f"{len(opened.files)} files of '{kept.worker}' are in '{folder}'")
