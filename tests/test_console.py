"""What people are told on stderr."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from powdo.console import DEBUG, QUIET, VERBOSE, Console, Progress, escape
from powdo.errors import BadRecordError, ConfigurationError, RetryLaterError
from powdo.lines import parse_time


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 😀", "plain ä 😀"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
        ("\x9b31m\u2028", "\\x9b31m\\u2028"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped(text, shown):
    """Control, bidirectional and undecodable characters are made visible."""
    assert escape(text) == shown


def test_text_from_a_peer_is_escaped_before_a_terminal_sees_it(stage):
    """An error message that quotes a peer cannot move the cursor or forge a line."""
    done = stage(stdin=b'{"fail":"RefusedError","message":"no\\u001b[2J\\npowdo: ok"}\n')
    assert done.stderr == b"powdo echo: error: line 1: no\\x1b[2J\\npowdo: ok\n"


def test_errors_come_with_line_and_hint(stage):
    """An error names command and line, and a hint follows it."""
    done = stage(stdin=b'{"fail":"RefusedError","message":"the relay said no","hint":"ask its operator"}\n')
    assert done.returncode == 69
    assert done.stderr == (
        b"powdo echo: error: line 1: the relay said no\npowdo echo: hint: ask its operator\n"
    )


def test_quiet_is_silent_on_a_retry_but_not_on_what_needs_a_person(stage):
    """With -q a status 75 has no words, so that cron sends no mail; anything worse has."""
    retry = b'{"fail":"RetryLaterError","hint":"later"}\n'
    done = stage("-q", stdin=retry)
    assert (done.returncode, done.stderr) == (75, b"")
    assert stage(stdin=retry).stderr.startswith(b"powdo echo: error: line 1: it failed\n")
    done = stage("-q", stdin=retry + b"bad\n")
    assert done.returncode == 65
    assert done.stderr.count(b"\n") == 1
    assert b"line 2: not JSON" in done.stderr


def test_verbose_tells_more_each_time(stage):
    """Nothing is said by default, what happens with -v, what happens inside with -vv."""
    assert stage().stderr == b""
    assert stage("-v").stderr == b"powdo echo: begins\n"
    assert stage("-vv").stderr == b"powdo echo: begins\npowdo echo: begins inside\n"


def test_messages_as_json(stage):
    """With --log-json each message is one object: what, where in the input, with which status and hint."""
    stdin = b'{"fail":"RefusedError","message":"no\\u001b[2J","hint":"ask its operator"}\nbad\n'
    done = stage("-vv", "--log-json", "-", stdin=stdin)
    begins, inside, refused, bad = (json.loads(line) for line in done.stderr.splitlines())
    assert parse_time(refused.pop("time")) <= datetime.now(UTC)
    assert refused == {
        "level": "error",
        "command": "powdo echo",
        "message": "no\x1b[2J",
        "status": 69,
        "line": 1,
        "hint": "ask its operator",
    }
    assert (begins["level"], begins["message"]) == ("info", "begins")
    assert (inside["level"], inside["message"]) == ("debug", "begins inside")
    assert (bad["line"], bad["status"], "hint" in bad) == (2, 65, False)
    assert b"\x1b" not in done.stderr


def test_a_wrong_command_line_is_told_as_json_too(stage):
    """--log-json holds also for what fails before the command begins."""
    for arguments in (("--log-json", "--nonsense"), ("--nonsense", "--log-json")):
        done = stage(*arguments)
        message = json.loads(done.stderr)
        assert (message["status"], message["level"]) == (2, "error")
        assert "--nonsense" in message["message"]


def test_the_journal_gets_priorities(stage, tmp_path: Path):
    """When stderr is the journal's stream, lines begin with its priorities; otherwise they do not."""
    log = tmp_path / "log"
    stdin = b'{"fail":"RefusedError","hint":"h"}\n'
    with log.open("wb") as stream:
        facts = os.fstat(stream.fileno())
        stage("-vv", stdin=stdin, stderr=stream, env={"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"})
    assert log.read_text().splitlines() == [
        "<6>powdo echo: begins",
        "<7>powdo echo: begins inside",
        "<3>powdo echo: error: line 1: it failed",
        "<6>powdo echo: hint: h",
    ]
    done = stage(stdin=stdin, env={"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"})
    assert done.stderr.startswith(b"powdo echo: ")


def test_the_worst_status_is_remembered(capsys):
    """A later, lesser failure does not hide an earlier, worse one."""
    console = Console("powdo x")
    console.error(BadRecordError("bad"))
    console.error(RetryLaterError("away"))
    assert console.status == 65
    assert capsys.readouterr().err == "powdo x: error: bad\npowdo x: error: away\n"


def test_all_problems_of_a_configuration_are_told(capsys):
    """Each problem has a line of its own."""
    Console("powdo").error(ConfigurationError("two problems", problems=("one", "two"), hint="see"))
    assert capsys.readouterr().err.splitlines() == [
        "powdo: error: two problems",
        "powdo: error: one",
        "powdo: error: two",
        "powdo: hint: see",
    ]


def test_all_problems_of_a_configuration_in_one_object(capsys):
    """As JSON a configuration's problems are a list in the one message."""
    console = Console("powdo", json=True)
    console.error(ConfigurationError("two problems", problems=("one", "two"), hint="see"))
    console.warning("w", hint="h")
    error, warning = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (error["problems"], error["hint"], error["status"]) == (["one", "two"], "see", 78)
    assert (warning["level"], warning["hint"]) == ("warning", "h")


def test_levels(capsys):
    """Warnings and notes are silent with -q, info needs -v, debug needs -vv."""
    for level in (QUIET, 0, VERBOSE, DEBUG):
        console = Console("powdo", level)
        console.warning("w", hint="h")
        console.note("n")
        console.show("s")
        console.info("i")
        console.debug("d")
        said = [line.split(": ")[-1] for line in capsys.readouterr().err.splitlines()]
        assert said == ["w", "h", "n", "s", "i", "d"][: {QUIET: 0, 0: 4, VERBOSE: 5, DEBUG: 6}[level]]


def test_progress_is_silent_unless_stderr_is_a_terminal_but_answers_sigusr1(capsys):
    """A log has no progress in it, except where somebody asks by SIGUSR1."""
    before = signal.getsignal(signal.SIGUSR1)
    with Progress("upload", 1000, visible=True) as progress:
        progress.advance(500)
        time.sleep(0.15)
        progress.advance(0)
        assert capsys.readouterr().err == ""
        os.kill(os.getpid(), signal.SIGUSR1)
        progress.advance(0)
    assert capsys.readouterr().err.startswith("upload: 500 of 1,000 (50 %, ")
    assert signal.getsignal(signal.SIGUSR1) == before
