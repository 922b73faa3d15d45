"""What a worker's desktop gives: screenshots, and ActivityWatch's buckets. Nothing of either is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from powdo.checkup.findings import Finding, attempted, doubtful, failed, good, skipped
from powdo.errors import RetryLaterError
from powdo.run import Run

_OLD = 3600
_FIXES = {
    "no-display": "run it in the desktop session, or set DISPLAY; or screenshots = false in [capture]",
    "wayland-unsupported": "log in with an X session; or screenshots = false in [capture]",
    "portal-refused": "powdo-capture(1) tells how to allow them again",
    "portal-silent": "answer the desktop's question and run this again",
    "windows-unknown": "only without deny and private in [capture] are its screenshots taken",
}
_WANTED = {"currentwindow": "aw-watcher-window", "afkstatus": "aw-watcher-afk"}


def desktop(run: Run, timeout: float) -> Iterator[Finding]:
    """Yield what is found of the screen and of ActivityWatch."""
    if run.settings.capture.screenshots:
        yield from attempted("screen", lambda: _screen(run))
    else:
        yield skipped("screen", "screenshots = false in [capture]")
    yield from attempted("activitywatch", lambda: _activitywatch(run, timeout))


def _screen(run: Run) -> Iterator[Finding]:
    """Yield what a look at the screen gives now; deny and private are left to capture."""
    import tempfile
    from pathlib import Path

    from powdo.adapters.screen import Wishes, look
    from powdo.adapters.screen.session import is_locked
    from powdo.settings.desktop import find_desktop
    from powdo.settings.environment import variables

    found = find_desktop(variables())
    if found and is_locked(found.variables):
        yield skipped("screen", "the session is locked", "unlock it and run this again")
        return
    wishes = run.settings.capture
    with tempfile.TemporaryDirectory(prefix="powdo-doctor-") as folder:
        strict = bool(wishes.deny or wishes.private)
        seen = look(found, Wishes(refusal=lambda windows: None, strict=strict, folder=lambda: Path(folder)))
    if seen.screenshots:
        sizes = ", ".join(f"{shot.width}x{shot.height}" for shot in seen.screenshots)
        count = len(seen.screenshots)
        yield good("screen", f"{count} {'monitor' if count == 1 else 'monitors'}: {sizes}")
    if seen.reason == "screen-off":
        yield skipped("screen", seen.detail)
    elif seen.reason is not None:
        yield failed("screen", RetryLaterError(seen.detail), _FIXES.get(seen.reason, "see powdo-capture(1)"))


def _activitywatch(run: Run, timeout: float) -> Iterator[Finding]:
    from powdo.adapters.activitywatch.rest import ActivityWatch

    wishes = run.settings.capture
    server = ActivityWatch(wishes.activitywatch, timeout=timeout, key_file=wishes.activitywatch_key_file)
    try:
        buckets = server.buckets()
    except RetryLaterError as error:
        yield failed("activitywatch", error, "start ActivityWatch, or mend activitywatch in [capture]")
        return
    kinds = {bucket.type for bucket in buckets}
    for kind, watcher in _WANTED.items():
        if kind not in kinds:
            yield doubtful("activitywatch", f"no bucket of type '{kind}'", f"start {watcher}")
    newest = max((bucket.last_updated for bucket in buckets if bucket.last_updated), default=None)
    if newest is not None and newest < (time.time() - _OLD) * 1_000_000:
        yield doubtful("activitywatch", f"nothing new since {_shown(newest / 1e6)}", "start its watchers")
    yield good("activitywatch", f"{len(buckets)} buckets at '{wishes.activitywatch}'")


def outbox(run: Run) -> Iterator[Finding]:
    """Yield what waits in the outbox and has failed."""
    from powdo.adapters.outbox import Outbox

    store = Outbox(run.settings.state_dir)
    try:
        queues = store.queues()
    finally:
        store.close()
    stuck = [queue for queue in queues if queue.failed]
    for queue in stuck:
        since = f" since {_shown(queue.oldest)}" if queue.oldest else ""
        yield doubtful("outbox", f"{queue.captures} {queue.state}{since}: {queue.error}", "see powdo status")
    if not stuck:
        waiting = sum(queue.captures for queue in queues if queue.state not in ("published", "withheld"))
        yield good("outbox", f"{waiting} captures wait" if waiting else "nothing waits")


def _shown(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
