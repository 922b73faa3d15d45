"""Any stage killed at any moment or system call: afterwards the lines, run again, end as if nothing had been.

POWDO_FAULT_SEEDS says how many seeds are tried, POWDO_FAULT_FIRST which is the first.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.faults.harness import RECEIVE, SEND, Story, Usual, disturbed_line, measure, run_line
from tests.faults.world import World, world
from tests.parts import need

FIRST = int(os.environ.get("POWDO_FAULT_FIRST", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("POWDO_FAULT_SEEDS", "20")))
BATCH = 5


@dataclass(frozen=True)
class Calm:
    """A world, and how its stages usually run."""

    world: World
    usual: dict[str, Usual]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calm]:
    """Yield a world in which one story was told undisturbed, and measured."""
    need(shutil.which("strace"), "strace")
    with world(tmp_path_factory.mktemp("faults")) as made:
        story = Story(made, 0)
        usual = {}
        for cut in story.export.cuts:
            usual["capture"] = measure(story.side, story.capture(cut))
        for stage in SEND:
            usual[stage] = measure(story.side, [stage, "--pending"])
        usual["listen"] = measure(made.operator, ["listen", "--until-eose"])
        usual["ingest"] = measure(made.operator, ["ingest", "--pending"])
        story.check()
        yield Calm(made, usual)


def test_every_stage_has_calls_to_be_killed_at(calm: Calm) -> None:
    """Each stage syncs what it keeps, and there is a call to be killed at before and after."""
    for stage in ("capture", *SEND, *RECEIVE):
        names = {name for name, _ in calm.usual[stage].calls}
        assert names & {"fsync", "fdatasync"}, (stage, names)
        assert names & {"pwrite64", "write"}, (stage, names)


@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_killed_and_run_again_ends_as_undisturbed(calm: Calm, first: int) -> None:
    """Each capture is stored once, no event twice, the chain is sound, and nothing is left lying about.

    Each seed kills at the worker's; what the machines of five seeds sent then meets kills at the DVM.
    """
    stories = [Story(calm.world, seed, calm.usual) for seed in SEEDS if first <= seed < first + BATCH]
    for story in stories:
        story.capture_all()
        story.send()
    draw = random.Random(first)
    at_the_dvm = sum(disturbed_line(calm.world.operator, RECEIVE, calm.usual, draw) for _ in range(2))
    assert set(run_line(calm.world.operator, RECEIVE).values()) == {0}
    for story in stories:
        story.check()
    assert at_the_dvm + sum(story.killed for story in stories) > 0
