"""Questions to a person, on /dev/tty whatever stdin and stdout are; secrets are read without an echo.

A line is read as bytes and handed out as such, so that it can be wiped; at a signal the terminal is given
back as it was.
"""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from powdo.errors import UsageError

_LONGEST = 4096


def ask_secret(question: str, *, hint: str) -> bytearray:
    """Return the line that a person types, for the caller to wipe; it is not shown.

    Raises: UsageError with *hint* when there is no terminal, or it ends without an answer.
    """
    with _terminal(hint) as fd, _silent(fd):
        os.write(fd, f"{question}: ".encode())
        try:
            return _line(fd)
        finally:
            os.write(fd, b"\n")


def confirm(question: str, *, hint: str) -> bool:
    """Return whether a person says yes. Raises: UsageError with *hint* when there is no terminal."""
    with _terminal(hint) as fd:
        os.write(fd, f"{question} [y/N] ".encode())
        return bytes(_line(fd)).strip().lower() in (b"y", b"yes")


@contextmanager
def _terminal(hint: str) -> Iterator[int]:
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise UsageError("there is no terminal to ask on", hint=hint) from None
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _silent(fd: int) -> Iterator[None]:
    before = termios.tcgetattr(fd)
    silent = list(before)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)


def _line(fd: int) -> bytearray:
    """Return one line without its newline. Raises: UsageError when there is none."""
    line, used = bytearray(_LONGEST), 0  # it never grows: that would leave copies behind
    with memoryview(line) as view:
        while used < _LONGEST:
            count = os.readv(fd, [view[used : used + 1]])
            if not count:
                raise UsageError("the terminal ended without an answer")
            if view[used] == ord("\n"):
                break
            used += 1
    del line[used:]
    return line
