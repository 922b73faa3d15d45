"""powdo pow serve, request, credit, accounts and price; relay serve --pow-service; wrap --pow-provider."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

from powdo.adapters.outbox import Outbox
from powdo.nips.bech32 import decode_npub
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Unsigned
from powdo.nips.giftwrap import unwrap
from powdo.nips.pow import check, committed
from tests.outbox_steps import bundle, capture
from tests.relay_helpers import answering

_DVM = SecretKey(b"\x01" * 32)
_NOTE = b'{"kind":1,"tags":[],"content":"hello"}\n'


def records(output: bytes) -> list[dict]:
    """Return the records in *output*."""
    return [json.loads(text) for text in output.splitlines()]


@pytest.fixture
def npub(powdo) -> str:
    """Return the npub of a worker's access key; the worker is set up."""
    assert powdo("init", "worker", "-q", "--user", "ana", "--dvm", _DVM.pubkey).returncode == 0
    return powdo("keys", "show", "ana-access").stdout.decode().strip()


@contextmanager
def served(powdo, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yield the address of a server of ours as a process, ended by SIGTERM."""
    with powdo.start(*arguments, "--listen", "127.0.0.1:0") as process:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        try:
            yield json.loads(line)["url"], process
        finally:
            process.terminate()
            assert process.wait(30) == -signal.SIGTERM
            assert process.stderr.read() == b""


def test_a_stranger_buys_with_credit(powdo, npub: str, tmp_path: Path) -> None:
    """Without credit 69 and what it costs; credited beside the running service, the event comes signed."""
    data = ("--data", str(tmp_path / "pow"))
    ask = ("pow", "request", "--target", "10", "--user", "ana", "--provider")
    with served(powdo, "pow", "serve", *data) as (url, _):
        refused = powdo(*ask, url, stdin=_NOTE)
        assert (refused.returncode, refused.stdout) == (69, b"")
        assert b"takes 2 sat for this, and the account has 0" in refused.stderr
        credited = powdo("pow", "credit", npub, "5", "--note", "cash", "--json", *data)
        assert records(credited.stdout) == [{"npub": npub, "sat": 5.0}]
        done = powdo(*ask, url, stdin=_NOTE * 2)
        assert done.returncode == 0, done.stderr
        for record in records(done.stdout):
            event = Event.from_json(record)
            event.verify()
            assert check(event, 10)
        (row,) = records(powdo("pow", "accounts", "--check", "--json", *data).stdout)
        assert row["npub"] == npub and row["jobs"] == 1
        assert row["sat"] == pytest.approx(5 - row["charged"]) and 1 < row["charged"] < 1.1
        table = powdo("pow", "accounts", *data).stdout
        assert table.split()[:2] == [b"npub", b"sat"]
        far = powdo("pow", "request", "--target", "50", "--provider", url, stdin=_NOTE)
        assert far.returncode == 65 and b"no pubkey" in far.stderr
        far = powdo("pow", "request", "--target", "50", "--user", "ana", "--provider", url, stdin=_NOTE)
        assert far.returncode == 69 and b"mines 8 to " in far.stderr


def test_a_member_and_a_key_that_is_thrown_away(powdo, npub: str, tmp_path: Path) -> None:
    """Who is on the allowlist pays nothing; nobody else is served where members only are."""
    data = ("--data", str(tmp_path / "pow"))
    with served(powdo, "pow", "serve", *data, "--allow", npub, "--members-only", "--min-target", "2") as (
        url,
        _,
    ):
        ask = ("pow", "request", "--target", "3", "--user", "ana", "--provider", url)
        assert powdo(*ask, stdin=_NOTE).returncode == 0
        thrown = powdo(*ask, "--throw-away", stdin=_NOTE)
        assert thrown.returncode == 69 and b"allowlist" in thrown.stderr
        other = powdo(*ask, "--as", "ana", stdin=_NOTE)
        assert other.returncode == 69
        both = powdo(*ask, "--as", "ana", "--throw-away", stdin=_NOTE)
        assert both.returncode == 2


def test_two_services_do_not_share_a_folder(powdo, tmp_path: Path) -> None:
    """The second one is told that the folder is taken, and exits 75."""
    data = ("--data", str(tmp_path / "pow"))
    with served(powdo, "pow", "serve", *data):
        second = powdo("pow", "serve", "--listen", "127.0.0.1:0", *data)
        assert second.returncode == 75 and b"another service works in" in second.stderr


def test_what_cannot_be_served_is_told(powdo, tmp_path: Path) -> None:
    """No folder, a range upside down, an npub that is none."""
    assert b"no folder for the accounts" in powdo("pow", "serve").stderr
    data = ("--data", str(tmp_path / "pow"))
    done = powdo("pow", "serve", *data, "--min-target", "9", "--max-target", "8")
    assert done.returncode == 2 and b"above the highest" in done.stderr
    assert powdo("pow", "serve", *data, "--allow", "npub1x").returncode == 2
    assert powdo("pow", "credit", "npub1x", "5", *data).returncode == 2
    missing = powdo("pow", "accounts", "--data", str(tmp_path / "nowhere"))
    assert missing.returncode == 66


def test_a_price_is_told_beforehand(powdo) -> None:
    """A price shows fee, blocks and time; a bit more costs twice the work."""
    (one,) = records(powdo("pow", "price", "--target", "24", "--size", "2560", "--json").stdout)
    (two,) = records(powdo("pow", "price", "--target", "25", "--size", "2560", "--json").stdout)
    assert 38 <= one["blocks"] <= 41 and one["taken"] in (True, False)
    assert two["sat"] - 1 == pytest.approx(2 * (one["sat"] - 1), abs=0.01)


def document(url: str) -> dict[str, Any]:
    """Return the NIP-11 document at *url*."""
    request = urllib.request.Request(f"http{url[2:]}", headers={"Accept": "application/nostr+json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_the_service_tells_its_terms(powdo, tmp_path: Path) -> None:
    """NIP-11: AUTH is required, the NIPs, and under `pow` range, price and queue."""
    with served(powdo, "pow", "serve", "--data", str(tmp_path / "pow"), "--max-target", "20") as (url, _):
        found = document(url)
    assert found["supported_nips"] == [11, 13, 42] and found["limitation"]["auth_required"] is True
    assert "min_pow_difficulty" not in found["limitation"]
    assert (found["pow"]["min_target"], found["pow"]["max_target"]) == (8, 20)
    assert found["pow"]["queue"] == {"jobs": 0, "seconds": 0}


def test_a_relay_mines_for_its_members(powdo, npub: str, tmp_path: Path) -> None:
    """A relay with --pow-service takes POW beside EVENT; strangers pay, and REQ goes on."""
    data = str(tmp_path / "relay")
    with served(powdo, "relay", "serve", "--data", data, "--allow", npub, "--pow-service") as (url, _):
        assert document(url)["pow"]["members_only"] is False
        done = powdo("pow", "request", "--target", "10", "--user", "ana", "--provider", url, stdin=_NOTE)
        assert done.returncode == 0, done.stderr
        assert check(Event.from_json(records(done.stdout)[0]), 10)
        published = powdo("publish", "--relay", url, stdin=done.stdout)
        assert published.returncode == 0, published.stderr
        stranger = powdo(
            "pow",
            "request",
            "--target",
            "10",
            "--user",
            "ana",
            "--throw-away",
            "--provider",
            url,
            stdin=_NOTE,
        )
        assert stranger.returncode == 69 and b"takes 2 sat" in stranger.stderr
        rows = powdo("pow", "accounts", "--data", f"{data}/pow", "--check")
        assert rows.returncode == 0


def test_a_relay_that_ends_gives_back_what_is_under_way(powdo, npub: str, own_world: Path) -> None:
    """SIGTERM while a member's job is mined: the client is told, and asks again another time."""
    with (own_world / "powdo.toml").open("a") as config:
        config.write('\n[pow]\nmax_target = 60\njob_seconds = "3650d"\n')
    data = str(own_world / "relay")
    with served(powdo, "relay", "serve", "--data", data, "--allow", npub, "--pow-service") as (url, server):
        ask = ("pow", "request", "--target", "44", "--user", "ana", "--provider", url)
        with powdo.start(*ask) as client:
            client.stdin.write(_NOTE)
            client.stdin.close()
            while not document(url)["pow"]["queue"]["jobs"]:
                assert client.poll() is None, client.stderr.read()
                time.sleep(0.01)
            server.terminate()
            assert client.wait(30) == 75


def test_a_wrap_is_bought_and_signed_afterwards(powdo, npub: str, own_world: Path) -> None:
    """What --pow-provider gets is asked for unsigned and signed afterwards; it opens as ever."""
    outbox = Outbox(own_world / "state")
    record = capture(outbox, "d1", now=int(time.time()))
    bundle(outbox, record)
    outbox.add_blobs(record.id, [{"url": "https://one.example/x.bin"}])
    with served(powdo, "pow", "serve", "--data", str(own_world / "pow"), "--allow", npub) as (url, _):
        done = powdo("wrap", "--pending", "--pow=9", "--pow-provider", url, "--no-self")
        assert done.returncode == 0, done.stderr
        (event,) = [Event.from_json(item) for item in records(done.stdout)]
        event.verify()
        assert check(event, 9) and committed(event.tags) == 9
        assert unwrap(event, _DVM).wrap == event
        assert powdo("wrap", "--throw-away", stdin=b"").returncode == 2
    outbox.close()


# --- a provider that cheats ---


@contextmanager
def provider(answer: Callable[[dict[str, Any], int], Any]) -> Iterator[str]:
    """Yield the address of a provider that lets everybody in and answers as *answer* says."""

    def handle(connection: ServerConnection) -> None:
        connection.send('["AUTH","c"]')
        for data in connection:
            word, value, *rest = json.loads(data)
            if word == "AUTH":
                connection.send(json.dumps(["OK", value["id"], True, ""]))
            elif (told := answer(value, rest[0])) is None:
                connection.close()
            else:
                connection.send(json.dumps(told) if isinstance(told, list) else told)

    with answering(handle) as url:
        yield url


def _same_bits_for_another(event: dict[str, Any], target: int) -> list[Any]:
    tags = (("nonce", "1", str(target)),)
    return ["POW", Unsigned(event["pubkey"], event["created_at"], 1, tags, "pay me").to_json()]


def _no_bits(event: dict[str, Any], target: int) -> list[Any]:
    tags = (("nonce", "1", str(target)),)
    return ["POW", Unsigned(event["pubkey"], event["created_at"], 1, tags, event["content"]).to_json()]


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        (_same_bits_for_another, 76, b"it is another event"),
        (_no_bits, 76, b"it has not the 40 bits"),
        (lambda event, _: ["POW", {**event, "id": "0" * 64}], 76, b"its id is wrong"),
        (lambda *_: "nonsense", 75, b"breaks the protocol"),
        (lambda *_: None, 75, b"connection closed"),
        (
            lambda *_: ["NOTICE", "restricted: sufficient funds. current balance: 1 sat. service fee: 9 sat"],
            69,
            b"9 sat",
        ),
        (lambda *_: ["NOTICE", "rate-limited: later"], 75, b"later"),
        (lambda *_: ["NOTICE", "\x1b[31mno"], 69, rb"\x1b[31mno"),
    ],
)
def test_a_provider_is_believed_only_what_is_checked(
    powdo, npub: str, answer: Callable[..., Any], status: int, told: bytes
) -> None:
    """A cheat is 76 and nothing is signed; nonsense, refusals and escapes are told for what they are."""
    with provider(answer) as url:
        done = powdo("pow", "request", "--target", "40", "--user", "ana", "--provider", url, stdin=_NOTE)
    assert (done.returncode, done.stdout) == (status, b""), done.stderr
    assert told in done.stderr


def test_a_provider_that_says_nothing_is_not_waited_for(powdo, npub: str) -> None:
    """--timeout ends the wait for an event with 75."""
    with provider(lambda *_: ["PONG"]) as url:
        ask = ("pow", "request", "--target", "9", "--user", "ana", "--timeout", "0.5", "--provider", url)
        done = powdo(*ask, stdin=_NOTE)
    assert done.returncode == 75 and b"has not answered in time" in done.stderr
    assert decode_npub(npub)
