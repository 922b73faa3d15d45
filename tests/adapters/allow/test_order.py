from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.adapters.allow.order import (
    FIRST_WAIT,
    LONGEST_WAIT,
    Action,
    Change,
    decode,
    deferred,
    due,
    encode,
    settled,
    standing,
)
from powdo.errors import BadRecordError

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))
KEYS = tuple(digit * 64 for digit in "abc")


def change(number: int, action: Action, pubkey: str = KEYS[0]) -> Change:
    """Return the change with the id *number*."""
    return Change(id=str(number), action=action, pubkey=pubkey, at=NOW, not_before=NOW)


CHANGES = st.lists(st.tuples(st.sampled_from(("add", "remove")), st.sampled_from(KEYS)), max_size=12).map(
    lambda pairs: [change(number, action, key) for number, (action, key) in enumerate(pairs)]
)


def applied(changes: list[Change], listed: frozenset[str]) -> frozenset[str]:
    """Return the list after all *changes*, one after the other."""
    for each in changes:
        listed = listed | {each.pubkey} if each.action == "add" else listed - {each.pubkey}
    return listed


@given(CHANGES, st.frozensets(st.sampled_from(KEYS)))
def test_what_stands_ends_as_the_whole_history(changes: list[Change], listed: frozenset[str]) -> None:
    """Telling only the newest change of each key ends with the same list, one change a key, in order."""
    left = standing(changes)
    assert applied(left, listed) == applied(changes, listed)
    assert len({each.pubkey for each in left}) == len(left)
    assert [int(each.id) for each in left] == sorted(int(each.id) for each in left)


@given(CHANGES, st.data())
def test_what_is_asked_for_meanwhile_survives_settling(changes: list[Change], data: st.DataObject) -> None:
    """Whatever was read and told when newer changes came, the end is that of the whole history."""
    read = data.draw(st.integers(0, len(changes)))
    sent = standing(changes[:read])
    told = data.draw(st.integers(0, len(sent)))
    late = [deferred(each, now=NOW, draw=0.5, error="away") for each in sent[told:]]
    left = settled(changes, frozenset(each.id for each in sent[:told]), late)
    assert applied(sent[:told] + left, frozenset()) == applied(changes, frozenset())
    assert {each.id: each.attempts for each in left if each.attempts}.keys() <= {each.id for each in late}


@given(st.integers(0, 500), st.floats(0, 1))
def test_waits_double_up_to_an_hour_and_half_of_each_is_certain(attempts: int, draw: float) -> None:
    """The wait after any number of attempts is between half and the whole of the doubled, capped one."""
    later = deferred(
        replace(change(1, "add"), attempts=attempts),
        now=NOW,
        draw=draw,
        error="away",
    )
    wait = later.not_before - NOW
    whole = LONGEST_WAIT if attempts > 10 else min(FIRST_WAIT * 2**attempts, LONGEST_WAIT)
    assert whole / 2 <= wait <= whole
    assert (later.attempts, later.error) == (attempts + 1, "away")


@pytest.mark.parametrize(
    ("ahead", "is_due"),
    [
        (timedelta(seconds=-1), True),
        (timedelta(0), True),
        (timedelta(seconds=1), False),
        (LONGEST_WAIT, False),
        (LONGEST_WAIT + timedelta(seconds=1), True),
    ],
)
def test_a_wait_ends_in_time_and_when_the_clock_was_set_back(ahead: timedelta, is_due: bool) -> None:
    """A change is due from its time on, and also when that is further off than any wait."""
    waiting = replace(change(1, "add"), not_before=NOW + ahead)
    assert bool(due([waiting], NOW)) is is_due


def test_a_new_change_is_due() -> None:
    """What was never tried is due."""
    assert due([change(1, "add")], NOW) == [change(1, "add")]


@given(
    st.builds(
        Change,
        id=st.text("0123456789abcdef", min_size=1),
        action=st.sampled_from(("add", "remove")),
        pubkey=st.from_regex(re.compile(r"[0-9a-f]{64}", re.ASCII), fullmatch=True),
        at=MOMENTS,
        attempts=st.integers(0, 1 << 40),
        not_before=MOMENTS,
        error=st.none() | st.text(st.characters(codec="utf-8")),
    )
)
def test_a_line_is_read_as_it_was_written(before: Change) -> None:
    """Each change becomes one line, and the same change again."""
    line = encode(before)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == before


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        encode(change(1, "add"))[:-20],
        encode(change(1, "add")).replace(b'"add"', b'"ad"'),
        encode(change(1, "add")).replace(b'"action":"add"', b'"action":["add"]'),
        encode(change(1, "add")).replace(b"aaa", b"AAA"),
        encode(change(1, "add")).replace(b"Z", b""),
        encode(change(1, "add")).replace(b'"attempts":0', b'"attempts":"0"'),
        b"\xff" + encode(change(1, "add")),
    ],
)
def test_a_damaged_line_is_no_change(line: bytes) -> None:
    """What is not a whole, sound change is refused."""
    with pytest.raises(BadRecordError):
        decode(line)
