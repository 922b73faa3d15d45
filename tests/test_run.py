"""The loop that drives a filter."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from powdo.adapters.database import Store
from powdo.run import Run, csv_text
from tests.pseudo_terminal import shown


def _records(output: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def test_no_records_in_no_records_out(stage):
    """An upstream that yields nothing makes nothing, with status 0."""
    done = stage()
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_what_arrives_twice_is_done_once(stage, tmp_path: Path):
    """A record that waits in the queue and comes by stdin too is written once."""
    queue = tmp_path / "queue"
    queue.write_text('{"n":1}\n{"n":2}\n')
    done = stage("--pending", "--queue", str(queue), stdin=b'{"n":2}\n{"n":3}\n{"n":3}\n')
    assert _records(done.stdout) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert done.returncode == 0


def test_what_failed_is_tried_again_when_it_comes_again(stage):
    """Only what succeeded counts as done."""
    done = stage(stdin=b'{"fail":"RetryLaterError"}\n' * 2)
    assert done.stderr.count(b"it failed") == 2


def test_the_queue_is_taken_again_while_stdin_is_open(stage, tmp_path: Path):
    """At a retry deadline the queue is looked at once more, though no record comes."""
    queue = tmp_path / "queue"
    queue.write_text("")
    process = stage.start("--pending", "--queue", str(queue), "--retry", "0.2")
    queue.write_text('{"n":1}\n')
    assert process.stdout.readline() == b'{"n":1}\n'
    process.stdin.write(b'{"n":2}\n')
    process.stdin.flush()
    assert process.stdout.readline() == b'{"n":2}\n'
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["RetryLaterError", "BadRecordError"], 65),
        (["PeerProtocolError", "RefusedError", "BusyError"], 76),
        (["RefusedError", "CannotCreateError"], 73),
    ],
)
def test_the_worst_failure_is_the_status(stage, names, status):
    """Failures of single records do not stop the others, and the worst of them is the status."""
    stdin = b"".join(b'{"fail":"%s"}\n' % name.encode() for name in names) + b'{"n":1}\n'
    done = stage(stdin=stdin)
    assert (done.returncode, done.stdout) == (status, b'{"n":1}\n')


@pytest.mark.parametrize(
    ("name", "status"), [("ConfigurationError", 78), ("KeyRejectedError", 77), ("OutputError", 74)]
)
def test_what_no_record_could_survive_ends_the_run(stage, name, status):
    """A configuration, key or disk that is no good is told once, not for each record."""
    done = stage(stdin=b'{"fail":"RefusedError"}\n{"fail":"%s"}\n{"n":1}\n' % name.encode())
    assert (done.returncode, done.stdout) == (status, b"")
    assert done.stderr.count(b"error: ") == 2


def test_a_bug_ends_in_70_with_a_traceback_only_for_vv(stage):
    """What nobody raised on purpose is our bug, shown in full to who asks."""
    done = stage(stdin=b'{"bug":true}\n')
    assert done.returncode == 70
    assert done.stderr.decode().splitlines() == [
        "powdo echo: error: internal error: ZeroDivisionError: division by zero",
        "powdo echo: hint: this is a bug in powdo; run it again with -vv to see where",
    ]
    done = stage("-vv", stdin=b'{"bug":true}\n')
    assert done.returncode == 70
    assert b"Traceback" in done.stderr
    assert b"echo_stage.py" in done.stderr


def test_a_table_escapes_and_lines_up(capfd):
    """A report is a table without control characters, or JSON lines; no rows are no output."""
    run = Run("powdo report")
    rows = [{"app": "vi\x1b[2J", "seconds": 7}, {"app": None, "seconds": "007"}]
    run.table(rows, json=False)
    assert capfd.readouterr().out.splitlines() == [
        "app        seconds",
        "---------  ---------",
        "vi\\x1b[2J  7",
        "           007",
    ]
    run.table(rows, json=False, headers=False)
    assert capfd.readouterr().out.splitlines() == ["vi\\x1b[2J  7", "           007"]
    run.table(rows, json=True)
    assert _records(capfd.readouterr().out.encode()) == rows
    run.table([], json=False)
    assert capfd.readouterr().out == ""


def test_csv_is_quoted_and_calculates_nothing():
    """What holds commas, quotes or line ends is quoted; a text that looks like a formula stays a text."""
    texts = [
        '=HYPERLINK("http://a.example")',
        "+1",
        "-1",
        "@x",
        "\tx",
        "a,b",
        'say "x"',
        "two\nlines",
        "ünï",
        "",
    ]
    text = csv_text([{"name": value, "seconds": -5} for value in texts])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == ["name", "seconds"]
    assert [row[0] for row in rows[1:]] == [f"'{value}" for value in texts[:5]] + texts[5:]
    assert {row[1] for row in rows[1:]} == {"-5"}
    assert text.startswith("name,seconds\r\n")


def test_truth_is_told_in_words(capfd: pytest.CaptureFixture[str]):
    """A table says yes and no, a spreadsheet and a record get true and false; 0 and 1 are numbers."""
    rows = [{"valid": True, "taken": False, "bits": 1, "left": 0, "target": None}]
    run = Run("powdo pow check")
    run.table(rows, json=False, headers=False)
    run.csv(rows)
    run.table(rows, json=True)
    table, head, line, record = capfd.readouterr().out.splitlines()
    assert table.split() == ["yes", "no", "1", "0"]
    assert (head, line) == ("valid,taken,bits,left,target", "true,false,1,0,")
    assert json.loads(record) == rows[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("users list", "nobody is enrolled yet"),
        ("keys list --json", "no keys are in custody yet"),
        ("outbox list", "the outbox is empty"),
        ("outbox receipts", "there is no receipt yet"),
        ("status --bundles", "there are no captures yet"),
        ("manual --list", "nothing was stated by hand"),
        ("report --by app", "no active time was found"),
        ("timesheets --format ics", "no timesheets were found"),
        ("timesheets --unassigned", "no unassigned time was found"),
        ("rules explain --day yesterday", "no active time was found on that day"),
        ("rules suggest", "no unassigned time was found"),
        ("prune -n", "all is kept"),
    ],
)
def test_a_person_is_told_that_there_is_nothing(powdo, own_world: Path, arguments: str, told: str):
    """A report without rows says so in one line, where a person reads stdout; the status stays 0."""
    _operator(own_world)
    said = shown(powdo, *arguments.split())
    assert (said.status, said.terminal) == (0, "")
    command = " ".join(word for word in arguments.split()[:2] if word.isalpha())
    [line] = said.stderr.decode().splitlines()
    assert line.startswith(f"powdo {command}: {told}")


def test_a_program_is_told_nothing_by_no_record(powdo, own_world: Path):
    """An empty report is silent through a pipe, on a terminal with -q, and where a page was written."""
    _operator(own_world)
    done = powdo("report", "--by", "app")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    for flags in (("--by", "app", "-q"), ("--html", "page.html")):
        said = shown(powdo, "report", *flags, cwd=own_world)
        assert (said.status, said.terminal, said.stderr) == (0, "", b"")


def test_a_report_with_rows_or_a_failure_is_not_called_empty(powdo, own_world: Path):
    """Where rows were written, or why there are none was told, nothing is added."""
    _operator(own_world)
    assert (
        powdo(
            "manual", "--begin", "2026-11-16 14:00", "--end", "2026-11-16 15:30", "--project", "Shop"
        ).returncode
        == 0
    )
    said = shown(powdo, "manual", "--list", "--json")
    assert (said.status, said.stderr) == (0, b"")
    assert json.loads(said.terminal)["project"] == "Shop"
    said = shown(powdo, "report", "--by", "app", "--user", "eve")
    assert said.status == 2 and b"no active time" not in said.stderr


def _operator(world: Path) -> None:
    """Make an operator's empty database."""
    (world / "state").mkdir(mode=0o700)
    Store(f"sqlite:///{world / 'state' / 'dvm.sqlite'}").close()
