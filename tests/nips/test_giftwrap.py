"""Rumor, seal and gift wrap (NIP-59): what opens, and every reason to refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.nips import nip44
from powdo.nips.bech32 import decode_nsec
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Tags, Unsigned, sign
from powdo.nips.giftwrap import seal, unwrap, wrap, wrap_unsigned

AUTHOR, RECIPIENT, ONE_TIME, STRANGER = (SecretKey(bytes([number]) * 32) for number in (3, 5, 7, 11))
RUMOR = Unsigned(AUTHOR.pubkey, 1700000000, 15, (("p", RECIPIENT.pubkey),), "https://blossom.example/é")
NONCE, AUX = b"\1" * 32, b"\2" * 32
NOW = 1700000100


def encrypted(obj: object, key: SecretKey, pubkey: str = RECIPIENT.pubkey) -> str:
    """Return *obj*, JSON or already text, encrypted by *key*."""
    text = obj if isinstance(obj, str) else json.dumps(obj)
    return nip44.encrypt(text, nip44.conversation_key(key, pubkey), NONCE)


def make_seal(rumor: object = None, *, key: SecretKey = AUTHOR, kind: int = 13, tags: Tags = ()) -> Event:
    """Return a seal around any *rumor*, well signed."""
    content = encrypted(RUMOR.to_json() if rumor is None else rumor, key)
    return sign(Unsigned(key.pubkey, NOW - 50, kind, tags, content), key, AUX)


def make_wrap(
    sealed: object = None,
    *,
    kind: int = 1059,
    tags: Tags = (("p", RECIPIENT.pubkey),),
    content: str | None = None,
) -> Event:
    """Return a gift wrap around any *sealed*, well signed."""
    inner = make_seal().to_json() if sealed is None else sealed
    if isinstance(inner, Event):
        inner = inner.to_json()
    text = encrypted(inner, ONE_TIME) if content is None else content
    return sign(Unsigned(ONE_TIME.pubkey, NOW - 90, kind, tags, text), ONE_TIME, AUX)


def rumor_json(**changes: object) -> dict[str, object]:
    """Return the rumor as JSON, its id right unless *changes* say otherwise."""
    body: dict[str, Any] = RUMOR.to_json() | {k: v for k, v in changes.items() if k not in ("id", "sig")}
    tags = tuple(tuple(tag) for tag in body["tags"])
    true_id = Unsigned(body["pubkey"], body["created_at"], body["kind"], tags, body["content"]).id
    return body | {"id": true_id} | changes


def without(obj: dict[str, object], name: str) -> dict[str, object]:
    """Return *obj* without *name*."""
    return {key: value for key, value in obj.items() if key != name}


@pytest.mark.parametrize("kind", [1059, 21059])
@pytest.mark.parametrize("now", [None, NOW])
def test_round_trip(kind: int, now: int | None) -> None:
    """What is sealed and wrapped opens again, layer by layer."""
    sealed = seal(RUMOR, AUTHOR, RECIPIENT.pubkey, created_at=NOW - 5, nonce=NONCE, aux=AUX)
    event = wrap(
        sealed,
        ONE_TIME,
        RECIPIENT.pubkey,
        created_at=NOW - 9,
        nonce=NONCE,
        aux=AUX,
        expiration=NOW + 1,
        extra_tags=(("nonce", "1", "0"),),
        kind=kind,
    )
    opened = unwrap(event, RECIPIENT, now=now)
    assert (opened.wrap, opened.seal, opened.rumor) == (event, sealed, RUMOR)
    assert event.pubkey == ONE_TIME.pubkey
    assert event.tags == (("p", RECIPIENT.pubkey), ("expiration", str(NOW + 1)), ("nonce", "1", "0"))
    assert (sealed.kind, sealed.tags, sealed.pubkey) == (13, (), AUTHOR.pubkey)


@given(
    content=st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    secrets=st.lists(st.binary(min_size=32, max_size=32).filter(any), min_size=3, max_size=3, unique=True),
    nonce=st.binary(min_size=32, max_size=32),
)
def test_any_rumor_survives(content: str, secrets: list[bytes], nonce: bytes) -> None:
    """Any text from anybody to anybody comes through unchanged."""
    author, recipient, once = (SecretKey(bytes([1]) + secret[1:]) for secret in secrets)
    rumor = Unsigned(author.pubkey, 5, 7000, (("e", content),), content)
    sealed = seal(rumor, author, recipient.pubkey, created_at=1, nonce=nonce, aux=AUX)
    event = wrap(sealed, once, recipient.pubkey, created_at=2, nonce=nonce[::-1], aux=AUX)
    assert unwrap(Event.from_json(json.loads(json.dumps(event.to_json()))), recipient).rumor == rumor


def test_wrap_can_be_mined_before_it_is_signed() -> None:
    """An unsigned wrap takes a nonce tag and opens once it is signed."""
    unsigned = wrap_unsigned(make_seal(), ONE_TIME, RECIPIENT.pubkey, created_at=1, nonce=NONCE)
    mined = Unsigned(unsigned.pubkey, 1, 1059, (*unsigned.tags, ("nonce", "7", "0")), unsigned.content)
    assert unwrap(sign(mined, ONE_TIME, AUX), RECIPIENT).rumor == RUMOR


def test_only_the_author_seals() -> None:
    """A rumor is sealed by its author, and only gift wrap kinds wrap it."""
    with pytest.raises(ValueError, match="author"):
        seal(RUMOR, STRANGER, RECIPIENT.pubkey, created_at=1, nonce=NONCE, aux=AUX)
    with pytest.raises(ValueError, match="kind 1 "):
        wrap(make_seal(), ONE_TIME, RECIPIENT.pubkey, created_at=1, nonce=NONCE, aux=AUX, kind=1)


def test_published_examples_of_nip_17_open() -> None:
    """Both gift wraps printed in NIP-17 open to the text it names, from the sender it names."""
    path = Path(__file__).parents[1] / "vectors" / "nip17.examples.json"
    data = json.loads(path.read_text())
    sender, recipient = SecretKey(decode_nsec(data["sender"])), SecretKey(decode_nsec(data["recipient"]))
    for obj, key in zip(data["wraps"], (recipient, sender), strict=True):
        opened = unwrap(Event.from_json(obj), key, now=NOW)
        assert opened.rumor.content == data["text"]
        assert opened.rumor.pubkey == opened.seal.pubkey == sender.pubkey
        assert opened.rumor.kind == 14


def change(event: Event, **changes: object) -> Event:
    """Return *event* with fields changed after it was signed."""
    return Event.from_json(event.to_json() | changes)


def damaged(content: str) -> str:
    """Return a payload with one bit of its MAC turned."""
    return content[:-5] + ("A" if content[-5] != "A" else "B") + content[-4:]


OTHER_P: Tags = (("p", STRANGER.pubkey),)
TWO_P: Tags = (("p", RECIPIENT.pubkey), *OTHER_P)
FORGERIES: dict[str, Callable[[], Event]] = {
    "wrap content changed": lambda: change(
        make_wrap(), content=make_wrap(content=encrypted("x", AUTHOR)).content
    ),
    "wrap id not recomputed": lambda: change(make_wrap(), id="00" * 32),
    "wrap signature of another event": lambda: change(make_wrap(), sig=make_wrap(kind=21059).sig),
    "wrap date changed": lambda: change(make_wrap(), created_at=5),
    "wrap of kind 1": lambda: make_wrap(kind=1),
    "wrap is a bare seal": make_seal,
    "wrap without p": lambda: make_wrap(tags=()),
    "wrap for another": lambda: make_wrap(tags=OTHER_P),
    "wrap for two": lambda: make_wrap(tags=TWO_P),
    "wrap names the recipient twice": lambda: make_wrap(tags=(("p", RECIPIENT.pubkey),) * 2),
    "wrap content is not NIP-44": lambda: make_wrap(content="hello"),
    "wrap content is empty": lambda: make_wrap(content=""),
    "wrap content of another version": lambda: make_wrap(content="#" + "A" * 200),
    "wrap MAC damaged": lambda: make_wrap(content=damaged(encrypted(make_seal().to_json(), ONE_TIME))),
    "wrap encrypted to another": lambda: make_wrap(
        content=encrypted(make_seal().to_json(), ONE_TIME, STRANGER.pubkey)
    ),
    "wrap encrypted by another": lambda: make_wrap(content=encrypted(make_seal().to_json(), STRANGER)),
    "seal is not JSON": lambda: make_wrap("{"),
    "seal is NaN": lambda: make_wrap("NaN"),
    "seal is nested without end": lambda: make_wrap("[" * 60000),
    "seal is a list": lambda: make_wrap([1]),
    "seal without signature": lambda: make_wrap(without(make_seal().to_json(), "sig")),
    "seal without id": lambda: make_wrap(without(make_seal().to_json(), "id")),
    "seal id wrong": lambda: make_wrap(make_seal().to_json() | {"id": "00" * 32}),
    "seal signature wrong": lambda: make_wrap(make_seal().to_json() | {"sig": "00" * 64}),
    "seal claims another author": lambda: make_wrap(
        make_seal(key=STRANGER).to_json() | {"pubkey": AUTHOR.pubkey}
    ),
    "seal of kind 14": lambda: make_wrap(make_seal(kind=14)),
    "seal of kind 1059": lambda: make_wrap(make_seal(kind=1059)),
    "seal with tags": lambda: make_wrap(make_seal(tags=(("p", RECIPIENT.pubkey),))),
    "seal with an expiration": lambda: make_wrap(make_seal(tags=(("expiration", "9999999999"),))),
    "seal content is not NIP-44": lambda: make_wrap(
        sign(Unsigned(AUTHOR.pubkey, 1, 13, (), "hello"), AUTHOR, AUX)
    ),
    "seal by an author off the curve": lambda: make_wrap(make_seal().to_json() | {"pubkey": "ff" * 32}),
    "rumor is not JSON": lambda: make_wrap(make_seal("hello")),
    "rumor is null": lambda: make_wrap(make_seal("null")),
    "rumor is signed": lambda: make_wrap(make_seal(sign(RUMOR, AUTHOR, AUX).to_json())),
    "rumor has an empty signature": lambda: make_wrap(make_seal(rumor_json(sig=""))),
    "rumor without id": lambda: make_wrap(make_seal(without(rumor_json(), "id"))),
    "rumor id wrong": lambda: make_wrap(make_seal(rumor_json(id="00" * 32))),
    "rumor without date": lambda: make_wrap(make_seal(without(rumor_json(), "created_at"))),
    "rumor of another author": lambda: make_wrap(make_seal(rumor_json(pubkey=STRANGER.pubkey))),
    "rumor sealed by a stranger": lambda: make_wrap(make_seal(rumor_json(), key=STRANGER)),
    "rumor with a lone surrogate": lambda: make_wrap(make_seal(rumor_json() | {"content": "\ud800"})),
    "rumor kind is a float": lambda: make_wrap(make_seal(rumor_json() | {"kind": 15.0})),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgery_is_refused(name: str) -> None:
    """A gift wrap that is wrong in one single point is refused as a broken protocol."""
    with pytest.raises(PeerProtocolError):
        unwrap(FORGERIES[name](), RECIPIENT, now=NOW)


def test_the_table_forges_nothing_by_accident() -> None:
    """The builders of the table make a good wrap when nothing is wrong."""
    assert unwrap(make_wrap(), RECIPIENT, now=NOW).rumor == RUMOR
    assert unwrap(make_wrap(make_seal(rumor_json(content="x"))), RECIPIENT).rumor.content == "x"
    assert unwrap(make_wrap(make_seal(rumor_json(sig=None))), RECIPIENT).rumor == RUMOR


def test_only_the_recipient_opens() -> None:
    """Neither the author nor a stranger opens the recipient's wrap."""
    for key in (AUTHOR, STRANGER, ONE_TIME):
        with pytest.raises(PeerProtocolError):
            unwrap(make_wrap(), key)


def test_expired_wrap_is_refused() -> None:
    """A wrap is refused from the second on that its expiration names, as a bad record."""
    tags = (("p", RECIPIENT.pubkey), ("expiration", str(NOW)))
    assert unwrap(make_wrap(tags=tags), RECIPIENT, now=NOW - 1).rumor == RUMOR
    assert unwrap(make_wrap(tags=tags), RECIPIENT).rumor == RUMOR
    with pytest.raises(BadRecordError, match=r"^expired"):
        unwrap(make_wrap(tags=tags), RECIPIENT, now=NOW)


def test_expired_rumor_is_refused() -> None:
    """A rumor that has expired inside is refused too."""
    event = make_wrap(make_seal(rumor_json(tags=[["expiration", str(NOW)]])))
    assert unwrap(event, RECIPIENT, now=NOW - 1).rumor.tag("expiration") == str(NOW)
    with pytest.raises(BadRecordError, match=r"^expired"):
        unwrap(event, RECIPIENT, now=NOW)
