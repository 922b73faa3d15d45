"""`powdo status`: what is captured now, and what waits where."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from powdo.lines import format_time
from powdo.options import Run, command, report_options

if TYPE_CHECKING:
    from powdo.adapters.outbox import Outbox, Queue
    from powdo.worktime.hours import Control


@command("status", epilog="powdo status\npowdo status --json | jq -r 'select(.what == \"capturing\").detail'")
@report_options
def status(run: Run, json: bool, headers: bool) -> None:
    """Show whether captures are taken now, and what waits for which stage since when."""
    from powdo.adapters.outbox import Outbox
    from powdo.settings.desktop import local_offset

    now = time.time_ns() // 1000
    outbox = Outbox(run.settings.state_dir)
    rows = [_capturing(outbox.control(run.settings.capture.hours, local_offset, since=now), now)]
    last = outbox.last_capture()
    if last is not None:
        rows.append(_row("last capture", since=last.created, detail=last.capture.id))
    rows += _held(run, outbox, now // 1_000_000)
    rows += [_queue(queue) for queue in outbox.queues()]
    outbox.close()
    run.table(rows, json=json, headers=headers)


def _row(
    what: str,
    *,
    count: int | None = None,
    since: float | None = None,
    then: float | None = None,
    detail: str | None = None,
) -> dict[str, Any]:
    """Return a row of the report; *since* and *then* are unix seconds."""
    return {"what": what, "count": count, "since": _time(since), "next": _time(then), "detail": detail}


def _time(at: float | None) -> str | None:
    return None if at is None else format_time(datetime.fromtimestamp(int(at), UTC))


def _capturing(control: Control, now: int) -> dict[str, Any]:
    state = control.state(now)
    since = next((item.begin for item in control.pauses if item.begin <= now < item.end), None)
    then = control.next_change(now)
    return _row(
        "capturing",
        since=None if since is None else since / 1_000_000,
        then=None if then is None else then / 1_000_000,
        detail=state,
    )


def _held(run: Run, outbox: Outbox, now: int) -> list[dict[str, Any]]:
    """Return a row of what [worker] hold or review keeps from the next stage, where one of them is set."""
    worker = run.settings.worker
    if not worker.hold and not worker.review:
        return []
    count, oldest = outbox.held(0 if worker.review else now - worker.hold)
    then = None if worker.review or oldest is None else oldest + worker.hold
    return [_row("held", count=count, since=oldest, then=then, detail="review" if worker.review else "hold")]


def _queue(queue: Queue) -> dict[str, Any]:
    waits = queue.state not in ("acknowledged", "rejected", "withheld")
    return _row(
        queue.state,
        count=queue.captures,
        since=queue.oldest if waits else None,
        then=queue.retry_at if queue.failed else None,
        detail=queue.error,
    )
