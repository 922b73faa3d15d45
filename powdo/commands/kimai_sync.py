"""`powdo kimai-sync`: bring Kimai to what was computed from what was ingested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from powdo.options import (
    Run,
    command,
    dry_run_option,
    filter_options,
    network_options,
    pending_option,
    since_until_options,
    stdin_given,
)

if TYPE_CHECKING:
    from powdo.adapters.database import Store, Worker
    from powdo.adapters.kimai.sync import Syncer
    from powdo.adapters.kimai.telling import Person
    from powdo.records.operator import Timesheet
    from powdo.worktime.intervals import Interval


@command(
    "kimai-sync",
    epilog="powdo kimai-sync --pending\n"
    "powdo ingest --pending < /dev/null | powdo kimai-sync --pending\n"
    "powdo kimai-sync --since monday --until today -n | jq -r '[.action, .begin, .project] | @tsv'",
)
@filter_options
@pending_option
@since_until_options
@click.option("--user", metavar="NAME", help="Only the worker NAME.")
@network_options
@dry_run_option
def kimai_sync(
    run: Run,
    files: tuple[str, ...],
    pending: bool,
    since: datetime | None,
    until: datetime | None,
    user: str | None,
    timeout: float,
    dry_run: bool,
) -> None:
    """Create, change and delete timesheets in Kimai; what a person changed there is kept.

    Takes the days of the `ingested` records on stdin; with --pending also all days in which something is
    new; with --since the days from then on, and no input.
    """
    from powdo.errors import UsageError

    if since is None and until is not None:
        raise UsageError("--until needs --since")
    if since is not None and (files or pending):
        raise UsageError("--since takes no input", hint="leave out --pending and FILE, or --since")
    with _locked(run), _session(run, timeout, dry_run) as session:
        if since is not None:
            session.period(since, until or datetime.now(UTC), user)
        elif not files and not pending and not stdin_given():
            session.everything_new(user)
        else:
            run.stage(
                files,
                lambda record: session.take(record, user),
                key=lambda record: f"{record.get('type')}:{record.get('rumor') or record.get('worker')}",
                pending=(lambda: session.dirty(user)) if pending else None,
            )


class _Dirty(dict[str, Any]):
    """A marker for a worker of whom something is new; no line of the input can be one."""


class _Session:
    """One run against one Kimai."""

    def __init__(self, run: Run, store: Store, syncer: Syncer, dry: bool) -> None:
        self._run = run
        self._store = store
        self._syncer = syncer
        self._dry = dry
        self._seen: set[tuple[int, Interval]] = set()
        self._warned: set[int] = set()

    def period(self, since: datetime, until: datetime, user: str | None) -> None:
        """Take the time from *since* until *until* of the workers."""
        from powdo.errors import UsageError
        from powdo.worktime.book import chunks
        from powdo.worktime.intervals import Interval
        from powdo.worktime.manifest import micros

        window = Interval(micros(since), micros(until))
        if window.begin >= window.end:
            raise UsageError("--since is not before --until")
        for worker in self._store.named(user):
            for record in self._windows(worker, list(chunks(window))):
                self._run.emit(record)

    def everything_new(self, user: str | None) -> None:
        """Take all days in which something is new."""
        for record in self.dirty(user):
            for timesheet in self.take(record, user):
                self._run.emit(timesheet)

    def dirty(self, user: str | None) -> Iterable[dict[str, Any]]:
        """Yield a marker for each worker of whom something is new."""
        for worker in self._store.named(user):
            if self._store.dirty(worker.id):
                yield _Dirty(type="dirty", worker=worker.name)

    def take(self, record: dict[str, Any], user: str | None) -> Iterator[Timesheet]:
        """Yield what was done about one `ingested` record, or one worker of whom something is new."""
        from powdo.errors import BadRecordError
        from powdo.records.operator import Ingested, Rejected
        from powdo.worktime.intervals import Interval
        from powdo.worktime.manifest import micros

        spans: list[Interval] = []
        if record.get("type") == Rejected.TYPE:
            return  # `ingest` writes it, and it brings no time
        if isinstance(record, _Dirty):
            name = str(record["worker"])
        else:
            ingested = Ingested.from_json(record)
            name = ingested.worker
            spans.append(Interval(micros(ingested.begin), micros(ingested.end)))
        worker = self._store.worker(name)
        if worker is None:
            raise BadRecordError(f"no worker is called '{name}'")
        if user is not None and user != name:
            return
        marks = self._store.dirty(worker.id)
        spans += [Interval(begin, end) for begin, end, _ in marks]
        yield from self._days(worker, spans, [row for _, _, row in marks], news=bool(marks))

    def _days(
        self, worker: Worker, spans: Sequence[Interval], marks: Sequence[int], *, news: bool
    ) -> Iterator[Timesheet]:
        days = self._person(worker).book.days(spans)
        fresh = [day for day in days if news or (worker.id, day) not in self._seen]
        self._syncer.begin()
        yield from self._windows(worker, fresh)
        self._seen.update((worker.id, day) for day in days)
        if self._syncer.complete and not self._dry:
            self._store.clean(marks)  # what was refused stays marked, until a person has mended it

    def _windows(self, worker: Worker, windows: Sequence[Interval]) -> Iterator[Timesheet]:
        person = self._person(worker)
        for window in windows:
            yield from self._syncer.sync(person, window)

    def _person(self, worker: Worker) -> Person:
        from powdo.adapters.kimai.telling import Person

        if worker.kimai_user is None and worker.id not in self._warned and len(self._store.workers()) > 1:
            self._warned.add(worker.id)
            self._run.console.warning(
                f"'{worker.name}' has no Kimai user, so their time is booked for the token's owner",
                hint=f"`powdo users add --name {worker.name} --kimai-user ID` names one",
            )
        book = self._run.settings.book((worker.timezone, *self._store.zones(worker.id)))
        return Person(id=worker.id, name=worker.name, kimai_user=worker.kimai_user, book=book)


@contextmanager
def _session(run: Run, timeout: float, dry: bool) -> Iterator[_Session]:
    import uuid

    from powdo.adapters.database import Store
    from powdo.adapters.kimai.client import Client
    from powdo.adapters.kimai.sync import Syncer
    from powdo.errors import ConfigurationError

    settings = run.settings
    if settings.kimai.url is None:
        raise ConfigurationError(
            "no Kimai is configured", hint="set url in [kimai] to where Kimai's start page is"
        )
    if not any(rule.project for rule in settings.rules):
        raise ConfigurationError(
            "no [[rule]] books anything", hint="without rules all that was sent would be deleted in Kimai"
        )
    token = settings.kimai_token()
    client = Client(
        settings.kimai.url,
        token,
        timeout=timeout,
        warn=lambda text, hint: run.console.warning(text, hint=hint),
    )
    store = Store(settings.database_url)
    try:
        syncer = Syncer(
            client,
            store,
            tag=settings.kimai.tag,
            create=settings.kimai.create,
            dry=dry,
            fresh=lambda: uuid.uuid4().hex,
            fail=run.fail,
        )
        yield _Session(run, store, syncer, dry)
    finally:
        store.close()
        client.close()


@contextmanager
def _locked(run: Run) -> Iterator[None]:
    """Hold the lock of the one syncer; Kimai does not stop duplicates."""
    import fcntl
    import os

    from powdo.errors import BusyError, CannotCreateError
    from powdo.settings.paths import private_dir

    path = private_dir(run.settings.state_dir) / "kimai-sync.lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotCreateError(f"cannot create '{path}': {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BusyError("another kimai-sync is running") from None
    finally:
        os.close(lock)
