from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import PeerProtocolError
from powdo.nips.blossom_tokens import VERBS, Token, encode_token, make_token, read_token
from powdo.nips.event import Unsigned, sign
from tests.blossom_server import ANA, BEN, token

X, Y = "a" * 64, "b" * 64
_DOMAINS = {"cdn.example", "127.0.0.1"}


def _read(header: str, verb: str = "upload") -> Any:
    return read_token(header, verb, domains=_DOMAINS, now=int(time.time()))


def test_a_token_of_ours_is_taken_by_our_check() -> None:
    """What make_token writes, read_token reads."""
    now = int(time.time())
    header = make_token(
        ANA, "upload", server="https://CDN.example:8443/x", hashes=[X, Y], now=now, aux=bytes(32)
    )
    found = _read(header)
    assert (found.pubkey, found.verb, found.hashes) == (ANA.pubkey, "upload", {X, Y})
    assert now < found.expires <= now + 600


@given(st.integers(0, 2**32), st.text(min_size=1, max_size=20), st.binary(min_size=32, max_size=32))
def test_a_token_of_ours_reads_the_same_in_both_alphabets(now: int, host: str, aux: bytes) -> None:
    """Standard base64 and base64url decoders see one string, without padding."""
    event = sign(Unsigned(ANA.pubkey, now, 24242, (("server", host + ">?~\x7f"),), "??>>~~ü"), ANA, aux)
    text = encode_token(event)
    assert not set(text) & set("+/-_=")
    assert base64.b64decode(text, validate=True) == base64.urlsafe_b64decode(text)
    assert json.loads(base64.b64decode(text)) == event.to_json()


@pytest.mark.parametrize("encode", ["url", "url-padded", "standard", "standard-unpadded"])
def test_tokens_are_taken_in_every_base64(encode: str) -> None:
    """Both alphabets, padded or not, are one to us."""
    assert _read(token("upload", X, encode=encode)).hashes == {X}


@pytest.mark.parametrize(
    "header", [token("get", servers=()), token("get", servers=("x.example", "cdn.example"))]
)
def test_a_token_for_any_server_or_one_of_several_is_taken(header: str) -> None:
    """Without server tags a token is for all servers; with several, one must be ours."""
    assert _read(header, "get").hashes == frozenset()


_NOW = int(time.time())
_GOOD = [["t", "upload"], ["x", X], ["expiration", str(_NOW + 3600)]]
_BAD = {
    "no scheme": "eyJ9",
    "another scheme": "Bearer " + token("upload", X)[6:],
    "empty": "Nostr ",
    "not base64": "Nostr %%%%",
    "one symbol too many": "Nostr aaaaa",
    "blank inside": "Nostr " + token("upload", X)[6:46] + " " + token("upload", X)[46:],
    "too long": "Nostr " + "a" * 20000,
    "null": "Nostr " + base64.b64encode(b"null").decode(),
    "list": "Nostr " + base64.b64encode(b"[]").decode(),
    "not JSON": "Nostr " + base64.b64encode(b"{").decode(),
    "not an event": "Nostr " + base64.b64encode(b"{}").decode(),
    "nested": "Nostr " + base64.b64encode(b"[" * 5000).decode(),
    "wrong kind": token("upload", X, kind=1),
    "wrong verb": token("get", X),
    "two verbs": token(tags=[["t", "get"], *_GOOD]),
    "no verb": token(tags=_GOOD[1:]),
    "verb without value": token(tags=[["t"], *_GOOD[1:]]),
    "from the future": token("upload", X, created=86400),
    "expired": token("upload", X, expires=_NOW - 1),
    "expires now": token("upload", X, expires=_NOW - 0),
    "no expiration": token(tags=_GOOD[:2]),
    "two expirations": token(tags=[*_GOOD, ["expiration", str(_NOW + 3600)]]),
    "expiration abc": token("upload", X, expires="abc"),
    "expiration with a fraction": token("upload", X, expires=f"{_NOW + 300}.5"),
    "expiration with a sign": token("upload", X, expires=f"+{_NOW + 300}"),
    "expiration with a blank": token("upload", X, expires=f" {_NOW + 300}"),
    "expiration in other digits": token(
        "upload", X, expires="".join(chr(0x660 + int(d)) for d in str(_NOW + 3600))
    ),
    "expiration 1e12": token("upload", X, expires="1e12"),
    "expiration far away": token("upload", X, expires=_NOW + 10 * 86400),
    "another server": token("upload", X, servers=("other.example",)),
    "server in capitals": token("upload", X, servers=("CDN.example",)),
    "server as URL": token("upload", X, servers=("https://cdn.example",)),
    "server without value": token(tags=[*_GOOD, ["server"]]),
    "hash in capitals": token("upload", X.upper()),
    "hash too short": token("upload", X[:-1]),
    "x without value": token(tags=[*_GOOD, ["x"]]),
    "changed content": token("upload", X, change={"content": "another"}),
    "changed id": token("upload", X, change={"id": Y}),
    "changed signature": token("upload", X, change={"sig": "0" * 128}),
    "another's pubkey": token("upload", X, change={"pubkey": BEN.pubkey}),
    "created_at a string": token("upload", X, change={"created_at": str(_NOW)}),
    "created_at true": token("upload", X, change={"created_at": True}),
}


@pytest.mark.parametrize("name", _BAD)
def test_a_bad_token_is_refused_with_an_ascii_reason(name: str) -> None:
    """Each deviation of BUD-11 is refused; the reason can travel in a header."""
    with pytest.raises(PeerProtocolError) as caught:
        _read(_BAD[name])
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()


@given(st.binary(max_size=200))
def test_any_bytes_as_a_token_are_refused(data: bytes) -> None:
    """Junk in base64 is a refusal, never an error of ours."""
    with pytest.raises(PeerProtocolError):
        _read("Nostr " + base64.b64encode(data).decode())


_HASHES = st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=3)
_HOSTS = st.lists(st.sampled_from(["cdn.example", "127.0.0.1", "other.example", "ö.example"]), max_size=3)


@given(
    st.sampled_from(sorted(VERBS)),
    _HASHES,
    _HOSTS,
    st.integers(1, 86400),
    st.integers(0, 600),
    st.text(max_size=40),
    st.booleans(),
    st.integers(0, 2),
)
def test_every_well_made_token_is_read_in_any_writing(
    verb: str,
    hashes: list[str],
    hosts: list[str],
    left: int,
    age: int,
    content: str,
    standard: bool,
    padding: int,
) -> None:
    """Whatever text, order of tags, alphabet and padding: the token says what its maker put into it."""
    now = 1_800_000_000
    tags = [("x", each) for each in hashes] + [("server", each) for each in hosts]
    tags[len(tags) // 2 : 0] = [("t", verb), ("expiration", str(now + left)), ("client", "x", "y")]
    event = sign(Unsigned(ANA.pubkey, now - age, 24242, tuple(tags), content), ANA, bytes(32))
    text = json.dumps(event.to_json(), ensure_ascii=standard).encode()
    coded = (base64.b64encode if standard else base64.urlsafe_b64encode)(text).decode()
    header = "Nostr " + (coded if padding == 2 else coded.rstrip("="))
    if hosts and not set(hosts) & _DOMAINS:
        with pytest.raises(PeerProtocolError, match="another server"):
            read_token(header, verb, domains=_DOMAINS, now=now)
        return
    found = read_token(header, verb, domains=_DOMAINS, now=now)
    assert found == Token(
        signature=event.sig, pubkey=ANA.pubkey, verb=verb, hashes=frozenset(hashes), expires=now + left
    )
    for other in VERBS - {verb}:
        with pytest.raises(PeerProtocolError):
            read_token(header, other, domains=_DOMAINS, now=now)


_SIGNED = sign(
    Unsigned(
        ANA.pubkey, 1_800_000_000, 24242, (("t", "delete"), ("x", X), ("expiration", "1800003600")), "a wish"
    ),
    ANA,
    bytes(32),
)
_TEXT = json.dumps(_SIGNED.to_json()).encode()


def _says(header: str) -> Token | None:
    """Return what the header allows a moment after it was signed, or None."""
    try:
        return read_token(header, "delete", domains=_DOMAINS, now=1_800_000_001)
    except PeerProtocolError:
        return None


_SAID = _says("Nostr " + base64.b64encode(_TEXT).decode())


@given(st.integers(0, len(_TEXT) - 1), st.integers(1, 255))
def test_no_changed_byte_makes_another_token(position: int, change: int) -> None:
    """A token with any byte changed is refused, unless it says the very same (as with a blank)."""
    changed = bytearray(_TEXT)
    changed[position] ^= change
    assert _says("Nostr " + base64.b64encode(changed).decode()) in (None, _SAID)


@given(st.data())
def test_no_changed_symbol_makes_another_token(data: st.DataObject) -> None:
    """Nor one whose base64 was changed, cut, lengthened or taken apart."""
    coded = base64.b64encode(_TEXT).decode()
    begin = data.draw(st.integers(0, len(coded)))
    end = data.draw(st.integers(begin, min(len(coded), begin + 8)))
    put = data.draw(st.text("ABCabc019+/-_= \t\n\x00é", max_size=8))
    assert _says("Nostr " + coded[:begin] + put + coded[end:]) in (None, _SAID)


@given(
    st.sampled_from(["kind", "created_at", "tags", "content", "pubkey", "id", "sig"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=70) | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    ),
)
def test_no_field_can_be_replaced(name: str, value: object) -> None:
    """A field that is not what was signed makes the token worth nothing."""
    event = _SIGNED.to_json()
    changed = json.dumps(event | {name: value}).encode()
    found = _says("Nostr " + base64.b64encode(changed).decode())
    assert found == (_SAID if value == event[name] and type(value) is type(event[name]) else None)
