"""Records in and out, through real processes, pipes and terminals."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import resource
import subprocess
import time
from pathlib import Path

import pytest

from powdo.lines import MAX_LINE


def _lines(output: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_reader_that_goes_ends_the_stage_by_sigpipe(stage):
    """A closed stdout kills the stage by SIGPIPE, silently, as it does any Unix filter."""
    process = stage.start()
    process.stdin.write(b'{"n":1}\n')
    process.stdin.flush()
    assert process.stdout.readline() == b'{"n":1}\n'
    process.stdout.close()
    process.stdin.write(b'{"n":2}\n')
    process.stdin.close()
    assert process.wait(20) == -13
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_full_disk_is_told_with_74(stage, powdo):
    """ENOSPC on stdout ends in 74, for records as for help texts."""
    with Path("/dev/full").open("wb") as full:
        done = stage(stdin=b"{}\n", stdout=full)
        assert done.returncode == 74
        assert done.stderr == b"powdo echo: error: cannot write to stdout: No space left on device\n"
        for arguments in (("--help",), ("wrap", "--help"), ("--version",)):
            done = powdo(*arguments, stdout=full)
            assert done.returncode == 74, arguments
            assert done.stderr == b"powdo: error: cannot write to stdout: No space left on device\n"


def test_help_into_a_closed_pipe_dies_of_sigpipe(powdo):
    """`powdo --help | true` dies of SIGPIPE, without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    done = powdo("--help", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (-13, b"")


def test_bad_lines_are_told_by_number_and_the_rest_go_on(stage):
    """Bad bytes, UTF-16, NaN and non-objects are refused by line number; good records pass."""
    stdin = b"".join([
        b'{"n":1}\n', b'{"a":"\xff"}\n', '{"a":1}'.encode("utf-16-le") + b"\n", b'{"a":NaN}\n', b"[1]\n",
        b"nonsense\n", b"\n", b"  \n", b'{"n":9}\n',
    ])  # fmt: skip
    done = stage(stdin=stdin)
    assert done.returncode == 65
    assert _lines(done.stdout) == [{"n": 1}, {"n": 9}]
    told = done.stderr.decode().splitlines()
    assert [line.split(": ")[2] for line in told] == [f"line {number}" for number in (2, 3, 4, 5, 6)]
    assert told[0] == "powdo echo: error: line 2: not UTF-8 at byte 6"
    assert told[2] == "powdo echo: error: line 4: 'NaN' is not JSON"


def test_input_that_ends_within_a_record_is_refused(stage):
    """A last line without its newline was cut off: never guessed at, status 65."""
    done = stage(stdin=b'{"n":1}\n{"n":2}')
    assert done.returncode == 65
    assert _lines(done.stdout) == [{"n": 1}]
    assert done.stderr == b"powdo echo: error: line 2: input ends within a record\n"


def test_overlong_lines_are_refused_without_being_kept(stage):
    """A line over 1 MiB is refused, however long, in bounded memory; the next record is handled."""
    megabyte = b"x" * (1 << 20)
    # 160 MiB of address space hold the program, not the line.
    limit = (160 << 20, 160 << 20)
    process = stage.start()
    resource.prlimit(process.pid, resource.RLIMIT_AS, limit)
    process.stdin.write(b'{"a":"')
    for _ in range(256):
        process.stdin.write(megabyte)
    output, errors = process.communicate(b'"}\n{"n":2}\n')
    assert process.returncode == 65
    assert _lines(output) == [{"n": 2}]
    assert errors.decode() == f"powdo echo: error: line 1: longer than {MAX_LINE} bytes\n"


def test_a_line_of_exactly_the_limit_passes(stage):
    """1 MiB with its newline is a record; one byte more is not."""
    line = b'{"a":"' + b"x" * (MAX_LINE - 9) + b'"}\n'
    assert len(line) == MAX_LINE
    assert stage(stdin=line).stdout == line
    assert stage(stdin=line.replace(b"x", b"xx", 1)).returncode == 65


def test_missing_files_are_told_and_the_others_go_on(stage, tmp_path: Path):
    """A FILE that cannot be read ends in 66 after the others were handled, stdin among them."""
    good = tmp_path / "good.jsonl"
    good.write_bytes(b'{"n":1}\nbad\n')
    missing, folder = str(tmp_path / "no"), str(tmp_path)
    done = stage(missing, str(good), folder, "-", stdin=b'{"n":2}\n')
    assert done.returncode == 66
    assert _lines(done.stdout) == [{"n": 1}, {"n": 2}]
    assert done.stderr.decode().splitlines() == [
        f"powdo echo: error: cannot open '{missing}': No such file or directory",
        f"powdo echo: error: {good}: line 2: not JSON: Expecting value: line 1 column 1 (char 0)",
        f"powdo echo: error: cannot read '{folder}': Is a directory",
    ]


def test_a_terminal_as_stdin_is_refused_with_a_hint(stage):
    """A filter does not wait for somebody to type records."""
    master, terminal = pty.openpty()
    try:
        for arguments in ((), ("-",)):
            done = stage(*arguments, stdin=terminal)
            assert done.returncode == 2
            assert done.stderr.startswith(b"powdo echo: error: stdin is a terminal\npowdo echo: hint: ")
    finally:
        os.close(master)
        os.close(terminal)


def test_a_terminal_as_stdin_is_left_alone_with_pending(stage, tmp_path: Path):
    """With --pending a terminal counts as no input: the queue is handled and the run ends."""
    queue = tmp_path / "queue"
    queue.write_text('{"n":1}\n')
    master, terminal = pty.openpty()
    try:
        done = stage("--pending", "--queue", str(queue), stdin=terminal)
    finally:
        os.close(master)
        os.close(terminal)
    assert (done.returncode, done.stdout) == (0, b'{"n":1}\n')


def _without(*closed: int) -> list[str]:
    """Return the start of a command line that runs the rest with descriptors *closed*."""
    return ["/bin/sh", "-c", 'exec "$@" ' + " ".join(f"{fd}>&-" for fd in closed), "sh"]


def test_a_closed_stdin_is_empty(stage, tmp_path: Path):
    """Started with stdin closed, a filter reads nothing, not a file that got its number."""
    queue = tmp_path / "queue"
    queue.write_text('{"n":1}\n')
    done = subprocess.run(
        [*_without(0), *stage.command, "--pending", "--queue", str(queue)],
        env=stage.environment(),
        capture_output=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b'{"n":1}\n', b"")


def test_a_closed_stdout_is_an_error_not_a_file(stage, powdo):
    """Started with stdout closed, records and help end in 74 and land in no other file."""
    for runner, arguments in ((stage, []), (powdo, ["--help"])):
        done = subprocess.run(
            [*_without(1), *runner.command, *arguments],
            env=runner.environment(),
            input=b"{}\n",
            stderr=subprocess.PIPE,
            timeout=30,
        )
        assert done.returncode == 74
        assert b"cannot write to stdout: Bad file descriptor" in done.stderr


def test_a_closed_stderr_changes_no_status(stage):
    """Where nobody can be told, the status still tells."""
    done = subprocess.run(
        [*_without(2), *stage.command],
        env=stage.environment(),
        input=b'bad\n{"n":1}\n',
        stdout=subprocess.PIPE,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (65, b'{"n":1}\n')


def test_a_non_blocking_stdout_loses_nothing(stage, tmp_path: Path):
    """A pipe that another program made non-blocking takes every record whole."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETFL, fcntl.fcntl(writing, fcntl.F_GETFL) | os.O_NONBLOCK)
    line = b'{"n":%d,"a":"' + b"x" * 50_000 + b'"}\n'
    records = tmp_path / "records"
    records.write_bytes(b"".join(line % number for number in range(10)))
    process = stage.start(str(records), stdout=writing, stdin=subprocess.DEVNULL)
    os.close(writing)
    time.sleep(0.3)
    with os.fdopen(reading, "rb") as stream:
        assert [record["n"] for record in _lines(stream.read())] == list(range(10))
    assert (process.wait(20), process.stderr.read()) == (0, b"")
    process.stderr.close()


def test_records_are_written_at_once(stage):
    """Each record is on the pipe before the next one is read."""
    process = stage.start()
    for number in range(3):
        process.stdin.write(b'{"n":%d}\n' % number)
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == {"n": number}
    assert process.communicate(timeout=20) == (b"", b"")


@pytest.mark.parametrize("text", ["ä€😀", "\u2028", "\\ud800 is not this"])
def test_text_goes_through_as_utf8(stage, text):
    """Text is written as UTF-8, not as escapes."""
    line = json.dumps({"a": text}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    assert stage(stdin=line).stdout == line


def test_what_cannot_be_written_is_told(stage):
    """A lone surrogate or an infinite number is a bad record, not a crash."""
    done = stage(stdin=b'{"a":"\\ud800"}\n{"a":1e999}\n{"n":1}\n')
    assert (done.returncode, done.stdout) == (65, b'{"n":1}\n')
    assert b"line 1: a lone surrogate cannot be written" in done.stderr
    assert b"line 2: cannot be written as JSON" in done.stderr


def test_help_is_written_in_any_locale(powdo):
    """A help text with typographic characters does not fail where the locale is not UTF-8."""
    done = powdo("init", "worker", "--help", env={"PYTHONIOENCODING": "iso8859-1"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"npub1\\u2026" in done.stdout
