"""Periods as people name them: `--since monday`, `--until 2026-12-01`, `--last 2w`, `--last month`.

Rules:
- the words stay words until it is known whose days are meant: a date is the beginning of a day of the worker;
- a number of days or weeks counts whole days, today included; hours and minutes count back from now;
- `day`, `week`, `month` and `year` are the last ones that are over; a week begins on Monday.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from powdo.errors import ConfigurationError
from powdo.settings.units import Calendar, parse_duration, parse_moment

_DAY = 86_400
_BACK = re.compile(r"\d{1,6}[smhdw]", re.ASCII)
_LONGEST = 3650 * _DAY
_UNITS = ("day", "week", "month", "year")


def _last_unit(unit: str, today: date) -> tuple[date, date]:
    """Return the first day of the last *unit* that is over on *today*, and of the one in which it lies."""
    if unit == "day":
        return today - timedelta(days=1), today
    if unit == "week":
        monday = today - timedelta(days=today.weekday())
        return monday - timedelta(days=7), monday
    if unit == "month":
        first = today.replace(day=1)
        return (first - timedelta(days=1)).replace(day=1), first
    return date(today.year - 1, 1, 1), date(today.year, 1, 1)


def parse_last(text: str, calendar: Calendar) -> tuple[datetime, datetime | None]:
    """Return when the period *text* names begins and ends; None is still open. Raises: ConfigurationError."""
    word = text.strip().lower()
    if word in _UNITS:
        first, after = _last_unit(word, calendar.today)
        return calendar.begin(first), calendar.begin(after)
    seconds = parse_duration(word) if _BACK.fullmatch(word) else 0
    if not 0 < seconds <= _LONGEST:
        raise ConfigurationError(f"'{text[:40]}' is no period: use 8h, 7d, 2w, or day, week, month, year")
    if seconds % _DAY or word[-1] not in "dw":
        return calendar.now - timedelta(seconds=seconds), None
    return calendar.begin(calendar.today - timedelta(days=seconds // _DAY - 1)), None


class Period(NamedTuple):
    """A period in words, asked for at *now*."""

    now: datetime
    since: str | None = None
    until: str | None = None
    last: str | None = None

    def within(
        self, zone: tzinfo | None = None, day_start: int = 0
    ) -> tuple[datetime | None, datetime | None]:
        """Return when it begins and ends where days begin *day_start* seconds after midnight in *zone*.

        None is open. Raises: ConfigurationError when the words name no period.
        """
        if self.last is not None:
            return parse_last(self.last, Calendar(self.now, zone, day_start))
        begin, end = (
            None if text is None else parse_moment(text, now=self.now, zone=zone, day_start=day_start)
            for text in (self.since, self.until)
        )
        return begin, end
