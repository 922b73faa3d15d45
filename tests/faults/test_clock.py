"""Clocks that go back, and lines that run at once."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.faults.harness import RECEIVE, SEND, Story, run_line
from tests.faults.world import World, world
from tests.parts import need


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a world."""
    with world(tmp_path_factory.mktemp("clock")) as made:
        yield made


def test_a_clock_set_back_holds_nothing_up(place: World) -> None:
    """What was captured while the clock was ahead is sent at once when it is right again, each once."""
    need(shutil.which("faketime"), "faketime")
    story = Story(place, 10)
    first, second = story.export.cuts
    story.side.text(*story.capture(first), before=["faketime", "-f", "+400d"])
    story.side.text(*story.capture(second))
    assert set(run_line(story.side, SEND).values()) == {0}
    assert set(run_line(place.operator, RECEIVE).values()) == {0}
    story.check()


def test_a_dvm_whose_clock_is_set_back_takes_what_it_had_heard(place: World) -> None:
    """A gift wrap that came while the clock was ahead is ingested when it is right again."""
    need(shutil.which("faketime"), "faketime")
    story = Story(place, 20)
    for cut in story.export.cuts:
        story.side.text(*story.capture(cut))
    assert set(run_line(story.side, SEND).values()) == {0}
    for cut in story.export.cuts:
        heard = place.operator.text("listen", "--until-eose", before=["faketime", "-f", "+5m"])
        assert heard or cut != story.export.cuts[0]
    place.operator.text("ingest", "--pending")
    story.check()


def test_a_sync_noted_by_a_wrong_clock_hides_nothing(place: World) -> None:
    """A relay that was read to its end at a time still to come is read from its beginning."""
    story = Story(place, 40)
    for cut in story.export.cuts:
        story.side.text(*story.capture(cut))
    assert set(run_line(story.side, SEND).values()) == {0}
    place.operator.text("listen", "--until-eose", "--timeout", "5")
    with closing(sqlite3.connect(place.operator.state / "dvm.sqlite", timeout=20)) as db, db:
        db.execute("DELETE FROM inbox WHERE state = 'waiting'")
        db.execute("UPDATE relay_sync SET synced_at = synced_at + 400 * 86400")
    assert set(run_line(place.operator, RECEIVE).values()) == {0}
    story.check()


def test_lines_at_once_do_everything_once(place: World) -> None:
    """Three captures and two lines on either side at the same time end as one after the other."""
    story = Story(place, 30)
    for cut in story.export.cuts:
        runs = [story.side.start(*story.capture(cut), stdout=subprocess.PIPE) for _ in range(3)]
        told = [run.communicate(timeout=60)[0] for run in runs]
        assert [run.returncode for run in runs] == [0, 0, 0]
        assert sum(len(out.splitlines()) for out in told) == 1
    for side, stages in ((story.side, SEND), (place.operator, RECEIVE)):
        lines = [
            side.start(stage, *(["--until-eose"] if stage == "listen" else ["--pending"]),
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            for stage in stages for _ in range(2)
        ]  # fmt: skip
        assert {run.wait(120) for run in lines} <= {0, 75}
        assert set(run_line(side, stages).values()) == {0}
    story.check()
