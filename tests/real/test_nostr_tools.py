"""powdo and nostr-tools (TypeScript) understand each other, and powdo refuses what is forged."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from powdo.errors import PeerProtocolError
from powdo.nips import bech32, nip44
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Unsigned, sign
from powdo.nips.giftwrap import seal, unwrap, wrap
from powdo.nips.nip17 import FileMessage
from powdo.nips.nip98 import check_body, make_header, read_header
from powdo.nips.pow import difficulty

pytestmark = pytest.mark.real

TEXTS = ["a", "é🙂\u2028\x7f", '"\\\n\r\t\b\f\x01', "x" * 65535, "x" * 65536, "ü" * 50000]


def key() -> SecretKey:
    """Return a fresh key."""
    return SecretKey(os.urandom(32))


def test_keys(nostr_tools: Any) -> None:
    """Public keys, npub and nsec are the same on both sides."""
    for _ in range(20):
        mine = key()
        secret = mine.secret_bytes().hex()
        assert nostr_tools.ask("pubkey", secret=secret) == mine.pubkey
        assert nostr_tools.ask("npub", pubkey=mine.pubkey) == bech32.encode_npub(mine.pubkey)
        assert nostr_tools.ask("nsec", secret=secret) == bech32.encode_nsec(mine.secret_bytes())


@pytest.mark.parametrize("text", TEXTS[:3])
def test_events(nostr_tools: Any, text: str) -> None:
    """Each side verifies the other's events and finds the same id and difficulty."""
    mine = key()
    event = sign(Unsigned(mine.pubkey, 1700000000, 1, (("t", text),), text), mine, os.urandom(32))
    assert nostr_tools.ask("verify", event=event.to_json()) is True
    assert nostr_tools.ask("verify", event=event.to_json() | {"content": "forged"}) is False
    template = {"kind": 1, "created_at": 1700000000, "tags": [["t", text]], "content": text}
    theirs = nostr_tools.ask("sign", event=template, secret=mine.secret_bytes().hex())
    Event.from_json(theirs).verify()
    assert theirs["id"] == event.id
    assert nostr_tools.ask("difficulty", id=event.id) == difficulty(event.id)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(len(text)))
def test_encryption(nostr_tools: Any, text: str) -> None:
    """Each side decrypts the other's payloads, from 65536 bytes on too."""
    one, other = key(), key()
    shared = nip44.conversation_key(one, other.pubkey)
    secret = other.secret_bytes().hex()
    assert nostr_tools.ask("conversation_key", secret=secret, pubkey=one.pubkey) == shared.hex()
    payload = nip44.encrypt(text, shared, os.urandom(32))
    assert nostr_tools.ask("decrypt", payload=payload, key=shared.hex()) == text
    assert nip44.decrypt(nostr_tools.ask("encrypt", text=text, key=shared.hex()), shared) == text


def test_requests_that_authorize_themselves(nostr_tools: Any) -> None:
    """Each side takes the other's NIP-98 tokens, and none for another request."""
    mine = key()
    url, call = "https://relay.example", {"method": "allowpubkey", "params": ["ab" * 32, "é"]}
    body = json.dumps(call, separators=(",", ":"), ensure_ascii=False).encode()
    now = int(time.time())
    header = make_header(mine, url, "POST", body, now=now, aux=os.urandom(32))
    asked = {"header": header, "url": url, "method": "post"}
    assert nostr_tools.ask("http_check", payload=call, **asked) is True
    assert "payload" in nostr_tools.ask("http_check", payload=call | {"params": []}, **asked)
    theirs = nostr_tools.ask(
        "http_token", url=url, method="post", payload=call, secret=mine.secret_bytes().hex()
    )
    event = read_header(theirs, "POST", urls=["wss://relay.example"], now=now)
    assert event.pubkey == mine.pubkey
    check_body(event, body)
    with pytest.raises(PeerProtocolError, match="another body"):
        check_body(event, body + b" ")


def file_message(author: SecretKey, recipient: SecretKey) -> Unsigned:
    """Return a rumor as powdo sends it."""
    message = FileMessage(
        url="https://blossom.example/" + "cd" * 32,
        decryption_key="ab" * 32,
        decryption_nonce="01" * 16,
        x="cd" * 32,
        ox="ef" * 32,
        size=65536,
        recipients=(recipient.pubkey,),
    )
    return message.to_rumor(author.pubkey, 1700000000)


def test_nostr_tools_opens_our_wraps(nostr_tools: Any) -> None:
    """nostr-tools finds our rumor in our gift wrap, and the wrap verifies."""
    author, recipient = key(), key()
    rumor = file_message(author, recipient)
    sealed = seal(rumor, author, recipient.pubkey, created_at=5, nonce=os.urandom(32), aux=os.urandom(32))
    event = wrap(sealed, key(), recipient.pubkey, created_at=9, nonce=os.urandom(32), aux=os.urandom(32))
    assert nostr_tools.ask("verify", event=event.to_json()) is True
    opened = nostr_tools.ask("unwrap", event=event.to_json(), secret=recipient.secret_bytes().hex())
    assert opened == rumor.to_json()


def test_we_open_wraps_of_nostr_tools(nostr_tools: Any) -> None:
    """We find the rumor in a gift wrap of nostr-tools, from the right author, and refuse it once touched."""
    author, recipient = key(), key()
    rumor = file_message(author, recipient)
    obj = nostr_tools.ask(
        "wrap", event=rumor.to_json(), secret=author.secret_bytes().hex(), recipient=recipient.pubkey
    )
    opened = unwrap(Event.from_json(obj), recipient, now=int(time.time()))
    assert opened.rumor == rumor
    assert opened.seal.pubkey == author.pubkey
    assert FileMessage.from_rumor(opened.rumor).size == 65536
    for change in ({"created_at": 5}, {"tags": [["p", author.pubkey]]}, {"sig": "00" * 64}):
        with pytest.raises(PeerProtocolError):
            unwrap(Event.from_json(json.loads(json.dumps(obj)) | change), recipient)
    with pytest.raises(PeerProtocolError):
        unwrap(Event.from_json(obj), author)
