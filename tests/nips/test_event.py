"""Events and rumors: form, id, signature, expiration."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Unsigned, event_id, is_expired, serialize, sign

KEY = SecretKey(b"\7" * 32)
OTHER = SecretKey(b"\x08" * 32)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TAGS = st.lists(st.lists(TEXT, min_size=1, max_size=4).map(tuple), max_size=4).map(tuple)


def make(**changes: Any) -> Event:
    """Return a signed event with *changes*."""
    fields: dict[str, Any] = {"created_at": 1700000000, "kind": 1, "tags": (("t", "a"),), "content": "hé"}
    return sign(Unsigned(KEY.pubkey, **(fields | changes)), KEY, bytes(32))


@given(content=TEXT, tags=TAGS, kind=st.integers(0, 65535), created_at=st.integers(0, 2**53))
def test_round_trip(content: str, tags: Any, kind: int, created_at: int) -> None:
    """What is signed verifies, and is the same after a journey as JSON."""
    event = make(content=content, tags=tags, kind=kind, created_at=created_at)
    event.verify()
    again = Event.from_json(json.loads(json.dumps(event.to_json())))
    assert again == event
    again.verify()


@given(content=TEXT, tags=TAGS)
def test_rumor_round_trip(content: str, tags: Any) -> None:
    """A rumor keeps its id on a journey as JSON."""
    rumor = Unsigned(KEY.pubkey, 5, 14, tags, content)
    assert Unsigned.from_json(json.loads(json.dumps(rumor.to_json()))) == rumor


def test_serialization_is_that_of_nip_01() -> None:
    """Quotes, backslashes and white space are escaped; everything else stands as it is."""
    content = 'a"\\\n\r\t\b\f/é🙂\u2028\x7f<>'
    expected = '[0,"aa",1,2,[["t","ü"]],"a\\"\\\\\\n\\r\\t\\b\\f/é🙂\u2028\x7f<>"]'
    assert serialize("aa", 1, 2, (("t", "ü"),), content) == expected.encode()
    assert event_id("aa", 1, 2, (("t", "ü"),), content) == hashlib.sha256(expected.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"id": "00" * 31},
        {"id": "AA" * 32},
        {"id": None},
        {"id": "aa" * 32 + "\n"},
        {"pubkey": "zz" * 32},
        {"pubkey": 5},
        {"sig": "00" * 63},
        {"sig": "AB" * 64},
        {"kind": -1},
        {"kind": 65536},
        {"kind": True},
        {"kind": 1.0},
        {"kind": "1"},
        {"created_at": -1},
        {"created_at": 2**53 + 1},
        {"created_at": 1.5},
        {"created_at": False},
        {"content": None},
        {"content": "\ud800"},
        {"tags": None},
        {"tags": {"t": "a"}},
        {"tags": ["t"]},
        {"tags": [[]]},
        {"tags": [["t", 1]]},
        {"tags": [["t", None]]},
        {"tags": [["\udfff"]]},
        {"tags": "aa"},
    ],
    ids=repr,
)
def test_malformed_event_is_refused(change: dict[str, object]) -> None:
    """A field of a wrong type, size or alphabet is refused when the event is read."""
    with pytest.raises(BadRecordError):
        Event.from_json(make().to_json() | change)


@pytest.mark.parametrize("name", ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"])
def test_missing_field_is_refused(name: str) -> None:
    """No field may be missing."""
    obj = make().to_json()
    del obj[name]
    with pytest.raises(BadRecordError, match=name):
        Event.from_json(obj)


@pytest.mark.parametrize("obj", [None, [], "x", 5])
def test_what_is_no_object_is_no_event(obj: object) -> None:
    """An event and a rumor are objects."""
    with pytest.raises(BadRecordError):
        Event.from_json(obj)
    with pytest.raises(BadRecordError):
        Unsigned.from_json(obj)


@pytest.mark.parametrize(
    "change",
    [
        {"content": "other"},
        {"created_at": 1},
        {"kind": 2},
        {"tags": []},
        {"pubkey": OTHER.pubkey},
        {"id": "ff" * 32},
        {"sig": "00" * 64},
        {"sig": make(content="x").sig},
        {"id": make(content="x").id, "sig": make(content="x").sig},
    ],
    ids=lambda change: next(iter(change)),
)
def test_forged_event_is_refused(change: dict[str, object]) -> None:
    """An event with any field changed, its id included, does not verify."""
    with pytest.raises(PeerProtocolError):
        Event.from_json(make().to_json() | change).verify()


def test_short_signature_is_refused_by_verify_too() -> None:
    """A signature of 63 bytes is wrong, although the library would read past its end."""
    event = make()
    short = Event(
        event.id, event.pubkey, event.created_at, event.kind, event.tags, event.content, event.sig[:-2]
    )
    with pytest.raises(PeerProtocolError):
        short.verify()


@pytest.mark.parametrize("sig", ["zz" * 64, " " * 128, ""])
def test_signature_that_is_no_hex_is_refused_by_verify_too(sig: str) -> None:
    """An event that was not read from JSON is not trusted to carry hex."""
    with pytest.raises(PeerProtocolError):
        make()._replace(sig=sig).verify()


def test_only_the_author_signs() -> None:
    """An event that names another author is not signed."""
    with pytest.raises(ValueError, match="author"):
        sign(Unsigned(OTHER.pubkey, 1, 1, (), ""), KEY, bytes(32))


def test_lone_surrogates_are_not_signed() -> None:
    """A lone surrogate has no UTF-8 and so no id."""
    with pytest.raises(BadRecordError):
        sign(Unsigned(KEY.pubkey, 1, 1, (), "\ud83d"), KEY, bytes(32))


@pytest.mark.parametrize(
    "change",
    [{"sig": "00" * 64}, {"sig": ""}, {"sig": 0}, {"id": None}, {"id": "00" * 32}, {"content": "x"}],
    ids=repr,
)
def test_rumor_must_be_unsigned_with_its_id(change: dict[str, object]) -> None:
    """A rumor with a signature of any kind, without an id or with a wrong one is refused."""
    with pytest.raises(BadRecordError):
        Unsigned.from_json(Unsigned(KEY.pubkey, 1, 14, (), "").to_json() | change)


def test_tag_values() -> None:
    """The first value, and all values, of a tag are found; tags without a value have none."""
    event = make(tags=(("p",), ("p", "a", "x"), ("e", "c"), ("p", "b")))
    assert (event.tag("p"), event.tag("e"), event.tag("q")) == ("a", "c", None)
    assert event.tag_values("p") == ("a", "b")


@pytest.mark.parametrize(
    ("value", "expired"),
    [
        ("99", True),
        ("100", True),
        ("101", False),
        ("", False),
        ("-1", False),
        ("1e1", False),
        ("٣", False),
        ("9" * 5000, False),
    ],
)
def test_expiration(value: str, expired: bool) -> None:
    """An event has expired from the second on that its tag names; a malformed tag is ignored."""
    assert is_expired(make(tags=(("expiration", value),)), 100) is expired


def test_without_expiration_nothing_expires() -> None:
    """An event without the tag stays."""
    assert not is_expired(make(), 2**60)


def test_reading_events_does_not_load_the_curve() -> None:
    """Importing events loads no cryptographic library."""
    code = (
        "import sys, powdo.nips.event, powdo.nips.filters, powdo.nips.pow; print('coincurve' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
