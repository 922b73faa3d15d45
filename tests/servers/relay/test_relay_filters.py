"""Conformance as a table: what filters find, count and pass on live, and which are refused (NIP-01, 45)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from relay_helpers import Client, client, new_key, relay_thread, running_relay, signed

from powdo.nips.filters import Filter
from powdo.nips.relay_messages import prefix
from powdo.servers.relay.policy import Policy

ALICE, BOB = new_key(), new_key()
OPEN = Policy(allowed=(), open=True)
NOW = int(time.time())

# --- filters: NIP, behaviour, filters, and the names found ---

A = signed(ALICE, 1, (("t", "one"), ("t", "two")), created_at=NOW - 40)
STORED = {
    "a": A,
    "b": signed(ALICE, 1, (("t", ""), ("P", ALICE.pubkey)), created_at=NOW - 30),
    "c": signed(BOB, 7, (("e", A.id), ("p", ALICE.pubkey)), created_at=NOW - 30),
    "d": signed(BOB, 1, (("t",), ("title", "one"), ("T", "one"), ("x", "y", "one")), created_at=NOW - 20),
    "e": signed(BOB, 30078, (("d", "x"), ("t", "two"), ("t", "two")), created_at=NOW - 10),
}
NAME = {event.id: name for name, event in STORED.items()}
FIRST, SECOND = sorted("bc", key=lambda name: STORED[name].id)  # of one second: the lower id comes first

FILTERS: list[tuple[str, list[dict[str, Any]], str]] = [
    ("all, newest first, then the lowest id", [{}], f"ed{FIRST}{SECOND}a"),
    ("an id", [{"ids": [A.id]}], "a"),
    ("ids that are not there", [{"ids": ["0" * 64, A.id]}], "a"),
    ("no ids match nothing", [{"ids": []}], ""),
    ("no authors match nothing", [{"authors": []}], ""),
    ("no kinds match nothing", [{"kinds": []}], ""),
    ("no tag values match nothing", [{"#t": []}], ""),
    ("an author", [{"authors": [ALICE.pubkey]}], "ba"),
    ("two authors", [{"authors": [ALICE.pubkey, BOB.pubkey], "kinds": [1]}], "dba"),
    ("the same author twice", [{"authors": [ALICE.pubkey] * 2}], "ba"),
    ("kinds, one of them ephemeral", [{"kinds": [7, 20001]}], "c"),
    ("an ephemeral kind alone", [{"kinds": [20001]}], ""),
    ("a tag", [{"#t": ["one"]}], "a"),
    ("a tag in upper case is another one", [{"#T": ["one"]}], "d"),
    ("one of several values, each event once", [{"#t": ["one", "two"]}], "ea"),
    ("the same value twice", [{"#t": ["one", "one"]}], "a"),
    ("an empty value is a value", [{"#t": [""]}], "b"),
    ("#p", [{"#p": [ALICE.pubkey]}], "c"),
    ("#P", [{"#P": [ALICE.pubkey]}], "b"),
    ("#e", [{"#e": [A.id]}], "c"),
    ("#d", [{"#d": ["x"]}], "e"),
    ("only the first value of a tag is looked at", [{"#x": ["one"]}], ""),
    ("two tags: both", [{"#t": ["two"], "#d": ["x"]}], "e"),
    ("two tags that no event has both of", [{"#t": ["one"], "#d": ["x"]}], ""),
    ("a tag and an author", [{"#t": ["two"], "authors": [ALICE.pubkey]}], "a"),
    ("a tag and a kind", [{"#t": ["two"], "kinds": [30078]}], "e"),
    ("a tag and an id", [{"#t": ["two"], "ids": [A.id]}], "a"),
    ("since is inclusive", [{"since": NOW - 20}], "ed"),
    ("until is inclusive", [{"until": NOW - 40}], "a"),
    ("since and until of one second", [{"since": NOW - 30, "until": NOW - 30}], FIRST + SECOND),
    ("since after until", [{"since": NOW - 10, "until": NOW - 20}], ""),
    ("since with a tag", [{"#t": ["two"], "since": NOW - 39}], "e"),
    ("limit 0", [{"limit": 0}], ""),
    ("limit 1", [{"limit": 1}], "e"),
    ("a limit between two of one second", [{"limit": 3}], "ed" + FIRST),
    ("a limit with several tag values", [{"#t": ["one", "two", ""], "limit": 2}], "eb"),
    ("a limit with several kinds", [{"kinds": [1, 7], "limit": 3}], "d" + FIRST + SECOND),
    ("a limit with several authors", [{"authors": [ALICE.pubkey, BOB.pubkey], "limit": 1}], "e"),
    ("a limit larger than all", [{"limit": 500}], f"ed{FIRST}{SECOND}a"),
    ("two filters that overlap: each event once", [{"kinds": [1]}, {"authors": [ALICE.pubkey]}], "dba"),
    ("limits count for each filter", [{"kinds": [1], "limit": 1}, {"kinds": [7], "limit": 1}], "dc"),
    ("a filter that finds nothing beside one that does", [{"ids": []}, {"kinds": [7]}], "c"),
]


def names(events: object) -> str:
    """Return the names of *events*."""
    assert isinstance(events, list), events
    return "".join(NAME[event["id"]] for event in events)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a relay that has what is STORED and nothing else."""
    with relay_thread(tmp_path_factory.mktemp("relay"), OPEN) as address:

        async def fill() -> None:
            async with client(address) as writer:
                for event in STORED.values():
                    assert await writer.publish(event) == (True, "")

        asyncio.run(fill())
        yield address


@pytest.mark.parametrize(("filters", "found"), [row[1:] for row in FILTERS], ids=[row[0] for row in FILTERS])
def test_a_filter_finds(filled: str, filters: list[dict[str, Any]], found: str) -> None:
    """REQ finds these, in this order within a filter; COUNT counts each once, whatever the limit (NIP-45)."""

    async def main() -> None:
        async with client(filled) as reader:
            heard = names(await reader.ask(*filters))
            in_order = list if len(filters) == 1 else sorted
            assert in_order(heard) == in_order(found)
            await reader.say("COUNT", "c", *filters)
            counted = await reader.hear()
            unlimited = [{key: item[key] for key in item if key != "limit"} for item in filters]
            assert counted == ["COUNT", "c", {"count": len(names(await reader.ask(*unlimited)))}]

    asyncio.run(main())


def test_live_events_are_those_the_filters_find(tmp_path: Path) -> None:
    """What each filter of the table finds among stored events, without its limit, is what comes live."""

    async def hear_all(reader: Client, wanted: dict[str, str]) -> dict[str, str]:
        heard = dict.fromkeys(wanted, "")
        while heard["last"] == "":
            message = await reader.hear()
            if message[0] == "EVENT":
                heard[message[1]] += NAME.get(message[2]["id"], "!")
        return heard

    async def main() -> None:
        async with running_relay(tmp_path, OPEN) as url, client(url) as writer, AsyncExitStack() as stack:
            rows = [row[1:] for row in FILTERS]
            readers = []
            for first in range(0, len(rows), 20):
                reader = await stack.enter_async_context(client(url))
                wanted = {}
                for number, (filters, _) in enumerate(rows[first : first + 20]):
                    assert await reader.ask(*filters, name=str(number)) == []
                    wanted[str(number)] = "".join(
                        name
                        for name, event in STORED.items()
                        if any(Filter.from_json(item).matches(event) for item in filters)
                    )
                assert await reader.ask({"kinds": [9999]}, name="last") == []
                readers.append((reader, wanted))
            for event in (*STORED.values(), signed(BOB, 9999)):
                assert await writer.publish(event) == (True, "")
            for reader, wanted in readers:
                heard = await hear_all(reader, {**wanted, "last": "!"})
                assert {name: found.replace("!", "") for name, found in heard.items()} == {
                    **wanted,
                    "last": "",
                }

    asyncio.run(main())


# --- refusals of REQ and COUNT: NIP, behaviour, the text after the subscription's id ---

BAD_FILTERS: list[tuple[str, str]] = [
    ("no filter", ""),
    ("a filter that is an array", ",[]"),
    ("a filter that is null", ",null"),
    ("a good filter and a bad one", ',{},{"kinds":1}'),
    ("an id in upper case", ',{"ids":["' + "A" * 64 + '"]}'),
    ("the beginning of an id", f',{{"ids":["{A.id[:8]}"]}}'),
    ("an author as npub", ',{"authors":["npub1"]}'),
    ("ids as null", ',{"ids":null}'),
    ("a kind beyond 16 bits", ',{"kinds":[65536]}'),
    ("a kind beyond 64 bits", ',{"kinds":[99999999999999999999]}'),
    ("a kind as a float", ',{"kinds":[1.0]}'),
    ("#p that is no public key", ',{"#p":["ana"]}'),
    ("#e that is no id", ',{"#e":[""]}'),
    ("a tag of two letters", ',{"#ab":["x"]}'),
    ("a tag without #", ',{"t":["x"]}'),
    ("a search (NIP-50)", ',{"search":"x"}'),
    ("a negative since", ',{"since":-1}'),
    ("until in exponents", ',{"until":1.7e9}'),
    ("until beyond 64 bits", ',{"until":99999999999999999999}'),
    ("a negative limit", ',{"limit":-1}'),
    ("a limit as a string", ',{"limit":"1"}'),
]


@pytest.mark.parametrize("rest", [row[1] for row in BAD_FILTERS], ids=[row[0] for row in BAD_FILTERS])
@pytest.mark.parametrize("word", ["REQ", "COUNT"])
def test_a_filter_is_refused(filled: str, word: str, rest: str) -> None:
    """CLOSED says `invalid:`, and the next question is answered."""

    async def main() -> None:
        async with client(filled) as reader:
            await reader.connection.send(f'["{word}","s"{rest}]')
            answer = await reader.hear()
            assert answer[:2] == ["CLOSED", "s"]
            assert prefix(answer[2]) == "invalid"
            assert await reader.ids({"kinds": [7]}) == [STORED["c"].id]

    asyncio.run(main())


def test_a_refused_request_ends_the_subscription_it_would_replace(tmp_path: Path) -> None:
    """After CLOSED nothing comes under that name, whatever was asked under it before."""

    async def main() -> None:
        async with running_relay(tmp_path, OPEN) as url, client(url) as reader, client(url) as writer:
            assert await reader.ids({"kinds": [1]}) == []
            await reader.say("REQ", "s", {"kinds": ["1"]})
            assert (await reader.hear())[:2] == ["CLOSED", "s"]
            assert await writer.publish(signed(ALICE)) == (True, "")
            assert await reader.quiet()

    asyncio.run(main())
