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
    from powdo.adapters.outbox import Outbox


@group("outbox")
def outbox() -> None:
    """Show what waits on the worker's side; release, drop or resend captures; show receipts."""


@command(
    "list",
    parent=outbox,
    epilog="powdo outbox list --json | jq -r 'select(.state == \"captured\").id'",
    nothing="the outbox is empty; `powdo capture` puts captures there",
)
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
    from powdo.adapters.contents import of_capture
    from powdo.adapters.outbox import Outbox
    from powdo.errors import BadRecordError

    store = Outbox(run.settings.state_dir)
    entry = store.known(capture_id)
    if entry.state == "withheld":
        raise BadRecordError(f"capture '{capture_id}' was dropped: there is nothing left to show")
    folder = store.capture_path(capture_id) if entry.bundle is None else None
    contents = of_capture(store.capture_path(capture_id), entry.bundle, entry.key)
    if into is not None:
        folder = Path(into)
        contents.unpack(folder)
    run.table(list(_rows(contents, folder)), json=json, headers=headers)


def _rows(contents: Contents, folder: Path | None) -> Iterator[dict[str, Any]]:
    from powdo.worktime.telling import told

    for shot in contents.manifest.screenshots:
        yield _row("screenshot", str(folder / shot.file) if folder else shot.file, "", None)
    for line in told(contents.buckets()):
        yield _row(line.kind, line.name, line.text, line.length / 1_000_000)
    for absent in contents.manifest.absent:
        yield _row("absent", absent.what, absent.reason, None)


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


@command(
    "resend",
    parent=outbox,
    epilog="powdo outbox resend 20261118T120000Z-1a2b3c4d",
    nothing="to be sent again by the next `upload`, `wrap` and `publish` with --pending",
)
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
    nothing="there is no receipt yet; `powdo listen | powdo acknowledge` takes those that have come",
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
