"""What Kimai refused and nobody needs to be asked about again at once: remembered until that could change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from powdo.worktime.reconcile import SentTimesheet, Wanted

#: Rules that no API shows (a lockdown, a limit, somebody's own entry) are tried again after so many seconds.
PATIENCE = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """One write that was refused: of the ledger's row *id*, or of a new timesheet where *kimai_id* is None.

    *context* is a hash over what Kimai shows of what it may have been refused for; *retry_at* is unix time.
    """

    id: str
    worker: int | str
    kimai_id: int | None
    user: int
    project: int
    activity: int
    begin: int
    end: int
    reason: str
    context: str
    retry_at: int

    def is_due(self, context: str, now: float) -> bool:
        """Return whether what it was refused for may have changed."""
        return self.context != context or now >= self.retry_at


def holding(blocked: Iterable[Blocked], want: Wanted) -> Blocked | None:
    """Return which of *blocked* is a new timesheet such as *want*: late data may have moved its borders."""
    for item in blocked:
        alike = (item.user, item.project, item.activity) == (want.user, want.project, want.activity)
        if item.kimai_id is None and alike and item.begin < want.end and item.end > want.begin:
            return item
    return None


def of_want(name: str, worker: int | str, want: Wanted, reason: str, context: str, now: float) -> Blocked:
    """Return that *want*, a new timesheet, was refused for *reason*."""
    return Blocked(
        id=name,
        worker=worker,
        kimai_id=None,
        user=want.user,
        project=want.project,
        activity=want.activity,
        begin=want.begin,
        end=want.end,
        reason=reason,
        context=context,
        retry_at=int(now) + PATIENCE,
    )


def of_row(row: SentTimesheet, reason: str, context: str, now: float) -> Blocked:
    """Return that a change of *row* was refused for *reason*."""
    return Blocked(
        id=row.id,
        worker=row.worker,
        kimai_id=row.kimai_id,
        user=row.user,
        project=row.project,
        activity=row.activity,
        begin=row.begin,
        end=row.end,
        reason=reason,
        context=context,
        retry_at=int(now) + PATIENCE,
    )
