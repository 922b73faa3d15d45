"""Rate limits: the buckets by themselves, and what a client is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relay_helpers import (
    Client,
    ask,
    client,
    mined_wrap,
    new_key,
    relay_thread,
    running_relay,
    signed,
    wrap_for,
)
from websockets.asyncio.client import connect

from powdo.nips.event import Event
from powdo.servers.proxies import network_of
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import Policy
from powdo.servers.relay.rates import Buckets, Meter, Rates
from tests.conftest import Powdo

ALICE, BOB, EVE = new_key(), new_key(), new_key()
TOO_FAST = "rate-limited: wait a minute, then go on more slowly"
SLOW = Limits(events_per_minute=4, requests_per_minute=3, auths_per_minute=2)


# --- buckets ---


def test_a_bucket_holds_a_minutes_worth_and_fills_evenly() -> None:
    """All of it may be spent at once; then a token comes each sixtieth of the minute, never more than fit."""
    buckets = Buckets(60)
    assert [buckets.take("a", 1000.0) for _ in range(61)] == [True] * 60 + [False]
    assert buckets.take("b", 1000.0)
    assert not buckets.take("a", 1000.9)
    assert buckets.take("a", 1001.0)
    assert not buckets.has("a", 1001.5)
    assert [buckets.take("a", 9000.0) for _ in range(61)] == [True] * 60 + [False]


def test_no_limit_remembers_nothing() -> None:
    """With 0 everything passes and no key is kept."""
    buckets = Buckets(0)
    assert all(buckets.take(str(number), 0.0) for number in range(1000))
    assert len(buckets) == 0


def test_buckets_are_bounded_and_full_ones_forgotten_first() -> None:
    """Of more keys than fit, those whose bucket is full again go, then those not used for longest."""
    buckets = Buckets(1, most=80)
    for number in range(80):
        assert buckets.take(f"old {number}", 0.0)
    assert buckets.take("spent", 50.0)
    assert len(buckets) == 70
    assert not buckets.has("old 79", 50.0)
    for number in range(70, 81):
        assert buckets.take(f"new {number}", 61.0)
    assert not buckets.has("spent", 61.0)  # still empty
    assert len(buckets) == 12


@given(
    st.integers(1, 100),
    st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=300),
)
def test_no_window_lets_more_than_its_share_through(per_minute: int, pauses: list[float]) -> None:
    """Over any stretch of time no more passes than one full bucket and what it was filled with meanwhile."""
    buckets, now, passed = Buckets(per_minute), 5000.0, []
    for pause in pauses:
        now += pause / per_minute
        if buckets.take("a", now):
            passed.append(now)
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            allowed = per_minute * (1 + (passed[last] - begin) / 60)
            assert last - first + 1 <= allowed + 1e-3


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
    ],
)
def test_an_address_of_ipv6_stands_for_its_network(address: str, network: str) -> None:
    """One customer has 2^64 addresses of IPv6 and one bucket."""
    assert network_of(address) == network


# --- meters ---


def test_an_address_has_as_much_as_five_connections() -> None:
    """A new connection has a bucket of its own, but not a new address."""
    rates = Rates(SLOW)
    paid = [sum(Meter(rates, "192.0.2.1").may_publish(0.0) for _ in range(4)) for _ in range(6)]
    assert paid == [4, 4, 4, 4, 4, 0]
    meter = Meter(rates, "192.0.2.2")
    assert [meter.may_publish(0.0) for _ in range(5)] == [True] * 4 + [False]


def test_a_public_key_pays_on_every_connection_and_nobody_else_for_it() -> None:
    """What a key has proved it pays itself; a replayed author pays apart; a wrap's author pays nothing."""
    rates = Rates(SLOW)
    one, two = Meter(rates, "192.0.2.1"), Meter(rates, "192.0.2.2")
    note, wrap = signed(EVE), wrap_for(ALICE.pubkey)
    assert [one.may_store(note, (), 0.0) for _ in range(5)] == [True] * 4 + [False]
    assert not two.may_store(note, (), 0.0)
    assert [two.may_store(note, {EVE.pubkey}, 0.0) for _ in range(5)] == [True] * 4 + [False]
    assert not one.may_store(wrap, {EVE.pubkey, BOB.pubkey}, 0.0)
    assert all(one.may_store(wrap, (), 0.0) for _ in range(100))


# --- a running relay ---


def serving(tmp_path: Path, policy: Policy, scenario: Callable[[str], Awaitable[None]], **more: Any) -> None:
    """Run *scenario* against a relay of its own."""

    async def main() -> None:
        async with running_relay(tmp_path, policy, **more) as url:
            await scenario(url)

    asyncio.run(main())


async def answers(writer: Client, *events: Event) -> list[tuple[bool, str]]:
    """Return what OK says of each event."""
    return [await writer.publish(event) for event in events]


def test_a_stranger_is_slowed_down_and_a_member_is_not(tmp_path: Path) -> None:
    """Beyond a minute's worth `rate-limited:` is said; who authenticates as a member goes on."""

    async def scenario(url: str) -> None:
        async with client(url) as writer:
            notes = [signed(EVE, content=str(number)) for number in range(6)]
            assert await answers(writer, *notes) == [(True, "")] * 4 + [(False, TOO_FAST)] * 2
            assert await writer.authenticate(ALICE) == (True, "")
            more = [signed(EVE, content=f"more {number}") for number in range(20)]
            assert await answers(writer, *notes[4:], *more) == [(True, "")] * 22

    serving(tmp_path, Policy(allowed={ALICE.pubkey}, open=True, limits=SLOW), scenario)


def test_false_signatures_are_paid_for(tmp_path: Path) -> None:
    """Events are counted before they are verified, since that is what costs."""

    async def scenario(url: str) -> None:
        async with client(url) as writer:
            for number in range(4):
                event = signed(EVE, content=str(number))
                await writer.say("EVENT", event.to_json() | {"sig": "0" * 128})
                ok = await writer.hear()
                assert ok[:3] == ["OK", event.id, False]
                assert ok[3].startswith("invalid: ")
            assert await writer.publish(signed(EVE)) == (False, TOO_FAST)

    serving(tmp_path, Policy(allowed=(), open=True, limits=SLOW), scenario)


def test_addresses_are_told_apart_behind_a_proxy(tmp_path: Path) -> None:
    """Many connections from one address share its bucket; another address is not concerned."""

    async def publish_from(url: str, address: str) -> tuple[bool, str]:
        headers = {"X-Forwarded-For": address}
        async with connect(url, compression=None, additional_headers=headers) as connection:
            writer = Client(connection, url)
            await writer.hear()
            return await writer.publish(mined_wrap(ALICE.pubkey, 1))

    async def scenario(url: str) -> None:
        said = [await publish_from(url, "2001:db8::1") for _ in range(20)]
        assert said == [(True, "")] * 20
        assert await publish_from(url, "2001:db8::2") == (False, TOO_FAST)
        assert await publish_from(url, "2001:db8:1::1") == (True, "")

    policy = Policy(allowed={ALICE.pubkey}, min_pow=1, limits=SLOW)
    serving(tmp_path, policy, scenario, trusted_proxies=(ip_network("127.0.0.0/8"),))


def test_questions_are_limited_and_closed_with_the_reason(tmp_path: Path) -> None:
    """REQ and COUNT share a bucket; a member's questions are not counted."""

    async def scenario(url: str) -> None:
        async with client(url) as reader:
            assert await reader.ask({}) == []
            assert await reader.ask({}) == []
            await reader.say("COUNT", "c", {})
            assert await reader.hear() == ["COUNT", "c", {"count": 0}]
            assert await reader.ask({}) == TOO_FAST
            await reader.say("COUNT", "c", {})
            assert await reader.hear() == ["CLOSED", "c", TOO_FAST]
        async with client(url, ALICE) as reader:
            assert [await reader.ask({}) for _ in range(10)] == [[]] * 10

    serving(tmp_path, Policy(allowed={ALICE.pubkey}, limits=SLOW), scenario)


def test_authentication_is_limited_by_connection(tmp_path: Path) -> None:
    """One connection cannot have signatures verified without end by proving key after key."""

    async def scenario(url: str) -> None:
        async with client(url) as someone:
            said = [await someone.authenticate(new_key()) for _ in range(3)]
            assert said[:2] == [(True, "")] * 2
            assert said[2][1].startswith("rate-limited: ")

    serving(tmp_path, Policy(allowed={ALICE.pubkey}, limits=SLOW), scenario)


def test_failed_authentication_is_limited_by_address(tmp_path: Path) -> None:
    """After too many that prove nothing even a right AUTH waits; right ones do not count."""

    async def scenario(url: str) -> None:
        for _ in range(5):
            async with client(url, ALICE):
                pass
        for _ in range(2):
            async with client(url) as someone:
                accepted, message = await someone.authenticate(ALICE, url="ws://elsewhere.example")
                assert not accepted
                assert message.startswith("invalid: ")
        async with client(url) as someone:
            accepted, message = await someone.authenticate(ALICE)
            assert not accepted
            assert message.startswith("rate-limited: ")

    serving(tmp_path, Policy(allowed={ALICE.pubkey}, limits=SLOW), scenario)


def test_publish_gets_everything_through(
    own_world: Path, powdo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a relay is too slow for ends with 75 and stays in the outbox; a later run sends the rest, once."""
    monkeypatch.setenv("NSEC_MASTER_KEY", "5" * 64)
    limits = Limits(events_per_minute=60)
    events = [signed(EVE, content=str(number)) for number in range(63)]
    stdin = b"".join(event.to_bytes() + b"\n" for event in events)
    with relay_thread(tmp_path / "relay", Policy(allowed=(), open=True, limits=limits)) as url:
        first = powdo("publish", "--relay", url, stdin=stdin)
        assert first.returncode == 75
        assert b"rate-limited: wait a minute" in first.stderr
        sent = first.stdout.count(b'"accepted":true')
        assert 60 <= sent < 63
        time.sleep(4)
        rest = b"".join(event.to_bytes() + b"\n" for event in events[sent:])
        second = powdo("publish", "--relay", url, stdin=rest)
        assert (second.returncode, second.stderr) == (0, b"")
        assert sorted(ask(url, {"limit": 500})) == sorted(event.id for event in events)


@pytest.mark.parametrize(("more", "counted"), [(("--url", "wss://relay.example"), True), ((), False)])
def test_rates_are_limited_where_strangers_can_come(
    own_world: Path, tmp_path: Path, more: tuple[str, ...], counted: bool
) -> None:
    """A relay with a public address counts from the start; one for its own machine only does not."""
    process = Powdo(("-m", "powdo")).start(
        "relay", "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path), "--open", *more
    )
    events = [signed(EVE, content=str(number)) for number in range(650)]

    async def publish_all(url: str) -> list[str]:
        async with client(url) as writer:
            for event in events:
                await writer.say("EVENT", event.to_json())
            return [(await writer.hear())[3] for _ in events]

    try:
        assert process.stdout is not None
        said = asyncio.run(publish_all(json.loads(process.stdout.readline())["url"]))
    finally:
        process.terminate()
        _, warned = process.communicate(timeout=20)
    refused = said.count(TOO_FAST)
    assert said.count("") + refused == len(events)
    assert (0 < refused <= 50) if counted else refused == 0
    assert (b"all clients count as one address" in warned) == counted
