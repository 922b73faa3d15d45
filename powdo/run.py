"""One run of one command: its settings, its voice, and the loop that drives a filter.

`Run.stage` keeps the promises of the pipeline: a record is on stdout or still in its queue, what arrives
twice is done once, a bad record is told and the others go on, and a queue is taken at the start and
again at each retry deadline while stdin stays open.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from powdo import signals, stdio
from powdo.console import NORMAL, Console, Progress
from powdo.errors import (
    ConfigurationError,
    KeyRejectedError,
    OutputError,
    PowdoError,
    RetryLaterError,
    UsageError,
)
from powdo.lines import decode_line

if TYPE_CHECKING:
    from powdo.custody import Custody
    from powdo.nips.curve import SecretKey
    from powdo.records import Record
    from powdo.settings import Settings

    Handle = Callable[[dict[str, Any]], Iterable[Record | Mapping[str, Any]]]

#: What no other record could survive either: the run ends at once.
_FATAL = (ConfigurationError, KeyRejectedError, OutputError, UsageError)
_REMEMBERED = 65536
_SHORTEST_WAIT = 1.0
_LONGEST_WAIT = 60.0
#: What a spreadsheet begins to calculate at.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
#: How many records are prepared at a time.
_TOGETHER = 8


class Run:
    """What a command is given: settings on demand, a console, and ways to read and write records."""

    def __init__(
        self,
        name: str,
        *,
        level: int = NORMAL,
        log_json: bool = False,
        config: str | None = None,
        profile: str | None = None,
    ) -> None:
        self.console = Console(name, level, json=log_json)
        #: What a person is told who reads stdout, where a report has nothing to write there.
        self.nothing: str | None = None
        self._config = config
        self._profile = profile
        self._written = stdio.written()

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once. Raises: ConfigurationError with all problems."""
        from powdo.settings import load

        return load(config=self._config, profile=self._profile)

    @property
    def config_choice(self) -> tuple[str | None, str | None]:
        """What --config and --profile said, for commands that write the configuration."""
        return self._config, self._profile

    def key(self, user: str) -> SecretKey:
        """Return the unlocked key of *user*, for a `with` block that wipes it. Raises: KeyRejectedError."""
        return self.keystore.unlock(user, self._master)

    @cached_property
    def _master(self) -> bytes:
        """The master key, read once: a command that writes it may take its time."""
        return self.settings.master_key()

    @cached_property
    def keystore(self) -> Custody:
        """The keystore, as the settings name it."""
        from powdo.keyring import keystore

        return keystore(self.settings)

    def emit(self, value: Record | Mapping[str, Any]) -> None:
        """Write one record to stdout, at once."""
        stdio.emit(value)

    def fail(self, error: PowdoError, line: int | None = None, source: str | None = None) -> None:
        """Report *error* and go on; the worst status is what the run ends with."""
        self.console.error(error, line, source=source)

    def end(self) -> None:
        """Say `nothing` to a person in front of an empty report; programs are told by no record."""
        silent = stdio.written() == self._written and not self.console.status
        if self.nothing and silent and stdio.on_terminal():
            self.console.note(self.nothing)

    def progress(self, label: str, total: int | None) -> Progress:
        """Return a progress line, shown only on a terminal and neither with -q nor with --log-json."""
        return Progress(label, total, visible=self.console.level >= NORMAL and not self.console.json)

    def table(self, rows: Sequence[Mapping[str, Any]], *, json: bool, headers: bool = True) -> None:
        """Write a report: JSON lines, or a table of the rows' values."""
        if json:
            for row in rows:
                self.emit(row)
            return
        if not rows:
            return
        from tabulate import tabulate

        from powdo.console import escape

        cells = [[escape(_told(value, "yes", "no")) for value in row.values()] for row in rows]
        text = tabulate(
            cells,
            headers=list(rows[0]) if headers else (),
            tablefmt="simple" if headers else "plain",
            disable_numparse=True,
        )
        stdio.write_bytes(text.encode("utf-8", "backslashreplace") + b"\n")

    def csv(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write *rows* as comma-separated values (RFC 4180), the names first; see `csv_text`."""
        if rows:
            stdio.write_bytes(csv_text(rows).encode("utf-8", "backslashreplace"))

    def stage(
        self,
        files: Sequence[str],
        handle: Handle,
        *,
        key: Callable[[dict[str, Any]], str],
        pending: Callable[[], Iterable[dict[str, Any]]] | None = None,
        next_retry: Callable[[], float | None] | None = None,
        prepare: Callable[[Sequence[dict[str, Any]]], None] | None = None,
    ) -> None:
        """Feed each record of the input, and with *pending* of the queue, to *handle* and emit what it gives.

        *next_retry* returns the unix time at which the queue is worth another look. *prepare* is given the
        records that arrived together, before the first of them is handled.
        """
        stage = _Stage(self, handle, key, prepare)
        lines = stdio.Lines(files, optional=pending is not None)
        if pending is not None:
            stage.take_all(pending())
        while not lines.ended:
            arrived = lines.arrived(_TOGETHER)
            if not arrived:
                timeout = None
                if pending is not None and next_retry is not None and (due := next_retry()) is not None:
                    timeout = max(_SHORTEST_WAIT, due - time.time())
                line = lines.next(timeout)
                arrived = [] if line is None else [line, *lines.arrived(_TOGETHER - 1)]
            if arrived:
                stage.take_lines(arrived)
            elif not lines.ended and pending is not None:
                stage.take_all(pending())

    def follow(
        self,
        handle: Handle,
        *,
        key: Callable[[dict[str, Any]], str],
        pending: Callable[[], Iterable[dict[str, Any]]],
        every: float,
    ) -> NoReturn:
        """Feed what waits in the queue to *handle* and emit what it gives, then look again, until a signal.

        That is *every* so many seconds; a queue that is away is asked ever less often.
        """
        wait = every
        while True:
            try:
                # What was done may wait again: nothing is remembered from one look to the next.
                _Stage(self, handle, key, None).take_all(pending())
                wait = every
            except RetryLaterError as error:
                self.fail(error)
                wait = min(2 * wait, _LONGEST_WAIT)
            time.sleep(wait)


def _told(value: object, yes: str, no: str) -> str:
    """Return *value* as text: *yes* or *no* for what is true or false, nothing for None."""
    if value is None:
        return ""
    return (yes if value else no) if isinstance(value, bool) else str(value)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return *rows* as comma-separated values (RFC 4180), the names first.

    What a spreadsheet would take for a formula gets an apostrophe before it, a flag is `true` or `false`.
    """
    import csv
    import io

    def safe(value: object) -> object:
        if isinstance(value, str):
            return f"'{value}" if value.startswith(_FORMULA) else value
        return _told(value, "true", "false")

    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(rows[0])
    writer.writerows([safe(value) for value in row.values()] for row in rows)
    return file.getvalue()


class _Stage:
    """The records of one run, each done once."""

    def __init__(
        self,
        run: Run,
        handle: Handle,
        key: Callable[[dict[str, Any]], str],
        prepare: Callable[[Sequence[dict[str, Any]]], None] | None,
    ) -> None:
        self._run = run
        self._handle = handle
        self._key = key
        self._prepare = prepare
        self._done: OrderedDict[str, None] = OrderedDict()

    def take_lines(self, lines: Sequence[stdio.Line]) -> None:
        """Handle lines of the input that arrived together, in their order."""
        found = [(line, _decoded(line)) for line in lines]
        records = [record for _, record in found if isinstance(record, dict)]
        if self._prepare is not None and records:
            self._make_ready(self._prepare, records)
        for line, record in found:
            if isinstance(record, PowdoError):
                self._run.fail(record, line.number or None, line.source)
            else:
                self._take(record, line)

    def _make_ready(
        self, prepare: Callable[[Sequence[dict[str, Any]]], None], records: Sequence[dict[str, Any]]
    ) -> None:
        with signals.deferred():
            try:
                prepare([record for record in records if self._key(record) not in self._done])
            except _FATAL:
                raise
            except PowdoError as error:
                self._run.console.debug(f"one record at a time: {error.message}")  # which meets it, or not

    def take_all(self, records: Iterable[dict[str, Any]]) -> None:
        """Handle what waits in the queue."""
        for record in records:
            self._take(record, None)

    def _take(self, record: dict[str, Any], line: stdio.Line | None) -> None:
        with signals.deferred():
            try:
                name = self._key(record)
                if name in self._done:
                    return
                for result in self._handle(record):
                    stdio.emit(result)
                self._remember(name)
            except _FATAL:
                raise
            except PowdoError as error:
                self._run.fail(error, line.number if line else None, line.source if line else None)

    def _remember(self, name: str) -> None:
        self._done[name] = None
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)


def _decoded(line: stdio.Line) -> dict[str, Any] | PowdoError:
    """Return the record in *line*, or why there is none."""
    if line.error is not None:
        return line.error
    try:
        return decode_line(line.data)
    except PowdoError as error:
        return error
