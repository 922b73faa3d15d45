"""Times, lengths and counts as a page says them."""

from __future__ import annotations

from datetime import UTC, date

from powdo.worktime.days import Days
from powdo.worktime.intervals import MINUTE, SECOND

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
#: How much of a title is shown.
_LONGEST = 300
#: What a capture lacks and why, in words; others are shown as the capture tells them.
_REASONS = {
    "paused": "paused by the worker",
    "off-hours": "outside the worker's hours",
    "locked": "the session was locked",
    "afk": "nobody was at the keyboard",
    "screen-off": "the screen was off",
    "denied": "a window was visible that the worker keeps private",
    "private": "a window was visible that the worker keeps private",
    "off": "switched off by the worker",
    "away": "ActivityWatch was not running",
    "nonsense": "ActivityWatch answered nonsense",
    "incomplete": "ActivityWatch gave only a part",
}


def length(microseconds: int) -> str:
    """Return a length of time in hours and minutes, or in seconds below a minute."""
    if 0 < microseconds < MINUTE:
        return f"{max(1, microseconds // SECOND)} s"
    minutes = (microseconds + MINUTE // 2) // MINUTE
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def short(text: str) -> str:
    """Return *text*, cut where it is longer than anybody reads: titles have no bounds."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def instant(microseconds: int) -> str:
    """Return date and time in UTC."""
    at = Days(UTC).local(microseconds)
    return f"{plain_date(at.date())}, {at:%H:%M} UTC"


def full_date(day: date) -> str:
    """Return *day* with its weekday: Wednesday, 18 November 2026."""
    return f"{_WEEKDAYS[day.weekday()]}, {plain_date(day)}"


def plain_date(day: date) -> str:
    """Return *day* as 18 November 2026."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def short_date(day: date) -> str:
    """Return *day* as Wed 18 Nov."""
    return f"{_WEEKDAYS[day.weekday()][:3]} {day.day} {_MONTHS[day.month - 1][:3]}"


def clock(days: Days, at: int) -> str:
    """Return what the worker's clock shows at the instant *at*."""
    return f"{days.local(at):%H:%M}"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return *number* with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def period(first: date, last: date) -> str:
    """Return the days from *first* to *last* as a person writes them."""
    if first == last:
        return full_date(first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} – {plain_date(last)}"
    return f"{plain_date(first)} – {plain_date(last)}"


def reason(what: str, why: str) -> str:
    """Return in words that *what* (screenshots, activity) is absent and why."""
    told = _REASONS.get(why) or short(why)
    return f"no {'screenshot' if what == 'screenshots' else what}: {told}"
