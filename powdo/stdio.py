"""Records in and out: the one place that reads stdin and writes stdout.

Rules:
- stdout carries records and nothing else, one flushed line each;
- a closed stdout ends the process by SIGPIPE, a full disk with status 74;
- lines are read as bytes; a bad one is reported with its number and the rest go on;
- a stream that ends within a line was cut off: the piece is refused, never guessed at.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from powdo.errors import BadRecordError, InputMissingError, OutputError, PowdoError, UsageError
from powdo.lines import MAX_LINE, encode_line
from powdo.signals import Terminated, deferred

if TYPE_CHECKING:
    from powdo.records import Record

_CHUNK = 1 << 16


class _Total:
    """How many bytes this process has written to stdout."""

    written = 0


def guard_streams() -> None:
    """Occupy the standard descriptors that we were started without.

    The next file opened would get the number, and records would be written into it, or read from it. A
    closed stdin then is empty, a closed stdout refuses to be written, a closed stderr is silent.
    """
    missing = []
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if fd == 2 else os.O_RDONLY)  # the lowest free number: fd
            missing.append(fd)
    if 1 in missing:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if 2 in missing:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if getattr(sys.stdout, "errors", None) == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # it is a TextIOWrapper


def on_terminal() -> bool:
    """Return whether a person reads stdout, and not a program or a file."""
    return os.isatty(1)


def written() -> int:
    """Return how many bytes this process has written to stdout."""
    return _Total.written


def write_bytes(data: bytes | bytearray) -> None:
    """Write *data* to stdout at once, whole. Raises: OutputError, Terminated when the reader has gone."""
    view = memoryview(data)
    try:
        with deferred():
            while view:
                count = _write(view)
                _Total.written += count
                view = view[count:]
    except BrokenPipeError:
        raise Terminated(signal.SIGPIPE) from None
    except OSError as error:
        raise OutputError(f"cannot write to stdout: {error.strerror}") from None


def _write(view: memoryview) -> int:
    """Return how much of *view* stdout took; another program may have made it non-blocking."""
    while True:
        try:
            return os.write(1, view)
        except BlockingIOError:
            select.select([], [1], [])


def emit(value: Record | Mapping[str, Any]) -> None:
    """Write one record to stdout."""
    write_bytes(encode_line(value if isinstance(value, Mapping) else value.to_json()))


def flush_stdout() -> None:
    """Write what click's help has left in the buffer. Raises: OutputError, Terminated."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise Terminated(signal.SIGPIPE) from None
    except OSError as error:
        raise OutputError(f"cannot write to stdout: {error.strerror}") from None


class Line(NamedTuple):
    """One line of input, or the reason why it is none."""

    number: int
    source: str | None
    data: bytes
    error: PowdoError | None = None


class Lines:
    """The lines of the FILE operands in order; `-`, or none at all, is stdin."""

    def __init__(self, files: Sequence[str], *, optional: bool = False) -> None:
        self._files = list(files) or ["-"]
        if "-" in self._files and os.isatty(0):
            if not optional:
                raise UsageError(
                    "stdin is a terminal",
                    hint="give FILE operands or pipe records in; see --help for a pipeline",
                )
            self._files.remove("-")
        self._fd: int | None = None
        self._source: str | None = None
        self._number = 0
        self._buffer = bytearray()
        self._scanned = 0
        self._overlong = False

    def __iter__(self) -> Iterator[Line]:
        while (line := self.next(None)) is not None:
            yield line

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._fd is None and not self._files

    def next(self, timeout: float | None) -> Line | None:
        """Return the next line, or None at the end or when *timeout* seconds have passed (see `ended`)."""
        while True:
            if (line := self._buffered()) is not None:
                return line
            if self._fd is None:
                if not self._files:
                    return None
                if (failure := self._open(self._files.pop(0))) is not None:
                    return failure
                continue
            if timeout is not None and not select.select([self._fd], [], [], timeout)[0]:
                return None
            if (line := self._fill(self._fd)) is not None:
                return line

    def arrived(self, most: int) -> list[Line]:
        """Return up to *most* further lines that are here already; nothing is read for them."""
        found: list[Line] = []
        while len(found) < most and self._fd is not None and (line := self._buffered()) is not None:
            found.append(line)
        return found

    def _open(self, name: str) -> Line | None:
        self._number, self._overlong, self._scanned = 0, False, 0
        if name == "-":
            self._fd, self._source = 0, None
            return None
        self._source = name
        try:
            self._fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            return Line(0, None, b"", InputMissingError(f"cannot open '{name}': {error.strerror}"))
        return None

    def _fill(self, fd: int) -> Line | None:
        """Read more; at the end of a file return its cut-off last line, if there is one."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            select.select([fd], [], [])
            return None
        except OSError as error:
            self._close(fd)
            if fd == 0 and error.errno == errno.EBADF:
                return None
            return Line(
                0, None, b"", InputMissingError(f"cannot read '{self._source or '-'}': {error.strerror}")
            )
        if data:
            self._buffer += data
            return None
        rest = bytes(self._buffer).strip()
        self._close(fd)
        if not rest and not self._overlong:
            return None
        return Line(self._number + 1, self._source, b"", BadRecordError("input ends within a record"))

    def _close(self, fd: int) -> None:
        if fd:
            os.close(fd)
        self._fd = None
        self._buffer.clear()

    def _buffered(self) -> Line | None:
        while (end := self._buffer.find(b"\n", self._scanned)) >= 0:
            data = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            self._scanned = 0
            self._number += 1
            if self._overlong or len(data) > MAX_LINE:
                self._overlong = False
                return Line(self._number, self._source, b"", BadRecordError(f"longer than {MAX_LINE} bytes"))
            if data.strip():
                return Line(self._number, self._source, data)
        self._scanned = len(self._buffer)
        if self._scanned > MAX_LINE:  # keep nothing of a line that is refused anyway
            self._overlong = True
            self._buffer.clear()
            self._scanned = 0
        return None
