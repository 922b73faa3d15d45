"""`powdo timesheets --format`: read back by csv, by hledger, by icalendar, and by hand."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from powdo.adapters.calendar import calendar
from powdo.adapters.database import Store, Worker
from powdo.lines import format_time
from powdo.worktime.timeclock import lines
from tests.parts import needed
from tests.worked import add

Run = Callable[..., "CompletedProcess[bytes]"]
_RULES = """
[[rule]]
name = "website"
editor_project = "website"
customer = "Initech: EU; Ltd"
project = "Web  site"
activity = "Development"
tags = ["code", "on site"]
billable = true
description = "=1+1; done, ünï"

[[rule]]
name = "mail"
app = "thunderbird"
project = "Website"
activity = "Mail"
"""
_UTF8 = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
_PERIOD = ("--since", "2026-11-16", "--until", "2026-11-17")


@pytest.fixture
def store(own_world: Path) -> Iterator[Store]:
    """Yield the operator's database."""
    config = own_world / "powdo.toml"
    config.write_text(_RULES)
    config.chmod(0o600)
    (own_world / "state").mkdir(mode=0o700)
    made = Store(f"sqlite:///{own_world / 'state' / 'dvm.sqlite'}")
    yield made
    made.close()


@pytest.fixture
def ana(store: Store) -> Worker:
    """Return a worker in Berlin who has worked on two things."""
    worker = store.enroll("ana", pubkeys=["11" * 32], timezone="Europe/Berlin")
    add(store, worker, "code", (0, 60), (120, 150))
    add(store, worker, "mail", (60, 75))
    return worker


def _written(done: CompletedProcess[bytes]) -> str:
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def _printed(text: str, tmp_path: Path) -> str:
    """Return the timeclock *text* as the journal that hledger makes of it; older ones see tags only there."""
    file = tmp_path / "times.timeclock"
    file.write_text(text)
    return subprocess.run(
        [needed("hledger"), "-f", str(file), "print"], capture_output=True, text=True, check=True, env=_UTF8
    ).stdout


def _hours(text: str, tmp_path: Path, *flags: str) -> dict[str, float]:
    """Return the hours by account that hledger reads in the timeclock *text*."""
    kind = "timeclock" if text.startswith("i ") else "journal"
    file = tmp_path / f"times.{kind}"
    file.write_text(text)
    done = subprocess.run(
        [needed("hledger"), "-f", str(file), "balance", "--flat", "-N", "-O", "csv", *flags],
        capture_output=True, text=True, check=False, env=_UTF8,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = csv.DictReader(io.StringIO(done.stdout))
    return {row["account"]: float(row["balance"].rstrip("h")) for row in found}


def test_json_is_json(powdo: Run, ana: Worker) -> None:
    """--format json and --json are the same."""
    one, other = (
        _written(powdo("timesheets", *_PERIOD, *flags)) for flags in (("--format", "json"), ("--json",))
    )
    assert one == other and len(one.splitlines()) == 3


def test_csv_is_read_back(powdo: Run, ana: Worker) -> None:
    """A spreadsheet gets a line each with hours, tags in one field, and no formula."""
    text = _written(powdo("timesheets", *_PERIOD, "--format", "csv"))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["project"], row["hours"], row["seconds"]) for row in rows] == [
        ("Web  site", "1.0000", "3600"), ("Website", "0.2500", "900"), ("Web  site", "0.5000", "1800"),
    ]  # fmt: skip
    first = rows[0]
    assert (first["tags"], first["billable"], first["manual"]) == ("code,on site", "true", "false")
    assert first["description"] == "'=1+1; done, ünï"
    assert first["begin"] == "2026-11-16T08:00:00Z"
    left = _written(powdo("timesheets", *_PERIOD, "--format", "csv", "--unassigned"))
    assert left == ""


def test_hledger_reads_the_hours(powdo: Run, store: Store, ana: Worker, tmp_path: Path) -> None:
    """By account hledger finds the same hours, and tags; several workers have accounts of their own."""
    text = _written(powdo("timesheets", *_PERIOD, "--format", "timeclock"))
    assert text.splitlines()[0] == (
        "i 2026/11/16 09:00:00 Initech/ EU, Ltd:Web site:Development  =1+1, done, ünï"
        "  ; code:, on-site:, billable:yes"
    )
    account = "Initech/ EU, Ltd:Web site:Development"
    assert _hours(text, tmp_path) == {account: 1.5, "Website:Mail": 0.25}
    for tag in ("tag:code", "tag:on-site", "tag:billable=yes"):
        assert _hours(_printed(text, tmp_path), tmp_path, tag) == {account: 1.5}
    bea = store.enroll("bea", pubkeys=["22" * 32])
    add(store, bea, "mail", (0, 90))
    text = _written(powdo("timesheets", *_PERIOD, "--format", "timeclock"))
    assert _hours(text, tmp_path) == {
        f"ana:{account}": 1.5,
        "ana:Website:Mail": 0.25,
        "bea:Website:Mail": 1.5,
    }


def test_a_calendar_is_read_back(powdo: Run, ana: Worker) -> None:
    """The library and a reading by hand find the same events, the same each time it is written."""
    from icalendar import Calendar

    text = _written(powdo("timesheets", *_PERIOD, "--format", "ics"))
    assert _written(powdo("timesheets", *_PERIOD, "--format", "ics")) == text
    events = Calendar.from_ical(text).walk("VEVENT")
    assert [(event.start, event.end) for event in events] == [
        (datetime(2026, 11, 16, 8, tzinfo=UTC), datetime(2026, 11, 16, 9, tzinfo=UTC)),
        (datetime(2026, 11, 16, 9, tzinfo=UTC), datetime(2026, 11, 16, 9, 15, tzinfo=UTC)),
        (datetime(2026, 11, 16, 10, tzinfo=UTC), datetime(2026, 11, 16, 10, 30, tzinfo=UTC)),
    ]
    assert str(events[0]["summary"]) == "Initech: EU; Ltd / Web  site / Development"
    assert [str(one) for one in events[0]["categories"].cats] == ["code", "on site"]
    assert len({str(event["uid"]) for event in events}) == 3
    unfolded = re.sub(r"\r\n[ \t]", "", text).split("\r\n")
    assert unfolded[0] == "BEGIN:VCALENDAR" and unfolded[-2:] == ["END:VCALENDAR", ""]
    assert "DTSTART:20261116T080000Z" in unfolded and "DTEND:20261116T090000Z" in unfolded
    assert r"DESCRIPTION:=1+1\; done\, ünï" in unfolded
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))


@pytest.mark.parametrize(
    "flags",
    [
        ("--json", "--format", "csv"),
        ("--unassigned", "--format", "ics"),
        ("--unassigned", "--format", "timeclock"),
        ("--format", "xml"),
        ("--last", "week", "--since", "monday"),
    ],
)
def test_formats_that_do_not_go_together(powdo: Run, ana: Worker, flags: tuple[str, ...]) -> None:
    """Two formats at once, and unassigned time where only timesheets have a place, are refused."""
    assert powdo("timesheets", *flags).returncode == 2


@pytest.mark.parametrize("kind", ["table", "csv", "json", "timeclock", "ics"])
def test_nothing_makes_nothing(powdo: Run, ana: Worker, kind: str) -> None:
    """Where there are no timesheets nothing is written."""
    assert (
        _written(powdo("timesheets", "--since", "2020-01-01", "--until", "2020-01-02", "--format", kind))
        == ""
    )


def test_a_night_in_which_clocks_change(tmp_path: Path) -> None:
    """A timesheet across the fold or the gap is as long in hledger as it was."""
    berlin = ZoneInfo("Europe/Berlin")
    rows = [
        (_row(begin=datetime(2026, 10, 24, 23, 30, tzinfo=UTC), seconds=7200), berlin),
        (_row(begin=datetime(2026, 3, 29, 0, 30, tzinfo=UTC), seconds=5400), berlin),
    ]
    assert _hours("\n".join(lines(rows, worker=False)), tmp_path) == {"P:A": 3.5}


def _row(**values: Any) -> dict[str, Any]:
    begin = values.pop("begin", datetime(2026, 11, 16, 8, tzinfo=UTC))
    seconds = values.pop("seconds", 60)
    made = {"begin": format_time(begin), "end": format_time(begin + timedelta(seconds=seconds))}
    return made | {
        "seconds": seconds, "user": "ana", "customer": None, "project": "P", "activity": "A", "tags": [],
        "billable": None, "description": "", "source": "r", "manual": False,
    } | values  # fmt: skip


_texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.builds(_row, project=_texts, activity=_texts, customer=_texts, description=_texts,
                          tags=st.lists(_texts, max_size=2)), min_size=1, max_size=4))  # fmt: skip
def test_any_text_is_one_event(rows: list[dict[str, Any]]) -> None:
    """Whatever names and texts hold, a calendar has an event and a timeclock two lines for each row."""
    from icalendar import Calendar

    events = Calendar.from_ical(calendar(rows)).walk("VEVENT")
    assert len(events) == len(rows)
    for event, row in zip(events, rows, strict=True):
        assert event.start == datetime.fromisoformat(row["begin"])
    written = list(lines(((row, UTC) for row in rows), worker=True))
    assert [line[:2] for line in written] == ["i ", "o "] * len(rows)
    assert not any("\n" in line or "\r" in line for line in written)
    assert all(line[22:].partition("  ")[0].count(":") == 3 for line in written[::2])
