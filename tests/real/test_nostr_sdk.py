"""powdo and nostr-sdk (Rust) understand each other, and powdo refuses what nostr-sdk lets pass."""

from __future__ import annotations

import json
import os
import time

import nostr_sdk
import pytest

from powdo.errors import PeerProtocolError
from powdo.nips import bech32, nip44
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Tags, Unsigned, sign
from powdo.nips.giftwrap import seal, unwrap, wrap

#: nostr-sdk encrypts no longer text, and knows no extended length.
LONGEST = 65408


def key() -> tuple[SecretKey, nostr_sdk.Keys]:
    """Return a fresh key in both worlds."""
    mine = SecretKey(os.urandom(32))
    return mine, nostr_sdk.Keys.parse(mine.secret_bytes().hex())


def test_keys_and_events() -> None:
    """Keys are the same, and each side verifies the other's events."""
    mine, theirs = key()
    assert theirs.public_key().to_hex() == mine.pubkey
    assert theirs.public_key().to_bech32() == bech32.encode_npub(mine.pubkey)
    assert theirs.secret_key().to_bech32() == bech32.encode_nsec(mine.secret_bytes())
    content = 'é🙂\u2028\x7f"\\\n\r\t\b\f\x01'
    event = sign(Unsigned(mine.pubkey, 1700000000, 1, (("t", content),), content), mine, os.urandom(32))
    assert nostr_sdk.Event.from_json(json.dumps(event.to_json())).verify()
    unsigned = nostr_sdk.UnsignedEvent.from_json(
        json.dumps(Unsigned(mine.pubkey, 5, 1, (("t", content),), content).to_json())
    )
    Event.from_json(json.loads(unsigned.sign(theirs).as_json())).verify()


@pytest.mark.parametrize("length", [1, 32, 33, 1500, LONGEST])
def test_encryption(length: int) -> None:
    """Each side decrypts the other's payloads."""
    (mine, _), (other, theirs) = key(), key()
    shared = nip44.conversation_key(mine, other.pubkey)
    text = "x" * length
    payload = nip44.encrypt(text, shared, os.urandom(32))
    public = nostr_sdk.PublicKey.parse(mine.pubkey)
    assert nostr_sdk.nip44_decrypt(theirs.secret_key(), public, payload) == text
    payload = nostr_sdk.nip44_encrypt(theirs.secret_key(), public, text, nostr_sdk.Nip44Version.V2)
    assert nip44.decrypt(payload, shared) == text


def test_nostr_sdk_opens_our_wraps() -> None:
    """nostr-sdk finds our rumor and its author in our gift wrap."""
    (author, _), (recipient, theirs) = key(), key()
    rumor = Unsigned(
        author.pubkey, 1700000000, 15, (("p", recipient.pubkey), ("x", "é")), "https://a.example/ü"
    )
    sealed = seal(rumor, author, recipient.pubkey, created_at=5, nonce=os.urandom(32), aux=os.urandom(32))
    event = wrap(sealed, key()[0], recipient.pubkey, created_at=9, nonce=os.urandom(32), aux=os.urandom(32))
    foreign = nostr_sdk.Event.from_json(json.dumps(event.to_json()))
    opened = nostr_sdk.UnwrappedGift.from_gift_wrap(theirs, foreign)
    assert opened.sender().to_hex() == author.pubkey
    assert json.loads(opened.rumor().as_json()) == rumor.to_json()


def test_we_open_wraps_of_nostr_sdk() -> None:
    """We find the rumor in a gift wrap of nostr-sdk, and refuse the wrap once touched."""
    (author, theirs), (recipient, _) = key(), key()
    rumor = Unsigned(author.pubkey, 1700000000, 15, (("x", "é"),), "https://a.example/ü")
    foreign = nostr_sdk.UnsignedEvent.from_json(json.dumps(rumor.to_json()))
    public = nostr_sdk.PublicKey.parse(recipient.pubkey)
    obj = json.loads(nostr_sdk.nip59_make_gift_wrap(theirs, public, foreign).as_json())
    opened = unwrap(Event.from_json(obj), recipient, now=int(time.time()))
    assert opened.rumor == rumor
    assert opened.seal.pubkey == author.pubkey
    for change in ({"created_at": 5}, {"tags": [["p", author.pubkey]]}, {"sig": "00" * 64}):
        with pytest.raises(PeerProtocolError):
            unwrap(Event.from_json(obj | change), recipient)


def loose(kind: int = 13, tags: Tags = (), **changes: object) -> tuple[Event, SecretKey, nostr_sdk.Keys]:
    """Return a gift wrap with one layer wrong, and its recipient in both worlds."""
    (author, _), (once, _), (recipient, theirs) = key(), key(), key()
    rumor = sign(Unsigned(author.pubkey, 5, 14, (), "hello"), author, os.urandom(32)).to_json()
    if "sig" not in changes:
        del rumor["sig"]
    text = json.dumps(rumor | {name: value for name, value in changes.items() if value is not None})
    content = nip44.encrypt(text, nip44.conversation_key(author, recipient.pubkey), os.urandom(32))
    sealed = sign(Unsigned(author.pubkey, 6, kind, tags, content), author, os.urandom(32))
    return (
        wrap(sealed, once, recipient.pubkey, created_at=7, nonce=os.urandom(32), aux=os.urandom(32)),
        recipient,
        theirs,
    )


@pytest.mark.parametrize(
    "wrong",
    [{"kind": 1}, {"tags": (("p", "x"),)}, {"sig": None}, {"id": "00" * 32}],
    ids=["seal of another kind", "seal with tags", "signed rumor", "wrong rumor id"],
)
def test_we_are_stricter(wrong: dict[str, object]) -> None:
    """What NIP-59 forbids and nostr-sdk opens all the same, we refuse."""
    event, recipient, theirs = loose(**wrong)  # type: ignore[arg-type]  # the table mixes types on purpose
    foreign = nostr_sdk.Event.from_json(json.dumps(event.to_json()))
    assert nostr_sdk.UnwrappedGift.from_gift_wrap(theirs, foreign).rumor().content() == "hello"
    with pytest.raises(PeerProtocolError):
        unwrap(event, recipient)


def test_sound_wrap_passes_both() -> None:
    """The same builder with nothing wrong makes a wrap that both open."""
    event, recipient, theirs = loose()
    foreign = nostr_sdk.Event.from_json(json.dumps(event.to_json()))
    assert nostr_sdk.UnwrappedGift.from_gift_wrap(theirs, foreign).rumor().content() == "hello"
    assert unwrap(event, recipient).rumor.content == "hello"
