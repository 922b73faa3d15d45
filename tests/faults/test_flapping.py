"""Relay and Blossom server behind a proxy that cuts, delays and doubles connections."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from tests.faults.harness import RECEIVE, SEND, Story, run_line
from tests.faults.proxy import CALM, Proxy, Weather
from tests.faults.world import Side, World, world

SEEDS = max(1, int(os.environ.get("POWDO_FAULT_SEEDS", "20")) // 10)
STORM = Weather(cut=0.5, slow=0.3, doubled=0.3)


@dataclass(frozen=True)
class Coast:
    """A world, and the proxies before its relay and its Blossom server."""

    world: World
    proxies: tuple[Proxy, Proxy]

    def weather(self, weather: Weather) -> None:
        """Change the weather for all connections to come."""
        for proxy in self.proxies:
            proxy.weather = weather


@pytest.fixture(scope="module")
def coast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coast]:
    """Yield a world by the sea."""
    folder, both = tmp_path_factory.mktemp("coast"), (Proxy(1), Proxy(2))
    with both[0], both[1], world(folder, proxies=both) as made:
        yield Coast(made, both)


def _let_waits_end(operator: Side) -> None:
    """Make the inbox due, as if its back-off were over."""
    with closing(sqlite3.connect(operator.state / "dvm.sqlite", timeout=20)) as db, db:
        db.execute("UPDATE inbox SET next_at = 0")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_flaps_is_delivered_once(coast: Coast, seed: int) -> None:
    """Peers that come and go make stages end with 75, nothing worse; at last each capture is there once."""
    story = Story(coast.world, seed)
    operator = coast.world.operator
    for cut in story.export.cuts:
        story.side.text(*story.capture(cut))
    before = sum(proxy.suffered for proxy in coast.proxies)
    coast.weather(STORM)
    for _ in range(SEEDS):
        ends = run_line(story.side, SEND, patience=5) | run_line(operator, RECEIVE, patience=5)
        assert set(ends.values()) <= {0, 75}, (ends, story.told())
        _let_waits_end(operator)
    assert sum(proxy.suffered for proxy in coast.proxies) > before
    coast.weather(CALM)
    ends = run_line(story.side, SEND) | run_line(operator, RECEIVE)
    assert set(ends.values()) == {0}, (ends, story.told())
    story.check()
