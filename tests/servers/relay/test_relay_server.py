"""The relay as a client meets it, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from relay_helpers import Client, client, new_key, running_relay, signed, wrap_for
from websockets.exceptions import ConnectionClosed

from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import Policy

ALICE, BOB, EVE = new_key(), new_key(), new_key()
ALLOWED = Policy(allowed={ALICE.pubkey, BOB.pubkey})
OPEN = Policy(allowed=(), open=True)


def serving(
    tmp_path: Path, policy: Policy, scenario: Callable[[str], Awaitable[None]], **config: Any
) -> None:
    """Run *scenario* against a relay of its own."""

    async def main() -> None:
        async with running_relay(tmp_path, policy, **config) as url:
            await scenario(url)

    asyncio.run(main())


def test_stored_events_are_found_by_every_filter(tmp_path: Path) -> None:
    """ids, authors, kinds, tags, since, until and limit each select as NIP-01 says."""

    async def scenario(url: str) -> None:
        now = int(time.time())
        first = signed(ALICE, 1, (("t", "one"), ("t", "two")), "ä€😀\u007f", created_at=now - 20)
        second = signed(BOB, 1, (("t", "two"), ("e", "a" * 64)), created_at=now - 10)
        third = signed(BOB, 7, created_at=now)
        async with client(url) as alice:
            for event in (second, first, third):
                assert await alice.publish(event) == (True, "")
            assert await alice.ids({}) == [third.id, second.id, first.id]
            assert await alice.ids({"ids": [first.id, second.id]}) == [second.id, first.id]
            assert await alice.ids({"ids": []}) == []
            assert await alice.ids({"authors": [ALICE.pubkey]}) == [first.id]
            assert await alice.ids({"kinds": [7, 8]}) == [third.id]
            assert await alice.ids({"#t": ["two"]}) == [second.id, first.id]
            assert await alice.ids({"#t": ["one", "two"]}) == [second.id, first.id]
            assert await alice.ids({"#t": ["two"], "#e": ["a" * 64]}) == [second.id]
            assert await alice.ids({"#t": ["two"], "kinds": [1], "authors": [ALICE.pubkey]}) == [first.id]
            assert await alice.ids({"since": now - 10, "until": now - 10}) == [second.id]
            assert await alice.ids({"limit": 1}) == [third.id]
            assert await alice.ids({"limit": 0}) == []
            assert await alice.ids({"kinds": [7]}, {"#t": ["one"]}, {"kinds": [7]}) == [third.id, first.id]
            assert (await alice.ask({"ids": [first.id]})) == [first.to_json()]

    serving(tmp_path, OPEN, scenario)


def test_live_events_follow_eose_and_stop_at_close(tmp_path: Path) -> None:
    """A subscription goes on after EOSE, is replaced by its name, and ends with CLOSE."""

    async def scenario(url: str) -> None:
        async with client(url) as reader, client(url) as writer:
            assert await reader.ids({"kinds": [1]}) == []
            event = signed(ALICE, 1)
            assert await writer.publish(event) == (True, "")
            assert await reader.hear() == ["EVENT", "s", event.to_json()]
            assert await writer.publish(event) == (True, "duplicate: already stored")
            assert await reader.quiet()
            assert await reader.ids({"kinds": [2]}) == []
            await writer.publish(signed(ALICE, 1))
            assert await reader.quiet()
            await reader.say("CLOSE", "s")
            assert await reader.ids({"kinds": [3]}) == []  # CLOSE has been handled by now
            await writer.publish(signed(ALICE, 2))
            assert await reader.quiet()

    serving(tmp_path, OPEN, scenario)


def test_replaceable_addressable_and_ephemeral_kinds(tmp_path: Path) -> None:
    """The newest version stays (ties: the lower id); ephemeral events are passed on and not kept."""

    async def scenario(url: str) -> None:
        now = int(time.time())
        async with client(url) as reader, client(url) as writer:
            old, new = signed(ALICE, 0, created_at=now - 5), signed(ALICE, 0, created_at=now)
            assert (await writer.publish(new))[0]
            assert await writer.publish(old) == (False, "replaced: a newer version is stored")
            ties = sorted(
                (signed(ALICE, 10002, content=str(n), created_at=now) for n in range(4)), key=lambda e: e.id
            )
            for event in reversed(ties):
                assert (await writer.publish(event))[0]
            one = signed(ALICE, 30078, (("d", "one"),), created_at=now - 9)
            two = signed(ALICE, 30078, (("d", "two"),), created_at=now - 8)
            newer = signed(ALICE, 30078, (("d", "one"),), created_at=now - 7)
            for event in (one, two, newer):
                assert (await writer.publish(event))[0]
            assert await reader.ids({}) == [*sorted([new.id, ties[0].id]), newer.id, two.id]
            passing = signed(ALICE, 20001)
            assert await writer.publish(passing) == (True, "")
            assert (await reader.hear())[2]["id"] == passing.id
            assert await reader.ids({"kinds": [20001]}) == []

    serving(tmp_path, OPEN, scenario)


def test_only_the_allowlist_publishes(tmp_path: Path) -> None:
    """An author on the list may write, a stranger not, and AUTH lets a stranger's signature in."""

    async def scenario(url: str) -> None:
        async with client(url) as someone:
            assert await someone.publish(signed(ALICE)) == (True, "")
            accepted, message = await someone.publish(signed(EVE))
            assert not accepted
            assert message.startswith("auth-required: ")
            assert await someone.authenticate(EVE) == (True, "")
            accepted, message = await someone.publish(signed(EVE))
            assert not accepted
            assert message.startswith("restricted: ")
            assert await someone.authenticate(BOB) == (True, "")
            assert await someone.publish(wrap_for(EVE.pubkey)) == (True, "")

    serving(tmp_path, ALLOWED, scenario)


def test_gift_wraps_exist_only_for_their_recipient(tmp_path: Path) -> None:
    """Not by id, by any filter, by count or live does anyone else see a wrap."""

    async def scenario(url: str) -> None:
        async with client(url, ALICE) as sender, client(url, EVE) as eve, client(url) as nobody:
            async with client(url, BOB) as bob:
                for watcher in (eve, nobody, sender):
                    assert await watcher.ids({}) == []
                    assert await watcher.ids({"authors": ["a" * 64], "#p": [BOB.pubkey]}) == []
                assert await bob.ids({"kinds": [1059, 21059], "#p": [BOB.pubkey]}) == []
                stored, passing = wrap_for(BOB.pubkey), wrap_for(BOB.pubkey, kind=21059)
                assert await sender.publish(stored) == (True, "")
                assert await sender.publish(passing) == (True, "")
                assert [(await bob.hear())[2]["id"] for _ in range(2)] == [stored.id, passing.id]
                assert await bob.ids({"kinds": [1059], "#p": [BOB.pubkey]}) == [stored.id]
                assert await bob.ids({"ids": [stored.id]}) == [stored.id]
                await bob.say("COUNT", "c", {"kinds": [1059]})
                assert await bob.hear() == ["COUNT", "c", {"count": 1}]
            for watcher in (eve, nobody, sender):
                assert await watcher.quiet()
                for asked in (
                    {},
                    {"ids": [stored.id]},
                    {"#p": [BOB.pubkey]},
                    {"authors": [stored.pubkey]},
                    {"since": stored.created_at, "until": stored.created_at},
                ):
                    assert await watcher.ids(asked) == []
                    await watcher.say("COUNT", "c", asked)
                    assert await watcher.hear() == ["COUNT", "c", {"count": 0}]
            for name in ("REQ", "COUNT"):
                await nobody.say(name, "w", {"kinds": [1059]})
                answer = await nobody.hear()
                assert answer[:2] == ["CLOSED", "w"]
                assert answer[2].startswith("auth-required: ")
            answer = await eve.ask({"kinds": [1059], "#p": [BOB.pubkey]})
            assert isinstance(answer, str)
            assert answer.startswith("restricted: ")

    serving(tmp_path, ALLOWED, scenario)


def test_several_public_keys_on_one_connection(tmp_path: Path) -> None:
    """A connection sees the wraps of every key it has proved, also in a subscription it had before."""

    async def scenario(url: str) -> None:
        async with client(url, ALICE) as reader, client(url, ALICE) as writer:
            assert await reader.ids({}) == []
            assert await reader.authenticate(BOB) == (True, "")
            wraps = [wrap_for(key.pubkey) for key in (ALICE, BOB, EVE)]
            for wrap in wraps:
                assert await writer.publish(wrap) == (True, "")
            assert [(await reader.hear())[2]["id"] for _ in range(2)] == [wraps[0].id, wraps[1].id]
            assert await reader.quiet()

    serving(tmp_path, ALLOWED, scenario)


def test_authentication_that_proves_nothing(tmp_path: Path) -> None:
    """A wrong challenge, address, kind, time or signature does not authenticate."""

    async def scenario(url: str) -> None:
        async with client(url) as other, client(url) as reader:
            right = (("relay", url), ("challenge", reader.challenge))
            wrong = [
                signed(BOB, 22242, (("relay", url), ("challenge", other.challenge))),
                signed(BOB, 22242, (("relay", "wss://evil.example"), ("challenge", reader.challenge))),
                signed(BOB, 22242, (("challenge", reader.challenge),)),
                signed(BOB, 1, right),
                signed(BOB, 22242, right, created_at=int(time.time()) - 3600),
            ]
            objects = [event.to_json() for event in wrong]
            objects.append({**signed(BOB, 22242, right).to_json(), "pubkey": ALICE.pubkey})
            for item in objects:
                await reader.say("AUTH", item)
                answer = await reader.hear()
                assert answer[:3] == ["OK", item["id"], False]
                assert answer[3].startswith("invalid: ")
            assert (await reader.publish(wrap_for(BOB.pubkey)))[1].startswith("auth-required: ")
            assert await reader.publish(signed(BOB, 22242, right)) == (
                False,
                "invalid: an authentication event is not published",
            )

    serving(tmp_path, ALLOWED, scenario)


def test_the_public_address_counts_behind_a_proxy(tmp_path: Path) -> None:
    """With --url clients authenticate to that address; an unusual spelling of it is the same."""

    async def scenario(url: str) -> None:
        async with client(url) as reader:
            assert await reader.authenticate(BOB, url="WSS://Relay.Example:443/") == (True, "")

    serving(tmp_path, ALLOWED, scenario, url="wss://relay.example")


def test_expired_events_are_gone(tmp_path: Path) -> None:
    """An expired event is refused; one that expires later is no longer served then (NIP-40)."""

    async def scenario(url: str) -> None:
        now = int(time.time())
        async with client(url) as reader:
            gone = signed(ALICE, 1, (("expiration", str(now - 1)),))
            assert await reader.publish(gone) == (False, "invalid: expired")
            going = signed(ALICE, 1, (("expiration", str(now + 2)),))
            assert await reader.publish(going) == (True, "")
            assert await reader.ids({}) == [going.id]
            while time.time() < now + 2:
                await asyncio.sleep(0.1)
            assert await reader.ids({}) == []

    serving(tmp_path, OPEN, scenario)


def test_deletions_by_author_and_by_recipient(tmp_path: Path) -> None:
    """Only the author deletes an event, the recipient a wrap too; neither comes back (NIP-09)."""

    async def scenario(url: str) -> None:
        async with client(url, BOB) as bob:
            note, wrap = signed(ALICE), wrap_for(BOB.pubkey)
            address = signed(ALICE, 30078, (("d", "x"),), created_at=int(time.time()) - 5)
            for event in (note, wrap, address):
                assert (await bob.publish(event))[0]
            assert (await bob.publish(signed(EVE, 5, (("e", note.id), ("e", wrap.id)))))[0]
            assert set(await bob.ids({"kinds": [1, 1059]})) == {note.id, wrap.id}
            assert (await bob.publish(signed(BOB, 5, (("e", note.id), ("e", wrap.id)))))[0]
            assert await bob.ids({"kinds": [1, 1059]}) == [note.id]
            tags = (("e", note.id), ("a", f"30078:{ALICE.pubkey}:x"), ("e", "junk"))
            deletion = signed(ALICE, 5, tags)
            assert (await bob.publish(deletion))[0]
            assert await bob.ids({"kinds": [1, 1059, 30078]}) == []
            for event in (note, wrap, address):
                assert await bob.publish(event) == (False, "blocked: this event was deleted")

    serving(tmp_path, OPEN, scenario)


def test_false_events_are_refused(tmp_path: Path) -> None:
    """A wrong id, a wrong signature, upper-case hex and odd types are refused under the id they claim."""

    async def scenario(url: str) -> None:
        async with client(url) as writer:
            event = signed(ALICE).to_json()
            for change in (
                {"content": "changed"},
                {"id": "0" * 64},
                {"sig": "0" * 128},
                {"pubkey": BOB.pubkey},
                {"pubkey": "f" * 64},
                {"id": str(event["id"]).upper()},
                {"kind": 65536},
                {"kind": True},
                {"created_at": 1.5},
                {"tags": [[1]]},
                {"content": None},
            ):
                forged = {**event, **change}
                await writer.say("EVENT", forged)
                answer = await writer.hear()
                assert answer[:3] == ["OK", forged["id"], False], (change, answer)
                assert answer[3].startswith("invalid: ")
            for two in ((), (("p", BOB.pubkey), ("p", EVE.pubkey)), (("p", "x"),)):
                answer_ok = await writer.publish(signed(new_key(), 1059, two))
                assert answer_ok == (False, "invalid: a gift wrap names exactly one recipient")
            future = signed(ALICE, created_at=int(time.time()) + 3600)
            assert await writer.publish(future) == (False, "invalid: created_at is in the future")
            assert (await writer.ids({})) == []

    serving(tmp_path, OPEN, scenario)


JUNK: list[str | bytes] = [
    "",
    "x",
    "{}",
    "[]",
    "[1]",
    "null",
    '["NOPE"]',
    '["EVENT"]',
    '["EVENT",1]',
    '["EVENT",{"id":1}]',
    '["REQ"]',
    '["REQ",1,{}]',
    '["REQ","",{}]',
    '["REQ","\\ud800",{}]',
    f'["REQ","{"x" * 65}",{{}}]',
    '["REQ","s"]',
    '["REQ","s",1]',
    '["REQ","s",{"kinds":["1"]}]',
    '["REQ","s",{"ids":["ABC"]}]',
    '["REQ","s",{"#t":["\\ud800"]}]',
    '["REQ","s",{"#t":["\\u0000"],"since":9007199254740991}]',
    '["REQ","s",{"limit":-1}]',
    '["COUNT","s",{"nope":1}]',
    '["CLOSE"]',
    '["CLOSE",1]',
    '["AUTH"]',
    '["AUTH","x"]',
    "[" * 100_000,
    '["EVENT",{"id":NaN}]',
    '["NOTICE","\\u001b[2J"]',
    b"\x00\xff",
]


def test_junk_is_answered_and_harms_nobody(tmp_path: Path) -> None:
    """After every kind of nonsense the same connection still works."""

    async def scenario(url: str) -> None:
        async with client(url) as writer:
            for junk in JUNK:
                await writer.connection.send(junk)
            event = signed(ALICE)
            assert await writer.publish(event) == (True, "")
            assert await writer.ids({}) == [event.id]

    serving(tmp_path, OPEN, scenario)


def test_a_filter_that_cannot_be_text_is_refused(tmp_path: Path) -> None:
    """A filter with a lone surrogate closes its subscription as invalid."""

    async def scenario(url: str) -> None:
        async with client(url) as reader:
            await reader.connection.send('["REQ","s",{"#t":["\\ud800"]}]')
            assert await reader.hear() == ["CLOSED", "s", "invalid: '#t' of a filter holds a lone surrogate"]

    serving(tmp_path, OPEN, scenario)


def test_limits_are_enforced_and_told(tmp_path: Path) -> None:
    """What NIP-11 tells is what happens: message size, subscriptions, filters, limit."""
    limits = Limits(
        max_message=20_000, max_subscriptions=3, max_filters=2, max_filter_values=50, max_limit=2, max_tags=4
    )

    async def scenario(url: str) -> None:
        headers = {"Accept": "application/nostr+json"}
        async with aiohttp.ClientSession() as session:
            async with session.get(url.replace("ws", "http", 1), headers=headers) as response:
                told = json.loads(await response.text())
                assert response.content_type == "application/nostr+json"
                assert response.headers["Access-Control-Allow-Origin"] == "*"
            async with session.get(url.replace("ws", "http", 1)) as response:
                assert response.status == 200
                assert "Nostr relay" in await response.text()
        assert told["limitation"]["max_message_length"] == 20_000
        assert told["limitation"]["max_subscriptions"] == 3
        assert told["limitation"]["max_limit"] == 2
        assert told["limitation"]["restricted_writes"] is False
        assert set(told["supported_nips"]) >= {1, 11, 40, 42}
        async with client(url) as reader:
            for number in range(3):
                assert (await reader.publish(signed(ALICE, content=str(number))))[0]
            assert len(await reader.ids({"limit": 100})) == 2
            assert len(await reader.ids({})) == 2
            for name in ("a", "b"):
                assert isinstance(await reader.ask({}, name=name), list)
            assert await reader.ask({}, name="c") == "restricted: at most 3 subscriptions"
            assert isinstance(await reader.ask({}, name="a"), list)
            assert await reader.ask({}, {}, {}, name="a") == "invalid: at most 2 filters"
            many = [f"{number}" for number in range(51)]
            assert await reader.ask({"#t": many}, name="b") == "invalid: at most 50 values in filters"
            tags = tuple(("t", str(number)) for number in range(5))
            assert await reader.publish(signed(ALICE, 1, tags)) == (False, "invalid: too many tags")
        async with client(url) as writer:
            with pytest.raises(ConnectionClosed) as closed:
                await writer.publish(signed(ALICE, content="x" * 20_000))
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009

    serving(tmp_path, Policy(allowed=(), open=True, limits=limits), scenario)


def test_a_slow_reader_is_dropped(tmp_path: Path) -> None:
    """Who does not read is cut off; the others get everything."""
    limits = Limits(backlog=200_000, patience=1.0)

    async def scenario(url: str) -> None:
        host, port = url.removeprefix("ws://").split(":")
        incoming, outgoing = await asyncio.open_connection(host, int(port), limit=1024)
        outgoing.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        asked = b'["REQ","s",{}]'
        outgoing.write(bytes([0x81, 0x80 | len(asked), 0, 0, 0, 0]) + asked)
        async with client(url) as reader, client(url) as writer:
            assert await reader.ids({}) == []
            for number in range(100):
                event = signed(ALICE, content=f"{number}" + "x" * 100_000)
                assert (await writer.publish(event))[0]
                assert (await reader.hear())[2]["id"] == event.id
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := await asyncio.wait_for(incoming.read(1 << 20), 5):
                received += len(data)
        assert 0 < received < 100 * 100_000
        outgoing.close()

    serving(tmp_path, Policy(allowed=(), open=True, limits=limits), scenario)


def test_connections_per_address_are_counted_behind_a_proxy(tmp_path: Path) -> None:
    """A trusted proxy names the client's address, and that address gets no more than its share."""
    import ipaddress

    async def connect_as(session: aiohttp.ClientSession, url: str, address: str) -> Any:
        return await session.ws_connect(url, headers={"X-Forwarded-For": f"10.0.0.1, {address}"})

    async def scenario(url: str) -> None:
        async with aiohttp.ClientSession() as session:
            held = [await connect_as(session, url, "192.0.2.1") for _ in range(2)]
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await connect_as(session, url, "192.0.2.1")
            assert refused.value.status == 429
            held.append(await connect_as(session, url, "192.0.2.2"))
            await held[0].close()
            for _ in range(50):
                try:
                    held.append(await connect_as(session, url, "192.0.2.1"))
                    break
                except aiohttp.WSServerHandshakeError:
                    await asyncio.sleep(0.02)
            else:
                raise AssertionError("a place that was freed is not given again")
            for socket in held:
                await socket.close()

    limits = Limits(max_connections_per_address=2)
    proxies = (ipaddress.ip_network("127.0.0.0/8"),)
    serving(tmp_path, Policy(allowed=(), open=True, limits=limits), scenario, trusted_proxies=proxies)


def test_many_writers_get_every_answer(tmp_path: Path) -> None:
    """Pipelined writes on several connections are each answered once, and all are stored."""

    async def scenario(url: str) -> None:
        async def write(writer: Client) -> None:
            batch = [signed(new_key(), content=str(number)) for number in range(150)]
            events = {event.id for event in batch}
            for event in batch:
                await writer.say("EVENT", event.to_json())
            for _ in batch:
                message = await writer.hear()
                assert message[0] == "OK"
                assert message[2]
                events.remove(message[1])
            assert not events

        async with client(url) as one, client(url) as two, client(url) as three:
            await asyncio.gather(write(one), write(two), write(three))
            await one.say("COUNT", "c", {})
            assert await one.hear() == ["COUNT", "c", {"count": 450}]

    serving(tmp_path, OPEN, scenario)


def test_a_subscription_among_writes_misses_and_doubles_nothing(tmp_path: Path) -> None:
    """Events that are committed while a REQ is answered come once: stored before EOSE or live after it."""

    async def scenario(url: str) -> None:
        events = [signed(ALICE, content=str(number)) for number in range(300)]

        async def write(writer: Client) -> None:
            for event in events:
                await writer.say("EVENT", event.to_json())
                await asyncio.sleep(0)
            for _ in events:
                assert (await writer.hear())[2]

        async def read(delay: float) -> None:
            async with client(url) as reader:
                await asyncio.sleep(delay)
                await reader.say("REQ", "s", {"kinds": [1], "limit": 500})
                received: list[str] = []
                ended = False
                while len(received) < len(events) or not ended:
                    message = await reader.hear()
                    ended = ended or message[0] == "EOSE"
                    received += [message[2]["id"]] if message[0] == "EVENT" else []
                assert sorted(received) == sorted(event.id for event in events)
                assert await reader.quiet(0.1)

        async with client(url) as writer:
            await asyncio.gather(write(writer), *(read(number * 0.01) for number in range(10)))

    serving(tmp_path, OPEN, scenario)


def test_a_relay_that_stops_says_goodbye_and_keeps_everything(tmp_path: Path) -> None:
    """At shutdown clients get 1001; a relay started on the same folder has what was OKed."""
    event = signed(ALICE)

    async def first() -> None:
        async with running_relay(tmp_path, OPEN) as url:
            writer = client(url)
            connected = await writer.__aenter__()
            assert (await connected.publish(event))[0]
        with pytest.raises(ConnectionClosed) as closed:
            await connected.hear()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        await writer.__aexit__(None, None, None)

    async def second(url: str) -> None:
        async with client(url) as reader:
            assert await reader.ids({}) == [event.id]

    asyncio.run(first())
    serving(tmp_path, OPEN, second)
