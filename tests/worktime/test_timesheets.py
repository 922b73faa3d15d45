"""`powdo.worktime.timesheets`: merging, absorbing, whole minutes, walls, and that no second is lost."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from powdo.worktime.activity import Focus, Slice
from powdo.worktime.intervals import MINUTE, SECOND, Interval
from powdo.worktime.rules import Rule
from powdo.worktime.timesheets import Limits, Sheet, build

_RULES = {name: Rule(name=name, project=name, activity="A", description=name.upper()) for name in ("p", "q")}
Spans = list[tuple[float, float, str]]


def _slices(spans: Spans) -> list[Slice]:
    return [Slice(round(a * SECOND), round(b * SECOND), Focus(name, "t")) for a, b, name in spans]


def _build(spans: Spans, limits: Limits | None = None, walls: list[Interval] | None = None) -> Sheet:
    return build(_slices(spans), lambda item: _RULES.get(item.focus.app), limits, walls or ())


def _blocks(sheet: Sheet) -> list[tuple[float, float, str]]:
    return [(block.begin / SECOND, block.end / SECOND, block.project) for block in sheet.blocks]


def test_a_short_pause_is_bridged() -> None:
    """Pieces of one booking join across five minutes, and not across more."""
    assert _blocks(_build([(0, 600, "p"), (900, 1200, "p")])) == [(0, 1200, "p")]
    assert _blocks(_build([(0, 600, "p"), (901, 1200, "p")])) == [(0, 600, "p"), (900, 1200, "p")]


def test_short_pieces_go_to_the_work_around_them() -> None:
    """Less than a minute of something else, booked or not, belongs to what stands on both sides."""
    for name in ("q", "other"):
        sheet = _build([(0, 600, "p"), (600, 650, name), (650, 1200, "p")])
        assert _blocks(sheet) == [(0, 1200, "p")]
        assert sheet.blocks[0].active == 1200 * SECOND
        assert sheet.blocks[0].description == "P"
        assert not sheet.leftovers


def test_a_minute_of_something_else_parts_a_block() -> None:
    """From a minute on, something else stands by itself: booked as a block, else as a leftover."""
    assert _blocks(_build([(0, 600, "p"), (600, 660, "q"), (660, 1200, "p")])) == [
        (0, 600, "p"),
        (600, 660, "q"),
        (660, 1200, "p"),
    ]
    sheet = _build([(0, 600, "p"), (600, 660, "other"), (660, 1200, "p")])
    assert _blocks(sheet) == [(0, 600, "p"), (660, 1200, "p")]
    assert [(item.active // SECOND, item.app, item.reason) for item in sheet.leftovers] == [
        (60, "other", "no rule")
    ]


def test_what_is_too_short_is_a_leftover() -> None:
    """A lonely stretch under a minute makes no block, and is listed."""
    sheet = _build([(0, 59, "p")])
    assert not sheet.blocks
    assert [(item.active // SECOND, item.reason) for item in sheet.leftovers] == [(59, "too short")]


def test_borders_are_whole_minutes_and_do_not_overlap() -> None:
    """Borders go to the nearest minute, so two blocks that touch still touch."""
    sheet = _build([(10, 100, "p"), (100, 250, "q"), (250, 420, "p")])
    assert _blocks(sheet) == [(0, 120, "p"), (120, 240, "q"), (240, 420, "p")]
    quarter = _build([(10, 1000, "p"), (1000, 2600, "q")], Limits(rounding=15 * MINUTE))
    assert _blocks(quarter) == [(0, 900, "p"), (900, 2700, "q")]


def test_walls_are_neither_entered_nor_bridged() -> None:
    """Time that a person settled is cut out, and nothing joins across it."""
    sheet = _build([(0, 600, "p"), (700, 1200, "p")], walls=[Interval(620 * SECOND, 640 * SECOND)])
    assert _blocks(sheet) == [(0, 600, "p"), (720, 1200, "p")]
    inside = _build([(0, 1200, "p")], walls=[Interval(300 * SECOND, 600 * SECOND)])
    assert _blocks(inside) == [(0, 300, "p"), (600, 1200, "p")]


def test_descriptions_and_sources_by_weight() -> None:
    """A block bears the descriptions of its pieces, the longest time first, and the rules that booked it."""
    rules = {
        "a": Rule(name="a", project="p", activity="A", description="short"),
        "b": Rule(name="b", project="p", activity="A", description="long"),
    }
    sheet = build(_slices([(0, 100, "a"), (100, 400, "b")]), lambda item: rules[item.focus.app])
    assert [(block.description, block.source) for block in sheet.blocks] == [("long, short", "b, a")]


_pieces = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 400), st.sampled_from(["p", "q", "other"])), max_size=25
)
_walls = st.lists(st.builds(Interval, st.integers(0, 90), st.integers(0, 90)), max_size=3)


@settings(max_examples=300, deadline=None)
@given(_pieces, _walls, st.sampled_from([MINUTE, 15 * MINUTE]))
def test_no_second_is_lost_and_none_counted_twice(
    pieces: list[tuple[int, int, str]], walls: list[Interval], rounding: int
) -> None:
    """Every active second outside the walls is in one block or one leftover; blocks are apart and whole."""
    spans: Spans = []
    at = 0
    for pause, length, name in pieces:
        at += pause % 350
        spans.append((at, at + length, name))
        at += length
    walls = [Interval(wall.begin * MINUTE, wall.end * MINUTE) for wall in walls]
    sheet = _build(spans, Limits(rounding=rounding), walls)
    blocked = {m for wall in walls for m in range(wall.begin // SECOND, wall.end // SECOND)}
    outside = sum(1 for a, b, _ in spans for second in range(int(a), int(b)) if second not in blocked)
    found = sum(block.active for block in sheet.blocks) + sum(item.active for item in sheet.leftovers)
    assert found == outside * SECOND
    for one, other in pairwise(sheet.blocks):
        assert one.end <= other.begin
    for block in sheet.blocks:
        assert block.begin < block.end
        assert block.begin % rounding == block.end % rounding == 0
        if rounding == MINUTE:
            assert not any(
                wall.begin < block.end and block.begin < wall.end for wall in walls if wall.begin < wall.end
            )
