"""`powdo today`: the worker's own day, as far as it is captured."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from powdo.options import Run, command, report_options

if TYPE_CHECKING:
    from powdo.adapters.outbox import Entry, Outbox
    from powdo.worktime.activity import Bucket, Slice
    from powdo.worktime.intervals import Interval

_SECOND = 1_000_000
_SENT, _WITHHELD = ("published", "acknowledged", "rejected"), ("withheld",)


@command("today", epilog="powdo today\npowdo today --json | jq 'select(.what == \"project\")'")
@report_options
def today(run: Run, json: bool, headers: bool) -> None:
    """Show active time by app and editor project since midnight, pauses, what was sent and received.

    Bundles are opened in memory with the keys in the outbox.
    """
    from powdo.adapters.outbox import Outbox
    from powdo.worktime.intervals import Interval

    now = time.time_ns() // 1000
    midnight = datetime.fromtimestamp(now / _SECOND).replace(hour=0, minute=0, second=0, microsecond=0)
    day = Interval(int(midnight.astimezone().timestamp()) * _SECOND, now)
    outbox = Outbox(run.settings.state_dir)
    entries = outbox.captured_since(day.begin // _SECOND)
    rows = [*_activity(_slices(run, outbox, entries, day)), *_pauses(outbox, day), *_captures(entries)]
    outbox.close()
    run.table(rows if json else [_shown(row) for row in rows], json=json, headers=headers)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return *row* for people, its time as a report shows it."""
    from powdo.worktime.tally import clock

    seconds = row["seconds"]
    time_spent = None if seconds is None else clock(seconds)
    return {"what": row["what"], "name": row["name"], "time": time_spent, "captures": row["captures"]}


def _row(what: str, name: str | None, seconds: int | None, count: int | None = None) -> dict[str, Any]:
    return {"what": what, "name": name, "seconds": seconds, "captures": count}


def _slices(run: Run, outbox: Outbox, entries: list[Entry], day: Interval) -> list[Slice]:
    """Return the active time of *day* in *entries*; what cannot be opened is told."""
    from powdo.errors import BadRecordError, InputMissingError
    from powdo.worktime.activity import active
    from powdo.worktime.flood import joined
    from powdo.worktime.tally import clipped

    buckets: list[Bucket] = []
    for entry in entries:
        try:
            buckets += _buckets(outbox, entry)
        except (BadRecordError, InputMissingError) as error:
            run.console.warning(f"capture '{entry.capture.id}' is left out: {error.message}")
    return list(clipped(active(joined(buckets)), day))


def _buckets(outbox: Outbox, entry: Entry) -> list[Bucket]:
    from powdo.adapters.contents import of_capture

    if entry.state in _WITHHELD:
        return []
    return of_capture(outbox.capture_path(entry.capture.id), entry.bundle, entry.key).buckets()


def _activity(slices: list[Slice]) -> list[dict[str, Any]]:
    from powdo.worktime.tally import Key, by_app, count, ranked

    apps: dict[Key, int] = {}
    projects: dict[Key, int] = {}
    stated: dict[Key, int] = {}
    measured = [item for item in slices if item.focus.manual is None]
    count(by_app(measured), apps)
    count(((item.focus.editor_project, item.end - item.begin) for item in measured), projects)
    count(((said.project, item.end - item.begin) for item in slices if (said := item.focus.manual)), stated)
    projects.pop(None, None)
    return [
        _row("active", None, sum(apps.values()) // _SECOND),
        *(_row("manual", name, seconds) for name, seconds in ranked(stated)),
        *(_row("app", name, seconds) for name, seconds in ranked(apps)),
        *(_row("project", name, seconds) for name, seconds in ranked(projects)),
    ]


def _pauses(outbox: Outbox, day: Interval) -> list[dict[str, Any]]:
    from powdo.worktime.intervals import intersect

    def clock(at: int) -> str:
        return datetime.fromtimestamp(at / _SECOND).strftime("%H:%M:%S")

    return [
        _row("paused", f"{clock(item.begin)}-{clock(item.end)}", (item.end - item.begin) // _SECOND)
        for item in intersect(outbox.pauses(day.begin), [day])
    ]


def _captures(entries: list[Entry]) -> list[dict[str, Any]]:
    def having(*states: str) -> int:
        return sum(entry.state in states for entry in entries)

    sent, withheld = having(*_SENT), having(*_WITHHELD)
    counts = {
        "sent": sent,
        "received": having("acknowledged"),
        "waiting": len(entries) - sent - withheld,
        "withheld": withheld,
    }
    return [_row(what, None, None, number) for what, number in counts.items()]
