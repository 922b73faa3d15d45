"""Work to test with: bucket events of a made-up worker, in a real database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from powdo.adapters.database import Store, Worker, stored_event
from powdo.adapters.database.buckets import BucketName, add_events
from powdo.adapters.database.tables import dirty
from powdo.worktime.activity import BucketEvent
from powdo.worktime.intervals import MINUTE, SECOND

#: Monday 2026-11-16, 08:00 UTC.
START = int(datetime(2026, 11, 16, 8, tzinfo=UTC).timestamp()) * SECOND
RULES = [
    {"name": "website", "editor_project": "website", "customer": "Initech", "project": "Website",
     "activity": "Development", "tags": ["code"], "description": "Website"},
    {"name": "mail", "app": "thunderbird", "customer": "Initech", "project": "Website", "activity": "Mail"},
]  # fmt: skip

Span = tuple[int, int]


def at(minutes: float) -> int:
    """Return the instant *minutes* after START, in microseconds."""
    return START + round(minutes * MINUTE)


def spans(kind: str, worked: Sequence[Span]) -> dict[str, list[BucketEvent]]:
    """Return the buckets of somebody who did *kind* (`code`, `mail`, `web`) in *worked* (minutes)."""
    app = {"code": "Code", "mail": "thunderbird", "web": "firefox"}[kind]
    buckets: dict[str, list[BucketEvent]] = {"currentwindow": [], "afkstatus": [], "app.editor.activity": []}
    for begin, end in worked:
        first, last = at(begin), at(end)
        buckets["currentwindow"].append(BucketEvent(first, last, {"app": app, "title": kind}))
        buckets["afkstatus"].append(BucketEvent(first, last, {"status": "not-afk"}))
        if kind == "code":
            data = {"project": "/src/website", "file": "a.py", "language": "python"}
            buckets["app.editor.activity"].append(BucketEvent(first, last, data))
    return buckets


_IDS = {
    "currentwindow": "aw-watcher-window_box",
    "afkstatus": "aw-watcher-afk_box",
    "app.editor.activity": "aw-watcher-vscode_box",
}


def add(store: Store, worker: Worker, kind: str, *worked: Span, mark: bool = True) -> None:
    """Store that *worker* did *kind* in *worked*, as `ingest` would."""
    with store._database.write() as connection:
        buckets = [
            (
                BucketName("00000000-0000-4000-8000-000000000001", _IDS[type_], type_, "test", "box"),
                [stored_event(one) for one in events],
            )
            for type_, events in spans(kind, worked).items()
            if events
        ]
        add_events(connection, store._database, worker.id, buckets)
        if mark:
            for begin, end in worked:
                row = {"worker_id": worker.id, "begin_us": at(begin), "end_us": at(end)}
                connection.execute(dirty.insert().values(row))
