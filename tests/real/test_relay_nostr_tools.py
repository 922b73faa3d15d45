"""powdo's relay with npm nostr-tools as its client."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from relay_helpers import relay_thread, signed, wrap_for

from powdo.nips.curve import SecretKey
from powdo.servers.admin.handlers import Handlers
from powdo.servers.admin.management import Management
from powdo.servers.allowlist import Allowlist
from powdo.servers.relay.policy import Policy
from tests.admin_client import AdminClient

HERE = Path(__file__).parent


class Client:
    """A nostr-tools client in a node process."""

    def __init__(self, node: str, url: str) -> None:
        # Node 20 has a websocket client only behind this flag; later ones take it without a word.
        command = [node, str(HERE / "nostr_tools_relay.mjs"), url]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def ask(self, operation: str, **request: Any) -> Any:
        """Return the answer, or the error as text."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"operation": operation, **request}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer.get("error", answer.get("result"))

    def close(self) -> None:
        """End the process."""
        self.process.communicate(timeout=20)


@contextmanager
def clients(node: str, url: str, number: int) -> Iterator[list[Client]]:
    """Yield so many clients, each a process of its own."""
    with ExitStack() as stack:
        made = [Client(node, url) for _ in range(number)]
        for client in made:
            stack.callback(client.close)
        yield made


def secret(key: SecretKey) -> str:
    """Return *key* as nostr-tools takes it."""
    return key.secret_bytes().hex()


@pytest.mark.real
def test_nostr_tools_publishes_and_reads_at_our_relay(node: str, tmp_path: Path) -> None:
    """nostr-tools authenticates, publishes and queries, and sees wraps only as their recipient."""
    alice, bob = SecretKey(os.urandom(32)), SecretKey(os.urandom(32))
    with relay_thread(tmp_path, Policy(allowed={alice.pubkey})) as url:
        sender, reader = Client(node, url), Client(node, url)
        try:
            note, wrap = signed(alice, content="ä\u007f€\u2028"), wrap_for(bob.pubkey)
            assert sender.ask("publish", event=note.to_json()) == ""
            assert "auth-required" in sender.ask("publish", event=wrap.to_json())
            assert sender.ask("auth", secret=alice.secret_bytes().hex()) == ""
            assert sender.ask("publish", event=wrap.to_json()) == ""
            assert reader.ask("fetch", filter={"kinds": [1]}) == [note.id]
            assert reader.ask("fetch", filter={"ids": [wrap.id]}) == []
            asked = {"kinds": [1059], "#p": [bob.pubkey]}
            assert "auth-required" in reader.ask("fetch", filter=asked)
            assert reader.ask("auth", secret=bob.secret_bytes().hex()) == ""
            assert reader.ask("fetch", filter=asked) == [wrap.id]
            assert reader.ask("count", filter=asked) == 1
            assert sender.ask("pool_query", filter=asked, secret=bob.secret_bytes().hex()) == [wrap.id]
        finally:
            sender.close()
            reader.close()


@pytest.mark.real
def test_nostr_tools_manages_our_relay(nostr_tools: Any, tmp_path: Path) -> None:
    """A call of NIP-86, authorized by nostr-tools as NIP-98 says, changes the allowlist."""
    operator, bob = SecretKey(os.urandom(32)), SecretKey(os.urandom(32))
    allowlist = Allowlist(tmp_path / "allowlist.json")
    handlers = Handlers(allowlist, tell=lambda _: None, warn=lambda _: None)
    management = Management(handlers, operator.pubkey)
    with relay_thread(tmp_path / "relay", Policy(allowed=allowlist), management=management) as url:
        page = url.replace("ws://", "http://")
        for secret, status in ((bob, 403), (operator, 200)):
            call = {"method": "allowpubkey", "params": [bob.pubkey, "ä friend"]}
            token = nostr_tools.ask(
                "http_token", url=page, method="post", payload=call, secret=secret.secret_bytes().hex()
            )
            body = json.dumps(call, separators=(",", ":"), ensure_ascii=False).encode()
            headers = {"Authorization": token, "Content-Type": "application/nostr+json+rpc"}
            assert AdminClient(page, None).ask("POST", "/", body, headers).status == status
            assert (bob.pubkey in allowlist) == (status == 200)


@pytest.mark.real
def test_a_pool_authenticates_when_it_is_asked_to(node: str, tmp_path: Path) -> None:
    """SimplePool's `onauth` answers `auth-required`; wraps reach their recipient, and nobody else."""
    ana, bob, eve = (SecretKey(os.urandom(32)) for _ in range(3))
    note = {"kind": 1, "created_at": int(time.time()), "tags": [], "content": "ä\u2028\u007f"}
    mine = {"kinds": [1059], "#p": [bob.pubkey]}
    with (
        relay_thread(tmp_path, Policy(allowed={ana.pubkey, bob.pubkey})) as url,
        clients(node, url, 3) as (sender, recipient, stranger),
    ):
        recipient.ask("pool_listen", filter=mine, secret=secret(bob))
        stranger.ask("pool_listen", filter={"#p": [bob.pubkey]}, secret=secret(eve))
        wraps = [sender.ask("wrap", event=note, secret=secret(ana), recipient=bob.pubkey) for _ in range(2)]
        ids = [wrap["id"] for wrap in wraps]
        for wrap in wraps:
            assert sender.ask("pool_publish", event=wrap, secret=secret(ana)) == [""]
        assert recipient.ask("heard", number=2) == ids
        assert sorted(recipient.ask("pool_query", filter={}, secret=secret(bob))) == sorted(ids)
        for asked in (
            {},
            {"ids": ids},
            {"#p": [bob.pubkey]},
            {"authors": [wrap["pubkey"] for wrap in wraps]},
        ):
            assert stranger.ask("fetch", filter=asked) == []
            assert stranger.ask("pool_query", filter=asked, secret=secret(eve)) == []
            assert stranger.ask("count", filter=asked) == 0
        assert "restricted" in stranger.ask("pool_publish", event=wraps[0], secret=secret(eve))
        deletion = {**note, "kind": 5, "tags": [["e", ids[0]], ["k", "1059"]]}
        for key, client, left in ((eve, stranger, 2), (bob, recipient, 1)):
            signed_deletion = client.ask("sign", event=deletion, secret=secret(key))
            client.ask("pool_publish", event=signed_deletion, secret=secret(key))
            assert len(recipient.ask("pool_query", filter=mine, secret=secret(bob))) == left
        assert recipient.ask("pool_query", filter=mine, secret=secret(bob)) == ids[1:]
        assert "blocked" in sender.ask("pool_publish", event=wraps[0], secret=secret(ana))
        assert stranger.ask("heard", number=0) == []
