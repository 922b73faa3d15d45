"""`powdo.worktime.reconcile`: whose a timesheet is, and what is matched with what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.worktime.intervals import MINUTE, Interval
from powdo.worktime.reconcile import (
    Kept,
    Listed,
    SentTimesheet,
    Wanted,
    arrived,
    mark,
    marker_of,
    plan,
    review,
    scope,
    without_marker,
)


def _listed(begin: int = 0, end: int = 60, **values: object) -> Listed:
    known: dict[str, object] = {
        "id": 1, "begin": begin * MINUTE, "end": end * MINUTE, "user": 4, "project": 1, "activity": 1,
        "tags": ("a", "b"), "description": "d [powdo-00000001]", "exported": False,
    }  # fmt: skip
    return Listed(**(known | values))  # type: ignore[arg-type]  # of the right kinds


def _row(begin: int = 0, end: int = 60, **values: object) -> SentTimesheet:
    known: dict[str, object] = {
        "id": f"r{begin}", "worker": 1, "marker": "powdo-00000001", "kimai_id": 1, "state": "sent",
        "begin": begin * MINUTE, "end": end * MINUTE, "user": 4, "project": 1, "activity": 1,
        "tags": ("a", "b"), "description": "d", "billable": None,
        "fingerprint": _listed(begin, end).fingerprint,
    }  # fmt: skip
    return SentTimesheet(**(known | values))  # type: ignore[arg-type]  # of the right kinds


def _want(begin: int = 0, end: int = 60, **values: object) -> Wanted:
    known: dict[str, object] = {
        "begin": begin * MINUTE, "end": end * MINUTE, "user": 4, "project": 1, "activity": 1,
        "tags": ("b", "a"), "description": "d", "billable": None,
    }  # fmt: skip
    return Wanted(**(known | values))  # type: ignore[arg-type]  # of the right kinds


@given(st.text(max_size=200))
def test_a_marker_can_be_told_and_taken_off(text: str) -> None:
    """A marked description fits, ends with its marker, and gives the text back."""
    text = text.encode("utf-8", "replace").decode()
    marked = mark(text, "powdo-00000001")
    assert marker_of(marked) == "powdo-00000001"
    if marker_of(text) is None:
        assert without_marker(marked) == text.replace("\x00", "").strip()
    assert not set("[powdo-00000001]") & set(":%_!")


def test_a_long_text_is_cut_at_a_character() -> None:
    """65,535 bytes are the limit, and no character is broken."""
    marked = mark("ä" * 40_000, "powdo-00000001")
    assert 65_530 <= len(marked.encode()) <= 65_535
    assert without_marker(marked) == "ä" * len(without_marker(marked))


@pytest.mark.parametrize(
    "change",
    [
        {"end": 61 * MINUTE},
        {"project": 2},
        {"activity": 2},
        {"description": "other [powdo-00000001]"},
        {"tags": ("a",)},
        {"end": None},
    ],
)
def test_whatever_a_person_changes_is_seen(change: dict[str, object]) -> None:
    """Every field that a person can change and we would overwrite makes the timesheet theirs."""
    found = review([_row()], {1: replace(_listed(), **change)})  # type: ignore[arg-type]  # of the right kinds
    assert [kept.reason for kept in found.kept] == ["edited"]
    assert found.kept[0].row.state == "kept"


def test_states_are_judged() -> None:
    """Untouched is ours, exported is left alone, absent was deleted: by a person, or by us."""
    assert review([_row()], {1: _listed()}).ours == (_row(),)
    assert review([_row()], {1: _listed(exported=True)}).kept == (
        Kept(_row(), _listed(exported=True), "exported"),
    )
    assert [kept.reason for kept in review([_row()], {}).kept] == ["deleted"]
    assert [row.state for row in review([_row(state="deleting")], {}).gone] == ["deleted"]
    assert [row.state for row in review([_row(state="deleting")], {1: _listed()}).ours] == ["sent"]
    assert review([_row(kimai_id=None, state="intent")], {}).ours == ()
    assert [kept.reason for kept in review([_row(state="kept")], {1: _listed()}).kept] == ["edited"]


def test_an_update_under_way_is_recognised() -> None:
    """What an update wanted is ours once it is there; before it is there it has to be sent again."""
    row = _row(0, 90, state="updating", fingerprint=_listed().fingerprint)
    done = review([row], {1: _listed(0, 90)})
    assert done.ours[0].state == "sent" and done.ours[0].fingerprint == _listed(0, 90).fingerprint
    assert review([row], {1: _listed()}).ours == (row,)
    assert plan([_want(0, 90)], [row]).update == ((row, _want(0, 90)),)
    assert [kept.reason for kept in review([row], {1: _listed(0, 200)}).kept] == ["edited"]
    assert arrived(row, _listed(0, 85)) and not arrived(row, _listed(0, 60))


def test_walls_are_where_it_was_and_where_it_is() -> None:
    """The time of a timesheet that a person moved is free in neither place."""
    found = review([_row(0, 60), _row(200, 260, id="x", kimai_id=2)], {1: _listed(100, 130)})
    assert found.walls == [
        Interval(0, 60 * MINUTE),
        Interval(100 * MINUTE, 130 * MINUTE),
        Interval(200 * MINUTE, 260 * MINUTE),
    ]


def test_the_greatest_overlap_is_matched() -> None:
    """A block takes the row it overlaps most, within its own project and activity, and each row once."""
    first, second = _row(0, 60), _row(60, 120)
    found = plan([_want(40, 120), _want(0, 40)], [first, second])
    assert [(row.id, want.begin // MINUTE) for row, want in found.update] == [("r60", 40), ("r0", 0)]
    assert not found.create and not found.delete
    other = plan([_want(project=2)], [first])
    assert other.create == (_want(project=2),) and other.delete == (first,)
    joined = plan([_want(0, 120)], [first, second])
    assert len(joined.update) == len(joined.delete) == 1
    assert plan([_want()], [first]).unchanged == ((first, _want()),)


_times = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 90), st.integers(1, 2)), max_size=8)


@given(_times, _times)
def test_every_block_and_every_row_has_one_fate(
    blocks: list[tuple[int, int, int]], sent: list[tuple[int, int, int]]
) -> None:
    """Each block is created, updated or unchanged, each row updated, unchanged or deleted, exactly once."""
    wanted = [_want(a, a + length, project=p) for a, length, p in blocks]
    rows = [
        replace(_row(a, a + length, project=p), id=f"{number}") for number, (a, length, p) in enumerate(sent)
    ]
    found = plan(wanted, rows)
    pairs = [*found.update, *found.unchanged]
    assert sorted([*found.create, *(want for _, want in pairs)], key=repr) == sorted(wanted, key=repr)
    assert sorted([*(row.id for row in found.delete), *(row.id for row, _ in pairs)]) == sorted(
        r.id for r in rows
    )


def test_a_window_grows_to_whole_stretches() -> None:
    """A window takes in every stretch of work that it touches, and no other."""
    spans = [Interval(0, 10), Interval(12, 20), Interval(40, 50)]
    assert scope(Interval(15, 30), spans, 3) == Interval(0, 30)
    assert scope(Interval(23, 30), spans, 3) == Interval(0, 30)
    assert scope(Interval(25, 30), spans, 3) == Interval(25, 30)
