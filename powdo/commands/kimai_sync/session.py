"""One run of `kimai-sync`: whose days are taken, and what is remembered of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from powdo.adapters.database import Store, Worker
from powdo.errors import BadRecordError, ConfigurationError, UsageError
from powdo.options import Run
from powdo.records.operator import Ingested, Rejected, Timesheet
from powdo.syncers import Syncers
from powdo.worktime.book import chunks
from powdo.worktime.intervals import Interval
from powdo.worktime.manifest import micros


class _Dirty(dict[str, Any]):
    """A marker for a worker of whom something is new; no line of the input can be one."""


class Session(Syncers):
    """One run against one Kimai. A token is asked for, and Kimai spoken to, once there is something to do."""

    def __init__(self, run: Run, store: Store, timeout: float, *, create: bool, dry: bool) -> None:
        super().__init__(
            run.settings,
            store,
            timeout,
            create=create,
            dry=dry,
            warn=lambda text, hint: run.console.warning(text, hint=hint),
            fail=run.fail,
        )
        self.run = run
        #: Raises once another host may have taken the syncer's place.
        self.alone: Callable[[], None] = lambda: None
        #: Writes what was done about one timesheet, once it is in the ledger.
        self.tell: Callable[[Timesheet], None] = run.emit
        self._seen: set[tuple[int, Interval]] = set()

    def expect_rules(self) -> None:
        """Return if any rule books something. Raises: ConfigurationError."""
        if not any(rule.project for rule in self.run.settings.rules):
            raise ConfigurationError(
                "no [[rule]] books anything", hint="without rules all that was sent would be deleted in Kimai"
            )

    # --- periods -----------------------------------------------------------------------------------

    def period(self, since: datetime, until: datetime, user: str | None) -> None:
        """Take the time from *since* until *until* of the workers."""
        window = _window(micros(since), micros(until))
        for worker in self.store.named(user):
            self._emit(worker, list(chunks(window)), thorough=False)

    def reconcile(self, since: datetime | None, until: datetime | None, user: str | None) -> None:
        """Take everything of the workers, or what lies between *since* and *until*, and look thoroughly."""
        for worker in self.store.named(user):
            window = self.span(worker, since, until)
            marks = self.store.dirty(worker.id)
            if window is None:
                continue
            syncer = self.syncer(worker.name)
            syncer.begin()
            self._emit(worker, self.person(worker).book.days([window]), thorough=True)
            done = [row for begin, end, row in marks if window.begin <= begin and end <= window.end]
            if syncer.complete and not self.dry:
                self.store.clean(done)

    def span(self, worker: Worker, since: datetime | None, until: datetime | None) -> Interval | None:
        """Return the period asked for; where it is open, that of all bundles and timesheets of *worker*."""
        found = [item for item in (self.store.period(worker.id), self.store.sent_period(worker.id)) if item]
        if not found:
            return None
        begin = min(first for first, _ in found) if since is None else micros(since)
        end = max(last for _, last in found) if until is None else micros(until)
        return _window(begin, end)

    def _emit(self, worker: Worker, windows: Sequence[Interval], *, thorough: bool) -> None:
        with self.run.progress(f"{worker.name}, weeks", len(windows)) as progress:
            for window in windows:
                for record in self._windows(worker, [window], thorough=thorough):
                    progress.clear()
                    self.tell(record)
                progress.advance(1)

    # --- what is new -------------------------------------------------------------------------------

    def everything_new(self, user: str | None) -> None:
        """Take all days in which something is new."""
        for record in self.dirty(user):
            self.told(record, user)

    def dirty(self, user: str | None) -> Iterable[dict[str, Any]]:
        """Yield a marker for each worker of whom something is new, or was refused and may pass now."""
        for worker in self.store.named(user):
            if self.store.dirty(worker.id) or self.store.blocked(worker.id):
                yield _Dirty(type="dirty", worker=worker.name)

    def told(self, record: dict[str, Any], user: str | None) -> tuple[()]:
        """Write what was done about one record, as `take` yields it; a stage has nothing left to write."""
        for timesheet in self.take(record, user):
            self.tell(timesheet)
        return ()

    def take(self, record: dict[str, Any], user: str | None) -> Iterator[Timesheet]:
        """Yield what was done about one `ingested` record, or one worker of whom something is new."""
        spans: list[Interval] = []
        if record.get("type") == Rejected.TYPE:
            return  # `ingest` writes it, and it brings no time
        if isinstance(record, _Dirty):
            name = str(record["worker"])
        else:
            ingested = Ingested.from_json(record)
            name = ingested.worker
            spans.append(Interval(micros(ingested.begin), micros(ingested.end)))
        worker = self.store.worker(name)
        if worker is None:
            raise BadRecordError(f"no worker is called '{name}'")
        if user is not None and user != name:
            return
        marks = self.store.dirty(worker.id)
        spans += [Interval(begin, end) for begin, end, _ in marks]
        due = self.syncer(name).memory.due(worker.id) if self.store.blocked(worker.id) else []
        yield from self._days(
            worker, spans + due, [row for _, _, row in marks], news=bool(marks) or bool(due)
        )

    def _days(
        self, worker: Worker, spans: Sequence[Interval], marks: Sequence[int], *, news: bool
    ) -> Iterator[Timesheet]:
        days = self.person(worker).book.days(spans)
        fresh = [day for day in days if news or (worker.id, day) not in self._seen]
        if not fresh:
            return
        syncer = self.syncer(worker.name)
        syncer.begin()
        yield from self._windows(worker, fresh)
        self._seen.update((worker.id, day) for day in days)
        if syncer.complete and not self.dry:
            self.store.clean(marks)  # what no name stands for stays marked, until a person has mended it

    def _windows(
        self, worker: Worker, windows: Sequence[Interval], *, thorough: bool = False
    ) -> Iterator[Timesheet]:
        person, syncer = self.person(worker), self.syncer(worker.name)
        for window in windows:
            self.alone()
            yield from syncer.sync(person, window, thorough=thorough)


def _window(begin: int, end: int) -> Interval:
    if begin >= end:
        raise UsageError("--since is not before --until")
    return Interval(begin, end)
