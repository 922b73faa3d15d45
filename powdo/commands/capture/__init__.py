"""`powdo capture`: one look at screen and buckets, durable in the outbox before its record is written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from powdo.options import Run, command, dry_run_option, network_options, since_until_options

if TYPE_CHECKING:
    from powdo.adapters.activitywatch.export import Export
    from powdo.adapters.activitywatch.reading import Wanted
    from powdo.adapters.outbox import Outbox


@command("capture", epilog="powdo capture | powdo bundle | powdo upload | powdo wrap | powdo publish")
@click.option("--activity", metavar="FILE", help="Take an ActivityWatch export (.json, .json.gz) instead.")
@click.option("--no-activity", is_flag=True, help="Take the screenshot only.")
@click.option("--no-screenshots", is_flag=True, help="Take the activity only.")
@click.option(
    "--spread",
    type=click.FloatRange(0, 86400),
    metavar="SECONDS",
    help="Wait a random time up to SECONDS before the look; signals end it at once.",
)
@since_until_options
@network_options
@dry_run_option
def capture(
    run: Run,
    activity: str | None,
    no_activity: bool,
    no_screenshots: bool,
    spread: float | None,
    since: datetime | None,
    until: datetime | None,
    timeout: float,
    dry_run: bool,
) -> None:
    """Take one look at screen and buckets and keep it in the outbox.

    Activity goes on where the last capture ended; the first one begins today at midnight. Nothing is taken
    twice. What is missing (no display, ActivityWatch away, a denied window) is told and kept as a reason.
    In a pause and outside the hours nothing is taken, neither then nor later.
    """
    from powdo.commands.capture.tick import Tick

    _refuse_contradictions(activity, no_activity=no_activity, since=since, until=until)
    export = _export(activity) if activity is not None else None
    if not dry_run:
        _wait(run.settings.capture.spread if spread is None else spread)
    tick = Tick(run)
    with _outbox(run.settings.state_dir, dry_run=dry_run) as outbox:
        if run.settings.capture.screenshots and not no_screenshots:
            tick.look(outbox, lambda: export is None and not no_activity and tick.is_away(timeout))
        else:
            tick.absent.append(("screenshots", "off"))
        if no_activity:
            tick.absent.append(("activity", "off"))
        else:
            tick.read(outbox, export, _wanted(run, since, until), timeout)
        tick.keep(outbox, dry_run=dry_run)


def _refuse_contradictions(
    activity: str | None, *, no_activity: bool, since: datetime | None, until: datetime | None
) -> None:
    from powdo.errors import UsageError

    if activity is not None and no_activity:
        raise UsageError("--activity makes no sense with --no-activity", hint="leave one of them out")
    if since is not None and until is not None and since >= until:
        raise UsageError("--since is not before --until", hint="give an earlier --since")


def _wait(longest: float) -> None:
    """Let a random time pass, so that nobody knows when a screenshot is taken."""
    if longest:
        import random

        time.sleep(random.SystemRandom().uniform(0, longest))


def _export(name: str) -> Export:
    from powdo.adapters.activitywatch.export import Export

    return Export(Path(name))


def _wanted(run: Run, since: datetime | None, until: datetime | None) -> Wanted:
    """Return the times asked for; today begins at the midnight of this machine's zone."""
    from powdo.adapters.activitywatch.reading import Wanted

    now = time.time()
    midnight = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
    return Wanted(
        now=now,
        today=int(midnight.astimezone().timestamp()),
        settle=run.settings.capture.settle,
        since=None if since is None else int(since.timestamp()),
        until=None if until is None else int(until.timestamp()),
    )


@contextmanager
def _outbox(directory: Path, *, dry_run: bool) -> Iterator[Outbox]:
    """Give the outbox, locked; with *dry_run* one that leaves no trace where there is none yet."""
    from powdo.adapters.outbox import Outbox

    scratch = None
    if dry_run and not (directory / "outbox.sqlite").exists():
        import tempfile

        scratch = directory = Path(tempfile.mkdtemp(prefix="powdo-"))
    try:
        outbox = Outbox(directory)
        try:
            with outbox.lock("capture"):
                if not dry_run:
                    outbox.sweep_captures()
                yield outbox
        finally:
            outbox.close()
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
