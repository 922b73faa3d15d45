"""`powdo publish` of events that are no gift wraps: kept until the primary relay has them, and fanned out."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from relay_helpers import ask, new_key, relay_thread, signed, wrap_for

from powdo.adapters.keystore import Keystore
from powdo.adapters.outbox import Outbox
from powdo.nips import actions
from powdo.nips.event import Event, sign
from powdo.records import encode_line
from powdo.servers.relay.policy import Policy
from tests.parts import need

Powdo = Any
MASTER = "0f" * 32
AWAY = "ws://127.0.0.1:9"


class Side:
    """A folder with the key `me`, and `powdo publish` run in it."""

    def __init__(self, world: Path, powdo: Powdo) -> None:
        self.world = world
        self.powdo = powdo
        Keystore(world / "data" / "keystore.json").create("me", bytes.fromhex(MASTER))
        self.configure(AWAY)

    def configure(self, *relays: str, fan_out: tuple[str, ...] = ()) -> None:
        """Write the configuration."""
        path = self.world / "powdo.toml"
        path.write_text(
            f'[identity]\naccess_user = "me"\n[worker]\nrelays = {json.dumps(relays)}\n'
            f"fan_out = {json.dumps(fan_out)}\n"
        )
        path.chmod(0o600)

    def run(
        self, *flags: str, events: tuple[Event, ...] = (), **env: str
    ) -> tuple[int, list[tuple[str, str, bool]], str]:
        """Return status, (event, relay, accepted) of each record, and what was said."""
        stdin = b"".join(encode_line(event.to_json()) for event in events)
        done = self.powdo("publish", *flags, stdin=stdin, env={"NSEC_MASTER_KEY": MASTER, **env})
        records = [json.loads(line) for line in done.stdout.splitlines()]
        told = [(record["id"], record["relay"], record["accepted"]) for record in records]
        return done.returncode, told, done.stderr.decode()

    def waiting(self) -> list[str]:
        """Return the ids of the events that wait."""
        outbox = Outbox(self.world / "state")
        try:
            return [waiting.id for waiting in outbox.waiting_events()]
        finally:
            outbox.close()


@pytest.fixture
def side(own_world: Path, powdo: Powdo) -> Side:
    """Return a side whose primary relay is away."""
    return Side(own_world, powdo)


@pytest.fixture
def relays(tmp_path: Path) -> Iterator[list[str]]:
    """Return the addresses of three relays that take events of everybody."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(relay_thread(tmp_path / f"relay{number}", Policy(allowed=(), open=True)))
            for number in range(3)
        ]


def tracked(seconds: int = 60, created_at: int | None = None) -> Event:
    """Return a reward counted from tracked time."""
    key = new_key()
    draft = actions.reward("1", "h", identifier="2026-11:x", tracked={"seconds": seconds})
    return sign(draft.by(key.pubkey, created_at or int(time.time())), key, os.urandom(32))


def test_what_could_not_be_sent_is_sent_later(side: Side, relays: list[str]) -> None:
    """The primary relay away: 75, the events wait; --pending sends them, fan-out included, once."""
    note, reward = signed(new_key()), tracked()
    status, told, said = side.run(events=(note, reward))
    assert (status, told) == (75, [])
    assert "cannot reach" in said
    assert side.waiting() == [note.id, reward.id]
    assert side.run("--pending")[0] == 75
    side.configure(relays[0], fan_out=(relays[1],))
    status, told, said = side.run("--pending")
    assert (status, said) == (0, "")
    assert told == [(note.id, relays[0], True), (note.id, relays[1], True), (reward.id, relays[0], True)]
    assert side.waiting() == []
    assert side.run("--pending") == (0, [], "")
    assert ask(relays[1], {}) == [note.id]


def test_status_tells_what_waits(side: Side) -> None:
    """While events wait `status` has a row of them with the latest failure, and none otherwise."""
    outbox = Outbox(side.world / "state")
    outbox.close()

    def rows() -> list[dict[str, Any]]:
        shown = side.powdo("status", "--json").stdout.splitlines()
        return [row for row in map(json.loads, shown) if row["what"] == "events"]

    assert rows() == []
    side.run(events=(signed(new_key()), signed(new_key())))
    (row,) = rows()
    assert row["count"] == 2
    assert row["since"] is not None
    assert row["next"] is not None
    assert "cannot reach" in row["detail"]


def test_pending_makes_no_outbox(side: Side) -> None:
    """Where nothing was ever kept --pending finds nothing, and leaves no files behind."""
    assert side.run("--pending") == (0, [], "")
    assert not (side.world / "state" / "outbox.sqlite").exists()


def test_tracked_time_leaves_the_house_only_with_public(side: Side, relays: list[str]) -> None:
    """A reward counted from tracked time goes to the relays of the house; to fan-out with --public."""
    side.configure(relays[0], relays[1], fan_out=(relays[2],))
    reward, by_hand = tracked(), actions.reward("1", "h")
    key = new_key()
    plain = sign(by_hand.by(key.pubkey, int(time.time())), key, os.urandom(32))
    assert side.run(events=(reward, plain))[1] == [
        (reward.id, relays[0], True),
        (reward.id, relays[1], True),
        *((plain.id, url, True) for url in relays),
    ]
    assert ask(relays[2], {}) == [plain.id]
    assert side.run("--public", events=(reward,))[1] == [(reward.id, url, True) for url in relays]
    assert set(ask(relays[2], {})) == {plain.id, reward.id}


def test_the_wish_for_fan_out_is_kept(side: Side, relays: list[str]) -> None:
    """--public holds for what waits, and once given is not taken back by a later run without it."""
    reward = tracked()
    side.run("--public", events=(reward,))
    side.run(events=(reward,))
    side.configure(relays[0], fan_out=(relays[1],))
    assert side.run("--pending")[1] == [(reward.id, relays[0], True), (reward.id, relays[1], True)]


def test_wraps_never_reach_fan_out_relays_with_public_either(side: Side, relays: list[str]) -> None:
    """Kinds 1059 and 21059 go to the relays, and to no fan-out relay whatever is asked."""
    side.configure(relays[0], fan_out=(relays[1],))
    me = new_key()
    wraps = tuple(wrap_for(me.pubkey, kind=kind) for kind in (1059, 21059))
    assert side.run("--public", events=wraps)[1] == [(wrap.id, relays[0], True) for wrap in wraps]
    assert ask(relays[1], {"kinds": [1059, 21059]}, key=me) == []
    assert side.waiting() == []


def test_a_refusal_for_good_is_not_tried_again(side: Side, tmp_path: Path) -> None:
    """What the primary relay refuses ends in 69 with its reason, and waits no longer."""
    note = signed(new_key())
    with relay_thread(tmp_path / "relay", Policy(allowed=())) as url:
        side.configure(url)
        status, told, said = side.run(events=(note,))
    assert (status, told) == (69, [(note.id, url, False)])
    assert "restricted" in said
    assert side.waiting() == []


def test_a_newer_event_takes_the_place_of_one_that_waits(side: Side) -> None:
    """Of what replaces itself only the latest waits, whichever comes last; other events all wait."""
    key, now = new_key(), int(time.time())
    profiles = [
        sign(actions.profile(name=str(age)).by(key.pubkey, now - age), key, os.urandom(32)) for age in (9, 0)
    ]
    notes = [signed(key, content=text) for text in "ab"]
    for event in (*profiles, *notes):
        side.run(events=(event,))
    assert side.waiting() == [profiles[1].id, *(note.id for note in notes)]


def test_an_expired_event_waits_no_longer(side: Side) -> None:
    """What has expired is neither sent nor kept (NIP-40)."""
    key = new_key()
    gone = signed(key, tags=(("expiration", str(int(time.time()) - 5)),))
    assert side.run(events=(gone,)) == (0, [], "")
    assert side.waiting() == []


def test_fan_out_relays_are_asked_at_once(side: Side, relays: list[str]) -> None:
    """Several relays that say nothing cost the time of one, and each is told with a warning."""
    with silent(4) as urls:
        side.configure(relays[0], fan_out=(*urls, relays[1]))
        note = signed(new_key())
        begin = time.monotonic()
        status, told, said = side.run("--timeout", "3", events=(note,))
        took = time.monotonic() - begin
    assert status == 0
    assert told == [
        (note.id, relays[0], True),
        *((note.id, url, False) for url in urls),
        (note.id, relays[1], True),
    ]
    assert said.count("warning: ") == 4
    assert took < 4 * 3


@contextmanager
def silent(count: int) -> Iterator[list[str]]:
    """Yield the addresses of *count* servers that take a connection and say nothing."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> list[asyncio.Server]:
        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        return [await asyncio.start_server(mute, "127.0.0.1", 0) for _ in range(count)]

    async def stop() -> None:
        for server in servers:
            server.close()

    servers = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    yield [f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.mark.parametrize("value", ["false", "0", "off"])
def test_nostr_may_be_switched_off(side: Side, relays: list[str], value: str) -> None:
    """NOSTR_ENABLED=false: publish says so, sends and keeps nothing, ends with 0; what waits still waits."""
    waits, note = signed(new_key()), signed(new_key())
    side.run(events=(waits,))
    side.configure(relays[0])
    status, told, said = side.run("--pending", events=(note,), NOSTR_ENABLED=value)
    assert (status, told) == (0, [])
    assert said == "powdo publish: NOSTR_ENABLED is off: nothing is sent; 1 event left out\n"
    assert ask(relays[0], {}) == []
    assert side.waiting() == [waits.id]
    assert side.run("-q", events=(note,), NOSTR_ENABLED=value) == (0, [], "")
    assert side.run("--pending", NOSTR_ENABLED="true")[1] == [(waits.id, relays[0], True)]


def test_a_run_killed_at_any_call_loses_no_event(side: Side, relays: list[str]) -> None:
    """Killed as it enters a call that writes or sends, the event is on the relay or in the queue after it."""
    need(shutil.which("strace"), "strace")
    side.configure(relays[0])
    killed = 0
    for call, numbers in (("fdatasync", range(1, 8)), ("fsync", range(1, 3)), ("sendto", range(1, 6))):
        for number in numbers:
            note = signed(new_key())
            rule = f"inject={call}:signal=SIGKILL:when={number}"
            traced = ["strace", "-f", "-qqq", "-o", os.devnull, f"--trace={call}", "-e", rule]
            done = subprocess.run(
                [*traced, *side.powdo.command, "publish"],
                input=encode_line(note.to_json()),
                env=side.powdo.environment({"NSEC_MASTER_KEY": MASTER}),
                capture_output=True,
                timeout=60,
                check=False,
            )
            if done.returncode == 0:
                break
            assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
            killed += 1
            there = ask(relays[0], {"ids": [note.id]}) == [note.id]
            if not there and note.id not in side.waiting():
                assert done.stdout == b""  # it was not taken in yet: whoever wrote it still has it
                assert call in ("fdatasync", "fsync")
                continue
            side.run("--pending")
            assert ask(relays[0], {"ids": [note.id]}) == [note.id]
            assert side.waiting() == []
    assert killed > 3


def test_what_failed_has_a_deadline(own_world: Path) -> None:
    """A minute after a first failure the queue is worth another look; a clock once ahead delays nothing."""
    outbox, note, now = Outbox(own_world / "state"), signed(new_key()), int(time.time())
    outbox.keep_event(note, public=True, now=now)
    assert outbox.next_event_retry(now=now) is None
    outbox.defer_event(note.id, "away", now=now)
    assert outbox.next_event_retry(now=now) == now + 60
    assert outbox.next_event_retry(now=now - 10**6) == now - 10**6 + 3600
    outbox.close()


def test_a_queue_of_an_older_version_is_taken_up(side: Side) -> None:
    """An outbox from before the queue gets its tables at the next start."""
    import sqlite3

    side.run(events=(signed(new_key()),))
    with sqlite3.connect(side.world / "state" / "outbox.sqlite") as db:
        db.execute("DROP TABLE event")
        db.execute("DROP TABLE signed")
    db.close()
    note = signed(new_key())
    assert side.run(events=(note,))[0] == 75
    assert side.waiting() == [note.id]
