"""Timesheets as iCalendar (RFC 5545), an event each, written by the library `icalendar`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from icalendar import Calendar, Event, vText

from powdo import __version__
from powdo.lines import parse_time


def calendar(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return *rows*, `timesheet` records, as one calendar.

    The UID of an event is made of worker, begin, project and activity, so that a second import replaces the
    first; its DTSTAMP is its end, so that the same timesheets are the same bytes.
    """
    made = Calendar()
    made.add("prodid", f"-//powdo//powdo {__version__}//EN")
    made.add("version", "2.0")
    for row in rows:
        made.add_component(_event(row))
    return bytes(made.to_ical())


def _event(row: Mapping[str, Any]) -> Event:
    name = "\n".join(str(row[key]) for key in ("user", "begin", "customer", "project", "activity"))
    places = (_plain(row[key]) for key in ("customer", "project", "activity") if row[key])
    event = Event()
    event.add("uid", f"{hashlib.sha256(name.encode()).hexdigest()[:32]}@powdo")
    event.add("dtstamp", parse_time(row["end"]))
    event.add("dtstart", parse_time(row["begin"]))
    event.add("dtend", parse_time(row["end"]))
    event.add("summary", " / ".join(places))
    if row["description"]:
        event.add("description", _plain(row["description"]))
    if row["tags"]:
        event.add("categories", [_plain(tag) for tag in row["tags"]])
    event.add("x-powdo-worker", vText(_plain(row["user"])))
    if row["manual"]:
        event.add("x-powdo-manual", vText("true"))
    return event


def _plain(text: str) -> str:
    """Return *text* without control characters, which RFC 5545 has no way to write."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
