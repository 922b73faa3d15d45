"""Runs powdo with a terminal of its own, on which a test answers what is asked."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATIENCE = 60.0
TAKE_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Said:
    """How a command ended, and what came out of it and stood on its terminal."""

    status: int
    stdout: bytes
    stderr: bytes
    terminal: str


def answered(
    powdo: Any,
    *arguments: str,
    answers: Sequence[tuple[str, str]],
    env: Mapping[str, str] | None = None,
    streams: bool = False,
) -> Said:
    """Run powdo and type each answer once its question stands on the terminal.

    Its stdin is empty, unless *streams*: then the terminal is its stdin and stderr.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [powdo.command[0], "-c", TAKE_TERMINAL, str(slave), *powdo.command, *arguments],
        stdin=slave if streams else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave if streams else subprocess.PIPE,
        env=powdo.environment(env),
        pass_fds=[slave],
    )
    shown = ""
    try:
        for question, answer in answers:
            shown += _read_until(master, question, process)
            os.write(master, answer.encode() + b"\n")
        shown += _until_the_end(master, process) if streams else ""
        stdout, stderr = process.communicate(timeout=_PATIENCE)
        shown += _rest(master)
    finally:
        _end(process, master, slave)
    return Said(process.returncode, stdout, stderr or b"", shown)


def shown(powdo: Any, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Said:
    """Run powdo with a terminal as its stdout alone, and return what stands there with plain newlines."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*powdo.command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=subprocess.PIPE,
        env=powdo.environment(env),
        cwd=cwd,
    )
    try:
        terminal = _until_the_end(master, process)
        _, stderr = process.communicate(timeout=_PATIENCE)
        terminal += _rest(master)
    finally:
        _end(process, master, slave)
    return Said(process.returncode, b"", stderr, terminal.replace("\r\n", "\n"))


def _end(process: subprocess.Popen[bytes], *terminal: int) -> None:
    """Leave neither the process nor its terminal behind, however the test went."""
    process.kill()
    process.communicate()
    for descriptor in terminal:
        os.close(descriptor)


def _read_until(master: int, question: str, process: subprocess.Popen[bytes]) -> str:
    shown, deadline = "", time.monotonic() + _PATIENCE
    while question not in shown:
        assert time.monotonic() < deadline, (question, shown)
        assert process.poll() is None, (question, shown, process.communicate())
        if select.select([master], [], [], 0.2)[0]:
            shown += os.read(master, 4096).decode()
    return shown


def _until_the_end(master: int, process: subprocess.Popen[bytes]) -> str:
    """Return what is shown until the process ends: one that finds its terminal full would wait for ever."""
    shown, deadline = "", time.monotonic() + _PATIENCE
    while process.poll() is None:
        assert time.monotonic() < deadline, shown
        if select.select([master], [], [], 0.2)[0]:
            shown += os.read(master, 4096).decode("utf-8", "replace")
    return shown


def _rest(master: int) -> str:
    shown = ""
    while select.select([master], [], [], 0)[0]:
        try:
            data = os.read(master, 4096)
        except OSError:  # Linux says so when nobody holds the other end any more
            break
        if not data:
            break
        shown += data.decode()
    return shown
