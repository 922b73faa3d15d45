"""Conformance as tables: which events the relay takes, and what it answers (NIP-01, 42, 45).

Ids and signatures are made here from the words of NIP-01, not by the code that checks them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from hashlib import sha256
from itertools import count
from typing import Any

import pytest
from relay_helpers import client, new_key, relay_thread, signed

from powdo.nips.curve import SecretKey
from powdo.nips.relay_messages import prefix
from powdo.servers.relay.policy import Policy

ALICE, BOB = new_key(), new_key()
OPEN = Policy(allowed=(), open=True)
NOW = int(time.time())
_ages = count()
FIELDS = ("pubkey", "created_at", "kind", "tags", "content")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a relay that lets everybody write."""
    with relay_thread(tmp_path_factory.mktemp("relay"), OPEN) as address:
        yield address


def forged(key: SecretKey, **fields: Any) -> dict[str, Any]:
    """Return an event with these *fields*, whatever they are, under a right id and signature."""
    body = {
        "pubkey": key.pubkey,
        "created_at": NOW - next(_ages),
        "kind": 1,
        "tags": [],
        "content": "",
        **fields,
    }
    text = json.dumps([0, *(body[name] for name in FIELDS)], separators=(",", ":"), ensure_ascii=False)
    digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
    return {"id": digest.hex(), **body, "sig": key.sign(digest, secrets.token_bytes(32)).hex()}


# --- events: NIP, behaviour, fields, and the prefix of the refusal ("": accepted and served) ---

EVENTS: list[tuple[str, str, dict[str, Any], str]] = [
    ("01", "no tags", {"tags": []}, ""),
    ("01", "a tag of its name alone", {"tags": [["alone"]]}, ""),
    ("01", "a tag whose strings are empty", {"tags": [["", ""]]}, ""),
    ("01", "the same tag twice", {"tags": [["t", "same"], ["t", "same"], ["t", "same", "more"]]}, ""),
    ("01", "a tag of many strings", {"tags": [["t", *map(str, range(500))]]}, ""),
    ("01", "an empty tag", {"tags": [[]]}, "invalid"),
    ("01", "a tag that is a string", {"tags": ["t"]}, "invalid"),
    ("01", "a number in a tag", {"tags": [["t", 1]]}, "invalid"),
    ("01", "null in a tag", {"tags": [["t", None]]}, "invalid"),
    ("01", "an array in a tag", {"tags": [["t", ["x"]]]}, "invalid"),
    ("01", "tags as an object", {"tags": {"t": "x"}}, "invalid"),
    ("01", "tags as null", {"tags": None}, "invalid"),
    ("01", "the seven escapes of NIP-01", {"content": '\n"\\\r\t\b\f'}, ""),
    ("01", "the other control characters", {"content": "".join(map(chr, range(32)))}, ""),
    ("01", "DEL", {"content": "\x7f"}, ""),
    ("01", "C1 controls", {"content": "\x80\x85\x9f"}, ""),
    ("01", "separators of lines and paragraphs", {"content": "\u2028\u2029", "tags": [["t", "\u2028"]]}, ""),
    ("01", "a slash stays bare", {"content": "</script>"}, ""),
    ("01", "characters beyond the BMP", {"content": "😀𝄞", "tags": [["t", "😀"]]}, ""),
    ("01", "noncharacters", {"content": "\ufffe\uffff\ufdd0\U0010ffff"}, ""),
    ("01", "decomposed text is not composed", {"content": "e\u0301 \u00e9 \ufeff"}, ""),
    ("01", "a lone surrogate", {"content": "\ud800"}, "invalid"),
    ("01", "a lone surrogate in a tag", {"tags": [["t", "\udfff"]]}, "invalid"),
    ("01", "content as null", {"content": None}, "invalid"),
    ("01", "content as a number", {"content": 1}, "invalid"),
    ("01", "content as an object", {"content": {}}, "invalid"),
    ("01", "the smallest regular kind", {"kind": 1}, ""),
    ("01", "the largest kind", {"kind": 65535}, ""),
    ("01", "a kind beyond 16 bits", {"kind": 65536}, "invalid"),
    ("01", "a negative kind", {"kind": -1}, "invalid"),
    ("01", "a kind as a float", {"kind": 1.0}, "invalid"),
    ("01", "a kind as a string", {"kind": "1"}, "invalid"),
    ("01", "a kind as null", {"kind": None}, "invalid"),
    ("01", "a year ago", {"created_at": NOW - 365 * 86400}, ""),
    ("01", "created_at as a float", {"created_at": float(NOW)}, "invalid"),
    ("01", "created_at as a string", {"created_at": str(NOW)}, "invalid"),
    ("01", "created_at as true", {"created_at": True}, "invalid"),
    ("01", "created_at as null", {"created_at": None}, "invalid"),
    ("01", "a negative created_at", {"created_at": -1}, "invalid"),
    ("01", "created_at beyond 64 bits", {"created_at": 1 << 64}, "invalid"),
    ("01", "created_at in 1970", {"created_at": 0}, "invalid"),
    ("01", "created_at next year", {"created_at": NOW + 365 * 86400}, "invalid"),
    ("01", "a public key in upper case", {"pubkey": ALICE.pubkey.upper()}, "invalid"),
    ("01", "a public key of 66 digits", {"pubkey": "02" + ALICE.pubkey}, "invalid"),
    ("40", "an expiration to come", {"tags": [["expiration", str(NOW + 3600)]]}, ""),
    ("40", "an expiration that is no number", {"tags": [["expiration", "soon"]]}, ""),
    ("40", "an expiration without a value", {"tags": [["expiration"]]}, ""),
    ("40", "an expiration now", {"tags": [["expiration", str(NOW)]]}, "invalid"),
    ("42", "an AUTH event as an EVENT", {"kind": 22242}, "invalid"),
    ("59", "a wrap for nobody", {"kind": 1059}, "invalid"),
    ("59", "an ephemeral wrap for nobody", {"kind": 21059}, "invalid"),
    ("59", "a wrap for two", {"kind": 1059, "tags": [["p", ALICE.pubkey], ["p", BOB.pubkey]]}, "invalid"),
    ("70", "a protected event without AUTH", {"tags": [["-"]]}, "auth-required"),
    ("70", "a protected event among other tags", {"tags": [["t", "x"], ["-", "why"]]}, "auth-required"),
]


@pytest.mark.parametrize(
    ("fields", "refusal"), [row[2:] for row in EVENTS], ids=[f"{r[0]}: {r[1]}" for r in EVENTS]
)
def test_an_event_is_taken_or_refused(url: str, fields: dict[str, Any], refusal: str) -> None:
    """What is well-formed is served as it came; the rest gets OK false with a prefix, and is not there."""

    async def main() -> None:
        async with client(url) as writer:
            event = forged(ALICE, **fields)
            await writer.say("EVENT", event)
            _, event_id, accepted, message = await writer.hear()
            assert (event_id, accepted, prefix(message)) == (event["id"], not refusal, refusal)
            assert await writer.ask({"ids": [event["id"]]}) == ([] if refusal else [event])

    asyncio.run(main())


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("a signature in upper case", {"sig": "A" * 128}),
    ("a signature too short", {"sig": "0" * 126}),
    ("a signature as null", {"sig": None}),
    ("an id too short", {"id": "0" * 62}),
    ("another author", {"pubkey": BOB.pubkey}),
    ("another time", {"created_at": NOW - 1}),
    ("another kind", {"kind": 2}),
    ("another tag", {"tags": [["t", "x"]]}),
]


@pytest.mark.parametrize("change", [row[1] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_an_event_that_was_changed_is_refused(url: str, change: dict[str, Any]) -> None:
    """Each part of a signed event counts (NIP-01); a key that NIP-01 does not know is left out."""

    async def main() -> None:
        async with client(url) as writer:
            event = forged(ALICE, content=secrets.token_hex(8))
            false = {**event, **change}
            await writer.say("EVENT", false)
            answer = await writer.hear()
            assert answer[:3] == ["OK", false["id"], False]
            assert prefix(answer[3]) == "invalid"
            await writer.say("EVENT", {"seen_on": ["wss://x.example"], **event})
            assert (await writer.hear())[:3] == ["OK", event["id"], True]
            assert await writer.ask({"ids": [event["id"]]}) == [event]

    asyncio.run(main())


# --- conversations: NIP, behaviour, what is said, and what is heard ("…:" stands for a message so begun) ---

Q = '"limit":0'
TALKS: list[tuple[str, str, list[str], list[list[Any]]]] = [
    ("01", "EOSE ends what is stored", [f'["REQ","s",{{{Q}}}]'], [["EOSE", "s"]]),
    ("01", "a name is used again", [f'["REQ","s",{{{Q}}}]'] * 3, [["EOSE", "s"]] * 3),
    ("01", "a name of one character", [f'["REQ","ä",{{{Q}}}]'], [["EOSE", "ä"]]),
    ("01", "a name of 64 characters", [f'["REQ","{"é" * 64}",{{{Q}}}]'], [["EOSE", "é" * 64]]),
    ("01", "a name of 65 characters", [f'["REQ","{"x" * 65}",{{{Q}}}]'], [["NOTICE", "invalid:"]]),
    ("01", "an empty name", [f'["REQ","",{{{Q}}}]'], [["NOTICE", "invalid:"]]),
    ("01", "a name that must be escaped", [f'["REQ","\\"\\n\\u2028",{{{Q}}}]'], [["EOSE", '"\n\u2028']]),
    ("01", "a name that is a number", [f'["REQ",1,{{{Q}}}]'], [["NOTICE", "invalid:"]]),
    ("01", "CLOSE of what is not open", ['["CLOSE","nobody"]'], []),
    ("01", "CLOSE is not answered", [f'["REQ","s",{{{Q}}}]', '["CLOSE","s"]'], [["EOSE", "s"]]),
    ("01", "a word in lower case", [f'["req","s",{{{Q}}}]'], [["NOTICE", "invalid:"]]),
    ("01", "a word that is none", ['["HELLO"]'], [["NOTICE", "invalid:"]]),
    ("01", "white space is no matter", [f' [ "REQ" ,\n"s", {{ {Q} }} ]\t'], [["EOSE", "s"]]),
    ("01", "two messages in one frame", [f'["REQ","s",{{{Q}}}]["CLOSE","s"]'], [["NOTICE", "invalid:"]]),
    ("01", "a message that is an object", ['{"kind":1}'], [["NOTICE", "invalid:"]]),
    (
        "01",
        "an EVENT that can be named",
        ['["EVENT",{"id":"' + "0" * 64 + '"}]'],
        [["OK", "0" * 64, False, "invalid:"]],
    ),
    ("01", "an EVENT without a name", ['["EVENT",{}]'], [["NOTICE", "invalid:"]]),
    (
        "42",
        "an AUTH that can be named",
        ['["AUTH",{"id":"' + "1" * 64 + '"}]'],
        [["OK", "1" * 64, False, "invalid:"]],
    ),
    ("42", "an AUTH with a string", ['["AUTH","challenge"]'], [["NOTICE", "invalid:"]]),
    (
        "45",
        "COUNT opens no subscription",
        ['["COUNT","c",{"kinds":[20001]}]'],
        [["COUNT", "c", {"count": 0}]],
    ),
]


@pytest.mark.parametrize(
    ("said", "heard"), [row[2:] for row in TALKS], ids=[f"{r[0]}: {r[1]}" for r in TALKS]
)
def test_a_conversation(url: str, said: list[str], heard: list[list[Any]]) -> None:
    """Each message gets exactly the answers that it is due, in order, and the connection goes on."""

    def begun(answer: list[Any], due: list[Any]) -> list[Any]:
        words = answer[-1].partition(" ")[0] if isinstance(answer[-1], str) else ""
        return [*answer[:-1], words] if isinstance(due[-1], str) and due[-1].endswith(":") else answer

    async def main() -> None:
        async with client(url) as talker:
            for text in said:
                await talker.connection.send(text)
            await talker.say("COUNT", "the end", {"ids": []})
            answers = []
            while (answer := await talker.hear())[:2] != ["COUNT", "the end"]:
                answers.append(answer)
            assert [begun(*pair) for pair in zip(answers, heard, strict=True)] == heard

    asyncio.run(main())


def test_names_belong_to_their_connection(url: str) -> None:
    """Two connections use one name; CLOSE by one does not concern the other (NIP-01)."""

    async def main() -> None:
        kind = 4000 + secrets.randbelow(5000)
        async with client(url) as one, client(url) as two, client(url) as writer:
            for reader in (one, two):
                assert await reader.ids({"kinds": [kind], "limit": 0}) == []
            await one.say("CLOSE", "s")
            assert await one.ids({"ids": []}) == []
            event = signed(BOB, kind)
            assert await writer.publish(event) == (True, "")
            assert await two.hear() == ["EVENT", "s", event.to_json()]
            assert await one.quiet()

    asyncio.run(main())
