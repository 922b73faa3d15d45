"""Questions on a terminal of one's own: what is typed unseen, and how the terminal is given back."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import termios
import time
from typing import Any

import pytest

from powdo import terminal
from powdo.errors import UsageError
from tests.pseudo_terminal import TAKE_TERMINAL, answered


def _echoes(fd: int) -> bool:
    return bool(termios.tcgetattr(fd)[3] & termios.ECHO)


def test_an_interrupted_question_gives_the_echo_back(powdo: Any) -> None:
    """Control-C at a hidden question ends the command by SIGINT, and what is typed next is seen again."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [powdo.command[0], "-c", TAKE_TERMINAL, str(slave), *powdo.command, "keys", "import", "ana"],
            env=powdo.environment({"NSEC_MASTER_KEY": "0f" * 32}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[slave],
        )
        deadline = time.monotonic() + 60
        while _echoes(slave) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _echoes(slave)
        os.write(master, b"half a secret\x03")
        assert process.wait(60) == -signal.SIGINT
        assert _echoes(slave)
    finally:
        os.close(master)
        os.close(slave)


def test_a_terminal_that_ends_is_no_answer(powdo: Any) -> None:
    """Control-D at a question is told, and nothing is done."""
    answers = [("secret key of ana: ", "\x04")]
    said = answered(powdo, "keys", "import", "ana", answers=answers, env={"NSEC_MASTER_KEY": "0f" * 32})
    assert (said.status, said.stdout) == (2, b"")
    assert b"the terminal ended without an answer" in said.stderr


def test_without_a_terminal_the_hint_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /dev/tty, both questions say so with the hint of who asks."""

    def none(*_: object) -> int:
        raise OSError(6, "No such device or address")

    monkeypatch.setattr(os, "open", none)
    for question in (terminal.ask_secret, terminal.confirm):
        with pytest.raises(UsageError, match="no terminal to ask on") as caught:
            question("what", hint="give it with --file")
        assert caught.value.hint == "give it with --file"
