"""Each limit that NIP-11 tells, reached and exceeded by one; and how the document is asked for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from relay_helpers import Client, client, mined_wrap, new_key, running_relay, signed
from websockets.exceptions import ConnectionClosed, InvalidStatus

from powdo.nips.relay_messages import prefix
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import Policy

ALICE = new_key()
DOCUMENT = "application/nostr+json"
LIMITS = Limits(
    max_message=5000,
    max_subscriptions=3,
    max_filters=2,
    max_filter_values=9,
    max_limit=4,
    max_tags=5,
    oldest=86400,
    newest=100,
)

Reach = Callable[[Client, int], Awaitable[bool]]


async def document(url: str) -> dict[str, Any]:
    """Return the relay's information document."""
    place = url.replace("ws", "http", 1)
    async with aiohttp.request("GET", place, headers={"Accept": DOCUMENT}) as response:
        assert response.content_type == DOCUMENT
        told: dict[str, Any] = json.loads(await response.read())
        return told


async def of_length(writer: Client, size: int) -> bool:
    """Return whether an EVENT of *size* bytes is taken."""
    empty = len(json.dumps(["EVENT", signed(ALICE).to_json()], separators=(",", ":")))
    event = signed(ALICE, content="x" * (size - empty))
    text = json.dumps(["EVENT", event.to_json()], separators=(",", ":"))
    assert len(text) == size
    await writer.connection.send(text)
    try:
        return (await writer.hear())[2] is True
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1009
        return False


async def subscriptions(reader: Client, number: int) -> bool:
    """Return whether *number* subscriptions are open at once."""
    return isinstance([await reader.ask({"limit": 1}, name=str(n)) for n in range(number)][-1], list)


async def subscription_id(reader: Client, length: int) -> bool:
    """Return whether a subscription may have a name of *length* characters."""
    await reader.say("REQ", "ü" * length, {"ids": []})
    return (await reader.hear())[0] == "EOSE"


async def tags(writer: Client, number: int) -> bool:
    """Return whether an event may have *number* tags."""
    event = signed(ALICE, 1, tuple(("t", str(n)) for n in range(number)))
    accepted, message = await writer.publish(event)
    assert prefix(message) == ("" if accepted else "invalid")
    return accepted


async def age(writer: Client, seconds: int) -> bool:
    """Return whether an event may be as old."""
    slack = 5 if seconds > LIMITS.oldest else -5  # the clock runs on meanwhile
    return (await writer.publish(signed(ALICE, created_at=int(time.time()) - seconds - slack)))[0]


async def ahead(writer: Client, seconds: int) -> bool:
    """Return whether an event may be dated so far ahead."""
    slack = 5 if seconds > LIMITS.newest else 0
    return (await writer.publish(signed(ALICE, created_at=int(time.time()) + seconds + slack)))[0]


async def filters(reader: Client, number: int) -> bool:
    """Return whether a REQ may have *number* filters."""
    return isinstance(await reader.ask(*[{"limit": 1}] * number), list)


REACHES: dict[str, Reach] = {
    "max_message_length": of_length,
    "max_subscriptions": subscriptions,
    "max_subid_length": subscription_id,
    "max_event_tags": tags,
    "created_at_lower_limit": age,
    "created_at_upper_limit": ahead,
    "max_filters": filters,
}


@pytest.mark.parametrize("name", list(REACHES))
def test_a_limit_is_what_is_told(tmp_path: Path, name: str) -> None:
    """As much as the document tells is taken, one more is not."""

    async def main() -> None:
        policy = Policy(allowed=(), open=True, limits=LIMITS)
        async with running_relay(tmp_path, policy) as url:
            told = (await document(url))["limitation"][name]
            for amount, good in ((told, True), (told + 1, False)):
                async with client(url) as someone:
                    assert await REACHES[name](someone, amount) is good, amount

    asyncio.run(main())


def test_the_values_of_filters_are_bounded_together(tmp_path: Path) -> None:
    """Ids, authors, kinds and tag values of all filters count, for COUNT as for REQ."""

    async def main() -> None:
        policy = Policy(allowed=(), open=True, limits=LIMITS)
        async with running_relay(tmp_path, policy) as url, client(url) as reader:
            nine = (
                {"kinds": [1, 2, 3], "#t": ["x", "y"]},
                {"ids": ["0" * 64] * 2, "authors": ["1" * 64] * 2},
            )
            assert await reader.ask(*nine) == []
            assert prefix(str(await reader.ask({**nine[0], "#d": ["z"]}, nine[1]))) == "invalid"
            await reader.say("COUNT", "c", {"kinds": list(range(10))})
            assert (await reader.hear())[:2] == ["CLOSED", "c"]

    asyncio.run(main())


def test_limits_of_answers_are_what_is_told(tmp_path: Path) -> None:
    """A filter without a limit, and one with a larger one, brings as many events as is told."""

    async def main() -> None:
        policy = Policy(allowed=(), open=True, limits=LIMITS)
        async with running_relay(tmp_path, policy) as url, client(url) as someone:
            told = (await document(url))["limitation"]
            events = [signed(ALICE, content=str(n), created_at=int(time.time()) - n) for n in range(6)]
            for event in events:
                assert await someone.publish(event) == (True, "")
            assert await someone.ids({}) == [event.id for event in events[: told["default_limit"]]]
            for limit in (told["max_limit"], told["max_limit"] + 1, 2**53):
                found = await someone.ids({"limit": limit})
                assert found == [event.id for event in events[: told["max_limit"]]]
            await someone.say("COUNT", "c", {"limit": 1})
            assert await someone.hear() == ["COUNT", "c", {"count": 6}]

    asyncio.run(main())


def test_the_work_that_is_told_lets_a_stranger_in(tmp_path: Path) -> None:
    """So many committed bits are enough for a wrap to a member, one less is not (NIP-13)."""

    async def main() -> None:
        async with running_relay(tmp_path, Policy(allowed={ALICE.pubkey}, min_pow=6)) as url:
            told = (await document(url))["limitation"]["min_pow_difficulty"]
            async with client(url) as stranger:
                accepted, message = await stranger.publish(mined_wrap(ALICE.pubkey, told - 1))
                assert (accepted, prefix(message)) == (False, "pow")
                assert await stranger.publish(mined_wrap(ALICE.pubkey, told)) == (True, "")

    asyncio.run(main())


ACCEPTS = {
    DOCUMENT: True,
    f"{DOCUMENT}, */*": True,
    f"text/html;q=0.9, {DOCUMENT};q=1": True,
    DOCUMENT.upper(): True,
    "application/json": False,
    "*/*": False,
    "text/html": False,
}


@pytest.mark.parametrize("accept", list(ACCEPTS))
def test_the_document_is_given_to_who_accepts_it(tmp_path: Path, accept: str) -> None:
    """NIP-11 goes by the Accept header; every answer may be read by a page from anywhere (CORS)."""

    async def main() -> None:
        async with running_relay(tmp_path, Policy(allowed=())) as url, aiohttp.ClientSession() as session:
            place = url.replace("ws", "http", 1)
            async with session.get(
                place, headers={"Accept": accept, "Origin": "https://x.example"}
            ) as answer:
                assert answer.status == 200
                assert (answer.content_type == DOCUMENT) is ACCEPTS[accept]
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
                assert "Access-Control-Allow-Headers" in answer.headers
                assert "Access-Control-Allow-Methods" in answer.headers
            asked = {"Origin": "https://x.example", "Access-Control-Request-Method": "GET"}
            async with session.options(place, headers=asked) as answer:
                assert answer.status in (200, 204)
                assert "GET" in answer.headers["Access-Control-Allow-Methods"]
            async with session.head(place, headers={"Accept": accept}) as answer:
                assert (answer.content_type == DOCUMENT) is ACCEPTS[accept]

    asyncio.run(main())


def test_the_document_has_the_types_of_nip_11(tmp_path: Path) -> None:
    """Words, numbers and flags are of the types NIP-11 gives them, and the name is short."""

    async def main() -> None:
        async with running_relay(tmp_path, Policy(allowed=())) as url:
            told = await document(url)
            assert len(told["name"]) < 30
            assert {type(told[name]) for name in ("name", "description", "version")} == {str}
            assert {type(number) for number in told["supported_nips"]} == {int}
            assert told["supported_nips"] == sorted(set(told["supported_nips"]))
            flags = ("auth_required", "payment_required", "restricted_writes")
            for name, value in told["limitation"].items():
                assert type(value) is (bool if name in flags else int), name

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/other", "//", "/way/more", "/admin/allow"])
def test_there_is_one_endpoint(tmp_path: Path, path: str) -> None:
    """A path that means nothing takes no connection (NIP-01); the path of the public address does."""

    async def main() -> None:
        async with running_relay(tmp_path, Policy(allowed=()), url="wss://relay.example/way") as url:
            for good in ("", "/", "/?x=1", "/way", "/way/"):
                async with client(url + good):
                    pass
            with pytest.raises(InvalidStatus) as refused:
                async with client(url + path):
                    pass
            assert refused.value.response.status_code == 404

    asyncio.run(main())
