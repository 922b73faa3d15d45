"""`powdo.adapters.kimai.sync`: crashes, lost answers, late data and people, on a real database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from powdo.adapters.database import Store
from powdo.errors import KeyRejectedError, RetryLaterError
from powdo.worktime.reconcile import SentTimesheet
from tests.kimai_bench import Bench, actions, benches
from tests.kimai_double import Fault
from tests.worked import RULES, START, at


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Yield a bench."""
    with benches(tmp_path) as made:
        yield made


class DyingStore:
    """A store whose process is killed before or after the *nth* write."""

    def __init__(self, store: Store, nth: int, *, after: bool) -> None:
        self._store, self._left, self._after = store, nth, after

    def __getattr__(self, name: str) -> Callable[..., object]:
        return getattr(self._store, name)  # type: ignore[no-any-return]  # it stands for the store

    def put_timesheets(self, rows: Sequence[SentTimesheet]) -> None:
        """Write, or die."""
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        self._store.put_timesheets(rows)
        if self._left == 0:
            raise Killed


def test_creates_one_timesheet_a_block_and_asks_nothing_twice(bench: Bench) -> None:
    """A new block costs one POST, a whole run one listing, a second run changes nothing."""
    bench.add("code", (0, 60), (120, 180))
    bench.add("mail", (200, 230))
    records = bench.sync()
    assert actions(records) == ["created"] * 3
    assert bench.held() == [(0, 60), (120, 180), (200, 230)]
    row = bench.kimai.rows[1]
    assert row.description is not None and row.description.startswith("Website [powdo-")
    assert set(row.tags) == {"code", "powdo"}
    assert all(bench.kimai.tag(name)["visible"] for name in ("code", "powdo"))  # type: ignore[index]  # they exist
    assert bench.double.count("POST") == 3
    assert bench.double.count("GET", "/api/timesheets") == 1
    assert actions(bench.sync()) == ["unchanged"] * 3
    assert bench.double.count("POST") == 3
    assert bench.double.count("PATCH") == bench.double.count("DELETE") == 0
    assert records[0].kimai_id == 1 and records[0].seconds == 3600 and records[0].customer == "Initech"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_killed_at_any_write_makes_no_duplicate(bench: Bench, nth: int, after: bool) -> None:
    """Whatever write a run dies at, before or after it, the next run ends with each block once."""
    bench.add("code", (0, 60), (120, 180))
    with pytest.raises(Killed):
        bench.sync(store=DyingStore(bench.store, nth, after=after))
    bench.sync()
    assert bench.held() == [(0, 60), (120, 180)]
    assert actions(bench.sync()) == ["unchanged"] * 2


@pytest.mark.parametrize("kind", ["lose", "fail after"])
def test_a_lost_answer_is_looked_for(bench: Bench, kind: str) -> None:
    """When the answer to a POST is lost after the commit, the timesheet is found by its marker."""
    bench.add("code", (0, 60))
    bench.double.faults.append(Fault(kind, "POST", "/api/timesheets"))
    assert actions(bench.sync()) == ["created"]
    assert bench.double.count("POST") == 1
    assert bench.held() == [(0, 60)]
    assert actions(bench.sync()) == ["unchanged"]


def test_a_failed_post_is_not_repeated_in_the_same_run(bench: Bench) -> None:
    """After a 500 without a timesheet the run ends with `retry later`; the next posts once, same marker."""
    bench.add("code", (0, 60))
    bench.double.faults.append(Fault("fail", "POST", "/api/timesheets"))
    with pytest.raises(RetryLaterError):
        bench.sync()
    assert bench.double.count("POST") == 1
    [pending] = bench.store.pending_timesheets(bench.worker.id)
    assert actions(bench.sync()) == ["created"]
    assert bench.held() == [(0, 60)]
    assert pending.marker in (bench.kimai.rows[1].description or "")


def test_a_lost_update_and_a_lost_deletion_are_recognised(bench: Bench) -> None:
    """An update or a deletion that arrived, though its answer did not, is not taken for a person's edit."""
    bench.add("code", (0, 60))
    bench.add("mail", (100, 130))
    bench.sync()
    bench.add("code", (60, 90))
    bench.double.faults.append(Fault("lose", "PATCH"))
    with pytest.raises(RetryLaterError):
        bench.sync()
    assert actions(bench.sync()) == ["unchanged"] * 2
    assert bench.held() == [(0, 90), (100, 130)]
    bench.rules = RULES[:1]
    bench.double.faults.append(Fault("lose", "DELETE"))
    with pytest.raises(RetryLaterError):
        bench.sync()
    assert actions(bench.sync()) == ["unchanged"]
    assert bench.held() == [(0, 90)]


def test_an_update_that_never_arrived_is_sent_again(bench: Bench) -> None:
    """An update that died on its way is repeated, and nothing is taken for a person's edit."""
    bench.add("code", (0, 60))
    bench.sync()
    bench.add("code", (60, 90))
    bench.double.faults.append(Fault("fail", "PATCH", status=503))
    with pytest.raises(RetryLaterError):
        bench.sync()
    assert actions(bench.sync()) == ["updated"]
    assert bench.held() == [(0, 90)]


def test_late_data_moves_the_border(bench: Bench) -> None:
    """Work that comes in late lengthens the timesheet; work in a gap joins two and deletes one."""
    bench.add("code", (0, 60), (120, 180))
    bench.sync()
    bench.add("code", (60, 75))
    assert actions(bench.sync()) == ["updated", "unchanged"]
    assert bench.held() == [(0, 75), (120, 180)]
    bench.add("code", (75, 120))
    assert sorted(map(str, actions(bench.sync()))) == ["deleted", "updated"]
    assert bench.held() == [(0, 180)]


def test_what_a_person_edited_is_kept(bench: Bench) -> None:
    """A timesheet that a person changed stays as they left it, and its time is not booked again."""
    bench.add("code", (0, 60))
    bench.sync()
    bench.kimai.edit(
        1, description="call with the customer", end=bench.kimai.rows[1].begin + timedelta(minutes=45)
    )
    bench.add("code", (60, 120))
    assert actions(bench.sync()) == ["kept", "created"]
    assert bench.held() == [(0, 45), (60, 120)]
    assert bench.kimai.rows[1].description == "call with the customer"
    assert actions(bench.sync()) == ["kept", "unchanged"]


def test_what_a_person_moved_to_another_day_is_kept(bench: Bench) -> None:
    """A timesheet moved out of the listing is found by its id and left alone."""
    bench.add("code", (0, 60))
    bench.sync()
    row = bench.kimai.rows[1]
    bench.kimai.edit(1, begin=row.begin - timedelta(days=9), end=row.begin - timedelta(days=9, minutes=-5))
    assert actions(bench.sync()) == ["kept"]
    assert len(bench.kimai.rows) == 1


def test_what_a_person_deleted_stays_deleted(bench: Bench) -> None:
    """A timesheet that a person deleted is not made again, not even when its work grows."""
    bench.add("code", (0, 60))
    bench.sync()
    del bench.kimai.rows[1]
    assert actions(bench.sync()) == ["kept"]
    bench.add("code", (60, 90))
    assert actions(bench.sync()) == ["kept", "created"]
    assert bench.held() == [(60, 90)]


def test_exported_and_locked_timesheets_are_left_alone_and_told(bench: Bench) -> None:
    """What is exported or in a locked period is not touched, and a person is told."""
    bench.add("code", (0, 60))
    bench.sync()
    bench.kimai.edit(1, exported=True)
    bench.add("code", (60, 61))
    records = bench.sync()
    assert actions(records)[0] == "kept"
    assert bench.warnings == ["timesheet 1 is exported in kimai and left alone"]
    bench.kimai.edit(1, exported=False)
    bench.kimai.locked_before = datetime(2026, 11, 17, tzinfo=UTC)
    bench.add("code", (61, 90))
    bench.sync()
    assert bench.held()[0] == (0, 60)
    assert any("locked" in text for text in (*bench.warnings, *(error.message for error in bench.errors)))


def test_an_ended_project_is_told_and_the_rest_goes_on(bench: Bench) -> None:
    """Kimai takes nothing into an ended project: that is told with its reason, other blocks are booked."""
    bench.kimai.add_project("Old", 1, end="2026-01-31")
    bench.rules = [
        *RULES[:1],
        {"name": "old", "app": "thunderbird", "project": "Old", "activity": "Development"},
    ]
    bench.add("code", (0, 60))
    bench.add("mail", (100, 160))
    assert actions(bench.sync()) == ["created", "blocked"]
    [error] = bench.errors
    assert error.status == 69 and "project: The selected choice is invalid" in error.message
    assert bench.double.count("POST") == 2
    bench.sync()
    assert bench.held() == [(0, 60)]


def test_an_ambiguous_name_is_told(bench: Bench) -> None:
    """Two projects of one name are told with their ids, and nothing is guessed; an id settles it."""
    bench.kimai.add_customer("Initech")
    bench.kimai.add_project("Website", 2)
    bench.add("code", (0, 60))
    assert bench.sync() == []
    assert "ids 1, 2" in bench.errors[0].message
    bench.rules = [{**RULES[0], "project": 2}]
    assert actions(bench.sync()) == ["created"]
    assert bench.kimai.rows[1].project == 2


def test_a_name_that_stops_resolving_deletes_nothing(bench: Bench) -> None:
    """When a project is renamed in Kimai, what was booked on it stays until a person mends the rule."""
    bench.add("code", (0, 60))
    bench.sync()
    bench.kimai.projects[1]["name"] = "Homepage"
    assert bench.sync() == []
    assert "no project 'Website'" in bench.errors[0].message
    assert bench.held() == [(0, 60)]


def test_a_dry_run_changes_nothing(bench: Bench) -> None:
    """-n tells what would be done and writes nothing, neither in Kimai nor in the ledger."""
    bench.add("code", (0, 60))
    assert actions(bench.sync(dry=True)) == ["created"]
    assert bench.double.count("POST", "/api") == 0
    assert bench.store.pending_timesheets(bench.worker.id) == []
    bench.sync()
    bench.add("code", (60, 90))
    assert actions(bench.sync(dry=True)) == ["updated"]
    assert bench.held() == [(0, 60)]


def test_server_side_rounding_is_no_edit(bench: Bench) -> None:
    """Where Kimai rounds to quarters of an hour, its rounding is not taken for a person's edit."""
    from tests.kimai_forms import closest

    bench.kimai.rounding = closest(15)
    bench.add("code", (0, 58))
    assert actions(bench.sync()) == ["created"]
    assert bench.held() == [(0, 60)]
    assert actions(bench.sync()) == ["unchanged"]
    assert bench.double.count("PATCH") == 0


def test_time_of_another_user(bench: Bench) -> None:
    """With a token that may, time is booked for the worker's Kimai user, and only theirs is looked at."""
    bench.token, bench.kimai_user = "admin", 5
    bench.add("code", (0, 60))
    bench.sync()
    assert bench.kimai.rows[1].user == 5
    assert actions(bench.sync()) == ["unchanged"]


def test_missing_projects_are_made_where_that_is_wanted(bench: Bench) -> None:
    """With create = true a project and an activity that Kimai lacks are made, once."""
    bench.token = "admin"
    bench.rules = [{**RULES[0], "project": "New", "activity": "Testing"}]
    bench.add("code", (0, 60), (120, 180))
    assert bench.sync() == []
    assert actions(bench.sync(create=True)) == ["created"] * 2
    assert [project["name"] for project in bench.kimai.projects.values()] == ["Website", "New"]


def test_a_rejected_token_ends_the_run(bench: Bench) -> None:
    """A 401 ends the run at once."""
    bench.token = "nobody"
    with pytest.raises(KeyRejectedError):
        bench.sync()
    assert len(bench.double.calls) == 0 or all(call.method == "GET" for call in bench.double.calls)


def test_overlaps_are_never_made_where_they_are_forbidden(bench: Bench) -> None:
    """A Kimai that forbids overlaps takes every change, since what goes away goes first."""
    bench.kimai.overlapping = False
    bench.add("code", (0, 60), (120, 180))
    bench.add("mail", (60, 119))
    bench.sync()
    bench.rules = [replace_rule(RULES[0]), RULES[1]]
    bench.sync()
    assert not bench.errors
    assert bench.held() == [(0, 60), (60, 119), (120, 180)]


def replace_rule(rule: dict[str, object]) -> dict[str, object]:
    """Return *rule* booked on another activity."""
    return {**rule, "activity": "Mail", "description": "moved"}


def test_two_ledgers_rows_never_share_a_marker(bench: Bench) -> None:
    """Every timesheet has its own marker."""
    bench.add("code", (0, 60), (120, 180), (240, 300))
    bench.sync()
    rows = bench.store.sent_timesheets(bench.worker.id, START, at(24 * 60))
    assert len({row.marker for row in rows}) == 3
    assert replace(rows[0], state="sent") == rows[0]
