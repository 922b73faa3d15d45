"""`powdo kimai-sync`: bring Kimai to what was computed from what was ingested."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from powdo.options import (
    Run,
    command,
    dry_run_option,
    filter_options,
    network_options,
    pending_option,
    report_options,
    since_until_options,
    stdin_given,
)

if TYPE_CHECKING:
    from powdo.commands.kimai_sync.session import Session


@command(
    "kimai-sync",
    epilog="powdo kimai-sync --pending\n"
    "powdo ingest --pending < /dev/null | powdo kimai-sync --pending\n"
    "powdo kimai-sync --since monday --until today -n | jq -r '[.action, .begin, .project] | @tsv'\n"
    "powdo kimai-sync --conflicts --since 4w",
    nothing="nothing is new; --since goes through the days from then on again",
)
@filter_options
@pending_option
@since_until_options
@click.option("--user", metavar="NAME", help="Only the worker NAME.")
@click.option("--create", is_flag=True, help="Create customers, projects and activities that Kimai misses.")
@click.option(
    "--reconcile", is_flag=True, help="Compare everything, try again what was refused, mend our own drift."
)
@click.option("--conflicts", is_flag=True, help="List what people changed, and what Kimai refuses.")
@click.option("--check", is_flag=True, help="Tell how Kimai is set up, and what of it is against us.")
@network_options
@dry_run_option
@report_options
def kimai_sync(
    run: Run,
    files: tuple[str, ...],
    pending: bool,
    since: datetime | None,
    until: datetime | None,
    user: str | None,
    create: bool,
    reconcile: bool,
    conflicts: bool,
    check: bool,
    timeout: float,
    dry_run: bool,
    json: bool,
    headers: bool,
) -> None:
    """Create, change and delete timesheets in Kimai; what a person changed there is kept.

    Takes the days of the `ingested` records on stdin; with --pending also all days in which something is
    new; with --since the days from then on, and with --reconcile all days, and no input. On a terminal each
    timesheet is a line of a table, elsewhere and with --json a record. --conflicts and --check write a report
    and change nothing.
    """
    report = conflicts or check
    _refuse_contradictions(
        files, pending=pending, period=since is not None or reconcile or report, reconcile=reconcile,
        until=until, conflicts=conflicts, check=check,
    )  # fmt: skip
    if since is not None or reconcile:
        run.nothing = "no timesheets were found; another --since or --user may have some"
    if report:
        run.nothing = "people changed nothing of it in Kimai, and Kimai refuses nothing"
        from powdo.commands.kimai_sync.looks import look_at_conflicts, look_at_kimai

        with _session(run, timeout, create=create, dry=True) as session:
            if check:
                look_at_kimai(session, user, json=json, headers=headers)
            else:
                look_at_conflicts(session, since, until, user, json=json, headers=headers)
        return
    from powdo.commands.kimai_sync.telling import teller

    with (
        _locked(run),
        _session(run, timeout, create=create, dry=dry_run) as session,
        session.store.database.alone("kimai-sync") as session.alone,
    ):
        session.expect_rules()
        session.tell = teller(session, json=json, headers=headers)
        if reconcile:
            session.reconcile(since, until, user)
        elif since is not None:
            session.period(since, until or datetime.now(UTC), user)
        elif not files and not pending and not stdin_given():
            session.everything_new(user)
        else:
            run.stage(
                files,
                lambda record: session.told(record, user),
                key=lambda record: f"{record.get('type')}:{record.get('rumor') or record.get('worker')}",
                pending=(lambda: session.dirty(user)) if pending else None,
            )


def _refuse_contradictions(
    files: tuple[str, ...],
    *,
    pending: bool,
    period: bool,
    reconcile: bool,
    until: datetime | None,
    conflicts: bool,
    check: bool,
) -> None:
    from powdo.errors import UsageError

    if reconcile + conflicts + check > 1:
        raise UsageError("--reconcile, --conflicts and --check exclude each other", hint="give one of them")
    if until is not None and not period:
        raise UsageError("--until needs --since")
    if period and (files or pending):
        raise UsageError(
            "--since, --reconcile, --conflicts and --check take no input",
            hint="leave out --pending and FILE, or the others",
        )


@contextmanager
def _session(run: Run, timeout: float, *, create: bool, dry: bool) -> Iterator[Session]:
    from powdo.adapters.database import Store
    from powdo.commands.kimai_sync.session import Session
    from powdo.errors import ConfigurationError

    if run.settings.kimai.url is None:
        raise ConfigurationError(
            "no Kimai is configured", hint="set url in [kimai] to where Kimai's start page is"
        )
    store = Store(run.settings.database_url)
    session = Session(run, store, timeout, create=create or run.settings.kimai.create, dry=dry)
    try:
        yield session
    finally:
        session.close()
        store.close()


@contextmanager
def _locked(run: Run) -> Iterator[None]:
    """Hold this machine's lock of the one syncer; Kimai does not stop duplicates."""
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
