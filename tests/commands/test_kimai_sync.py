"""`powdo kimai-sync` and `powdo timesheets` as processes, against a database and a Kimai."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from powdo.adapters.database import Store, Worker
from tests.kimai_double import Double, Fault
from tests.pseudo_terminal import shown
from tests.worked import add

Run = Callable[..., "CompletedProcess[bytes]"]
_RULES = """
[kimai]
url = "{url}"

[[rule]]
name = "website"
editor_project = "website"
customer = "Initech"
project = "Website"
activity = "Development"
tags = ["code"]
description = "Website"

[[rule]]
name = "mail"
app = "thunderbird"
customer = "Initech"
project = "Website"
activity = "Mail"
"""


@pytest.fixture
def kimai() -> Iterator[Double]:
    """Yield a Kimai that knows what the rules name."""
    with Double() as double:
        double.kimai.people()
        double.kimai.website()
        double.kimai.add_activity("Mail", 1)
        yield double


@pytest.fixture
def store(own_world: Path, kimai: Double) -> Iterator[Store]:
    """Yield the operator's database, configured to use that Kimai."""
    config = own_world / "powdo.toml"
    config.write_text(_RULES.format(url=kimai.url))
    config.chmod(0o600)
    (own_world / "state").mkdir(mode=0o700)
    made = Store(f"sqlite:///{own_world / 'state' / 'dvm.sqlite'}")
    yield made
    made.close()


@pytest.fixture
def ana(store: Store) -> Worker:
    """Return an enrolled worker."""
    return store.enroll("ana", pubkeys=["11" * 32])


_TOKEN = {"POWDO_KIMAI_TOKEN": "alice"}


def _records(done: CompletedProcess[bytes], status: int = 0) -> list[dict[str, object]]:
    assert done.returncode == status, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_pending_takes_the_new_days_once(powdo: Run, store: Store, ana: Worker, kimai: Double) -> None:
    """--pending books the days in which something is new; a second run has nothing to do."""
    add(store, ana, "code", (0, 60))
    add(store, ana, "mail", (100, 130))
    records = _records(powdo("kimai-sync", "--pending", env=_TOKEN))
    assert [(one["action"], one["seconds"], one["user"], one["kimai_id"]) for one in records] == [
        ("created", 3600, "ana", 1),
        ("created", 1800, "ana", 2),
    ]
    assert records[0]["customer"] == "Initech" and records[0]["algorithm"] == "powdo-2"
    assert store.dirty(ana.id) == []
    assert _records(powdo("kimai-sync", "--pending", env=_TOKEN)) == []
    assert kimai.count("POST") == 2


def test_a_period_and_a_dry_run(powdo: Run, store: Store, ana: Worker, kimai: Double) -> None:
    """--since takes a period; -n tells and changes nothing, and leaves the days marked."""
    add(store, ana, "code", (0, 60))
    period = ("--since", "2026-11-16", "--until", "2026-11-17")
    planned = _records(powdo("kimai-sync", *period, "-n", env=_TOKEN))
    assert [one["action"] for one in planned] == ["created"]
    assert "kimai_id" not in planned[0]
    assert kimai.count("POST", "/api") == 0
    assert [one["action"] for one in _records(powdo("kimai-sync", *period, env=_TOKEN))] == ["created"]
    assert [one["action"] for one in _records(powdo("kimai-sync", *period, env=_TOKEN))] == ["unchanged"]
    assert len(store.dirty(ana.id)) == 1


def _ingested(**changes: object) -> bytes:
    record = {
        "type": "ingested", "v": 1, "wrap": "aa" * 32, "rumor": "bb" * 32, "worker": "ana", "npub": "npub1",
        "device": "d", "sequence": 1, "begin": "2026-11-16T08:00:00Z", "end": "2026-11-16T09:00:00Z",
        "sha256": "cc" * 32, "size": 1, "screenshots": 0, "bucket_events": 3,
    }  # fmt: skip
    return json.dumps(record | changes).encode() + b"\n"


def test_ingested_records_come_in(powdo: Run, store: Store, ana: Worker, kimai: Double) -> None:
    """The days of `ingested` records are booked; a bad line is told and the others go on."""
    add(store, ana, "code", (0, 60))
    lines = _ingested(worker="eve") + b"nonsense\n" + _ingested(rumor="dd" * 32) + _ingested(rumor="ee" * 32)
    done = powdo("kimai-sync", stdin=lines, env=_TOKEN)
    assert [one["action"] for one in _records(done, 65)] == ["created"]
    assert b"no worker is called 'eve'" in done.stderr
    assert store.dirty(ana.id) == []


def test_other_lines_of_the_input(powdo: Run, store: Store, ana: Worker, kimai: Double) -> None:
    """What was rejected brings no time; a line that only looks like a mark of ours is a bad record."""
    rejected = json.dumps({"type": "rejected", "v": 1, "reason": "forged"})
    done = powdo("kimai-sync", stdin=f"{rejected}\n".encode(), env=_TOKEN)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = powdo("kimai-sync", stdin=b'{"type":"dirty"}\n', env=_TOKEN)
    assert (done.returncode, done.stdout) == (65, b"")
    assert b"expected a 'ingested' record" in done.stderr


def test_one_syncer_at_a_time(powdo: Run, store: Store, ana: Worker, own_world: Path) -> None:
    """While another run holds the lock, a run ends with `retry later` and books nothing."""
    add(store, ana, "code", (0, 60))
    with (own_world / "state" / "kimai-sync.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = powdo("kimai-sync", "--pending", env=_TOKEN)
    assert done.returncode == 75
    assert b"another kimai-sync is running" in done.stderr
    assert len(store.dirty(ana.id)) == 1


def test_a_kimai_that_is_away_keeps_the_marks(powdo: Run, store: Store, ana: Worker, kimai: Double) -> None:
    """A 503 on the POST ends with status 75; the day stays marked, and the next run books it once."""
    add(store, ana, "code", (0, 60))
    kimai.faults.append(Fault("fail", "POST", "/api/timesheets", status=503))
    assert powdo("kimai-sync", "--pending", env=_TOKEN).returncode == 75
    assert len(store.dirty(ana.id)) == 1
    assert [one["action"] for one in _records(powdo("kimai-sync", "--pending", env=_TOKEN))] == ["created"]
    assert len(kimai.kimai.rows) == 1


def test_what_is_refused_is_remembered(powdo: Run, store: Store, ana: Worker, kimai: Double) -> None:
    """A timesheet that Kimai refuses is told once with status 69, and made once the reason is gone."""
    kimai.kimai.projects[1]["end"] = "2026-01-31"
    add(store, ana, "code", (0, 60))
    done = powdo("kimai-sync", "--pending", env=_TOKEN)
    assert done.returncode == 69
    assert b"project: The selected choice is invalid" in done.stderr and b"ended on 2026-01-31" in done.stderr
    assert store.dirty(ana.id) == []
    done = powdo("kimai-sync", "--pending", env=_TOKEN)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert kimai.count("POST", "/api/timesheets") == 1
    [told] = _records(powdo("kimai-sync", "--conflicts", "--json", env=_TOKEN))
    assert told["action"] == "blocked" and "selected choice is invalid" in str(told["reason"])
    kimai.kimai.projects[1]["end"] = None
    assert [one["action"] for one in _records(powdo("kimai-sync", "--pending", env=_TOKEN))] == ["created"]
    assert _records(powdo("kimai-sync", "--conflicts", "--json", env=_TOKEN)) == []


def test_a_name_that_stands_for_nothing_stays_marked(
    powdo: Run, store: Store, ana: Worker, kimai: Double
) -> None:
    """What a rule names and Kimai lacks is told each time, until a person has mended it, or by --create."""
    del kimai.kimai.activities[1]
    add(store, ana, "code", (0, 60))
    for _ in range(2):
        done = powdo("kimai-sync", "--pending", env=_TOKEN)
        assert done.returncode == 69 and b"no activity 'Development'" in done.stderr
    assert len(store.dirty(ana.id)) == 1
    done = powdo("kimai-sync", "--pending", "--create", env={"POWDO_KIMAI_TOKEN": "admin"})
    assert [one["action"] for one in _records(done)] == ["created"]
    assert store.dirty(ana.id) == []


def test_a_rejected_token(powdo: Run, store: Store, ana: Worker) -> None:
    """A wrong token ends with 77, and is not shown."""
    add(store, ana, "code", (0, 60))
    done = powdo("kimai-sync", "--pending", env={"POWDO_KIMAI_TOKEN": "hunter2"})
    assert done.returncode == 77
    assert b"rejects the token" in done.stderr and b"hunter2" not in done.stderr


def test_options_that_make_no_sense_together(powdo: Run, store: Store) -> None:
    """--since with --pending, --until alone, and a period that is none, are refused."""
    for flags in (
        ("--since", "monday", "--pending"), ("--until", "monday"), ("--since", "2030-01-01"),
        ("--reconcile", "--pending"), ("--check", "--conflicts"), ("--check", "x.jsonl"),
    ):  # fmt: skip
        assert powdo("kimai-sync", *flags, env=_TOKEN).returncode == 2


def test_a_person_is_shown_lines(powdo: Run, store: Store, ana: Worker) -> None:
    """On a terminal each timesheet is a line in the worker's time; --json makes it a record there too."""
    store.enroll("ana", pubkeys=[], timezone="Asia/Kolkata")
    add(store, ana, "code", (0, 60))
    add(store, ana, "mail", (100, 130))
    said = shown(powdo, "kimai-sync", "--since", "2026-11-16", "-n", "--json", env=_TOKEN)
    assert [json.loads(line)["action"] for line in said.terminal.splitlines()] == ["created"] * 2
    said = shown(powdo, "kimai-sync", "--pending", env=_TOKEN)
    assert (said.status, said.stderr) == (0, b"")
    assert said.terminal.splitlines() == [
        "action     begin             end    user  kimai_id  timesheet",
        "---------  ----------------  -----  ----  --------  ---------",
        "created    2026-11-16 13:30  14:30  ana   1         Website / Development: Website",
        "created    2026-11-16 15:10  15:40  ana   2         Website / Mail",
    ]
    said = shown(powdo, "kimai-sync", "--pending", env=_TOKEN)
    assert (said.status, said.terminal) == (0, "")
    assert said.stderr.startswith(b"powdo kimai-sync: nothing is new; ")
    said = shown(powdo, "kimai-sync", "--reconcile", "--no-headers", env=_TOKEN)
    assert [line.split()[0] for line in said.terminal.splitlines()] == ["unchanged"] * 2
    [record, _] = _records(powdo("kimai-sync", "--reconcile", "--json", env=_TOKEN))
    assert record["type"] == "timesheet"


def test_no_rules_are_refused(powdo: Run, store: Store, ana: Worker, own_world: Path, kimai: Double) -> None:
    """Without rules nothing is done, since all that was sent would have to be deleted."""
    (own_world / "powdo.toml").write_text(f'[kimai]\nurl = "{kimai.url}"\n')
    add(store, ana, "code", (0, 60))
    assert powdo("kimai-sync", "--pending", env=_TOKEN).returncode == 78
    assert not kimai.calls


def test_two_workers_and_one_token_are_told(powdo: Run, store: Store, ana: Worker, kimai: Double) -> None:
    """When several workers would be booked for the token's owner, a person is told."""
    store.enroll("bea", pubkeys=["22" * 32], kimai_user=5)
    add(store, ana, "code", (0, 60))
    done = powdo("kimai-sync", "--pending", env=_TOKEN)
    assert done.returncode == 0
    assert b"'ana' has no Kimai user" in done.stderr and b"'bea'" not in done.stderr


def test_late_data_in_one_stream_is_told(powdo: Run, store: Store, ana: Worker, kimai: Double) -> None:
    """A timesheet made and then changed within one run is told twice."""
    add(store, ana, "code", (0, 60))
    process = powdo.start("kimai-sync", env=_TOKEN)  # type: ignore[attr-defined]  # the runner is an object
    with process:
        process.stdin.write(_ingested())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["action"] == "created"
        add(store, ana, "code", (60, 90))
        process.stdin.write(_ingested(rumor="dd" * 32))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["action"] == "updated"
        process.stdin.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


def test_timesheets_are_shown(powdo: Run, store: Store, ana: Worker, kimai: Double) -> None:
    """`timesheets` shows blocks with their block seconds; --unassigned shows what is in none."""
    add(store, ana, "code", (0, 60), (64, 90))
    add(store, ana, "web", (100, 110))
    period = ("--since", "2026-11-16", "--until", "2026-11-17")
    [block] = _records(powdo("timesheets", *period, "--json"))
    assert block["seconds"] == 5400
    assert (block["begin"], block["end"]) == ("2026-11-16T08:00:00Z", "2026-11-16T09:30:00Z")
    assert (block["user"], block["customer"], block["project"]) == ("ana", "Initech", "Website")
    assert (block["tags"], block["description"], block["source"]) == (["code"], "Website", "website")
    [rest] = _records(powdo("timesheets", *period, "--json", "--unassigned", "--user", "ana"))
    assert (rest["seconds"], rest["app"], rest["reason"]) == (600, "firefox", "no rule")
    table = powdo("timesheets", *period).stdout.decode()
    assert "Initech / Website / Development" in table and "90" in table
    assert powdo("timesheets", "--user", "eve").returncode == 2
    assert not kimai.calls
