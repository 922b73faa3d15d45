"""powdo outbox: what waits on the worker's side, and the captures that shall not leave it."""

from __future__ import annotations

import click

from powdo.options import Run, command, group, report_options


@group("outbox")
def outbox() -> None:
    """Show what waits on the worker's side, and drop captures from it."""


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


@command("drop", parent=outbox, epilog="powdo outbox drop 20261118T120000Z-1a2b3c4d")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def drop(run: Run, ids: tuple[str, ...]) -> None:
    """Destroy captures that are not bundled yet.

    Each one's place in the chain stays, as withheld: with its period and nothing else.
    """
    from powdo.adapters.outbox import Outbox
    from powdo.errors import BadRecordError

    store = Outbox(run.settings.state_dir)
    with store.lock("bundle"):
        for capture_id in ids:
            try:
                store.drop(capture_id)
            except BadRecordError as error:
                run.fail(error)
