"""How processes end when they are told to."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from powdo import signals


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_reading_really_kills(stage, signum):
    """A stage that waits for input dies of the signal itself, silently."""
    process = stage.start()
    process.stdin.write(b'{"n":1}\n')
    process.stdin.flush()
    process.stdout.readline()  # it is past its start
    process.send_signal(signum)
    assert process.wait(20) == -signum
    assert process.communicate() == (b"", b"")


def test_a_signal_during_a_record_finishes_it_first(stage, tmp_path: Path):
    """The record in hand is written whole; the next one is not begun."""
    begun, later = tmp_path / "begun", tmp_path / "later"
    process = stage.start()
    process.stdin.write(b'{"touch":"%s","sleep":0.5}\n{"touch":"%s"}\n' % (bytes(begun), bytes(later)))
    process.stdin.flush()
    _wait_for(begun)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == -15
    assert output == b'{"touch":"%s","sleep":0.5}\n' % bytes(begun)
    assert not later.exists()


def test_a_second_signal_does_not_wait(stage, tmp_path: Path):
    """Who sends the signal twice means now."""
    begun = tmp_path / "begun"
    process = stage.start()
    process.stdin.write(b'{"touch":"%s","sleep":30}\n' % bytes(begun))
    process.stdin.flush()
    _wait_for(begun)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -15
    assert process.communicate() == (b"", b"")


def test_an_ignored_signal_stays_ignored(stage):
    """Under nohup, or with & in a script, the signal that was ignored at the start does nothing."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" INT HUP; exec "$@"', "sh", *stage.command],
        env=stage.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    for number, signum in ((1, signal.SIGINT), (2, signal.SIGHUP), (3, None)):
        process.stdin.write(b'{"n":%d}\n' % number)
        process.stdin.flush()
        assert process.stdout.readline() == b'{"n":%d}\n' % number
        if signum is not None:
            process.send_signal(signum)
    assert process.communicate() == (b"", None)
    assert process.returncode == 0


def test_a_held_back_signal_is_raised_at_the_end_of_the_outermost_block():
    """Blocks nest; a signal in the inner one is raised once the outer one ends, and only then."""
    code = (
        "import os, signal\n"
        "from powdo import signals\n"
        "signals.install()\n"
        "try:\n"
        "    with signals.deferred():\n"
        "        with signals.deferred():\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "        os.write(1, b'inner ')\n"
        "    os.write(1, b'never')\n"
        "except signals.Terminated as ended:\n"
        "    os.write(1, b'raised')\n"
        "    signals.die(ended.signum)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (-15, b"inner raised")


def test_terminated_is_no_ordinary_exception():
    """No `except Exception` on the way can keep the process alive."""
    assert not issubclass(signals.Terminated, Exception)
    assert signals.Terminated(15).signum == 15
