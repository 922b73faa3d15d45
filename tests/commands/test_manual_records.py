"""`powdo manual`: stated, listed, taken back, taken along by the next capture, and marked to the end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from powdo.adapters.contents import of_folder
from powdo.records import encode_line
from tests import dvm
from tests.bundles import Sample
from tests.capture_helpers import ROOT, Worker, opened, unused_url
from tests.kimai_double import Double

Manual = Callable[..., "CompletedProcess[bytes]"]
_CALL = ("--begin", "2026-11-16T14:00:00Z", "--end", "2026-11-16T15:30:00Z", "--project", "Shop")


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    """Give a worker without display and ActivityWatch."""
    return Worker(tmp_path, options=f'activitywatch = "{unused_url()}"')


@pytest.fixture
def manual(worker: Worker) -> Manual:
    """Return what runs `powdo manual` at the worker's."""

    def run(*flags: str, command: str = "manual") -> CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "powdo", command, *flags],
            cwd=ROOT, env=worker.environment(), capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    return run


def _rows(done: CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_stated_listed_and_taken_back(manual: Manual) -> None:
    """Success is silent; what was stated is listed, and gone once it is taken back."""
    done = manual(*_CALL, "--description", "call")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    [row] = _rows(manual("--list", "--json"))
    name = row.pop("id")
    assert row == {
        "begin": "2026-11-16T14:00:00Z", "end": "2026-11-16T15:30:00Z", "seconds": 5400, "customer": None,
        "project": "Shop", "activity": None, "description": "call", "capture": None,
    }  # fmt: skip
    assert b"Shop" in manual("--list").stdout
    assert manual("--remove", name, "-n").returncode == 0
    assert len(_rows(manual("--list", "--json"))) == 1
    assert manual("--remove", name).returncode == 0
    assert _rows(manual("--list", "--json")) == []
    assert manual("--remove", name).returncode == 65


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "give --begin, --end and --project"),
        (("--list", *_CALL), "or --list"),
        (_CALL[:4], "belong together"),
        (("--begin", "2026-11-16", "--end", "2026-11-16", "--project", "x"), "not before"),
        (("--begin", "2026-11-16", "--end", "2026-11-18", "--project", "x"), "longer than a day"),
        (("--begin", "2099-11-16", "--end", "2099-11-16T01:00:00Z", "--project", "x"), "in the future"),
        ((*_CALL[:5], " "), "--project is empty"),
        ((*_CALL, "--description", "a\nb"), "not one line"),
        ((*_CALL, "--description", "a" * 501), "longer than 500"),
    ],
)
def test_what_makes_no_record(manual: Manual, flags: tuple[str, ...], words: str) -> None:
    """A period that cannot be, texts that are none, and flags that contradict each other are refused."""
    done = manual(*flags)
    assert done.returncode == 2 and words in done.stderr.decode()
    assert _rows(manual("--list", "--json")) == []


def test_no_two_records_overlap(manual: Manual) -> None:
    """A record that overlaps another is refused with that one's name; one that touches it is not."""
    manual(*_CALL)
    [row] = _rows(manual("--list", "--json"))
    done = manual("--begin", "2026-11-16T15:00:00Z", "--end", "2026-11-16T16:00:00Z", "--project", "Shop")
    assert done.returncode == 2 and row["id"] in done.stderr.decode()
    done = manual("--begin", "2026-11-16T15:30:00Z", "--end", "2026-11-16T16:00:00Z", "--project", "Shop")
    assert done.returncode == 0


def test_the_next_capture_takes_it_along(worker: Worker, manual: Manual) -> None:
    """It alone is reason for a capture, whose manifest has it as a bucket of its own; it is taken once."""
    manual(*_CALL, "--description", "call")
    (record,) = worker.capture("--no-screenshots")
    manifest = opened(record)
    [bucket] = manifest.buckets
    assert (bucket.type, bucket.client, bucket.events) == ("app.powdo.manual", "powdo", 1)
    assert bucket.device_id == manifest.device
    [row] = _rows(manual("--list", "--json"))
    assert row["capture"] == record["id"]
    done = manual("--remove", row["id"])
    assert done.returncode == 65 and b"powdo outbox drop" in done.stderr
    assert worker.capture("--no-screenshots") == []
    assert manual("drop", record["id"], command="outbox").returncode == 0
    assert _rows(manual("--list", "--json")) == []


def test_a_pause_lets_it_wait(worker: Worker, manual: Manual) -> None:
    """In a pause nothing leaves the machine, what was stated neither."""
    manual(*_CALL)
    manual(command="pause")
    assert worker.capture("--no-screenshots") == []
    manual(command="resume")
    assert len(worker.capture("--no-screenshots")) == 1


def test_today_tells_it_apart(worker: Worker, manual: Manual) -> None:
    """The worker's own day counts what was stated beside the active time, not in it."""
    worker.variables = {"TZ": "UTC"}
    day = datetime.now(UTC).date().isoformat()
    manual("--begin", f"{day}T00:00:00Z", "--end", f"{day}T00:00:30Z", "--project", "Shop")
    worker.capture("--no-screenshots")
    rows = {row["what"]: row for row in _rows(manual("--json", command="today"))}
    assert (rows["active"]["seconds"], rows["manual"]["seconds"], rows["manual"]["name"]) == (0, 30, "Shop")


def test_a_dry_capture_takes_nothing(worker: Worker, manual: Manual) -> None:
    """`capture -n` shows what it would take, and leaves it waiting."""
    manual(*_CALL)
    assert [one["bucket_events"] for one in worker.capture("--no-screenshots", "-n")] == [1]
    [row] = _rows(manual("--list", "--json"))
    assert row["capture"] is None


def test_marked_from_bundle_to_kimai(worker: Worker, manual: Manual, tmp_path: Path) -> None:
    """Through a real bundle and `ingest` into timesheets, reports and Kimai, it says that it is manual."""
    manual(*_CALL, "--description", "call")
    (record,) = worker.capture("--no-screenshots")
    contents = of_folder(Path(record["path"]))
    what = Sample(
        manifest=contents.manifest, files={name: contents.read(name) for name in contents.manifest.files}
    )
    operator_folder = tmp_path / "operator"
    operator_folder.mkdir()
    with dvm.blob_server() as server, Double() as kimai:
        kimai.kimai.people()
        kimai.kimai.add_customer("Acme")
        kimai.kimai.add_project("Shop", 1)
        kimai.kimai.add_activity("Calls")
        rule = '[[rule]]\nname = "calls"\napp = "zoom"\nproject = "Shop"\nactivity = "Calls"\n'
        operator = dvm.operator(operator_folder, server, f'[kimai]\nurl = "{kimai.url}"\n{rule}')

        def run(*words: str, stdin: bytes = b"") -> list[dict[str, Any]]:
            done = subprocess.run(
                [sys.executable, "-m", "powdo", *words],
                cwd=ROOT,
                env=operator.environment | {"POWDO_KIMAI_TOKEN": "alice"},
                input=stdin,
                capture_output=True,
                timeout=60,
                check=False,
            )
            return _rows(done)

        wrapped = dvm.parcel(tmp_path, server, what).wrapped()
        [ingested] = run("ingest", stdin=encode_line(wrapped))
        assert (ingested["begin"], ingested["bucket_events"]) == ("2026-11-16T14:00:00Z", 1)
        period = ("--since", "2026-11-16", "--until", "2026-11-17")
        [block] = run("timesheets", *period, "--json")
        assert (block["manual"], block["tags"], block["seconds"]) == (True, ["manual"], 5400)
        assert (block["project"], block["activity"], block["source"]) == ("Shop", "Calls", "manual")
        for by, key in (("app", "(manual)"), ("project", "Shop (manual)"), ("worker", "ana (manual)")):
            assert run("report", "--by", by, "--json") == [{"key": key, "seconds": 5400}]
        [made] = run("kimai-sync", *period)
        assert (made["action"], made["manual"]) == ("created", True)
        [row] = kimai.kimai.rows.values()
        assert (row.description or "").startswith("call (manual) [powdo-")
        assert set(row.tags) == {"manual", "powdo"}
        kimai.kimai.edit(row.id, end=row.begin)
        [kept] = run("kimai-sync", *period)
        assert (kept["action"], kept["reason"], kept["manual"]) == ("kept", "edited", True)
