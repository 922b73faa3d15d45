"""`powdo rules`: problems with file and line, what a rule took and why, and rules that fit what is left."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import sqlalchemy as sa

from powdo.adapters.database import Store, Worker
from powdo.adapters.database.buckets import BucketName, add_events, stored_event
from powdo.adapters.database.tables import bundle
from powdo.worktime.activity import BucketEvent
from powdo.worktime.ruleset import parse_rules
from tests.worked import _IDS, add, at

Run = Callable[..., "CompletedProcess[bytes]"]
_RULES = """
[dvm]
timezone = "Europe/Berlin"

[[rule]]
name = "website"
editor_project = "website"
project = "Website"
activity = "Development"

[[rule]]
name = "mail"
app = "thunderbird"
project = "Website"
activity = "Mail"
"""
_DAY = ("--day", "2026-11-16")


@pytest.fixture
def config(own_world: Path) -> Path:
    """Return the configuration, with two rules."""
    file = own_world / "powdo.toml"
    file.write_text(_RULES)
    file.chmod(0o600)
    return file


@pytest.fixture
def store(own_world: Path, config: Path) -> Iterator[Store]:
    """Yield the operator's database."""
    (own_world / "state").mkdir(mode=0o700)
    made = Store(f"sqlite:///{own_world / 'state' / 'dvm.sqlite'}")
    yield made
    made.close()


@pytest.fixture
def ana(store: Store) -> Worker:
    """Return an enrolled worker."""
    return store.enroll("ana", pubkeys=["11" * 32])


def _rows(done: CompletedProcess[bytes], status: int = 0) -> list[dict[str, Any]]:
    assert done.returncode == status, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- check ---------------------------------------------------------------------------------------------


def test_sound_rules_are_passed_in_silence(powdo: Run, config: Path) -> None:
    """Nothing is written when all is well."""
    done = powdo("rules", "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_problems_have_their_line(powdo: Run, config: Path) -> None:
    """Unknown keys, bad patterns and the rest are told with file and line, in their order."""
    config.write_text(
        '# a comment with [[rule]] in it\n[dvm]\ntimezone = "UTC"\n\n'
        '[[rule]]\nname = "one"\ndescription = """\n[[rule]]\napp = 5\n"""\napp = "("\n\n'
        '[[ rule ]]  # the second\n"titel" = "x"\nproject = "P"\nactivity = "A"\n'
        'tags = [\n  "a = b",\n  "c,d",\n]\n[timesheets]\nabsorb = 60\n'
    )
    done = powdo("rules", "check", "--json")
    told = [(row["line"], row["rule"], row["key"], row["text"]) for row in _rows(done, 78)]
    assert told == [
        (11, "one", "app", told[0][3]),
        (14, "rule 2", "titel", "rule 'rule 2': 'titel' is not known; did you mean 'title'?"),
        (17, "rule 2", "tags", "rule 'rule 2': 'tags' must each have 2 to 100 characters and no comma"),
    ]
    assert "is no regular expression" in told[0][3]
    done = powdo("rules", "check")
    assert f"{config}:14" in done.stdout.decode() and b"have 3 problems" in done.stderr


def test_toml_that_is_none_has_its_line(powdo: Run, config: Path) -> None:
    """What cannot be read at all is told with the line as well."""
    config.write_text('[[rule]]\nname = "x\n')
    done = powdo("rules", "check")
    assert done.returncode == 78 and b"line 2" in done.stderr
    config.write_text("rule = 5\n")
    assert powdo("rules", "check").returncode == 78


def test_rules_that_never_count(powdo: Run, config: Path) -> None:
    """Rules behind one that takes all they match, rules that ended, and rules that book nothing are told."""
    rule = '[[rule]]\nname = "{}"\n{}\nproject = "P"\nactivity = "A"\n'
    config.write_text(
        rule.format("mail", 'app = "mail"')
        + rule.format("both", 'app = "mail"\ntitle = "x"')  # of a richer layer, so asked first
        + rule.format("again", 'app = "mail"\nvalid_from = 2026-01-01')
        + rule.format("past", 'app = "old"\nvalid_to = 2020-01-01')
        + rule.format("all", 'app = ""')
        + rule.format("after", 'app = "other"')
        + '[[rule]]\nname = "idle"\napp = "x"\n'
    )
    rows = _rows(powdo("rules", "check", "--json"))
    assert {row["state"] for row in rows} == {"warning"}
    told = {row["rule"]: row["text"] for row in rows}
    assert set(told) == {"again", "past", "after", "idle"}
    assert "taken by the rule 'mail'" in told["again"] and "taken by the rule 'all'" in told["after"]
    assert "ended on 2020-01-01" in told["past"] and "books nothing" in told["idle"]


# --- explain -------------------------------------------------------------------------------------------


def test_a_day_is_explained(powdo: Run, store: Store, ana: Worker) -> None:
    """Each stretch has its rule, the text by which it took it, and what became of the time."""
    add(store, ana, "code", (0, 60), (61, 90))
    add(store, ana, "mail", (60, 60.5), (100, 130))
    add(store, ana, "web", (140, 150))
    rows = _rows(powdo("rules", "explain", *_DAY, "--json"))
    assert [(row["rule"], row["seconds"]) for row in rows] == [
        ("website", 3600), ("mail", 30), ("website", 1740), ("mail", 1800), (None, 600),
    ]  # fmt: skip
    assert rows[0]["why"] == "editor_project '/src/website'"
    assert rows[1]["why"] == "app 'thunderbird'"
    assert (rows[1]["booked"], rows[1]["timesheet"]) == ("Website / Development", "2026-11-16T08:00:00Z")
    assert (rows[4]["why"], rows[4]["unassigned"]) == ("app 'firefox', title 'web'", "no rule")
    table = powdo("rules", "explain", *_DAY).stdout.decode()
    assert "09:00:00" in table and "09:00 Website / Development" in table and "(no rule)" in table
    told = {line.split()[0]: line for line in table.splitlines()[2:]}
    assert "09:00 Website / Development (counted with the work around it)" in told["10:00:00"]
    assert all("(counted" not in line for begin, line in told.items() if begin != "10:00:00")
    assert sum(row["seconds"] for row in rows) == 60 * (60 + 0.5 + 29 + 30 + 10)


def test_a_day_is_the_workers(powdo: Run, store: Store, ana: Worker) -> None:
    """The day begins and ends where the worker's does."""
    store.enroll("ana", timezone="UTC", day_start=9 * 3600)
    add(store, ana, "code", (0, 120))
    assert [row["seconds"] for row in _rows(powdo("rules", "explain", *_DAY, "--json"))] == [3600]
    assert [row["begin"] for row in _rows(powdo("rules", "explain", "--day", "2026-11-15", "--json"))] == [
        "2026-11-16T08:00:00Z"
    ]


def test_days_that_are_none(powdo: Run, store: Store, ana: Worker) -> None:
    """A day must be named, by a word that is one."""
    assert powdo("rules", "explain").returncode == 2
    assert powdo("rules", "explain", "--day", "someday").returncode == 2
    assert powdo("rules", "explain", *_DAY, "--user", "eve").returncode == 2


# --- suggest -------------------------------------------------------------------------------------------


def _windows(store: Store, worker: Worker, *spans: tuple[float, float, dict[str, str], str | None]) -> None:
    """Store windows with what was in them, somebody being there all the time."""
    window, web, here = [], [], []
    for begin, end, data, url in spans:
        window.append(BucketEvent(at(begin), at(end), data))
        here.append(BucketEvent(at(begin), at(end), {"status": "not-afk"}))
        if url:
            web.append(BucketEvent(at(begin), at(end), {"url": url, "title": data["title"]}))
    kinds = {"currentwindow": window, "afkstatus": here, "web.tab.current": web}
    ids = {**_IDS, "web.tab.current": "aw-watcher-web-firefox_box"}
    with store.database.write() as connection:
        buckets = [
            (BucketName("d", ids[kind], kind, "test", "box"), [stored_event(one) for one in events])
            for kind, events in kinds.items()
        ]
        add_events(connection, store.database, worker.id, buckets)


def _bundled(store: Store, worker: Worker, begin: int, end: int) -> None:
    """Store a bundle of that period, of which nothing else is looked at."""
    row: dict[str, Any] = {
        column.name: "" if isinstance(column.type, sa.String) else 0
        for column in bundle.c
        if not column.nullable and not column.primary_key
    }
    row |= {"worker_id": worker.id, "begin_us": begin, "end_us": end, "timezone": "UTC"}
    with store.database.write() as connection:
        connection.execute(bundle.insert().values(row))


def test_suggestions_fit_what_is_left(powdo: Run, store: Store, ana: Worker, config: Path) -> None:
    """Pasted with a project, the suggestions book what was unassigned, and nothing is left to suggest."""
    fox = {"app": "firefox"}
    _windows(
        store, ana,
        (0, 50, {**fox, "title": "Pull request's \"end\" \\ ünï — Mozilla"}, "https://www.example.com:8443/a"),
        (50, 80, {**fox, "title": "Other"}, "https://docs.example.com/b"),
        (80, 100, {"app": "C++ (beta) [1]", "title": "main"}, None),
        (100, 112, {"app": "slack", "title": "acme-general"}, None),
        (112, 116, {"app": "slack", "title": "lunch"}, None),
        (116, 116.5, {"app": "blink", "title": "short"}, None),
    )  # fmt: skip
    _bundled(store, ana, at(0), at(120))
    period = ("--since", "2026-11-16", "--until", "2026-11-17")
    rows = _rows(powdo("rules", "suggest", *period, "--json"))
    assert [(row["field"], row["value"], row["seconds"]) for row in rows] == [
        ("url", "example.com", 3000), ("url", "docs.example.com", 1800), ("app", "C++ (beta) [1]", 1200),
        ("title", "acme-general", 720),
    ]  # fmt: skip
    plain = powdo("rules", "suggest", *period).stdout.decode()
    assert "# 0 h 50 min in 1 stretches" in plain
    rules, problems = parse_rules(tomllib.loads(plain)["rule"])
    assert not problems and all(rule.project is None for rule in rules)
    filled = powdo("rules", "suggest", *period, "--project", "P", "--activity", "A").stdout.decode()
    config.write_text(_RULES + "\n" + filled)
    left = _rows(powdo("rules", "suggest", *period, "--json"))
    assert [(row["value"], row["seconds"]) for row in left] == [("slack", 240)]
    assert _rows(powdo("rules", "suggest", *period, "--json", "--user", "ana", "--limit", "1")) == left
    assert _rows(powdo("rules", "suggest", "--since", "1971-01-01", "--json", "--limit", "1")) == left


def test_flags_that_belong_together(powdo: Run, store: Store, ana: Worker) -> None:
    """A project without an activity is no booking."""
    assert powdo("rules", "suggest", "--project", "P").returncode == 2
    assert powdo("rules", "suggest", "--last", "week").stdout == b""
