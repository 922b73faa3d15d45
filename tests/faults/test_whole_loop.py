"""The whole loop, from capture to receipt, under every fault: nothing is lost, nothing is there twice.

POWDO_FAULT_SEEDS says how many seeds are tried, POWDO_FAULT_FIRST which is the first.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator

import pytest

from tests.faults.harness import RECEIVE, SEND, Story, measure
from tests.faults.proxy import Proxy
from tests.faults.whole import Machine, Sea, receive, settle
from tests.faults.world import query, world
from tests.parts import need

FIRST = int(os.environ.get("POWDO_FAULT_FIRST", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("POWDO_FAULT_SEEDS", "20")))
BATCH = 5


@pytest.fixture(scope="module")
def sea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sea]:
    """Yield a world behind proxies in which one story was told undisturbed, and measured."""
    for program in ("strace", "faketime", "prlimit"):
        need(shutil.which(program), program)
    both = (Proxy(1), Proxy(2))
    with both[0], both[1], world(tmp_path_factory.mktemp("loop"), proxies=both) as made:
        story, usual = Story(made, 0), {}
        for cut in story.export.cuts:
            story.side.text(*story.capture(cut))
        for stage in SEND:
            usual[stage] = measure(story.side, [stage, "--pending"])
        for stage in (*RECEIVE, "receipt"):
            flag = "--until-eose" if stage == "listen" else "--pending"
            usual[stage] = measure(made.operator, [stage, flag])
        # What `receipt` wrote was not published, so that it is written again.
        story.side.text("listen", "--until-eose")
        usual["acknowledge"] = measure(story.side, ["acknowledge", "--pending"])
        yield Sea(made, both, usual)


@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_each_capture_ends_well(sea: Sea, first: int) -> None:
    """Whatever strikes, each capture is stored once and receipted, withheld, or here with a reason."""
    machines = [Machine(sea, seed) for seed in SEEDS if first <= seed < first + BATCH]
    for machine in machines:
        machine.capture()
        machine.send()
    receive(sea, random.Random(first))
    for machine in machines:
        machine.take()
    settle(sea, machines)
    for machine in machines:
        machine.check()
    mended = [machine for machine in machines if machine.mend()]
    settle(sea, mended)
    for machine in mended:
        machine.check()


def test_what_is_stored_can_be_opened_by_its_worker(sea: Sea) -> None:
    """A new machine with the access key finds a copy of each bundle, whatever its receipt overtook."""
    reader = sea.world.machine("reader")
    file = reader.folder / "wraps.jsonl"
    file.write_text(reader.text("listen", "--until-eose") + "\n")
    rumors = [json.loads(line) for line in reader.text("unwrap", str(file)).splitlines()]
    copies = {tag[1] for rumor in rumors if rumor["kind"] == 15 for tag in rumor["tags"] if tag[0] == "x"}
    stored = {sha256 for (sha256,) in query(sea.operator, "SELECT sha256 FROM bundle")}
    assert stored
    assert stored <= copies


def test_what_is_stored_is_verified(sea: Sea) -> None:
    """After all of it the evidence is whole: every signature, hash and chain, with what was withheld told."""
    sea.operator.text("verify")
    row = json.loads(sea.operator.text("users", "show", "ana", "--json"))
    assert [device for device in row["devices"] if device["missing"] or device["forked"]] == []
    assert sum(sea.struck.values()) >= len(SEEDS)
