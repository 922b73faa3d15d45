"""`powdo publish` and `powdo listen` as processes, over a real relay."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from relay_helpers import answering, ask, client, new_key, relay_thread, signed, wrap_for
from websockets.sync.server import ServerConnection

from powdo.adapters.database.inbox import Inbox
from powdo.adapters.keystore import Keystore
from powdo.adapters.outbox import Outbox
from powdo.commands.listen import _Sink
from powdo.console import QUIET
from powdo.errors import RefusedError, RetryLaterError
from powdo.nips.bech32 import decode_npub
from powdo.nips.event import Event
from powdo.records import encode_line
from powdo.run import Run
from powdo.servers.relay.policy import Policy

Powdo = Any
MASTER = secrets.token_bytes(32)


class Side:
    """One side's folder with a key `me`, and powdo run in it."""

    def __init__(self, world: Path, powdo: Powdo, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NSEC_MASTER_KEY", MASTER.hex())
        self.world = world
        self.state = world / "state"
        self.powdo = powdo
        (world / "data").mkdir(mode=0o700)
        record = Keystore(world / "data" / "keystore.json").create("me", MASTER)
        self.pubkey = decode_npub(record["nostr"]["npub"])

    def configure(self, *lines: str) -> None:
        """Write the configuration."""
        path = self.world / "powdo.toml"
        path.write_text("\n".join(['[identity]\nuser = "me"', *lines]))
        path.chmod(0o600)

    def run(self, *arguments: str, events: list[Any] | None = None) -> tuple[int, list[dict[str, Any]], str]:
        """Return status, records and what was said."""
        stdin = b"".join(
            encode_line(item.to_json() if isinstance(item, Event) else item) for item in events or []
        )
        done = self.powdo(*arguments, stdin=stdin)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


@pytest.fixture
def side(own_world: Path, powdo: Powdo, monkeypatch: pytest.MonkeyPatch) -> Side:
    """Return a side whose state lies in this test's folder."""
    return Side(own_world, powdo, monkeypatch)


@pytest.fixture
def relay(side: Side, tmp_path: Path) -> Iterator[str]:
    """Return the address of a relay that lets `me` publish."""
    with relay_thread(tmp_path / "relay", Policy(allowed={side.pubkey})) as url:
        yield url


def published(event: Event, relay: str, accepted: bool = True, message: str = "") -> dict[str, Any]:
    """Return the record for what *relay* said of *event*."""
    return {
        "type": "published",
        "v": 1,
        "id": event.id,
        "relay": relay,
        "accepted": accepted,
        "message": message,
    }


def test_wraps_of_the_outbox_are_published_once(side: Side, relay: str) -> None:
    """--pending publishes what waits; the same wrap again is not sent, its record is written again."""
    side.configure('access_user = "me"', "[worker]", f'relays = ["{relay}"]')
    recipient = new_key()
    outbox = Outbox(side.state)
    now = int(time.time())
    wraps = [wrap_for(recipient.pubkey) for _ in range(2)]
    add_wraps(outbox, wraps, now)
    status, records, said = side.run("publish", "--pending", events=[wraps[0]])
    assert (status, said) == (0, "")
    assert records == [published(wrap, relay) for wrap in wraps]
    assert list(outbox.unpublished(now=now)) == []
    assert side.run("publish", "--pending", events=[wraps[1]]) == (0, [published(wraps[1], relay)], "")
    assert set(ask(relay, {"kinds": [1059]}, key=recipient)) == {wrap.id for wrap in wraps}
    outbox.close()


def add_wraps(outbox: Outbox, wraps: list[Event], now: int) -> None:
    """Put wraps into the outbox as those of one capture."""
    outbox._db.execute(
        "INSERT INTO capture (id, device, sequence, state, record, created) "
        "VALUES ('c', 'd', 1, 'uploaded', '{}', 0)"
    )
    outbox.add_wraps("c", [(wrap.tag("p") or "", wrap.to_json()) for wrap in wraps], now=now)


def test_a_relay_that_is_away_is_asked_once(side: Side) -> None:
    """Of many wraps that wait one is tried and noted; the others stay as they are, for the next run."""
    side.configure('access_user = "me"', "[worker]", 'relays = ["ws://127.0.0.1:9"]')
    outbox, now = Outbox(side.state), int(time.time())
    add_wraps(outbox, [wrap_for(new_key().pubkey) for _ in range(3)], now)
    status, records, said = side.run("publish", "--pending", "-v")
    assert (status, records, said.count("error: cannot reach")) == (75, [], 1)
    assert "the others wait until the relay is back" in said
    tries = outbox._db.execute("SELECT attempts FROM wrap ORDER BY rowid").fetchall()
    assert [row["attempts"] for row in tries] == [1, 0, 0]
    outbox.close()


def test_one_wrap_that_a_relay_fails_at_holds_up_no_other(side: Side, refusing: tuple[str, set[str]]) -> None:
    """`error:` is about one event: the others are sent in the same run, and it comes last in the next."""
    url, failing = refusing
    side.configure("[worker]", f'relays = ["{url}"]')
    outbox, now = Outbox(side.state), int(time.time())
    wraps = [wrap_for(new_key().pubkey) for _ in range(3)]
    add_wraps(outbox, wraps, now)
    failing.add(wraps[0].id)
    status, records, said = side.run("publish", "--pending")
    assert (status, [record["id"] for record in records]) == (75, [wrap.id for wrap in wraps[1:]])
    assert "error: could not save" in said
    fresh = wrap_for(new_key().pubkey)
    outbox._db.execute(
        "INSERT INTO wrap (id, capture, recipient, event, created) VALUES (?, 'c', 'r', ?, ?)",
        (fresh.id, json.dumps(fresh.to_json()), now + 1),
    )
    assert [wrap.id for wrap in outbox.unpublished(now=now)] == [fresh.id, wraps[0].id]
    outbox.close()


@pytest.fixture
def refusing() -> Iterator[tuple[str, set[str]]]:
    """Give the address of a relay that cannot save the events whose ids are in the set, and the set."""
    failing: set[str] = set()

    def answer(connection: ServerConnection) -> None:
        for message in connection:
            event = json.loads(message)[1]
            bad = event["id"] in failing
            connection.send(json.dumps(["OK", event["id"], not bad, "error: could not save" if bad else ""]))

    with answering(answer) as url:
        yield url, failing


def test_a_relay_that_is_away_leaves_the_wrap_waiting(side: Side, tmp_path: Path) -> None:
    """75 and a hint, nothing on stdout, and the next run publishes it."""
    side.configure('access_user = "me"', "[worker]", 'relays = ["ws://127.0.0.1:9"]')
    outbox, now = Outbox(side.state), int(time.time())
    wrap = wrap_for(new_key().pubkey)
    add_wraps(outbox, [wrap], now)
    status, records, said = side.run("publish", "--pending")
    assert (status, records) == (75, [])
    assert said.splitlines() == [
        "powdo publish: error: cannot reach 'ws://127.0.0.1:9': Connection refused",
        "powdo publish: hint: a later run tries again",
    ]
    assert side.run("publish", "--pending", "-q") == (75, [], "")
    assert [item.id for item in outbox.unpublished(now=now)] == [wrap.id]
    with relay_thread(tmp_path / "relay", Policy(allowed={side.pubkey})) as url:
        assert side.run("publish", "--pending", "--relay", url) == (0, [published(wrap, url)], "")
    assert list(outbox.unpublished(now=now)) == []
    outbox.close()


def test_a_refusal_is_final_and_told(side: Side, tmp_path: Path) -> None:
    """A relay that does not let us in: 69, a record with accepted false, the wrap stays."""
    side.configure('access_user = "me"')
    wrap = wrap_for(new_key().pubkey)
    with relay_thread(tmp_path / "relay", Policy(allowed=())) as url:
        status, records, said = side.run("publish", "--relay", url, events=[wrap])
        assert status == 69
        (record,) = records
        assert (record["accepted"], record["id"]) == (False, wrap.id)
        assert "restricted: not on the allowlist" in record["message"]
        assert "hint: ask the operator" in said
        status, records, said = side.run("publish", "--no-auth", "--relay", url, events=[wrap])
        assert status == 69
        assert "auth-required" in records[0]["message"]


def test_wraps_never_go_to_fan_out_relays(side: Side, relay: str, tmp_path: Path) -> None:
    """Other events go to every relay, one record each; a fan-out relay that is away is a warning."""
    side.configure('access_user = "me"', "[worker]", f'relays = ["{relay}"]')
    wrap, note = wrap_for(side.pubkey), signed(new_key())
    with relay_thread(tmp_path / "public", Policy(allowed=(), open=True)) as public:
        arguments = ("publish", "--fan-out", public, "--fan-out", "ws://127.0.0.1:9")
        status, records, said = side.run(*arguments, events=[wrap, note])
        assert status == 0
        assert records[:3] == [published(wrap, relay), published(note, relay), published(note, public)]
        assert (records[3]["relay"], records[3]["accepted"]) == ("ws://127.0.0.1:9", False)
        assert "warning: cannot reach 'ws://127.0.0.1:9'" in said
        assert ask(public, {}) == [note.id]
        assert ask(public, {"kinds": [1059]}, key=new_key()) == []


def test_no_relay_learns_the_identity_of_a_worker(side: Side, relay: str) -> None:
    """Without an access key a worker publishes and listens as nobody, never as the identity."""
    side.configure("[worker]", f'relays = ["{relay}"]')
    wrap = wrap_for(new_key().pubkey)
    status, records, said = side.run("publish", events=[wrap])
    assert (status, records[0]["accepted"]) == (69, False)
    assert "[identity]" in said
    status, records, said = side.run("listen", "--until-eose")
    assert (status, records) == (78, [])
    assert "no 'access_user' in [identity]" in said


def test_bad_events_are_told_by_line_and_the_rest_goes_on(side: Side, relay: str) -> None:
    """What is no event is 65, a forged one 76; the good one after them is published."""
    side.configure('access_user = "me"', "[worker]", f'relays = ["{relay}"]')
    good = signed(new_key())
    forged = {**good.to_json(), "content": "changed"}
    status, records, said = side.run("publish", events=[{"id": 1}, forged, good])
    assert status == 76
    assert records == [published(good, relay)]
    assert "line 1: " in said
    assert "line 2: " in said
    assert side.run("publish", "-n", events=[good]) == (0, [good.to_json()], "")
    assert side.run("publish", "--relay", "ws://relay.example", events=[good])[0] == 2


def test_listen_until_eose_writes_each_wrap_once(side: Side, relay: str) -> None:
    """A wrap is written by the first run only, and the inbox has it."""
    side.configure("[dvm]", f'relays = ["{relay}"]')
    wraps = [wrap_for(side.pubkey), wrap_for(side.pubkey)]
    assert side.run("publish", events=[*wraps, wrap_for(new_key().pubkey)])[0] == 0
    status, records, said = side.run("listen", "--until-eose")
    assert (status, said) == (0, "")
    assert sorted(record["id"] for record in records) == sorted(wrap.id for wrap in wraps)
    assert side.run("listen", "--until-eose") == (0, [], "")
    inbox = Inbox(f"sqlite:///{side.state / 'dvm.sqlite'}")
    assert all(inbox.knows(wrap.id) for wrap in wraps)
    inbox.close()


def test_expired_wraps_are_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A wrap whose time is over is neither stored nor written, though a relay still sends it (NIP-40)."""
    inbox = Inbox(f"sqlite:///{tmp_path / 'dvm.sqlite'}")
    me = new_key().pubkey
    sink = _Sink(Run("powdo listen"), inbox, me, final=True)
    gone = wrap_for(me, tags=(("expiration", str(int(time.time()) - 1)),))
    there = wrap_for(me, tags=(("expiration", str(int(time.time()) + 600)),))
    for wrap in (gone, there, there):
        sink.store("wss://relay.example", wrap)
    assert not inbox.knows(gone.id)
    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == [there.to_json()]
    inbox.close()


def test_a_wrap_too_long_for_a_line_is_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What a stranger makes longer than a record may be is told, and the next wrap is written."""
    inbox = Inbox(f"sqlite:///{tmp_path / 'dvm.sqlite'}")
    me = new_key().pubkey
    sink = _Sink(Run("powdo listen"), inbox, me, final=False)
    long = wrap_for(me, tags=(("x", "y" * (1 << 20)),))
    good = wrap_for(me)
    for wrap in (long, good):
        sink.store("wss://relay.example", wrap)
    out, said = capfd.readouterr()
    assert [json.loads(line)["id"] for line in out.splitlines()] == [good.id]
    assert "is left out: longer than" in said
    assert not inbox.knows(long.id)
    inbox.close()


def test_a_refusal_is_told_even_with_q(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Who listens on is not told of a relay that is away with -q, and of one that refuses in any case."""
    inbox = Inbox(f"sqlite:///{tmp_path / 'dvm.sqlite'}")
    sink = _Sink(Run("powdo listen", level=QUIET), inbox, new_key().pubkey, final=False)
    sink.trouble("wss://relay.example", RetryLaterError("away"))
    assert capfd.readouterr().err == ""
    sink.trouble("wss://relay.example", RefusedError("restricted"))
    assert "error: restricted" in capfd.readouterr().err
    inbox.close()


def test_listen_with_a_relay_away_ends_in_75(side: Side, relay: str) -> None:
    """The other relay's wraps are written all the same."""
    side.configure("[dvm]", f'relays = ["ws://127.0.0.1:9", "{relay}"]')
    wrap = wrap_for(side.pubkey)
    assert side.run("publish", "--relay", relay, events=[wrap])[0] == 0
    status, records, said = side.run("listen", "--until-eose")
    assert status == 75
    assert records == [wrap.to_json()]
    assert "cannot reach 'ws://127.0.0.1:9'" in said


def test_listen_stays_and_ends_by_the_signal(side: Side, relay: str) -> None:
    """Live wraps come as they are published, and SIGTERM ends it as SIGTERM."""
    side.configure("[dvm]", f'relays = ["{relay}"]')
    process = side.powdo.start("listen")
    assert process.stdout is not None
    wraps = [wrap_for(side.pubkey, kind=kind) for kind in (1059, 21059)]
    try:
        assert side.run("publish", events=[wraps[0]])[0] == 0
        assert json.loads(process.stdout.readline())["id"] == wraps[0].id
        assert side.run("publish", events=[wraps[1]])[0] == 0
        assert json.loads(process.stdout.readline())["id"] == wraps[1].id
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGTERM
    assert said == b""


def test_listen_dies_of_a_closed_pipe(side: Side, relay: str) -> None:
    """When the reader has gone, the wrap is in the inbox and the process dies of SIGPIPE."""
    side.configure("[dvm]", f'relays = ["{relay}"]')
    wrap = wrap_for(side.pubkey)
    assert side.run("publish", events=[wrap])[0] == 0
    reader, writer = os.pipe()
    os.close(reader)
    process = side.powdo.start("listen", stdout=writer, stdin=subprocess.DEVNULL)
    os.close(writer)
    _, said = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGPIPE
    assert said == b""
    inbox = Inbox(f"sqlite:///{side.state / 'dvm.sqlite'}")
    assert inbox.knows(wrap.id)
    inbox.close()


def test_a_worker_listens_with_the_access_key(side: Side, relay: str) -> None:
    """Without [dvm] the access key is the recipient, and --user names another."""
    record = Keystore(side.world / "data" / "keystore.json").create("me-access", MASTER)
    access = decode_npub(record["nostr"]["npub"])
    side.configure('access_user = "me-access"', "[worker]", f'relays = ["{relay}"]')
    to_access, to_me = wrap_for(access), wrap_for(side.pubkey)

    async def fill() -> None:
        key = Keystore(side.world / "data" / "keystore.json").unlock("me", MASTER)
        async with client(relay, key) as writer:
            for wrap in (to_access, to_me):
                assert (await writer.publish(wrap))[0]

    asyncio.run(fill())
    assert side.run("listen", "--until-eose")[1] == [to_access.to_json()]
    assert side.run("listen", "--until-eose", "--user", "me")[1] == [to_me.to_json()]


def test_a_missing_master_key_is_77(side: Side, relay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither command pretends: without the master key there is no recipient and no AUTH."""
    side.configure("[dvm]", f'relays = ["{relay}"]')
    monkeypatch.delenv("NSEC_MASTER_KEY")
    assert side.run("listen", "--until-eose")[0] == 77
    assert side.run("publish", events=[wrap_for(side.pubkey)])[0] == 77


@pytest.mark.parametrize("command", ["publish", "listen"])
def test_a_relay_flag_that_is_no_relay_is_told_as_such(side: Side, command: str) -> None:
    """Both commands refuse a `--relay` that is not a websocket or not encrypted, with 2."""
    side.configure('access_user = "me"')
    for url in ("https://relay.example", "ws://relay.example"):
        status, records, said = side.run(command, "--relay", url)
        assert (status, records) == (2, [])
        assert url in said
