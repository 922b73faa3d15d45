from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from powdo.commands.ingest import ingest
from powdo.commands.report import report
from powdo.errors import UsageError
from powdo.records import encode_line
from powdo.worktime.manifest import BucketFile, Manifest
from tests.bundles import BEGIN, DEVICE, Sample, sha256
from tests.dvm import Operator, blob_server, operator, parcel

HOUR = 3600
RULES = """
[[rule]]
name = "code"
app = "^code$"
project = "powdo"
activity = "Development"
"""


def at(second: int) -> str:
    """Return the time so many seconds after the first capture begins."""
    moment = datetime.fromtimestamp(BEGIN // 1_000_000 + second, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def lines(*events: tuple[int, int, dict[str, str]]) -> bytes:
    """Return bucket events as they stand in a bundle."""
    return b"".join(
        encode_line({"timestamp": at(begin), "duration": length, "data": data})
        for begin, length, data in events
    )


def capture(number: int, *buckets: tuple[str, bytes]) -> Sample:
    """Return a capture of the hour *number*."""
    begin = BEGIN + (number - 1) * HOUR * 1_000_000
    files, entries = {}, []
    for index, (kind, data) in enumerate(buckets):
        name = f"buckets/{index}.jsonl"
        files[name] = data
        entries.append(
            BucketFile(
                id=f"{kind}_desk",
                type=kind,
                client=kind,
                hostname="desk",
                device_id="d",
                begin=begin,
                end=begin + HOUR * 1_000_000,
                events=data.count(b"\n"),
                file=name,
                sha256=sha256(data),
                size=len(data),
            )
        )
    manifest = Manifest(
        id=f"c{number}",
        device=DEVICE,
        sequence=number,
        begin=begin,
        end=begin + HOUR * 1_000_000,
        timezone="Europe/Berlin",
        buckets=tuple(entries),
        salt=f"{number:032x}",
    )
    return Sample(manifest=manifest, files=files)


@pytest.fixture
def dvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Operator:
    """Return an operator who has ingested two hours of ana's."""
    code, mail = {"app": "code", "title": "x"}, {"app": "mail", "title": "y"}
    with blob_server() as server:
        made = operator(tmp_path, server, RULES)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        captures = [
            capture(
                1,
                ("currentwindow", lines((0, 1000, code), (1000, 500, mail), (1500, 2100, code))),
                ("afkstatus", lines((0, 2000, {"status": "not-afk"}), (2000, 1600, {"status": "afk"}))),
            ),
            capture(
                2,
                ("currentwindow", lines((HOUR, 600, code))),
                ("afkstatus", lines((HOUR, 600, {"status": "not-afk"}))),
            ),
        ]
        file = tmp_path / "wraps"
        file.write_bytes(b"".join(encode_line(parcel(tmp_path, server, what).wrapped()) for what in captures))
        assert ingest.main([str(file)], standalone_mode=False).console.status == 0
    capfd.readouterr()
    return made


def counted(capfd: pytest.CaptureFixture[str], *flags: str) -> dict[Any, int]:
    """Return what `powdo report --json` says."""
    report.main([*flags, "--json"], standalone_mode=False)
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert all(set(record) == {"key", "seconds"} for record in records)
    return {record["key"]: record["seconds"] for record in records}


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("app", {"code": 2100, "mail": 500}),
        ("project", {"powdo": 2100, None: 500}),
        ("activity", {"Development": 2100, None: 500}),
        ("day", {"2026-11-18": 2600}),
        ("worker", {"ana": 2600}),
    ],
)
@pytest.mark.usefixtures("dvm")
def test_active_time_is_counted(by: str, expected: dict[Any, int], capfd: pytest.CaptureFixture[str]) -> None:
    """Only time in front of the screen counts, under the key that was asked for; what has none is kept."""
    assert counted(capfd, "--by", by) == expected
    assert counted(capfd, "--by", by, "--user", "ana") == expected


@pytest.mark.usefixtures("dvm")
def test_a_period_is_cut_out(capfd: pytest.CaptureFixture[str]) -> None:
    """What lies before --since or after --until does not count, to the second."""
    window = ("--since", "2026-11-18T11:06:50Z", "--until", "2026-11-18T12:06:45Z")
    assert counted(capfd, "--by", "app", *window) == {"code": 990 + 500 + 5, "mail": 500}
    assert counted(capfd, "--by", "app", "--since", "2027-01-01") == {}


@pytest.mark.usefixtures("dvm")
def test_a_table_names_what_no_rule_books(capfd: pytest.CaptureFixture[str]) -> None:
    """The table for people has a head, hours, shares, a word for time without a project, and the total."""
    report.main(["--by", "project"], standalone_mode=False)
    lines = capfd.readouterr().out.splitlines()
    assert [line.split() for line in lines if not line.startswith("-")] == [
        ["project", "time", "share"],
        ["powdo", "0:35:00", "81", "%"],
        ["(unassigned)", "0:08:20", "19", "%"],
        ["total", "0:43:20", "100", "%"],
    ]


@pytest.mark.usefixtures("dvm")
def test_rows_alone_add_up_in_a_script(capfd: pytest.CaptureFixture[str]) -> None:
    """Without its head a table has no total either: who sums a column counts nothing twice."""
    report.main(["--by", "project", "--no-headers"], standalone_mode=False)
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()] == ["powdo", "(unassigned)"]


@pytest.mark.usefixtures("dvm")
def test_csv_is_for_a_spreadsheet(capfd: pytest.CaptureFixture[str]) -> None:
    """The names first, then a row a key with its seconds and hours."""
    report.main(["--by", "app", "--csv"], standalone_mode=False)
    rows = list(csv.reader(io.StringIO(capfd.readouterr().out)))
    assert rows == [["app", "seconds", "hours"], ["code", "2100", "0.5833"], ["mail", "500", "0.1389"]]


@pytest.mark.usefixtures("dvm")
def test_words_are_days_of_the_worker(capfd: pytest.CaptureFixture[str]) -> None:
    """A date is a day in the worker's own zone, wherever the report is made."""
    day = ("--since", "2026-11-18", "--until", "2026-11-19")
    assert counted(capfd, "--by", "day", *day) == {"2026-11-18": 2600}
    assert counted(capfd, "--by", "day", "--since", "2026-11-18 13:00") == {"2026-11-18": 600}
    assert counted(capfd, "--by", "day", "--last", "3650d") == {"2026-11-18": 2600}
    assert counted(capfd, "--by", "day", "--last", "1h") == {}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--last", "2w", "--since", "monday"), "--last says it all"),
        (("--last", "soon"), "'soon' is no period"),
        (("--since", "soon"), "'soon' is not a time"),
        (("--csv", "--json"), "two formats"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags: tuple[str, ...], told: str) -> None:
    """Two periods, two formats and unknown words are wrong arguments."""
    with pytest.raises(UsageError, match=told):
        report.main(["--by", "day", *flags], standalone_mode=False)


def test_an_unknown_worker_is_told(dvm: Operator) -> None:
    """A name that nobody has is a wrong argument."""
    with pytest.raises(UsageError, match="nobody"):
        report.main(["--by", "app", "--user", "nobody"], standalone_mode=False)


def test_an_empty_database_reports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before the first bundle a report is empty, and no error."""
    with blob_server() as server:
        for name, value in operator(tmp_path, server).environment.items():
            monkeypatch.setenv(name, value)
    assert counted(capfd, "--by", "day") == {}
