"""Limits from the configuration, and what NIP-11 tells of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import fields
from pathlib import Path

import pytest
from relay_helpers import client, new_key, running_relay, signed, wrap_for

from powdo.errors import ConfigurationError
from powdo.servers.relay.about import About, information
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import Policy
from powdo.settings import load
from powdo.settings.schema import Relay as Section

ALICE = new_key()
DAY = 86400
INTERNAL = {"in_flight", "waiting", "backlog", "patience"}
FLAGS = {"listen", "data", "url", "trusted_proxy", "allow", "allowlist", "open", "min_pow", "operator"}
RATES = ("events_per_minute", "requests_per_minute", "auths_per_minute")


def test_every_limit_can_be_set() -> None:
    """Each limit of a client has a key in [relay] that reaches the server."""
    names = {item.name for item in fields(Limits)} - INTERNAL
    assert names <= set(Section._fields)
    values = dict(zip(sorted(names), range(7, 100), strict=False))
    limits = Limits.of(Section(**values), public=True)  # type: ignore[arg-type]  # whole numbers all
    assert {name: getattr(limits, name) for name in names} == values


def test_rates_are_limited_by_default_where_strangers_come() -> None:
    """A relay that only its own machine reaches counts nothing unless told to; any other does."""
    public, private = (Limits.of(Section(), public=flag) for flag in (True, False))
    assert [getattr(public, name) for name in RATES] == [600, 600, 20]
    assert [getattr(private, name) for name in RATES] == [0, 0, 0]
    told = Section(events_per_minute=5, requests_per_minute=0)
    assert [getattr(Limits.of(told, public=False), name) for name in RATES] == [5, 0, 0]
    assert [getattr(Limits.of(told, public=True), name) for name in RATES] == [5, 0, 20]


@pytest.mark.parametrize(
    "line", ['oldest = "3d"', "max_tags = 0", 'retention = "soon"', "events_per_minute = -1"]
)
def test_limits_that_make_no_sense_are_refused(tmp_path: Path, line: str) -> None:
    """A bound that would refuse back-dated wraps, or let nothing through, is a problem of the file."""
    file = tmp_path / "powdo.toml"
    file.write_text(f"[relay]\n{line}\n")
    with pytest.raises(ConfigurationError) as failure:
        load(config=str(file))
    assert line.partition(" ")[0] in failure.value.problems[0]


def test_information_tells_what_is_enforced() -> None:
    """NIP-11 has the figures of the configuration, and the retention only where there is one."""
    limits = Limits(max_message=1000, max_limit=7, oldest=5 * DAY, newest=60, retention=9 * DAY, max_tags=3)
    told = information(Policy(allowed=(), min_pow=12, limits=limits), About())
    assert told["retention"] == [{"kinds": [1059], "time": 9 * DAY}]
    limitation = told["limitation"]
    assert isinstance(limitation, dict)
    assert limitation["max_message_length"] == 1000
    assert limitation["max_limit"] == limitation["default_limit"] == 7
    assert limitation["max_event_tags"] == 3
    assert limitation["created_at_lower_limit"] == 5 * DAY
    assert limitation["created_at_upper_limit"] == 60
    assert limitation["restricted_writes"] is True
    assert "retention" not in information(Policy(allowed=(), limits=Limits(retention=0)), About())


def test_dates_are_bounded_as_told_and_back_dated_wraps_come_in(tmp_path: Path) -> None:
    """What is dated two days back and has waited for one more is taken, what is beyond the bounds is not."""
    policy = Policy(allowed={ALICE.pubkey}, limits=Limits(oldest=4 * DAY, newest=60))

    async def scenario() -> None:
        now = int(time.time())
        async with running_relay(tmp_path, policy) as url, client(url, ALICE) as writer:
            for age in (0, 2 * DAY, 3 * DAY + 600):
                assert await writer.publish(wrap_for(ALICE.pubkey, created_at=now - age)) == (True, "")
            old = signed(ALICE, created_at=now - 4 * DAY - 60)
            assert await writer.publish(old) == (False, "invalid: created_at is too long ago")
            early = signed(ALICE, created_at=now + 120)
            assert await writer.publish(early) == (False, "invalid: created_at is in the future")

    asyncio.run(scenario())
