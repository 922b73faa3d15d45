"""Ten thousand frames that make no sense: the relay answers whoever comes next, grows not, and logs nothing.

Each seed is a test, so that a failure names the one to run again.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from relay_helpers import client, new_key, signed
from relay_wire import BINARY, CLOSE, PING, TEXT, Line, Served, connect_line, frame, relay_process, say

from powdo.nips.event import Event

ALICE = new_key()
SEEDS = range(10)
#: Of each seed: messages without sense in sound frames, then unsound frames.
MESSAGES, FRAMES, AT_ONCE = 950, 50, 95
ODD: list[Any] = [None, True, -1, 0, 2**53, 2**64, -(10**30), 1.5, 1e308, "", "\ud800", "\0", "x" * 5000]
ODD += [[], {}, [[]], [None] * 2000, {"ids": []}, {"": {"": {}}}, "EVENT", "0" * 64, "f" * 64]
TOKENS = [b"null", b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 400, b'"\\ud800"', b'"\\u0000"', b"\xff\xfe"]
TOKENS += [
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"[" * 5000,
    b'{"a":' * 5000,
    b"]",
    b"}",
    b'"',
    b",",
    b"\\",
    b"/*",
    b"\x00",
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a relay that lets everybody write."""
    with relay_process(tmp_path_factory.mktemp("relay"), "--open") as made:
        yield made


def sound(event: Event) -> list[list[Any]]:
    """Return messages as a good client says them."""
    everything = {
        "ids": [event.id],
        "authors": [event.pubkey],
        "kinds": [1, 1059],
        "#e": [event.id],
        "#t": ["x"],
    }
    return [
        ["EVENT", event.to_json()],
        ["AUTH", event.to_json()],
        ["REQ", "s", everything | {"since": 1, "until": 2**40, "limit": 5}, {}],
        ["COUNT", "c", everything],
        ["CLOSE", "s"],
    ]


def changed(value: Any, draw: random.Random) -> Any:
    """Return *value* with one part of it replaced, left out or said twice."""
    if isinstance(value, (list, dict)) and value and draw.random() < 0.8:
        items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        at = draw.randrange(len(items))
        name, part = items[at]
        match draw.randrange(8):
            case 0:
                del items[at]
            case 1:
                items[at] = (draw.choice(["", "kind", "#", "ids", "\ud800"]), part)
            case 2:
                items.insert(at, items[at])
            case _:
                items[at] = (name, changed(part, draw))
        return dict(items) if isinstance(value, dict) else [part for _, part in items]
    return draw.choice(ODD)


def senseless(draw: random.Random, messages: list[list[Any]]) -> bytes:
    """Return the payload of a message that makes little sense."""
    if draw.random() < 0.5:
        return json.dumps(changed(draw.choice(messages), draw)).encode()
    text = json.dumps(draw.choice(messages)).encode()
    begin = draw.randrange(len(text))
    end = min(len(text), begin + draw.choice([0, 1, 1, 2, 50]))
    match draw.randrange(6):
        case 0:
            return draw.randbytes(draw.choice([0, 1, 2, 30, 3000]))
        case 1:
            return text[:begin]
        case 2:
            return text[:begin] + bytes([text[begin] ^ 1 << draw.randrange(8)]) + text[begin + 1 :]
        case 3:
            return text[:begin] + text[begin:end] * 3 + text[begin:]
        case _:
            return text[:begin] + draw.choice(TOKENS) + text[end:]


def in_frames(payload: bytes, draw: random.Random) -> bytes:
    """Return *payload* in one or several sound frames, with a ping between; now and then as bytes."""
    opcode = BINARY if draw.random() < 0.05 else TEXT
    if draw.random() < 0.8:
        return frame(payload, opcode)
    cuts = sorted(draw.randrange(len(payload) + 1) for _ in range(draw.randrange(1, 4)))
    parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    frames = [frame(part, 0 if n else opcode, final=n == len(parts) - 1) for n, part in enumerate(parts)]
    return frame(b"ping", PING).join(frames)


UNSOUND: dict[str, Callable[[random.Random], bytes]] = {
    "an opcode nobody knows": lambda draw: frame(b"x", draw.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])),
    "bits that are reserved": lambda draw: frame(b"[]", rsv=draw.randrange(1, 8)),
    "the end of nothing": lambda _: frame(b"x", 0),
    "a message within another": lambda _: frame(b"[", final=False) + frame(b"[]"),
    "a ping in parts": lambda _: frame(b"x", PING, final=False),
    "a ping too long": lambda draw: frame(draw.randbytes(draw.randrange(126, 300)), PING),
    "no mask": lambda draw: frame(b'["CLOSE","s"]', draw.choice([TEXT, PING]), masked=False),
    "a close of one byte": lambda _: frame(b"x", CLOSE),
    "a close for no reason": lambda draw: frame(
        draw.choice([999, 1005, 1006, 1016, 2999]).to_bytes(2), CLOSE
    ),
    "a close in no language": lambda _: frame(b"\x03\xe8\xff\xff", CLOSE),
    "a message too long": lambda _: frame(bytes(300_000)),
    "a length of a gigabyte": lambda _: b"\x81\xff" + (1 << 30).to_bytes(8) + bytes(4 + 300_000),
    "a negative length": lambda _: b"\x81\xff" + b"\xff" * 8 + bytes(4 + 300_000),
    "parts without end": lambda _: frame(b"x", final=False) + frame(b"x" * 1000, 0, final=False) * 400,
    "noise": lambda draw: draw.randbytes(draw.randrange(1, 500)),
}


async def answered(line: Line, heard: list[bytes], name: str) -> bool:
    """Return whether the connection is there and answers a question, rather than lost."""
    line.transport.write(say("COUNT", name, {"ids": []}))
    due = json.dumps(["COUNT", name, {"count": 0}], separators=(",", ":")).encode()
    async with asyncio.timeout(20):
        while due not in heard and not line.lost.is_set():
            await asyncio.sleep(0.002)
    return due in heard


async def send_messages(served: Served, draw: random.Random) -> None:
    """Send what makes no sense; each connection must go on."""
    messages = sound(signed(ALICE, content=str(draw.random())))
    for number in range(MESSAGES // AT_ONCE):
        heard: list[bytes] = []
        line = await connect_line(served, heard.append)
        line.transport.write(b"".join(in_frames(senseless(draw, messages), draw) for _ in range(AT_ONCE)))
        assert await answered(line, heard, f"the end {number}")
        assert not any(message.startswith(b"Traceback") or b"internal" in message for message in heard)
        await line.cut()


async def send_frames(served: Served, draw: random.Random) -> None:
    """Send what RFC 6455 forbids, then ask: the relay cuts the connection, and does not hang."""
    for number in range(FRAMES):
        heard: list[bytes] = []
        line = await connect_line(served, heard.append)
        kind = draw.choice(list(UNSOUND))
        line.transport.write(UNSOUND[kind](draw))
        if kind == "noise":  # may be the beginning of a frame that never ends
            await asyncio.sleep(0)
        elif await answered(line, heard, f"the end {number}"):
            assert kind == "no mask", kind  # the one that aiohttp lets pass
        await line.cut()


@pytest.fixture(scope="module")
def memory(served: Served) -> int:
    """Return what the relay holds of the machine's memory once it has seen something of everything."""
    asyncio.run(send_messages(served, random.Random("first")))
    return served.memory()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_makes_no_sense_harms_nobody(served: Served, memory: int, seed: int) -> None:
    """After a thousand such frames a client that was there before, and a new one, are served."""
    draw = random.Random(seed)
    event = signed(ALICE, content=f"after {seed}")

    async def main() -> None:
        async with client(served.url) as before:
            await send_messages(served, draw)
            await send_frames(served, draw)
            assert await before.publish(event) == (True, "")
            async with client(served.url) as after:
                assert await after.ask({"ids": [event.id]}) == [event.to_json()]

    asyncio.run(main())
    assert served.memory() < memory + (32 << 20)
    assert served.stderr.read_text() == ""
