"""Events as JSON text: written as NIP-01 says, read strictly, whatever library does it."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from powdo.errors import BadRecordError
from powdo.nips.curve import SecretKey
from powdo.nips.event import MAX_TIME, Event, Unsigned, event_id, serialize, sign

KEY = SecretKey(b"\7" * 32)
ESCAPED = "".join(map(chr, range(0x20))) + '"\\/\x7f\x80\u2028\u2029\ufeff\ufffe\uffff🙂\U0010ffff'
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(ESCAPED), max_size=40)
TAGS = st.lists(st.lists(TEXT, min_size=1, max_size=4).map(tuple), max_size=4).map(tuple)
EVENT = sign(Unsigned(KEY.pubkey, 1700000000, 1, (("t", "a"),), "hé"), KEY, bytes(32))
RUMOR = Unsigned(KEY.pubkey, 1700000000, 14, (("t", "a"),), "hé")


def reference(value: object) -> bytes:
    """Return *value* as NIP-01 wants it written, by the standard library."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def written(**changes: object) -> bytes:
    """Return the text of an event with *changes*."""
    return json.dumps(EVENT.to_json() | changes).encode()


def test_every_character_is_written_as_nip_01_says() -> None:
    """Seven characters and the other controls are escaped in one way; each of the rest stands as it is."""
    escapes = {"\n": "\\n", '"': '\\"', "\\": "\\\\", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
    for number in range(sys.maxunicode + 1):
        if 0xD800 <= number <= 0xDFFF:
            continue
        character = chr(number)
        expected = escapes.get(character, character if number >= 0x20 else f"\\u{number:04x}")
        assert serialize("", 0, 0, (), character) == f'[0,"",0,0,[],"{expected}"]'.encode()


@given(
    content=TEXT,
    repeat=st.integers(1, 30),
    tags=TAGS,
    kind=st.integers(0, 65535),
    at=st.integers(0, MAX_TIME),
)
@example(content=ESCAPED, repeat=30, tags=((ESCAPED, ""),), kind=0, at=MAX_TIME)
def test_serialization_equals_the_reference(content: str, repeat: int, tags: Any, kind: int, at: int) -> None:
    """What is hashed and what is sent are, byte for byte, what the standard library writes."""
    event = sign(Unsigned(KEY.pubkey, at, kind, tags, content * repeat), KEY, bytes(32))
    body = (event.pubkey, event.created_at, event.kind, event.tags, event.content)
    expected = reference([0, *body])
    assert serialize(*body) == expected
    assert event.id == event_id(*body) == hashlib.sha256(expected).hexdigest()
    for item in (event, Unsigned(*body)):
        assert item.to_bytes() == reference(item.to_json())


@given(content=TEXT, tags=TAGS, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_any_way_to_write_an_event_is_read(content: str, tags: Any, ascii_only: bool, indent: Any) -> None:
    """Escapes, white space and the order of the fields do not matter; bytes and text are read alike."""
    event = sign(Unsigned(KEY.pubkey, 5, 14, tags, content), KEY, bytes(32))
    fields = dict(reversed(event.to_json().items()))
    text = json.dumps(fields, ensure_ascii=ascii_only, indent=indent)
    assert Event.parse(text) == Event.parse(text.encode()) == Event.from_json(json.loads(text)) == event
    rumor = Unsigned(*(getattr(event, name) for name in ("pubkey", "created_at", "kind", "tags", "content")))
    text = json.dumps(rumor.to_json(), ensure_ascii=ascii_only, indent=indent)
    assert Unsigned.parse(text) == Unsigned.parse(text.encode()) == rumor


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_junk_is_refused_in_one_way(data: bytes | str) -> None:
    """Neither bytes nor text fail in another way than by BadRecordError."""
    for parse in (Event.parse, Unsigned.parse):
        with pytest.raises(BadRecordError):
            parse(data)


@given(
    data=st.data(),
    text=st.sampled_from([EVENT.to_bytes(), RUMOR.to_bytes(), written(content=ESCAPED), written(x=[1e9])]),
)
def test_what_is_read_was_valid_to_the_reference_too(data: st.DataObject, text: bytes) -> None:
    """A text with some bytes changed is read as the standard library reads it, or refused."""
    damaged = bytearray(text)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    for cls in (Event, Unsigned):
        try:
            found = cls.parse(bytes(damaged))
        except BadRecordError:
            continue
        assert found == cls.from_json(json.loads(bytes(damaged).decode()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"NaN",
        b"[" * 100_000,
        b'{"id":' * 100_000,
        written()[:-1],
        written() + b"x",
        written() + written(),
        written().replace(b"{", b"{,", 1),
        written()[:-1] + b",}",
        b"\xef\xbb\xbf" + written(),
        written().decode().encode("utf-16"),
        written(content="X").replace(b'"X"', b'"\xed\xa0\x80"'),
        written(content="X").replace(b'"X"', b'"\xff"'),
        written(content="X").replace(b'"X"', b'"\\ud800"'),
        written(content="X").replace(b'"X"', b'"\\udc00\\ud800"'),
        written(content="X").replace(b'"X"', b'"\0"'),
        written(content="X").replace(b'"X"', b'"\n"'),
        written(content="X").replace(b'"X"', b"'X'"),
        written(content="X").replace(b'"X"', b'"\\x"'),
        written(tags=[["\ud800"]]),
        written(tags=[["t", 1]]),
        written(kind=1.0),
        written(kind=True),
        written(kind=65536),
        written(created_at=2**53 + 1),
        written(created_at=2**64),
        written(created_at=-(2**63) - 1),
        written(created_at=10**400),
        written(created_at=float("nan")),
        written(created_at=float("inf")),
        written(created_at=7777).replace(b"7777", b"1e9"),
        written(created_at=7777).replace(b"7777", b"07"),
        written(created_at=7777).replace(b"7777", b"1.0"),
        written()[:-1] + b',"unknown":"\\ud800"}',
        written()[:-1] + b',"unknown":1e400}',
        written()[:-1] + b',"unknown":' + b"[" * 1024 + b"]" * 1024 + b"}",
        written(id="AA" * 32),
        written(pubkey="aa" * 31),
        written(sig=None),
    ],
    ids=lambda data: f"{len(data)} {hashlib.sha256(data).hexdigest()[:8]}",
)
def test_what_is_no_event_in_strict_json_is_refused(data: bytes) -> None:
    """Other encodings, lone surrogates, raw controls, depth, and fields no event can have are refused."""
    with pytest.raises(BadRecordError):
        Event.parse(data)


def test_the_texts_refused_above_are_otherwise_good() -> None:
    """The builder of the list makes an event when nothing is wrong."""
    assert Event.parse(written()) == EVENT
    assert Event.parse(written(content="X").replace(b'"X"', b'"\\ud83d\\ude42"')).content == "🙂"
    assert Event.parse(written(created_at=MAX_TIME, x={"more": [None, 1.5]})).created_at == MAX_TIME


def test_the_last_of_two_equal_keys_counts() -> None:
    """As with the standard library; the id tells whether it was the one that was signed."""
    data = EVENT.to_bytes()[:-1] + b',"content":"other"}'
    assert Event.parse(data).content == json.loads(data)["content"] == "other"


@pytest.mark.parametrize("change", [{"content": "\ud83d"}, {"tags": (("\udc00",),)}, {"created_at": 2**64}])
def test_what_json_cannot_carry_is_not_written(change: dict[str, Any]) -> None:
    """A lone surrogate and an integer that no reader takes are refused, not replaced."""
    fields: dict[str, Any] = {"pubkey": KEY.pubkey, "created_at": 1, "kind": 1, "tags": (), "content": ""}
    rumor = Unsigned(**(fields | change))
    event = Event("aa" * 32, rumor.pubkey, rumor.created_at, 1, rumor.tags, rumor.content, "bb" * 64)
    for write in (rumor.to_bytes, event.to_bytes, event.verify):
        with pytest.raises(BadRecordError):
            write()


@pytest.mark.parametrize("character", [*map(chr, range(128)), "é", "🙂"])
def test_each_character_in_a_long_content(character: str) -> None:
    """One character that needs an escape is escaped, however long and plain the rest is."""
    content = "A" * 300 + character + "b" * 300
    assert serialize("a", 1, 1, (), content) == reference([0, "a", 1, 1, [], content])
