"""Rewards counted from timesheets: how much each worker gets for each period. Pure.

Rules:
- a timesheet counts in the period in which it begins, in the zone that is asked for;
- one that comes twice counts once;
- seconds are whole and exact; only the amount is rounded, half up, to two decimals.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

Period = Literal["day", "week", "month", "year"]
PERIODS: tuple[Period, ...] = ("day", "week", "month", "year")
_CENT = Decimal("0.01")


class Tracked(NamedTuple):
    """What a timesheet counts for: *key* is the same when it comes again."""

    user: str
    begin: datetime
    seconds: int
    key: tuple[str, ...]


class Earned(NamedTuple):
    """The *seconds* of *user* in *period*, and the *amount* they are worth."""

    user: str
    period: str
    seconds: int
    amount: Decimal


def earned(timesheets: Iterable[Tracked], *, rate: Decimal, period: Period, zone: ZoneInfo) -> list[Earned]:
    """Return what each user earned in each period, *rate* an hour, by user and period."""
    seconds: dict[tuple[str, str], int] = {}
    seen: set[tuple[str, ...]] = set()
    for item in timesheets:
        if item.key in seen:
            continue
        seen.add(item.key)
        place = item.user, period_of(item.begin.astimezone(zone), period)
        seconds[place] = seconds.get(place, 0) + item.seconds
    return [
        Earned(user, name, total, (rate * total / 3600).quantize(_CENT, ROUND_HALF_UP))
        for (user, name), total in sorted(seconds.items())
    ]


def period_of(moment: datetime, period: Period) -> str:
    """Return the period in which the local *moment* lies: 2026-11-28, 2026-W48, 2026-11 or 2026."""
    if period == "week":
        year, week, _ = moment.isocalendar()
        return f"{year:04d}-W{week:02d}"
    return moment.strftime({"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}[period])
