"""Timesheets of ours that the ledger does not know: never made twice, taken up by a thorough look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from powdo.adapters.database.tables import timesheet_sent
from powdo.errors import RetryLaterError
from tests.kimai_bench import Bench, actions, benches
from tests.kimai_double import Fault
from tests.worked import RULES, START

_BEGIN = datetime.fromtimestamp(START / 1e6, UTC)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Yield a bench."""
    with benches(tmp_path) as made:
        yield made


def _forget(bench: Bench) -> None:
    """Go back to a ledger of before anything was sent, as a restored database has it."""
    with bench.store.database.write() as connection:
        connection.execute(timesheet_sent.delete())


def test_a_lost_ledger_makes_no_duplicates(bench: Bench) -> None:
    """Without its ledger a run makes nothing twice and says so; --reconcile takes up what is right."""
    bench.add("code", (0, 60), (120, 180))
    bench.sync()
    _forget(bench)
    assert bench.sync() == []
    assert any("does not know" in text for text in bench.warnings)
    assert len(bench.kimai.rows) == 2
    assert actions(bench.sync(thorough=True)) == ["unchanged", "unchanged"]
    bench.add("code", (60, 90))
    assert actions(bench.sync()) == ["updated", "unchanged"]
    assert bench.held() == [(0, 90), (120, 180)]
    assert not bench.warnings


def test_what_differs_may_be_a_persons(bench: Bench) -> None:
    """Of what no ledger knows, only what is exactly right is ours; the rest is kept as a person's."""
    bench.add("code", (0, 60), (120, 180))
    bench.sync()
    bench.kimai.edit(1, end=_BEGIN + timedelta(minutes=40))
    _forget(bench)
    assert [(one.action, one.reason) for one in bench.sync(thorough=True)] == [
        ("kept", "edited"), ("created", None), ("unchanged", None),
    ]  # fmt: skip
    assert bench.held() == [(0, 40), (40, 60), (120, 180)]
    assert actions(bench.sync()) == ["kept", "unchanged", "unchanged"]


def test_a_copy_is_a_persons(bench: Bench) -> None:
    """Who copies a timesheet in Kimai copies its marker; the copy is theirs and stays."""
    bench.add("code", (0, 60))
    bench.sync()
    copy = replace(
        bench.kimai.rows[1], id=50, begin=_BEGIN + timedelta(hours=5), end=_BEGIN + timedelta(hours=6)
    )
    bench.kimai.rows[50] = copy
    for thorough in (False, True):
        assert actions(bench.sync(thorough=thorough)) == ["unchanged"]
        assert not bench.warnings
    assert bench.kimai.rows[50] == copy


def test_an_answer_that_came_after_everything_was_given_up(bench: Bench) -> None:
    """A POST that arrives after its block was dropped, and was made again, is drift; one of the two goes."""
    bench.add("code", (0, 60))
    bench.double.faults.append(Fault("fail", "POST", "/api/timesheets"))
    with pytest.raises(RetryLaterError):
        bench.sync()
    [row] = bench.store.pending_timesheets(bench.worker.id)
    rules, bench.rules = bench.rules, RULES[1:]
    bench.sync()  # no longer wanted
    bench.rules = rules
    bench.sync()
    late = replace(bench.kimai.rows[1], id=60, description=f"Website [{row.marker}]")
    bench.kimai.rows[60] = late
    bench.sync()
    assert any("does not know" in text for text in bench.warnings)
    bench.sync(thorough=True)
    assert bench.held() == [(0, 60)]
    assert actions(bench.sync()) == ["unchanged"]


def test_a_marker_that_a_person_deleted_before_its_answer_was_seen(bench: Bench) -> None:
    """After a lost answer, a timesheet at the same place without its marker is taken for the person's."""
    bench.add("code", (0, 60))
    bench.double.faults += [
        Fault("lose", "POST", "/api/timesheets"), Fault("fail", "GET", "/api/timesheets", status=503),
    ]  # fmt: skip
    bench.double.faults[1].times = 0
    bench.double.on_lost = lambda: setattr(bench.double.faults[1], "times", 1)
    with pytest.raises(RetryLaterError):
        bench.sync()
    bench.kimai.edit(1, description="what I did")
    assert [(one.action, one.reason) for one in bench.sync()] == [("kept", "edited")]
    assert len(bench.kimai.rows) == 1
