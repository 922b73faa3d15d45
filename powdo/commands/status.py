"""`powdo status`: what is captured now, and what waits where."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from powdo.lines import format_time
from powdo.options import Run, command, report_options

if TYPE_CHECKING:
    from powdo.adapters.outbox import Outbox, Queue, Unanswered
    from powdo.worktime.hours import Control


@command(
    "status",
    epilog="powdo status\n"
    "powdo status --json | jq -r 'select(.what == \"capturing\").detail'\n"
    "powdo status --bundles --json | jq -r 'select(.state == \"rejected\") | [.id, .detail] | @tsv'",
)
@click.option("--bundles", is_flag=True, help="Show each capture and what became of it instead.")
@report_options
def status(run: Run, bundles: bool, json: bool, headers: bool) -> None:
    """Show whether captures are taken now, and what waits for which stage since when."""
    from powdo.adapters.outbox import Outbox

    outbox = Outbox(run.settings.state_dir)
    rows = _bundles(run, outbox) if bundles else _overview(run, outbox)
    outbox.close()
    run.nothing = "there are no captures yet"
    run.table(rows, json=json, headers=headers)


def _overview(run: Run, outbox: Outbox) -> list[dict[str, Any]]:
    from powdo.settings.desktop import local_offset

    now = time.time_ns() // 1000
    rows = [_capturing(outbox.control(run.settings.capture.hours, local_offset, since=now), now)]
    last = outbox.last_capture()
    if last is not None:
        rows.append(_row("last capture", since=last.created, detail=last.capture.id))
    rows += _held(run, outbox, now // 1_000_000)
    unanswered = outbox.unanswered(now=now // 1_000_000, after=run.settings.worker.resend_after)
    rows += [_queue(queue, unanswered, outbox) for queue in outbox.queues()]
    return rows + _events(outbox) + _needs_a_person(outbox, unanswered)


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


def _events(outbox: Outbox) -> list[dict[str, Any]]:
    """Return a row of the events that are no gift wraps and wait for the primary relay, if there are any."""
    count, oldest, due, error = outbox.events_that_wait()
    return [_row("events", count=count, since=oldest, then=due, detail=error)] if count else []


def _queue(queue: Queue, unanswered: list[Unanswered], outbox: Outbox) -> dict[str, Any]:
    then, detail = queue.retry_at if queue.failed else None, queue.error
    if queue.state == "published":
        then = min((item.again for item in unanswered if item.again is not None), default=None)
        again = sum(item.times > 0 for item in unanswered)
        detail = f"sent again: {again}" if again else None
    elif queue.state == "rejected":
        detail = outbox.latest_refusal()
    waits = queue.state not in ("acknowledged", "rejected", "withheld")
    return _row(
        queue.state, count=queue.captures, since=queue.oldest if waits else None, then=then, detail=detail
    )


def _needs_a_person(outbox: Outbox, unanswered: list[Unanswered]) -> list[dict[str, Any]]:
    """Return a row of what goes on by nobody but a person, where there is something."""
    refused = next(queue.captures for queue in outbox.queues() if queue.state == "rejected")
    late = [item.sent for item in unanswered if item.overdue]
    told = {"refused": refused, "no receipt": len(late), "asked for and not kept": outbox.count_gone()}
    detail = ", ".join(f"{what}: {number}" for what, number in told.items() if number)
    if not detail:
        return []
    return [_row("needs a person", count=sum(told.values()), since=min(late, default=None), detail=detail)]


# --- one by one ------------------------------------------------------------------------------------


def _bundles(run: Run, outbox: Outbox) -> list[dict[str, Any]]:
    """Return a row for each capture, by device and number."""
    worker, now = run.settings.worker, int(time.time())
    released = outbox.released()
    unanswered = {item.id: item for item in outbox.unanswered(now=now, after=worker.resend_after)}
    failed = outbox.failed_wraps()
    rows = []
    for entry in outbox.entries():
        waits = entry.state == "captured" and entry.capture.id not in released
        held = waits and (worker.review or entry.created + worker.hold > now)
        then = entry.created + worker.hold if held and not worker.review else None
        detail = entry.error
        if entry.attempts and not held:
            then = entry.retry_at
        if detail is None and entry.capture.id in failed:
            then, detail = failed[entry.capture.id]
        if (item := unanswered.get(entry.capture.id)) is not None:
            then, detail = item.again, _told(item)
        rows.append(
            {
                "id": entry.capture.id,
                "sequence": entry.capture.sequence,
                "state": "held" if held else entry.state,
                "begin": format_time(entry.capture.begin),
                "end": format_time(entry.capture.end),
                "next": _time(then),
                "detail": detail,
            }
        )
    return rows


def _told(item: Unanswered) -> str | None:
    if item.overdue:
        return f"no receipt, sent {item.times + 1} times: needs a person"
    return f"no receipt yet, sent {item.times + 1} times" if item.times else None
