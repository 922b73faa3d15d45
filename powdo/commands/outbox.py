"""powdo outbox: what waits on the worker's side, and what a person decides about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from powdo.options import Run, command, dry_run_option, group, report_options

if TYPE_CHECKING:
    from powdo.adapters.contents import Contents
    from powdo.adapters.outbox import Entry, Outbox


@group("outbox")
def outbox() -> None:
    """Show what waits on the worker's side; release, drop or resend captures; show receipts."""


@command("list", parent=outbox, epilog="powdo outbox list --json | jq -r 'select(.state == \"captured\").id'")
@report_options
def list_captures(run: Run, json: bool, headers: bool) -> None:
    """List the captures and how far each has come."""
    from powdo.adapters.outbox import Outbox
    from powdo.records import format_time

    rows = [
        {
            "id": entry.capture.id,
            "state": entry.state,
            "begin": format_time(entry.capture.begin),
            "end": format_time(entry.capture.end),
            "screenshots": entry.capture.screenshots,
            "bucket_events": entry.capture.bucket_events,
            "error": entry.error,
        }
        for entry in Outbox(run.settings.state_dir).entries()
    ]
    run.table(rows, json=json, headers=headers)


# --- show ------------------------------------------------------------------------------------------


@command("show", parent=outbox, epilog="powdo outbox show 20261118T120000Z-1a2b3c4d --into /tmp/look")
@click.argument("capture_id", metavar="ID")
@click.option(
    "--into", metavar="FOLDER", help="Unpack it into the new FOLDER, so that the screenshots can be seen."
)
@report_options
def show(run: Run, capture_id: str, into: str | None, json: bool, headers: bool) -> None:
    """Show all that a capture holds: screenshots, and what its buckets say for how long.

    A bundle is opened in memory with its key in the outbox.
    """
    from powdo.adapters.outbox import Outbox
    from powdo.errors import BadRecordError

    store = Outbox(run.settings.state_dir)
    entry = store.known(capture_id)
    if entry.state == "withheld":
        raise BadRecordError(f"capture '{capture_id}' was dropped: there is nothing left to show")
    if entry.bundle is not None and entry.key is None:
        raise BadRecordError(f"the bundle of '{capture_id}' is not kept any more: the DVM has it")
    contents, folder = _contents(store, entry)
    if into is not None:
        folder = Path(into)
        contents.unpack(folder)
    run.table(list(_rows(contents, folder)), json=json, headers=headers)


def _contents(store: Outbox, entry: Entry) -> tuple[Contents, Path | None]:
    """Return what *entry* holds, and the folder in which it lies in plain text, if it does."""
    from powdo.adapters.contents import of_bundle, of_folder

    if entry.bundle is not None and entry.key is not None:
        return of_bundle(entry.bundle, entry.key), None
    folder = store.capture_path(entry.capture.id)
    return of_folder(folder), folder


def _rows(contents: Contents, folder: Path | None) -> Iterator[dict[str, Any]]:
    from powdo.lines import encode_json

    for shot in contents.manifest.screenshots:
        yield _row("screenshot", str(folder / shot.file) if folder else shot.file, "", None)
    lengths: dict[tuple[str, str, str], int] = {}
    for bucket in contents.buckets():
        for event in bucket.events:
            rest = dict(event.data)
            name = rest.pop(_NAMES.get(bucket.type, ""), "")
            text = next(iter(rest.values())) if len(rest) == 1 else encode_json(rest) if rest else ""
            key = (bucket.type, str(name), str(text))
            lengths[key] = lengths.get(key, 0) + event.end - event.begin
    for (kind, name, text), length in sorted(lengths.items(), key=lambda item: (item[0][0], -item[1])):
        yield _row(kind, name, text, length / 1_000_000)
    for absent in contents.manifest.absent:
        yield _row("absent", absent.what, absent.reason, None)


#: What a bucket event of each type is about first of all.
_NAMES = {
    "currentwindow": "app",
    "web.tab.current": "url",
    "app.editor.activity": "file",
    "afkstatus": "status",
}


def _row(what: str, name: str, text: str, seconds: float | None) -> dict[str, Any]:
    return {"what": what, "name": name, "text": text, "seconds": seconds}


# --- decisions -------------------------------------------------------------------------------------


def _each(
    run: Run, store: Outbox, ids: Iterable[str], locks: tuple[str, ...], do: Callable[[str], None]
) -> None:
    """Do it to each capture; one that cannot be is told and the others go on."""
    from powdo.errors import BadRecordError, RetryLaterError

    with ExitStack() as stack:
        for lock in locks:
            stack.enter_context(store.lock(lock))
        for capture_id in ids:
            try:
                do(capture_id)
            except (BadRecordError, RetryLaterError) as error:
                run.fail(error)


@command(
    "release", parent=outbox, epilog="powdo outbox release --all && powdo bundle --pending | powdo upload"
)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="Release all that are held now.")
def release(run: Run, ids: tuple[str, ...], every: bool) -> None:
    """Let captures go on though [worker] hold or review holds them."""
    from powdo.adapters.outbox import Outbox
    from powdo.errors import UsageError

    if every == bool(ids):
        raise UsageError("name captures or use --all, one of them", hint="`powdo outbox list` shows them")
    store = Outbox(run.settings.state_dir)
    held = [entry.capture.id for entry in store.waiting("bundle")] if every else ids
    _each(run, store, held, ("bundle",), store.release)


@command("drop", parent=outbox, epilog="powdo outbox drop 20261118T120000Z-1a2b3c4d")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@dry_run_option
def drop(run: Run, ids: tuple[str, ...], dry_run: bool) -> None:
    """Destroy captures that were not sent yet, bundles and keys too.

    Each one's place in the chain stays: with its period and nothing else.
    """
    from powdo.adapters.outbox import Outbox

    store = Outbox(run.settings.state_dir)
    if dry_run:
        _each(run, store, ids, (), lambda capture_id: run.emit(store.droppable(capture_id).capture))
    else:
        _each(run, store, ids, ("bundle", "upload", "wrap"), store.drop)


@command("resend", parent=outbox, epilog="powdo outbox resend 20261118T120000Z-1a2b3c4d")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def resend(run: Run, ids: tuple[str, ...]) -> None:
    """Upload, wrap and publish captures again, with the next --pending."""
    from powdo.adapters.outbox import Outbox

    store = Outbox(run.settings.state_dir)
    _each(run, store, ids, ("upload", "wrap"), store.resend)


@command(
    "receipts",
    parent=outbox,
    epilog="powdo outbox receipts | jq -c 'select(.status == \"success\").statement'",
)
@click.argument("ids", nargs=-1, metavar="[ID]...")
def receipts(run: Run, ids: tuple[str, ...]) -> None:
    """Write the DVM's receipts, of some captures or of all, as records.

    The statement in one may be shown to anybody: it is signed by the DVM.
    """
    from powdo.adapters.outbox import Outbox

    store = Outbox(run.settings.state_dir)
    if not ids:
        for record in store.all_receipts():
            run.emit(record)
        return

    def write(capture_id: str) -> None:
        for record in store.receipts(store.known(capture_id).capture.id):
            run.emit(record)

    _each(run, store, ids, (), write)
