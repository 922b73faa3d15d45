"""Hours, overrides and pauses, against the wall clock minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import ConfigurationError
from powdo.worktime.hours import FOREVER, Control, Offset, Range, in_hours, parse_hours
from powdo.worktime.intervals import DAY, MINUTE, SECOND, Interval, total

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 60 * MINUTE
DAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")


def offset_in(zone: ZoneInfo) -> Offset:
    """Return the clock of *zone*."""

    def offset(at: int) -> int:
        shift = datetime.fromtimestamp(at, zone).utcoffset()
        assert shift is not None
        return int(shift.total_seconds())

    return offset


def at(text: str) -> int:
    """Return the microseconds of an RFC 3339 time."""
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


def control(
    hours: str = "", *, pauses: tuple[Interval, ...] = (), overrides: tuple[Interval, ...] = ()
) -> Control:
    """Return a control on Berlin's clock."""
    ranges = parse_hours(hours) if hours else ()
    return Control(hours=ranges, overrides=overrides, pauses=pauses, offset=offset_in(BERLIN))


WORKDAYS = frozenset(range(5))


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        ("Mo-Fr 08:00-18:00", (Range(WORKDAYS, 8 * 3600, 18 * 3600),)),
        (["mo-fr 08:00-18:00"], (Range(WORKDAYS, 8 * 3600, 18 * 3600),)),
        (
            "Mo, We 08:00-12:00, 13:00-17:30",
            (
                Range(frozenset({0, 2}), 8 * 3600, 12 * 3600),
                Range(frozenset({0, 2}), 13 * 3600, 17 * 3600 + 1800),
            ),
        ),
        ("Sa-Mo 00:00-24:00", (Range(frozenset({5, 6, 0}), 0, 24 * 3600),)),
        ("22:00-06:00", (Range(frozenset(range(7)), 22 * 3600, 30 * 3600),)),
        (
            ["Mo 08:00-09:00; Tu 08:00-09:00", "We 08:00-09:00"],
            tuple(Range(frozenset({day}), 8 * 3600, 9 * 3600) for day in range(3)),
        ),
    ],
)
def test_hours_are_read(value: object, ranges: tuple[Range, ...]) -> None:
    """Days, times, lists of both, and ranges past midnight mean what they say."""
    assert parse_hours(value) == ranges


@pytest.mark.parametrize(
    "value",
    ["", "Mo", "Mo-Fr", "Mo-Fr 8-18", "Mo-Fr 08:00", "Mx 08:00-09:00", "08:00-25:00", "24:00-06:00",
     "08:00-08:00", "08:60-09:00", "Mo Tu 08:00-09:00", 8, ["Mo 08:00-09:00", 1], "Mo 08:00-09:00;",
     "Mo- 08:00-09:00;;"],
)  # fmt: skip
def test_nonsense_is_refused(value: object) -> None:
    """What is no hours is a configuration error that quotes it."""
    with pytest.raises(ConfigurationError, match=r"no hours such as Mo-Fr 08:00-18:00"):
        parse_hours(value)


def test_a_day_has_its_hours() -> None:
    """On a working day the hours are those of the wall clock; on a Sunday there are none."""
    hours = parse_hours("Mo-Fr 08:00-18:00")
    begin, end = at("2026-11-20T00:00:00+01:00"), at("2026-11-23T00:00:00+01:00")
    assert in_hours(hours, begin, end, offset_in(BERLIN)) == [
        Interval(at("2026-11-20T08:00:00+01:00"), at("2026-11-20T18:00:00+01:00"))
    ]


def test_a_night_belongs_to_the_day_it_begins_on() -> None:
    """A range past midnight goes on into the next day, also where only that day is looked at."""
    hours = parse_hours("Fr 22:00-06:00")
    begin, end = at("2026-11-21T00:00:00+01:00"), at("2026-11-22T00:00:00+01:00")
    assert in_hours(hours, begin, end, offset_in(BERLIN)) == [Interval(begin, begin + 6 * HOUR)]


def test_the_hour_shown_twice_counts_twice() -> None:
    """When the clock is set back, both passes of the repeated half hour are allowed, the hour between not."""
    hours = parse_hours("02:00-02:30")
    begin = at("2026-10-25T00:00:00+02:00")
    assert in_hours(hours, begin, begin + DAY, offset_in(BERLIN)) == [
        Interval(at("2026-10-25T00:00:00Z"), at("2026-10-25T00:30:00Z")),
        Interval(at("2026-10-25T01:00:00Z"), at("2026-10-25T01:30:00Z")),
    ]


def test_the_hour_that_is_skipped_never_counts() -> None:
    """When the clock is set forward, a range in the skipped hour is empty and one around it is shorter."""
    begin = at("2026-03-29T00:00:00+01:00")
    clock = offset_in(BERLIN)
    assert in_hours(parse_hours("02:00-03:00"), begin, begin + DAY, clock) == []
    assert total(in_hours(parse_hours("01:00-04:00"), begin, begin + DAY, clock)) == 2 * HOUR


@given(
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 47), st.integers(1, 48)), min_size=1, max_size=3),
    st.sampled_from(["2026-03-07", "2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-11-01"]),
    st.integers(0, 59),
)
def test_hours_are_what_the_clock_shows(
    name: str, wanted: list[tuple[int, int, int]], day: str, minute: int
) -> None:
    """In every zone and around every change of its clock, an instant is allowed if its wall clock says so."""
    zone = ZoneInfo(name)
    texts = [
        f"{DAYS[weekday]} {first // 2:02}:{first % 2 * 30:02}-{last // 2:02}:{last % 2 * 30:02}"
        for weekday, first, last in wanted
        if first != last
    ]
    if not texts:
        return
    ranges = parse_hours(texts)
    begin = at(f"{day}T00:00:00Z") + minute * MINUTE
    found = in_hours(ranges, begin, begin + 2 * DAY, offset_in(zone))
    for instant in range(begin, begin + 2 * DAY, 10 * MINUTE):
        wall = datetime.fromtimestamp(instant // SECOND, UTC).astimezone(zone).replace(tzinfo=None)
        second = wall.hour * 3600 + wall.minute * 60 + wall.second
        shown = any(
            (wall.weekday() in item.days and item.begin <= second < item.end)
            or ((wall.weekday() - 1) % 7 in item.days and item.begin <= second + 86_400 < item.end)
            for item in ranges
        )
        assert any(item.begin <= instant < item.end for item in found) == shown


# --- overrides and pauses --------------------------------------------------------------------------

NOON, EVENING = at("2026-11-20T12:00:00+01:00"), at("2026-11-20T20:00:00+01:00")


def test_without_hours_all_is_allowed() -> None:
    """No hours mean every hour, and nothing changes by itself."""
    assert control().allowed(NOON, EVENING) == [Interval(NOON, EVENING)]
    assert (control().state(NOON), control().next_change(NOON)) == ("on", None)


def test_an_override_allows_off_hours() -> None:
    """An override opens its time and no more; both ends are changes."""
    override = Interval(EVENING, EVENING + HOUR)
    allowed = control("Mo-Fr 08:00-18:00", overrides=(override,))
    assert allowed.allowed(NOON, EVENING + 2 * HOUR) == [Interval(NOON, NOON + 6 * HOUR), override]
    assert allowed.state(EVENING) == "on"
    assert allowed.next_change(NOON) == NOON + 6 * HOUR
    assert allowed.next_change(EVENING) == EVENING + HOUR
    monday = at("2026-11-23T08:00:00+01:00")
    assert (allowed.state(EVENING + HOUR), allowed.next_change(EVENING + HOUR)) == ("off-hours", monday)


def test_the_end_of_a_long_pause_is_told() -> None:
    """A pause of a fortnight changes when it ends, though hours are looked through for a week only."""
    end = NOON + 14 * 24 * HOUR
    for hours in ((), ("Mo-Fr 08:00-18:00",)):
        assert control(*hours, pauses=(Interval(NOON, end),)).next_change(NOON) == end


def test_a_pause_beats_all() -> None:
    """A pause is cut out of hours and overrides; an open one has no end in sight."""
    open_pause = Interval(NOON, FOREVER)
    paused = control("Mo-Fr 08:00-18:00", pauses=(open_pause,), overrides=(Interval(NOON, EVENING),))
    assert paused.allowed(NOON - HOUR, EVENING) == [Interval(NOON - HOUR, NOON)]
    assert (paused.state(NOON - 1), paused.state(NOON), paused.next_change(NOON)) == ("on", "paused", None)
    assert paused.reasons(NOON - HOUR, NOON + HOUR) == ["paused"]
    assert paused.reasons(NOON - HOUR, EVENING + HOUR) == ["paused", "off-hours"]
    assert paused.reasons(NOON - HOUR, NOON) == []
