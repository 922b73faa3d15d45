"""What telling the relay of [allow] needs: an admin API that takes our secret, list and queue in step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from powdo.checkup.findings import Finding, attempted, doubtful, failed, good, skipped
from powdo.errors import PowdoError
from powdo.run import Run

if TYPE_CHECKING:
    from powdo.adapters.allow import Change


def allowlist(run: Run, timeout: float) -> Iterator[Finding]:
    """Yield what is found of the list that this side keeps at the relay; nothing is changed or told."""
    allow = run.settings.allow
    if not allow.enabled:
        yield skipped("allow", "telling the relay is off", "see NOSTR_ENABLED, and enabled in [allow]")
        return
    if allow.url is None:
        yield skipped("allow", "no url in [allow]", "set it, or keep the relay's list by hand")
        return
    yield from attempted("allow", lambda: _queue(run))
    yield from attempted("allow", lambda: _relay(run, timeout))


def _queue(run: Run) -> Iterator[Finding]:
    """Yield what the relay was not told yet, and lines of the queue that are damaged."""
    from powdo.adapters.allow import State

    warnings: list[str] = []
    waiting = State(run.settings.state_dir, warnings.append).waiting()
    for text in warnings:
        yield doubtful("allow", text, "run powdo allow sync")
    if waiting:
        yield doubtful("allow", _told(waiting), "run powdo allow flush")


def _told(waiting: Sequence[Change]) -> str:
    """Return in words what waits in the queue."""
    from powdo.lines import format_time

    oldest = min(change.at for change in waiting).replace(microsecond=0)
    count = "1 change waits" if len(waiting) == 1 else f"{len(waiting)} changes wait"
    errors = [change.error for change in waiting if change.error]
    met = f"; the last attempt met: {errors[-1]}" if errors else ""
    return f"{count} to be told to the relay, since {format_time(oldest)}{met}"


def _relay(run: Run, timeout: float) -> Iterator[Finding]:
    """Yield whether the admin API answers to our secret, and whether its list is what is wanted."""
    from powdo import admission

    try:
        with closing(admission.connect(run.settings, timeout)) as client:
            listed = client.pubkeys()
    except PowdoError as error:
        yield failed("allow", error, error.hint or "is the relay running, and is url in [allow] where it is?")
        return
    yield good("allow", f"'{client.url}' takes the secret, and lets {len(listed)} in")
    wanted = admission.union(run.settings, admission.state(run).pins()).reasons
    missing, surplus = wanted.keys() - listed, listed - wanted.keys()
    if missing or surplus:
        yield doubtful(
            "allow",
            f"its list is not in step: {len(missing)} missing, {len(surplus)} surplus",
            "powdo allow status shows whom, powdo allow sync mends it",
        )
