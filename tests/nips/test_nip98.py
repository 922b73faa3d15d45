"""Requests that authorize themselves (NIP-98), by the text of the NIP."""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import PeerProtocolError
from powdo.nips.curve import SecretKey
from powdo.nips.event import Unsigned, sign
from powdo.nips.nip98 import check_body, make_header, read_header

NOW = 1_700_000_000
URL = "https://relay.example"
BODY = b'{"method":"supportedmethods","params":[]}'
KEY = SecretKey(bytes([7]) * 32)
#: The header that NIP-98 shows, and the event in it.
PUBLISHED = "Nostr " + (
    "eyJpZCI6ImZlOTY0ZTc1ODkwMzM2MGYyOGQ4NDI0ZDA5MmRhODQ5NGVkMjA3Y2JhODIzMTEwYmUzYTU3ZGZlNGI1Nzg3MzQi"
    "LCJwdWJrZXkiOiI2M2ZlNjMxOGRjNTg1ODNjZmUxNjgxMGY4NmRkMDllMThiZmQ3NmFhYmMyNGEwMDgxY2UyODU2ZjMzMDUw"
    "NGVkIiwiY29udGVudCI6IiIsImtpbmQiOjI3MjM1LCJjcmVhdGVkX2F0IjoxNjgyMzI3ODUyLCJ0YWdzIjpbWyJ1IiwiaHR0"
    "cHM6Ly9hcGkuc25vcnQuc29jaWFsL2FwaS92MS9uNXNwL2xpc3QiXSxbIm1ldGhvZCIsIkdFVCJdXSwic2lnIjoiNWVkOWQ4"
    "ZWM5NThiYzg1NGY5OTdiZGMyNGFjMzM3ZDAwNWFmMzcyMzI0NzQ3ZWZlNGEwMGUyNGY0YzMwNDM3ZmY0ZGQ4MzA4Njg0YmVk"
    "NDY3ZDlkNmJlM2U1YTUxN2JiNDNiMTczMmNjN2QzMzk0OWEzYWFmODY3MDVjMjIxODQifQ"
)
PUBLISHED_AT = 1682327852
PUBLISHED_URL = "https://api.snort.social/api/v1/n5sp/list"


def _header(**change: Any) -> str:
    """Return a header that is right but for *change*."""
    told: dict[str, Any] = {"kind": 27235, "at": NOW, "u": [URL], "method": ["POST"], "payload": []} | change
    tags = tuple((name, value) for name in ("u", "method", "payload") for value in told[name])
    event = sign(Unsigned(KEY.pubkey, told["at"], told["kind"], tags, ""), KEY, bytes(32))
    fields = event.to_json() | told.get("forged", {})
    return "Nostr " + base64.b64encode(json.dumps(fields).encode()).decode()


def _read(header: str, method: str = "POST", urls: tuple[str, ...] = (URL,), now: int = NOW) -> str:
    return read_header(header, method, urls=urls, now=now).pubkey


@pytest.mark.parametrize(
    ("method", "url", "late", "reason"),
    [
        ("GET", PUBLISHED_URL, 60, "wrong id"),
        ("GET", PUBLISHED_URL, -60, "wrong id"),
        ("POST", PUBLISHED_URL, 0, "another method"),
        ("GET", PUBLISHED_URL + "?page=2", 0, "another URL"),
        ("GET", PUBLISHED_URL, 61, "a minute off"),
        ("GET", PUBLISHED_URL, -61, "a minute off"),
    ],
)
def test_the_published_token_is_read(method: str, url: str, late: int, reason: str) -> None:
    """The header in NIP-98 says what it should, in its minute; but its id is not that of its contents."""
    with pytest.raises(PeerProtocolError, match=reason):
        _read(PUBLISHED, method, (url,), PUBLISHED_AT + late)


@given(st.binary(max_size=200), st.sampled_from(["GET", "POST", "DELETE"]))
def test_what_is_made_is_read(body: bytes, method: str) -> None:
    """A token is taken for its own request, and for no other body."""
    header = make_header(KEY, URL + "/", method, body, now=NOW, aux=secrets.token_bytes(32))
    event = read_header(header, method, urls=[URL], now=NOW)
    assert event.pubkey == KEY.pubkey
    check_body(event, body)
    with pytest.raises(PeerProtocolError, match="another body"):
        check_body(event, body + b"x")


@pytest.mark.parametrize("named", [URL, URL + "/", "wss://relay.example", "HTTPS://Relay.example:443/"])
def test_a_relay_is_named_by_its_websocket_or_its_page(named: str) -> None:
    """The schemes of websocket and HTTP mean the same relay, as do default port and last slash."""
    assert _read(_header(u=[named])) == KEY.pubkey
    assert _read(_header(u=[named]), urls=("ws://127.0.0.1:7777", "wss://relay.example")) == KEY.pubkey


@pytest.mark.parametrize("method", ["post", "Post", "POST"])
def test_a_method_is_taken_in_any_case(method: str) -> None:
    """Libraries write the method as their caller did."""
    assert _read(_header(method=[method])) == KEY.pubkey


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 22242},
        {"at": NOW - 61},
        {"at": NOW + 61},
        {"u": []},
        {"u": [URL, URL]},
        {"u": ["http://relay.example"]},
        {"u": ["https://relay.example/path"]},
        {"u": ["https://relay.example?x=1"]},
        {"u": ["https://relay.example.evil"]},
        {"u": ["https://user@relay.example"]},
        {"u": ["relay.example"]},
        {"u": ["https://[::1"]},
        {"method": []},
        {"method": ["GET"]},
        {"method": ["POST", "GET"]},
        {"forged": {"id": "0" * 64}},
        {"forged": {"sig": "0" * 128}},
        {"forged": {"pubkey": "1" * 64}},
        {"forged": {"content": "x"}},
    ],
)
def test_a_token_for_something_else_is_refused(change: dict[str, Any]) -> None:
    """Kind, time, URL, method, id and signature must be right, and each tag there once."""
    with pytest.raises(PeerProtocolError, match="token") as caught:
        _read(_header(**change))
    assert caught.value.message.isascii()
    assert URL not in caught.value.message


@pytest.mark.parametrize("payload", [[], ["0" * 64], ["", "0" * 64]])
def test_a_token_without_the_hash_of_the_body_is_refused(payload: list[str]) -> None:
    """The payload tag is required, and there once."""
    with pytest.raises(PeerProtocolError, match="another body"):
        check_body(read_header(_header(payload=payload), "POST", urls=[URL], now=NOW), BODY)


@pytest.mark.parametrize(
    "header", ["", "Nostr", "Nostr ", "Bearer abc", "Nostr %%%", "Nostr bnVsbA==", "Nostr W10=", "Nostr e30="]
)
def test_what_is_no_token_is_refused(header: str) -> None:
    """Nonsense in the header is the peer's error."""
    with pytest.raises(PeerProtocolError):
        _read(header)
