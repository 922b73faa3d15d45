"""What Kimai refused, kept so that it is told and not asked again before the reason could have changed.

Rules:
- a project or an activity (ended, hidden, gone), the tracking mode, the permissions: what Kimai shows of them
  is hashed as the *context* of a refusal, and another context is a reason to try again;
- what no call shows (a lockdown, an export, somebody's own entry) is tried again after a day;
- what is no longer wanted is forgotten.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable

from powdo.adapters.kimai.catalogue import Catalogue
from powdo.adapters.kimai.client import Account
from powdo.adapters.kimai.telling import Store
from powdo.worktime import blocked
from powdo.worktime.blocked import Blocked
from powdo.worktime.intervals import Interval
from powdo.worktime.reconcile import SentTimesheet, Wanted


class Memory:
    """The refusals of one Kimai; *insist* tries everything again."""

    def __init__(
        self, store: Store, catalogue: Catalogue, account: Account, now: Callable[[], float], *, dry: bool
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._account = account
        self._now = now
        self._dry = dry
        self._rows: dict[int, dict[str, Blocked]] = {}
        self._touched: set[str] = set()
        self.insist = False

    def _of(self, worker: int) -> dict[str, Blocked]:
        if worker not in self._rows:
            self._rows[worker] = {item.id: item for item in self._store.blocked(worker)}
        return self._rows[worker]

    def _context(self, project: int, activity: int) -> str:
        seen = [
            self._catalogue.projects.get(project),
            self._catalogue.activities.get(activity),
            dict(self._account.config),
            [self._account.id, self._account.version, *sorted(self._account.roles)],
        ]
        return hashlib.sha256(json.dumps(seen, sort_keys=True, default=str).encode()).hexdigest()

    def _is_due(self, item: Blocked) -> bool:
        return self.insist or item.is_due(self._context(item.project, item.activity), self._now())

    def due(self, worker: int) -> list[Interval]:
        """Return the periods in which something refused is worth another try."""
        return [Interval(item.begin, item.end) for item in self._of(worker).values() if self._is_due(item)]

    # --- one timesheet ---------------------------------------------------------------------------

    def of_want(self, worker: int, want: Wanted) -> Blocked | None:
        """Return the refusal of the new timesheet *want* that still stands."""
        return self._standing(blocked.holding(self._of(worker).values(), want))

    def of_row(self, worker: int, row: SentTimesheet) -> Blocked | None:
        """Return the refusal of a change of *row* that still stands."""
        return self._standing(self._of(worker).get(row.id))

    def _standing(self, item: Blocked | None) -> Blocked | None:
        if item is None:
            return None
        self._touched.add(item.id)
        return None if self._is_due(item) else item

    def refuse_want(self, worker: int, name: str, want: Wanted, reason: str) -> None:
        """Remember that the new timesheet *want* was refused; *name* is the id of a new memory."""
        before = blocked.holding(self._of(worker).values(), want)
        context = self._context(want.project, want.activity)
        self._put(
            worker, blocked.of_want(before.id if before else name, worker, want, reason, context, self._now())
        )

    def refuse_row(self, worker: int, row: SentTimesheet, reason: str) -> None:
        """Remember that a change of *row* was refused."""
        context = self._context(row.project, row.activity)
        self._put(worker, blocked.of_row(row, reason, context, self._now()))

    def _put(self, worker: int, item: Blocked) -> None:
        self._of(worker)[item.id] = item
        self._touched.add(item.id)
        if not self._dry:
            self._store.put_blocked(item)

    # --- what is over ----------------------------------------------------------------------------

    def accept_want(self, worker: int, want: Wanted) -> None:
        """Forget that a new timesheet such as *want* was refused."""
        item = blocked.holding(self._of(worker).values(), want)
        if item is not None:
            self._drop(worker, [item.id])

    def accept_row(self, worker: int, row: SentTimesheet) -> None:
        """Forget that a change of *row* was refused."""
        if row.id in self._of(worker):
            self._drop(worker, [row.id])

    def sweep(self, worker: int, scope: Interval) -> None:
        """Forget the refusals in *scope* that nothing asked for since the last sweep."""
        over = [
            item.id
            for item in self._of(worker).values()
            if item.begin < scope.end and item.end > scope.begin and item.id not in self._touched
        ]
        self._touched.clear()
        self._drop(worker, over)

    def _drop(self, worker: int, names: Iterable[str]) -> None:
        gone = [name for name in names if self._of(worker).pop(name, None) is not None]
        if gone and not self._dry:
            self._store.drop_blocked(gone)
