"""What a Kimai refuses, row by row: told with what helps, skipped, remembered, tried again in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from powdo.errors import KeyRejectedError, RetryLaterError
from tests.kimai_bench import Bench, actions, benches
from tests.kimai_double import Fault, Row
from tests.worked import RULES, START

_BEGIN = datetime.fromtimestamp(START / 1e6, UTC)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Yield a bench."""
    with benches(tmp_path) as made:
        yield made


def _end_project(bench: Bench) -> None:
    bench.kimai.projects[1]["end"] = "2026-01-31"


def _hide_project(bench: Bench) -> None:
    bench.kimai.projects[1]["visible"] = False


def _hide_activity(bench: Bench) -> None:
    bench.kimai.activities[1]["visible"] = False


def _lock(bench: Bench) -> None:
    bench.kimai.locked_before = _BEGIN + timedelta(days=1)


def _punch(bench: Bench) -> None:
    bench.kimai.tracking_mode = "punch"


def _forbid_overlap(bench: Bench) -> None:
    bench.kimai.overlapping = False
    begin, end = _BEGIN + timedelta(minutes=30), _BEGIN + timedelta(minutes=90)
    bench.kimai.rows[90] = Row(90, 4, 1, 2, begin, end, "Europe/Berlin", "lunch with the customer")


def _forbid_future(bench: Bench) -> None:
    bench.kimai.future = False
    bench.kimai.now = lambda: START / 1e6 - 86_400


def _shorten(bench: Bench) -> None:
    bench.kimai.longest = timedelta(minutes=30)


def _forbid_writing(bench: Bench) -> None:
    bench.kimai.users["alice"].may_write = False


def _no_user(bench: Bench) -> None:
    bench.token, bench.kimai_user = "teamlead", 5  # not in a team of theirs


def _end_again(bench: Bench) -> None:
    bench.kimai.projects[1]["end"] = None


def _show_again(bench: Bench) -> None:
    bench.kimai.projects[1]["visible"] = bench.kimai.activities[1]["visible"] = True


def _default_again(bench: Bench) -> None:
    bench.kimai.tracking_mode = "default"


_Change = Callable[[Bench], None]
_SEEN: list[tuple[_Change, _Change, str]] = [
    (_end_project, _end_again, "the project 'Website' ended on 2026-01-31"),
    (_hide_project, _show_again, "the project 'Website' is hidden in Kimai"),
    (_hide_activity, _show_again, "the activity is hidden"),
    (_punch, _default_again, "tracking mode is 'punch'"),
]
_UNSEEN: list[tuple[_Change, str]] = [
    (_lock, "the period is locked"),
    (_forbid_overlap, "overlaps another entry"),
    (_forbid_future, "breaks a limit"),
    (_shorten, "breaks a limit"),
    (_forbid_writing, "needs the permission"),
    (_no_user, "has no access to user 5"),
]


@pytest.mark.parametrize(("forbid", "allow", "hint"), _SEEN)
def test_what_kimai_shows_is_tried_again_once_it_changed(
    bench: Bench, forbid: _Change, allow: _Change, hint: str
) -> None:
    """A refusal that the catalogue or the configuration explains waits for them to change, silently."""
    forbid(bench)
    bench.add("code", (0, 60))
    [record] = bench.sync()
    assert (record.action, record.kimai_id) == ("blocked", None)
    [error] = bench.errors
    assert error.status == 69 and hint in (error.hint or "")
    posts = bench.double.count("POST", "/api/timesheets")
    for _ in range(2):
        [record] = bench.sync()
        assert record.action == "blocked" and "kimai refuses" in (record.reason or "")
    assert not bench.errors
    bench.add("code", (60, 70))  # late data moves the block, and the reason is the same
    assert actions(bench.sync()) == ["blocked"]
    assert bench.double.count("POST", "/api/timesheets") == posts
    allow(bench)
    assert actions(bench.sync()) == ["created"]
    assert bench.held() == [(0, 70)]
    assert bench.store.blocked(bench.worker.id) == []


@pytest.mark.parametrize(("forbid", "hint"), _UNSEEN)
def test_what_kimai_does_not_show_is_tried_again_after_a_day(
    bench: Bench, forbid: _Change, hint: str
) -> None:
    """A refusal that nothing explains is told once, and asked again a day later, or by a thorough look."""
    forbid(bench)
    bench.add("code", (0, 60))
    assert actions(bench.sync()) == ["blocked"]
    [error] = bench.errors
    assert hint in (error.hint or "")
    assert actions(bench.sync()) == ["blocked"]
    assert not bench.errors
    assert bench.double.count("POST", "/api/timesheets") == 1
    assert actions(bench.sync(thorough=True)) == ["blocked"]
    assert bench.double.count("POST", "/api/timesheets") == 2
    bench.now += 86_400
    assert actions(bench.sync()) == ["blocked"]
    assert bench.double.count("POST", "/api/timesheets") == 3
    assert len(bench.errors) == 1


def test_a_token_that_may_not_write_asks_once(bench: Bench) -> None:
    """Where no new timesheet can pass, the first refusal stands for all of the run."""
    _forbid_writing(bench)
    bench.add("code", (0, 60), (120, 180), (240, 300))
    assert actions(bench.sync()) == ["blocked"] * 3
    assert len(bench.errors) == 1
    assert bench.double.count("POST", "/api/timesheets") == 1
    bench.kimai.users["alice"].may_write = True
    assert actions(bench.sync(thorough=True)) == ["created"] * 3


def test_a_refusal_does_not_hold_up_the_others(bench: Bench) -> None:
    """What one timesheet is refused for concerns no other."""
    _shorten(bench)
    bench.add("code", (0, 60), (120, 140))
    assert actions(bench.sync()) == ["blocked", "created"]
    assert bench.held() == [(120, 140)]


def test_a_lockdown_keeps_changes_and_deletions(bench: Bench) -> None:
    """In a locked period a PATCH and a DELETE are forbidden: told once, remembered, made once it is over."""
    bench.add("code", (0, 60))
    bench.add("mail", (100, 130))
    bench.sync()
    _lock(bench)
    bench.add("code", (60, 90))
    bench.rules = RULES[:1]
    assert actions(bench.sync()) == ["kept", "kept"]
    assert bench.warnings == [f"timesheet {number} is locked in kimai and left alone" for number in (2, 1)]
    assert [record.reason for record in bench.sync()] == ["locked", "locked"]
    assert (bench.double.count("PATCH"), bench.double.count("DELETE")) == (1, 1)
    assert not bench.warnings
    bench.kimai.locked_before = None
    bench.now += 86_400
    assert sorted(map(str, actions(bench.sync()))) == ["deleted", "updated"]
    assert bench.held() == [(0, 90)]
    assert bench.store.blocked(bench.worker.id) == []


def test_an_exported_timesheet_is_looked_at_again_only_if_it_would_change(bench: Bench) -> None:
    """Exported is left alone; what late data would have changed is remembered, and made once it may be."""
    bench.add("code", (0, 60))
    bench.sync()
    bench.kimai.edit(1, exported=True)
    bench.sync()
    assert bench.store.blocked(bench.worker.id) == []
    bench.add("code", (60, 90))
    records = bench.sync()
    assert (records[0].action, records[0].reason) == ("kept", "exported")
    [blocked] = bench.store.blocked(bench.worker.id)
    assert (blocked.kimai_id, blocked.reason) == (1, "exported")
    bench.kimai.edit(1, exported=False)
    bench.now += 86_400
    bench.sync()
    assert bench.held() == [(0, 90)]
    assert bench.store.blocked(bench.worker.id) == []


def test_a_timesheet_out_of_sight_is_left_alone(bench: Bench) -> None:
    """What a token may no longer look at is neither changed nor made a second time."""
    bench.token, bench.kimai_user = "admin", 5
    bench.add("code", (0, 60))
    bench.sync()
    bench.token = "alice"
    bench.kimai_user = None
    assert [(one.action, one.reason) for one in bench.sync()] == [("kept", "hidden")]
    assert bench.held() == [(0, 60)]
    bench.token, bench.kimai_user = "admin", 5
    assert actions(bench.sync()) == ["unchanged"]


def test_a_timesheet_that_goes_away_under_a_change(bench: Bench) -> None:
    """A 404 between listing and PATCH is a person's deletion, seen as one from then on."""
    bench.add("code", (0, 60))
    bench.sync()
    bench.add("code", (60, 90))
    bench.double.faults.append(Fault("gone", "PATCH"))
    assert [(one.action, one.reason) for one in bench.sync()] == [("kept", "deleted")]
    assert [(one.action, one.reason) for one in bench.sync()] == [("kept", "deleted"), ("created", None)]
    assert bench.held() == [(60, 90)]


def test_a_description_too_long_is_cut(bench: Bench) -> None:
    """A text of more bytes than Kimai's column has would be a 500; it is cut, and that is no edit."""
    bench.rules = [{**RULES[0], "description": "€" * 40_000}]
    bench.add("code", (0, 60))
    assert actions(bench.sync()) == ["created"]
    assert len((bench.kimai.rows[1].description or "").encode()) <= 65_535
    assert actions(bench.sync()) == ["unchanged"]


def test_a_kimai_without_rates(bench: Bench) -> None:
    """From 2.66 on plain users see no rates; nothing depends on them."""
    bench.kimai.rates = False
    bench.add("code", (0, 60))
    assert actions(bench.sync()) == ["created"]
    assert actions(bench.sync()) == ["unchanged"]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_may_pass_ends_the_run(bench: Bench, method: str, status: int) -> None:
    """An overload ends the run with `retry later`, and the next one finishes without a duplicate."""
    bench.add("code", (0, 60))
    bench.double.faults.append(Fault("fail", method, "/api/timesheets", status=status))
    with pytest.raises(RetryLaterError):
        bench.sync()
    bench.sync()
    assert bench.held() == [(0, 60)]


def test_a_user_without_api_access(bench: Bench) -> None:
    """A 403 on every call is a matter of the token's user."""
    bench.kimai.users["alice"].api_access = False
    bench.add("code", (0, 60))
    with pytest.raises(KeyRejectedError, match="forbids"):
        bench.sync()


def test_billable_with_a_plain_users_token(bench: Bench) -> None:
    """`billable` counts as an extra field for plain users; the hint says so."""
    bench.rules = [{**RULES[0], "billable": True}]
    bench.add("code", (0, 60))
    assert actions(bench.sync()) == ["blocked"]
    assert "may not send 'billable'" in (bench.errors[0].hint or "")
