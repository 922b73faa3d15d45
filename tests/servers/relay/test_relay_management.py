"""Relay management (NIP-86) as `nak admin` and libraries call it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from relay_helpers import client, new_key, relay_thread, signed

from powdo.nips.bech32 import encode_npub
from powdo.nips.curve import SecretKey
from powdo.nips.event import Unsigned, sign
from powdo.nips.nip98 import make_header
from powdo.servers.admin.handlers import Handlers
from powdo.servers.admin.management import Management
from powdo.servers.allowlist import Allowlist
from powdo.servers.relay.policy import Policy
from tests.admin_client import AdminClient, Reply, pubkeys, server

OPERATOR, OTHER = new_key(), new_key()
A, B, FIXED = pubkeys(3)
PUBLIC = "https://relay.example"
RPC = {"Content-Type": "application/nostr+json+rpc"}


@contextmanager
def managed(folder: Path, **config: Any) -> Iterator[AdminClient]:
    """Run a relay whose operator is OPERATOR, and whose settings let FIXED in; yield a client of its port."""
    allowlist = Allowlist(folder / "allowlist.json", [FIXED])
    handlers = Handlers(allowlist, tell=lambda _: None, warn=lambda _: None)
    policy = Policy(allowed=allowlist)
    told: dict[str, Any] = {"management": Management(handlers, OPERATOR.pubkey)} | config
    with relay_thread(folder / "relay", policy, **told) as url:
        yield AdminClient(url.replace("ws://", "http://"), None)


def call(
    relay: AdminClient,
    method: object,
    *params: object,
    key: SecretKey = OPERATOR,
    url: str | None = None,
    path: str = "/",
) -> Reply:
    """Return the answer to a signed call."""
    body = json.dumps({"method": method, "params": params}).encode()
    header = make_header(
        key, url or relay.url, "POST", body, now=int(time.time()), aux=secrets.token_bytes(32)
    )
    return relay.ask("POST", path, body, RPC | {"Authorization": header})


def test_the_operator_manages_the_list(tmp_path: Path) -> None:
    """Keys come and go by the methods of NIP-86, with a reason that is taken and not kept."""
    with managed(tmp_path) as relay:
        methods = call(relay, "supportedmethods").value["result"]
        assert methods == ["allowpubkey", "unallowpubkey", "listallowedpubkeys"]
        reply = call(relay, "allowpubkey", A, "a friend")
        assert (reply.status, reply.value) == (200, {"result": True})
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert call(relay, "allowpubkey", encode_npub(B)).value == {"result": True}
        assert call(relay, "allowpubkey", A, "").value == {"result": True}
        listed = call(relay, "listallowedpubkeys").value["result"]
        assert listed == [{"pubkey": pubkey} for pubkey in sorted([A, B, FIXED])]
        for _ in range(2):
            assert call(relay, "unallowpubkey", A, "left").value == {"result": True}
        assert json.loads((tmp_path / "allowlist.json").read_bytes()) == {"pubkeys": [B]}
        document = relay.ask("GET", "/", None, {"Accept": "application/nostr+json"}).value
        assert 86 in document["supported_nips"]


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("banpubkey", [A], "no such method"),
        (None, [], "no such method"),
        (["allowpubkey"], [A], "no such method"),
        ("allowpubkey", [], "a pubkey is"),
        ("allowpubkey", [1], "a pubkey is"),
        ("allowpubkey", ["00"], "not a bech32 text"),
        ("unallowpubkey", [FIXED], "settings"),
    ],
)
def test_a_call_that_fails_says_why(tmp_path: Path, method: object, params: list[object], words: str) -> None:
    """The result is null, and the error is in words."""
    with managed(tmp_path) as relay:
        reply = call(relay, method, *params)
        assert reply.status == 200
        assert reply.value["result"] is None
        assert words in reply.value["error"]
        assert not (tmp_path / "allowlist.json").exists()


def _header(relay: AdminClient, body: bytes, change: Mapping[str, Any]) -> str:
    """Return a header that is right but for *change*."""
    told: dict[str, Any] = {
        "key": OPERATOR,
        "kind": 27235,
        "late": 0,
        "u": relay.url,
        "method": "POST",
        "body": body,
    }
    told |= change
    tags = [("u", told["u"]), ("method", told["method"])]
    if told["body"] is not None:
        tags.append(("payload", hashlib.sha256(told["body"]).hexdigest()))
    key = told["key"]
    unsigned = Unsigned(key.pubkey, int(time.time()) + told["late"], told["kind"], tuple(tags), "")
    event = sign(unsigned, key, secrets.token_bytes(32)).to_json() | told.get("forged", {})
    return "Nostr " + base64.b64encode(json.dumps(event).encode()).decode()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 200),
        ({"late": -55}, 200),
        ({"late": 55}, 200),
        ({"late": -65}, 401),
        ({"late": 65}, 401),
        ({"kind": 22242}, 401),
        ({"u": "https://other.example"}, 401),
        ({"method": "GET"}, 401),
        ({"body": None}, 401),
        ({"body": b"{}"}, 401),
        ({"forged": {"content": "x"}}, 401),
        ({"forged": {"sig": "0" * 128}}, 401),
        ({"forged": {"pubkey": OTHER.pubkey}}, 401),
        ({"key": OTHER}, 403),
    ],
)
def test_only_what_the_operator_has_signed_now_counts(
    tmp_path: Path, change: dict[str, Any], status: int
) -> None:
    """Time, kind, URL, method, body, id, signature and signer must all be right."""
    body = json.dumps({"method": "allowpubkey", "params": [A]}).encode()
    with managed(tmp_path) as relay:
        reply = relay.ask("POST", "/", body, RPC | {"Authorization": _header(relay, body, change)})
        assert reply.status == status
        assert (status == 200) == (tmp_path / "allowlist.json").exists()
        if status != 200:
            assert reply.value["result"] is None
            assert reply.value["error"]
            assert (reply.headers["WWW-Authenticate"] == "Nostr") == (status == 401)


def test_a_call_without_authorization_is_refused(tmp_path: Path) -> None:
    """401 for none, another scheme and nonsense; the admin API's secret does not open this door."""
    with managed(tmp_path) as relay:
        body = json.dumps({"method": "listallowedpubkeys", "params": []}).encode()
        for header in (None, "Bearer not-guessed-in-a-day", "Nostr", "Nostr AAAA"):
            headers = RPC if header is None else RPC | {"Authorization": header}
            assert relay.ask("POST", "/", body, headers).status == 401


def test_a_call_counts_once(tmp_path: Path) -> None:
    """Who has recorded a call cannot play it again, though the minute is not over."""
    body = json.dumps({"method": "allowpubkey", "params": [A]}).encode()
    with managed(tmp_path) as relay:
        headers = RPC | {"Authorization": _header(relay, body, {})}
        assert relay.ask("POST", "/", body, headers).status == 200
        assert call(relay, "unallowpubkey", A).status == 200
        reply = relay.ask("POST", "/", body, headers)
        assert (reply.status, reply.value["error"]) == (401, "token was used before")
        assert call(relay, "listallowedpubkeys").value["result"] == [{"pubkey": FIXED}]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"method":"supportedmethods","params":{}}'])
def test_a_call_that_is_none_is_refused(tmp_path: Path, body: bytes) -> None:
    """What the operator has signed must be a call."""
    with managed(tmp_path) as relay:
        reply = relay.ask("POST", "/", body, RPC | {"Authorization": _header(relay, body, {})})
        assert reply.value["result"] is None
        assert reply.value["error"]


def test_behind_a_proxy_the_public_address_is_signed(tmp_path: Path) -> None:
    """The address that --url gives is the relay's, as websocket or page; another name is none."""
    with managed(tmp_path, url="wss://relay.example") as relay:
        for url in (PUBLIC, f"{PUBLIC}/", "wss://relay.example", relay.url):
            assert call(relay, "listallowedpubkeys", url=url).status == 200
        assert call(relay, "listallowedpubkeys", url="http://relay.example").status == 401


def test_without_an_operator_nobody_manages(tmp_path: Path) -> None:
    """A relay that has none says that it takes no POST, and does not announce NIP-86."""
    with managed(tmp_path, management=None) as relay:
        reply = call(relay, "listallowedpubkeys")
        assert (reply.status, reply.headers["Allow"]) == (405, "GET,HEAD,OPTIONS")
        document = relay.ask("GET", "/", None, {"Accept": "application/nostr+json"}).value
        assert 86 not in document["supported_nips"]


def test_a_page_of_another_origin_may_call(tmp_path: Path) -> None:
    """Browsers ask first whether they may send a POST with Authorization."""
    with managed(tmp_path) as relay:
        headers = relay.ask("OPTIONS", "/", None, {"Origin": "https://tool.example"}).headers
        assert "POST" in headers["Access-Control-Allow-Methods"]
        assert "Authorization" in headers["Access-Control-Allow-Headers"]


def test_management_in_a_running_relay(tmp_path: Path) -> None:
    """With --operator, from any address, and for what is let in at once."""
    flags = ("--operator", encode_npub(OPERATOR.pubkey), "--trusted-proxy", "127.0.0.0/8")
    words = ("relay", "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "relay"), *flags)
    with server(tmp_path, *words) as running:
        relay = running.admin
        relay.secret = None

        async def scenario() -> None:
            async with client(running.url) as connection:
                assert not (await connection.publish(signed(OTHER)))[0]
                assert call(relay, "allowpubkey", OTHER.pubkey).status == 200
                assert (await connection.publish(signed(OTHER)))[0]
                assert call(relay, "unallowpubkey", OTHER.pubkey).status == 200
                assert not (await connection.publish(signed(OTHER)))[0]

        asyncio.run(scenario())
        assert relay.ask("GET", "/admin/allow").status == 404
        assert running.end(signal.SIGTERM) == (-signal.SIGTERM, "")
