"""One capture under way, from the look at the screen to its record."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from powdo.options import Run

if TYPE_CHECKING:
    from powdo.adapters.activitywatch.export import Export
    from powdo.adapters.activitywatch.reading import Reading, Wanted
    from powdo.adapters.activitywatch.rest import ActivityWatch
    from powdo.adapters.outbox import Outbox
    from powdo.adapters.outbox.statements import Statement
    from powdo.adapters.screen import Screenshot
    from powdo.adapters.staging import Staging
    from powdo.records import Capture
    from powdo.worktime.cutting import Allowed
    from powdo.worktime.flood import Bucket
    from powdo.worktime.hours import Control
    from powdo.worktime.manifest import Manifest
    from powdo.worktime.privacy import Privacy

_HINTS = {
    "no-display": "run it in the desktop session, set DISPLAY, or use --no-screenshots",
    "wayland-unsupported": "log in with an X session, or use --no-screenshots",
    "no-tool": "install it, or use --no-screenshots",
    "portal-refused": "powdo-capture(1) tells how to allow them again",
    "portal-silent": "answer the desktop's question at the next capture",
    "windows-unknown": "only without deny and private in [capture] are its screenshots taken",
}

_SECOND = 1_000_000
#: More manual records than these wait for the capture after.
_MOST_STATED = 500
#: Seconds that a screenshot waits for ActivityWatch's word on whether anybody is there.
_PATIENCE = 5.0


class Tick:
    """One capture under way: what it has seen so far, and what it lacks."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.absent: list[tuple[str, str]] = []
        self._screenshots: tuple[Screenshot, ...] = ()
        self._reading: Reading | None = None
        self._parts: list[Allowed] = []
        self._stated: list[Statement] = []

    def _privacy(self) -> Privacy:
        from powdo.worktime.privacy import Privacy

        wishes = self._run.settings.capture
        return Privacy(
            redact=wishes.redact,
            deny=wishes.deny,
            private=wishes.private,
            keep_urls=wishes.keep_urls,
            keep_titles=wishes.keep_titles,
        )

    def _control(self, outbox: Outbox, since: int) -> Control:
        """Return what the worker allows from *since* (microseconds) on."""
        from powdo.settings.desktop import local_offset

        return outbox.control(self._run.settings.capture.hours, local_offset, since=since)

    # --- the screen ---

    def look(self, outbox: Outbox, away: Callable[[], bool]) -> None:
        """Take the screenshots, or remember why there are none; *away* tells whether the worker is."""
        now = time.time_ns() // 1000
        state = self._control(outbox, now).state(now)
        if state != "on":
            self._without(state, state)
            return
        from powdo.adapters.screen import Wishes, look
        from powdo.adapters.screen.session import is_locked
        from powdo.settings.desktop import find_desktop
        from powdo.settings.environment import variables
        from powdo.worktime.privacy import screen_refusal

        desktop = find_desktop(variables())
        if desktop and is_locked(desktop.variables):
            self._without("locked", "the session is locked")
            return
        if desktop and away():
            self._without("afk", "nobody is at the keyboard")
            return
        privacy, capture = self._privacy(), self._run.settings.capture
        seen = look(
            desktop,
            Wishes(
                refusal=lambda windows: screen_refusal(windows, privacy),
                strict=bool(privacy.deny or privacy.private),
                folder=lambda: outbox.staging(f"look-{os.urandom(8).hex()}"),
                blur=capture.blur,
                scale=capture.scale,
            ),
        )
        self._screenshots = seen.screenshots
        if seen.reason in ("denied", "private"):
            self._without(seen.reason, f"a visible window is {seen.reason}")
        elif seen.reason == "screen-off":
            self._without(seen.reason, seen.detail)
        elif seen.reason is not None:
            self._lack(seen.reason, seen.detail)

    def _without(self, reason: str, detail: str) -> None:
        """Keep as it should be: no screenshot for *reason*."""
        self._run.console.info(f"no screenshot: {detail}")
        self.absent.append(("screenshots", reason))

    def _lack(self, reason: str, detail: str) -> None:
        what = "a screenshot is missing" if self._screenshots else "no screenshot"
        self._run.console.warning(f"{what}: {detail}", hint=_HINTS.get(reason))
        self.absent.append(("screenshots", reason))

    # --- the buckets ---

    def _activitywatch(self, timeout: float) -> ActivityWatch:
        from powdo.adapters.activitywatch.rest import ActivityWatch

        wishes = self._run.settings.capture
        return ActivityWatch(wishes.activitywatch, timeout=timeout, key_file=wishes.activitywatch_key_file)

    def is_away(self, timeout: float) -> bool:
        """Return whether ActivityWatch says that nobody is at the keyboard."""
        from powdo.adapters.activitywatch.presence import is_away

        return is_away(self._activitywatch(min(timeout, _PATIENCE)), int(time.time()))

    def read(self, outbox: Outbox, export: Export | None, wanted: Wanted, timeout: float) -> None:
        """Read what is new in *export*, else in ActivityWatch, or remember why nothing could be read."""
        from powdo.adapters.activitywatch.reading import read
        from powdo.errors import PeerProtocolError, RetryLaterError

        console = self._run.console
        source = export or self._activitywatch(timeout)
        try:
            reading = self._reading = read(source, wanted, outbox.cursor)
        except (RetryLaterError, PeerProtocolError) as error:
            console.warning(f"no activity: {error.message}", hint=error.hint)
            self.absent.append(("activity", "away" if isinstance(error, RetryLaterError) else "nonsense"))
            return
        for problem in reading.problems:
            console.warning(problem)
        if reading.incomplete:
            self.absent.append(("activity", "incomplete"))
        if reading.first is not None:
            begin = datetime.fromtimestamp(reading.first).astimezone()
            console.info(f"first capture: activity is taken from {begin:%Y-%m-%d %H:%M:%S %Z} on")

    # --- the capture ---

    def keep(self, outbox: Outbox, *, dry_run: bool) -> None:
        """Make the capture durable, then write its record; with nothing to record be silent."""
        self._obey(outbox)
        self._take_statements(outbox)
        cursors = self._reading.cursors if self._reading else {}
        if not self._screenshots and not self._parts and not self._stated:
            if cursors and not dry_run:
                outbox.advance(cursors)
            return
        from powdo import signals
        from powdo.adapters.staging import Staging
        from powdo.errors import PowdoError

        now = time.time()
        capture_id = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{os.urandom(4).hex()}"
        folder = None if dry_run else outbox.staging(capture_id)
        try:
            manifest = self._fill(Staging(folder), outbox, capture_id)
        except PowdoError:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        record = _record(manifest, outbox.capture_path(capture_id))
        with signals.deferred():
            if folder is not None:
                stated = [one.id for one in self._stated]
                outbox.add_capture(record, folder, cursors, now=int(now), stated=stated)
            self._run.emit(record)

    def _obey(self, outbox: Outbox) -> None:
        """Clean what was read, and cut out what pauses and hours forbid, as they stand by now."""
        from powdo.worktime.cutting import obeying
        from powdo.worktime.privacy import protect

        parts = self._reading.parts if self._reading else []
        times = [shot.time for shot in self._screenshots] + [part.begin * _SECOND for part in parts]
        if not times:
            return
        control = self._control(outbox, min(times))
        states = {control.state(shot.time) for shot in self._screenshots} - {"on"}
        if states:  # a pause that came while we looked
            self._screenshots = ()
            self.absent.append(("screenshots", min(states)))
        # Cleaned while still whole: a tab that was incognito in a pause hides its title before and after.
        clean = protect([part.bucket for part in parts], self._privacy())
        self._parts = [
            kept
            for part, bucket in zip(parts, clean, strict=True)
            if (kept := obeying(bucket, part.begin, part.end, control)) is not None
        ]
        told = {reason for part in self._parts for reason in part.reasons}
        self.absent += [("activity", reason) for reason in sorted(told, reverse=True)]

    def _take_statements(self, outbox: Outbox) -> None:
        """Take what the worker stated by hand; in a pause and outside the hours it waits."""
        now = time.time_ns() // 1000
        if self._control(outbox, now).state(now) == "on":
            self._stated = outbox.statements(waiting=True)[:_MOST_STATED]

    def _fill(self, staging: Staging, outbox: Outbox, capture_id: str) -> Manifest:
        """Return the manifest of the capture, written with all its files."""
        from powdo.settings.desktop import time_zone
        from powdo.settings.environment import variables

        for part in self._parts:
            staging.add_bucket(part.bucket, part.begin, part.end)
        device = outbox.device(self._run.settings.identity.user or "")
        if self._stated:
            bucket, begin, end = stated_bucket(self._stated, device)
            staging.add_bucket(bucket, begin, end)
        for shot in self._screenshots:
            size = {"width": shot.width, "height": shot.height}
            staging.add_screenshot(shot.data, shot.kind, time=shot.time, monitor=shot.monitor, **size)
        return staging.finish(
            capture_id=capture_id,
            device=device,
            sequence=outbox.next_sequence(device),
            timezone=time_zone(variables()),
            absent=self.absent,
            salt=os.urandom(16).hex(),
        )


def stated_bucket(stated: Sequence[Statement], device: str) -> tuple[Bucket, int, int]:
    """Return the bucket of the manual records *stated*, and the seconds [begin, end) it covers."""
    from powdo.worktime import manual
    from powdo.worktime.flood import Bucket, BucketEvent

    events = [BucketEvent(one.begin * _SECOND, one.end * _SECOND, one.manual.data()) for one in stated]
    bucket = Bucket(manual.BUCKET, manual.BUCKET_TYPE, manual.CLIENT, "", tuple(events), device)
    return bucket, min(one.begin for one in stated), max(one.end for one in stated)


def _record(manifest: Manifest, path: Path) -> Capture:
    from powdo.records import Capture
    from powdo.worktime.manifest import from_micros

    return Capture(
        id=manifest.id,
        sequence=manifest.sequence,
        device=manifest.device,
        begin=from_micros(manifest.begin),
        end=from_micros(manifest.end),
        path=str(path),
        screenshots=len(manifest.screenshots),
        bucket_events=manifest.bucket_events,
        absent=tuple(f"{item.what}: {item.reason}" for item in manifest.absent),
    )
