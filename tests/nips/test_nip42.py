"""AUTH events (NIP-42)."""

from __future__ import annotations

from typing import Any

import pytest

from powdo.errors import PeerProtocolError
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Unsigned, sign
from powdo.nips.nip42 import auth_event, check_auth, normalize_url

KEY = SecretKey(b"\7" * 32)
URL, CHALLENGE, NOW = "wss://relay.example/", "c-1", 1700000000


def test_answer_is_accepted() -> None:
    """An answer to the challenge gives the pubkey, within ten minutes either way."""
    for created_at in (NOW - 600, NOW, NOW + 600):
        event = auth_event(CHALLENGE, URL, KEY, created_at, bytes(32))
        assert event.kind == 22242
        assert check_auth(event, CHALLENGE, "wss://RELAY.example:443", NOW) == KEY.pubkey


def answer(**changes: Any) -> Event:
    """Return an answer with some fields changed before it is signed."""
    fields = {
        "created_at": NOW,
        "kind": 22242,
        "tags": (("relay", URL), ("challenge", CHALLENGE)),
        "content": "",
    }
    return sign(Unsigned(KEY.pubkey, **(fields | changes)), KEY, bytes(32))


@pytest.mark.parametrize(
    "event",
    [
        answer(kind=1),
        answer(created_at=NOW - 601),
        answer(created_at=NOW + 601),
        answer(tags=(("relay", URL), ("challenge", "c-2"))),
        answer(tags=(("relay", URL), ("challenge", CHALLENGE), ("challenge", "c-2"))),
        answer(tags=(("relay", URL),)),
        answer(tags=(("challenge", CHALLENGE),)),
        answer(tags=(("relay", "wss://other.example"), ("challenge", CHALLENGE))),
        answer(tags=(("relay", "ws://relay.example"), ("challenge", CHALLENGE))),
        answer(tags=(("relay", "relay.example"), ("challenge", CHALLENGE))),
        answer(tags=(("relay", URL), ("relay", "wss://other.example"), ("challenge", CHALLENGE))),
        Event.from_json(answer().to_json() | {"sig": "00" * 64}),
        Event.from_json(answer().to_json() | {"pubkey": SecretKey(b"\x08" * 32).pubkey}),
    ],
)
def test_wrong_answer_is_refused(event: Event) -> None:
    """Another kind, time, challenge or relay, and a forged event, authenticate nobody."""
    with pytest.raises(PeerProtocolError):
        check_auth(event, CHALLENGE, URL, NOW)


def test_empty_challenge_authenticates_nobody() -> None:
    """Before a challenge was sent, nothing can answer it."""
    with pytest.raises(PeerProtocolError):
        check_auth(answer(tags=(("relay", URL), ("challenge", ""))), "", URL, NOW)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("wss://Relay.Example", "wss://relay.example"),
        ("WSS://relay.example:443/", "wss://relay.example"),
        ("https://relay.example//", "wss://relay.example"),
        ("http://relay.example:80/a/", "ws://relay.example/a"),
        ("ws://127.0.0.1:7777", "ws://127.0.0.1:7777"),
        ("ws://[::1]:7777/", "ws://[::1]:7777"),
        ("wss://relay.example/a?b=c", "wss://relay.example/a?b=c"),
        (" wss://relay.example:80 ", "wss://relay.example:80"),
    ],
)
def test_normal_form(url: str, normal: str) -> None:
    """Spellings of one address have one normal form, which is its own normal form."""
    assert normalize_url(url) == normalize_url(normal) == normal


@pytest.mark.parametrize(
    "url", ["", "relay.example", "ftp://a", "wss://", "wss://a:99999", "wss://[", "wss://u@a"]
)
def test_no_address_of_a_relay(url: str) -> None:
    """What is no address of a relay has no normal form."""
    with pytest.raises(PeerProtocolError):
        normalize_url(url)
