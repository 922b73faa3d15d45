"""Every byte said to a person: errors, warnings, hints, progress. All of it goes to stderr.

Rules: `powdo COMMAND: error: …`, then `powdo COMMAND: hint: …`; no capital, no full stop; control
characters in text from a peer are escaped before a terminal sees them; success is silent; progress
only if stderr is a terminal. Under systemd lines begin with the priority that its journal understands.
With --log-json each message is one JSON object a line, for programs that collect logs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Self

from powdo.errors import ConfigurationError, PowdoError, worse
from powdo.lines import format_time

QUIET, NORMAL, VERBOSE, DEBUG = -1, 0, 1, 2
_PRIORITY = {"error": "<3>", "warning": "<4>", "hint": "<6>", "info": "<6>", "debug": "<7>"}


def escape(text: str) -> str:
    """Return *text* with control, bidirectional and undecodable characters made visible."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "replace").decode("ascii")
        for character in text
    )


def _journal() -> bool:
    """Return whether stderr is the journal's own stream (systemd.exec(5), JOURNAL_STREAM)."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        facts = os.fstat(2)
    except OSError:
        return False
    return stream == f"{facts.st_dev}:{facts.st_ino}"


class Console:
    """What one command says, and the worst exit status it has met."""

    def __init__(self, name: str, level: int = NORMAL, *, json: bool = False) -> None:
        self.name = name
        self.level = level
        self.json = json
        self.status = 0
        self._journal = _journal()

    def _say(self, kind: str, text: str) -> None:
        if self.json:
            self._log(kind, text)
            return
        label = "" if kind in ("info", "debug") else f"{kind}: "
        self._write(kind, f"{self.name}: {label}{escape(text)}")

    def _log(self, kind: str, text: str, **facts: object) -> None:
        """Write one message as JSON, without the *facts* that are None or empty."""
        from datetime import UTC, datetime
        from json import dumps  # in ASCII: nothing in it can steer a terminal, and any text can be written

        message = {
            "time": format_time(datetime.now(UTC)),
            "level": kind,
            "command": self.name,
            "message": text,
            **{name: value for name, value in facts.items() if value},
        }
        self._write(kind, dumps(message, separators=(",", ":")))

    def _write(self, kind: str, line: str) -> None:
        prefix = _PRIORITY[kind] if self._journal else ""
        try:
            sys.stderr.write(f"{prefix}{line}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return  # nobody is listening any more; the exit status still tells

    def error(self, error: PowdoError, line: int | None = None, *, source: str | None = None) -> None:
        """Report *error*, with the input line it is about, and remember its status."""
        self.status = worse(self.status, error.status)
        if self.level <= QUIET and error.status == 75:
            return
        problems = error.problems if isinstance(error, ConfigurationError) else ()
        if self.json:
            facts = {"status": error.status, "source": source, "line": line, "problems": list(problems)}
            self._log("error", error.message, **facts, hint=error.hint)
            return
        where = "" if line is None else f"line {line}: " if source is None else f"{source}: line {line}: "
        self._say("error", where + error.message)
        for problem in problems:
            self._say("error", problem)
        if error.hint:
            self._say("hint", error.hint)

    def warning(self, text: str, *, hint: str | None = None) -> None:
        """Say what a person may want to mend, though the run goes on."""
        if self.level <= QUIET:
            return
        if self.json:
            self._log("warning", text, hint=hint)
            return
        self._say("warning", text)
        if hint:
            self._say("hint", hint)

    def note(self, text: str) -> None:
        """Say what a person asked to be told, unless -q."""
        if self.level > QUIET:
            self._say("info", text)

    def show(self, text: str) -> None:
        """Show lines of a walk-through as they are, unless -q."""
        if self.level <= QUIET:
            return
        for line in text.split("\n"):
            sys.stderr.write(f"{escape(line)}\n")
        sys.stderr.flush()

    def info(self, text: str) -> None:
        """Say what happens, with -v."""
        if self.level >= VERBOSE:
            self._say("info", text)

    def debug(self, text: str) -> None:
        """Say what happens inside, with -vv."""
        if self.level >= DEBUG:
            self._say("debug", text)


class Progress:
    """A line on the terminal that shows how far a long work is; SIGUSR1 prints it elsewhere too."""

    def __init__(self, label: str, total: int | None, *, visible: bool) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._visible = visible and sys.stderr.isatty()
        self._drawn = 0.0
        self._begin = time.monotonic()
        self._previous: object = None

    def __enter__(self) -> Self:
        try:
            self._previous = signal.signal(signal.SIGUSR1, self._on_request)
        except ValueError:
            self._previous = None  # not the main thread
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGUSR1, self._previous)  # type: ignore[arg-type]  # what signal() gave us
        self.clear()

    def clear(self) -> None:
        """Take the line off the terminal, so that something else can be written there."""
        if self._visible and self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def advance(self, amount: int) -> None:
        """Count *amount* more of the work as done."""
        self._done += amount
        now = time.monotonic()
        if self._visible and now - self._drawn > 0.1:
            self._drawn = now
            sys.stderr.write(f"\r\x1b[K{self._text()}")
            sys.stderr.flush()

    def _on_request(self, _signum: int, _frame: FrameType | None) -> None:
        sys.stderr.write(f"{self._text()}\n")
        sys.stderr.flush()

    def _text(self) -> str:
        rate = self._done / max(time.monotonic() - self._begin, 1e-6)
        if not self._total:
            return f"{self._label}: {self._done:,} ({rate:,.0f}/s)"
        left = (self._total - self._done) / rate if rate else 0
        return (
            f"{self._label}: {self._done:,} of {self._total:,} "
            f"({100 * self._done // self._total} %, {rate:,.0f}/s, {left:.0f} s left)"
        )
