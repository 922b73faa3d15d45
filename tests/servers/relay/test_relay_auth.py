"""Conformance as a table: which AUTH proves a public key, and what that shows (NIP-42)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from relay_helpers import Client, client, new_key, relay_thread, signed, wrap_for

from powdo.nips.relay_messages import prefix
from powdo.servers.relay.policy import Policy

ALICE, BOB, EVE = new_key(), new_key(), new_key()
PUBLIC = "wss://relay.example/way"
MINUTE = 60


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a relay that lets Alice write, and has a public address as well."""
    policy = Policy(allowed={ALICE.pubkey})
    with relay_thread(tmp_path_factory.mktemp("relay"), policy, url=PUBLIC) as address:
        yield address


def proofs(url: str, challenge: str, other: str) -> dict[str, tuple[bool, int, int, list[list[str]]]]:
    """Return what AUTH is tried with: whether it proves anything, its kind, its age, its tags."""
    port = url.rpartition(":")[2]
    right = ["challenge", challenge]

    def named(relay: str) -> list[list[str]]:
        return [["relay", relay], right]

    return {
        "as it should be": (True, 22242, 0, named(url)),
        "the tags the other way round": (True, 22242, 0, [right, ["relay", url]]),
        "more tags": (True, 22242, 0, [*named(url), ["t", "x"], ["alone"]]),
        "a slash at the end": (True, 22242, 0, named(url + "/")),
        "the public address": (True, 22242, 0, named(PUBLIC)),
        "the public address, spelled otherwise": (True, 22242, 0, named("WSS://RELAY.example:443/way/")),
        "another name of this machine": (True, 22242, 0, named(f"ws://localhost:{port}")),
        "made nine minutes ago": (True, 22242, 9 * MINUTE, named(url)),
        "made in nine minutes": (True, 22242, -9 * MINUTE, named(url)),
        "made eleven minutes ago": (False, 22242, 11 * MINUTE, named(url)),
        "made in eleven minutes": (False, 22242, -11 * MINUTE, named(url)),
        "another kind": (False, 22243, 0, named(url)),
        "a note": (False, 1, 0, named(url)),
        "another relay": (False, 22242, 0, named("wss://evil.example")),
        "another port": (False, 22242, 0, named(f"{url}1")),
        "another path": (False, 22242, 0, named("wss://relay.example/other")),
        "a name that ends like ours": (False, 22242, 0, named("wss://evil-relay.example/way")),
        "a user's name in the address": (False, 22242, 0, named(PUBLIC.replace("//", "//me@"))),
        "no address": (False, 22242, 0, [right]),
        "an empty address": (False, 22242, 0, named("")),
        "an address that is none": (False, 22242, 0, named("wss://[")),
        "two addresses": (False, 22242, 0, [*named(url), ["relay", "wss://evil.example"]]),
        "no challenge": (False, 22242, 0, [["relay", url]]),
        "an empty challenge": (False, 22242, 0, [["relay", url], ["challenge", ""]]),
        "the challenge of another connection": (False, 22242, 0, [["relay", url], ["challenge", other]]),
        "two challenges": (False, 22242, 0, [*named(url), ["challenge", other]]),
        "the beginning of the challenge": (False, 22242, 0, [["relay", url], ["challenge", challenge[:-1]]]),
        "the challenge in upper case": (
            False,
            22242,
            0,
            [["relay", url], ["challenge", challenge.upper() + "X"]],
        ),
    }


@pytest.mark.parametrize("name", list(proofs("ws://x:1", "x", "y")))
def test_an_authentication(url: str, name: str) -> None:
    """OK tells whether the key was proved, and only then it may write."""

    async def main() -> None:
        async with client(url) as other, client(url) as writer:
            good, kind, age, tags = proofs(url, writer.challenge, other.challenge)[name]
            at = int(time.time()) - age
            event = signed(ALICE, kind, tuple(tuple(tag) for tag in tags), created_at=at)
            await writer.say("AUTH", event.to_json())
            _, event_id, accepted, message = await writer.hear()
            assert (event_id, accepted, prefix(message)) == (event.id, good, "" if good else "invalid")
            accepted, message = await writer.publish(wrap_for(BOB.pubkey))
            assert (accepted, prefix(message)) == (good, "" if good else "auth-required")

    asyncio.run(main())


CHANGES: dict[str, dict[str, Any]] = {
    "a signature by nobody": {"sig": "0" * 128},
    "the name of another": {"pubkey": EVE.pubkey},
    "another time": {"created_at": int(time.time()) - 1},
    "something in the content": {"content": "x"},
    "no signature": {"sig": ""},
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_an_authentication_that_was_changed(url: str, name: str) -> None:
    """Id and signature of an AUTH are checked as those of any event."""

    async def main() -> None:
        async with client(url) as writer:
            tags = (("relay", url), ("challenge", writer.challenge))
            event = signed(ALICE, 22242, tags)
            await writer.say("AUTH", {**event.to_json(), **CHANGES[name]})
            _, event_id, accepted, message = await writer.hear()
            assert (event_id, accepted, prefix(message)) == (event.id, False, "invalid")
            assert prefix((await writer.publish(wrap_for(BOB.pubkey)))[1]) == "auth-required"
            await writer.say("AUTH", event.to_json())
            assert (await writer.hear())[:3] == ["OK", event.id, True]
            await writer.say("AUTH", event.to_json())
            assert (await writer.hear())[:3] == ["OK", event.id, True]

    asyncio.run(main())


def test_challenges_differ(url: str) -> None:
    """Each connection has a challenge of its own that cannot be guessed."""

    async def main() -> None:
        challenges = set()
        for _ in range(20):
            async with client(url) as someone:
                challenges.add(someone.challenge)
        assert len(challenges) == 20
        assert min(map(len, challenges)) >= 32

    asyncio.run(main())


def test_an_authentication_is_passed_on_to_nobody(url: str) -> None:
    """What was signed to authenticate is neither found nor heard by others (NIP-42)."""

    async def main() -> None:
        async with client(url) as watcher:
            assert await watcher.ids({"kinds": [22242]}) == []
            async with client(url, ALICE):
                assert await watcher.quiet()
            assert await watcher.ids({"kinds": [22242]}) == []

    asyncio.run(main())


async def sees(reader: Client, wrap_id: str) -> list[bool]:
    """Return whether *reader* finds a wrap by its id, and among all."""
    await reader.say("COUNT", "c", {"ids": [wrap_id]})
    counted = (await reader.hear())[2]["count"]
    return [wrap_id in await reader.ids({"ids": [wrap_id]}), wrap_id in await reader.ids({}), counted == 1]


def test_each_key_that_was_proved_shows_its_own(url: str) -> None:
    """Keys add up; each shows the wraps to it from then on, and a protected event needs its own author."""

    async def main() -> None:
        wraps = {key: wrap_for(key.pubkey) for key in (ALICE, BOB, EVE)}
        protected = signed(BOB, 1, (("-",),))
        async with client(url, ALICE) as reader:
            for wrap in wraps.values():
                assert await reader.publish(wrap) == (True, "")
            assert [await sees(reader, wrap.id) for wrap in wraps.values()] == [
                [True] * 3,
                [False] * 3,
                [False] * 3,
            ]
            assert prefix((await reader.publish(protected))[1]) == "restricted"
            assert await reader.authenticate(BOB) == (True, "")
            assert [await sees(reader, wrap.id) for wrap in wraps.values()] == [
                [True] * 3,
                [True] * 3,
                [False] * 3,
            ]
            assert await reader.publish(protected) == (True, "")
            both = {"kinds": [1059], "#p": [ALICE.pubkey, BOB.pubkey]}
            assert set(await reader.ids(both)) >= {wraps[ALICE].id, wraps[BOB].id}

    asyncio.run(main())


def test_a_connection_holds_a_bounded_number_of_keys(url: str) -> None:
    """The seventeenth key is refused, those proved before stay proved."""

    async def main() -> None:
        async with client(url) as someone:
            keys = [ALICE, *(new_key() for _ in range(16))]
            answers = [await someone.authenticate(key) for key in keys]
            assert [accepted for accepted, _ in answers] == [True] * 16 + [False]
            assert prefix(answers[16][1]) == "restricted"
            assert await someone.authenticate(keys[15]) == (True, "")
            assert await someone.publish(wrap_for(EVE.pubkey)) == (True, "")

    asyncio.run(main())


def test_what_is_said_at_once_is_answered_in_order(url: str) -> None:
    """AUTH, EVENT and REQ without waiting: the key counts for what follows, and the event comes once."""

    async def main() -> None:
        for number in range(20):
            async with client(url) as hasty:
                tags = (("relay", url), ("challenge", hasty.challenge))
                proof, wrap = signed(ALICE, 22242, tags), wrap_for(ALICE.pubkey)
                note = signed(ALICE, 1, (("-",),), str(number))
                forged = {**note.to_json(), "content": "forged"}
                said = [["AUTH", proof.to_json()], ["EVENT", wrap.to_json()], ["EVENT", forged]]
                said += [["EVENT", note.to_json()], ["REQ", "s", {"ids": [wrap.id, note.id]}]]
                for words in said:
                    await hasty.say(*words)
                heard = [await hasty.hear() for _ in range(7)]
                oks = [words[1:3] for words in heard if words[0] == "OK"]
                assert oks[0] == [proof.id, True]
                assert sorted(oks[1:]) == sorted([[wrap.id, True], [note.id, False], [note.id, True]])
                assert oks.index([note.id, False]) < oks.index([note.id, True])
                assert heard.count(["EOSE", "s"]) == 1
                events = [words[2]["id"] for words in heard if words[0] == "EVENT"]
                assert sorted(events) == sorted([wrap.id, note.id])

    asyncio.run(main())
