"""A worker's days, put together."""

from __future__ import annotations

from datetime import UTC, date

from powdo.worktime.days import Days
from powdo.worktime.intervals import DAY, MINUTE, SECOND
from powdo.worktime.journal import Journal
from powdo.worktime.pieces import Missing
from tests.worktime.test_pieces import piece


def test_what_is_missing_overnight_is_on_both_days() -> None:
    """A gap is shown where it begins and where it ends, cut at midnight, not on the days between."""
    journal = Journal(Days(UTC))
    journal.add_missing([Missing(DAY - MINUTE, 4 * DAY + MINUTE, "gap", "never arrived")])
    assert [(page.day, page.missing[0].begin, page.missing[0].end) for page in journal.pages()] == [
        (date(1970, 1, 1), DAY - MINUTE, DAY),
        (date(1970, 1, 5), 4 * DAY, 4 * DAY + MINUTE),
    ]


def test_an_instant_is_missing_too() -> None:
    """A gap of no length has a place on its day."""
    journal = Journal(Days(UTC))
    journal.add_missing([Missing(DAY, DAY, "gap", "never arrived")])
    (page,) = journal.pages()
    assert (page.day, len(page.missing)) == (date(1970, 1, 2), 1)


def test_a_capture_is_on_the_day_it_ends() -> None:
    """The first capture of a morning may reach back into the night."""
    journal = Journal(Days(UTC))
    journal.add_pieces([piece(143), piece(144)])  # 23:50 to 24:00, and from then on
    assert [(page.day.day, [one.sequence for one in page.pieces]) for page in journal.pages()] == [
        (1, [143]),
        (2, [144]),
    ]


def test_screenshots_keep_their_places() -> None:
    """Each day knows which of all screenshots are its own."""
    journal = Journal(Days(UTC))
    journal.add_shots([SECOND, 2 * SECOND, DAY + SECOND])
    assert [page.shots for page in journal.pages()] == [[0, 1], [2]]
