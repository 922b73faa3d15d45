from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from powdo.adapters.database import Inbox
from powdo.commands import ingest as module
from powdo.commands.ingest import receiver
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Unsigned, sign
from powdo.nips.giftwrap import unwrap
from powdo.records import encode_line
from powdo.worktime.bundle_format import outer_salt
from powdo.worktime.link import proof_to_bytes
from tests.bundles import Member, inner_zip, members, sample, seal, sha256
from tests.dvm import (
    ANA,
    BEN,
    DVM,
    NOW,
    BlobServer,
    JsonEvent,
    Operator,
    announced,
    blob_server,
    gift,
    link_of,
    operator,
    parcel,
    signed_proof,
)
from tests.postgresql import empty_database, postgresql

__all__ = ["postgresql"]

Feed = Callable[..., "Result"]


class Result:
    """What one run wrote, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.records: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
        self.err = err

    @property
    def reason(self) -> str:
        """The reason of the only record, which must be a rejection."""
        (record,) = self.records
        assert record["type"] == "rejected"
        reason: str = record["reason"]
        return reason


@pytest.fixture
def server() -> Iterator[BlobServer]:
    """Return a running blob server."""
    with blob_server() as running:
        yield running


@pytest.fixture
def dvm(tmp_path: Path, server: BlobServer, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """Return an operator who trusts *server* and has ana enrolled."""
    made = operator(tmp_path, server)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def feed(dvm: Operator, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Feed:
    """Return a function that runs `powdo ingest` in this process over some events."""

    def run(*events: JsonEvent, flags: tuple[str, ...] = ()) -> Result:
        file = tmp_path / "events.jsonl"
        file.write_bytes(b"".join(map(encode_line, events)))
        capfd.readouterr()
        done = module.ingest.main(["--timeout", "5", *flags, str(file)], standalone_mode=False)
        out, err = capfd.readouterr()
        return Result(done.console.status, out, err)

    return run


def count(dvm: Operator, table: str) -> int:
    """Return how many rows *table* has."""
    store = dvm.store()
    with store.database.read() as connection:
        number: int = connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()
    store.close()
    return number


# --- the good case


def test_a_bundle_is_ingested(dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed) -> None:
    """A sound gift wrap ends as a record, as rows that can be read back, and as evidence."""
    sent = parcel(tmp_path, server)
    wrap = sent.wrapped()
    result = feed(wrap)
    assert (result.status, result.err) == (0, "")
    (record,) = result.records
    rumor = unwrap(Event.from_json(wrap), DVM).rumor
    assert record == {
        "type": "ingested",
        "v": 1,
        "wrap": wrap["id"],
        "rumor": rumor.id,
        "worker": "ana",
        "npub": record["npub"],
        "device": sample().manifest.device,
        "sequence": 1,
        "begin": "2026-11-18T11:06:40Z",
        "end": "2026-11-18T11:11:40Z",
        "sha256": sent.message.x,
        "size": len(sent.blob),
        "screenshots": 1,
        "bucket_events": 2,
    }
    store = dvm.store()
    (worker,) = store.workers()
    (bucket,) = store.bucket_events(worker.id, 0, 1 << 52)
    assert sorted(str(event.data["title"]) for event in bucket.events) == ["1", "2"]
    assert len(store.dirty(worker.id)) == 1
    store.close()
    assert dvm.evidence() == sorted([sent.message.x, sha256(b"\x89PNG looks like this")])
    assert server.visits == [f"/{sent.message.x}.zip"]


def test_an_unsigned_link_is_allowed(server: BlobServer, tmp_path: Path, feed: Feed) -> None:
    """Signing the link is the worker's choice."""
    assert feed(parcel(tmp_path, server, proof=sample().proof).wrapped()).status == 0


def _withheld(key: SecretKey, *, sequence: int = 2) -> bytes:
    """Return a proof that also carries the link of a dropped capture, signed by *key*."""
    what = sample(sequence=sequence)
    dropped = replace(link_of(sample()), root=None).content
    unsigned = Unsigned(key.pubkey, NOW, 78, (), dropped)
    event = sign(unsigned, key, secrets.token_bytes(32)).to_json()
    own = json.loads(signed_proof(what))
    return proof_to_bytes(own["link"], own["event"], [{"link": dropped, "event": event}])


def test_a_withheld_link_comes_with_the_next_bundle(
    dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed
) -> None:
    """The link of a dropped capture is kept when the worker signed it, and refused when another did."""
    what = sample(sequence=2)
    wrong = parcel(tmp_path, server, what, proof=_withheld(BEN)).wrapped()
    assert "another than the author" in feed(wrong).reason
    assert count(dvm, "withheld") == 0
    right = parcel(tmp_path, server, what, proof=_withheld(ANA)).wrapped()
    assert [record["type"] for record in feed(right).records] == ["ingested"]
    assert count(dvm, "withheld") == 1
    later = parcel(tmp_path, server, sample(sequence=3), proof=_withheld(ANA, sequence=3)).wrapped()
    assert [record["type"] for record in feed(later).records] == ["ingested"]
    assert count(dvm, "withheld") == 1


def test_a_fallback_is_used(server: BlobServer, tmp_path: Path, feed: Feed) -> None:
    """An address that is not allowed is passed over for one that is, and never asked."""
    sent = parcel(tmp_path, server)
    elsewhere = f"http://localhost:1/{sent.message.x}.zip"
    result = feed(sent.changed(url=elsewhere, fallbacks=(sent.message.url,)).wrapped())
    assert result.status == 0


# --- what comes twice


def test_a_replay_gives_the_same_record(
    dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed
) -> None:
    """The same wrap again, in this run or another, is answered from the database."""
    wrap = parcel(tmp_path, server).wrapped()
    first = feed(wrap, wrap)
    again = feed(wrap)
    assert len(first.records) == 1
    assert again.records == first.records
    assert len(server.visits) == 1
    assert count(dvm, "bucket_event") == 2


def test_another_wrap_of_a_known_bundle_adds_nothing(
    dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed
) -> None:
    """A bundle wrapped anew, even with another rumor, repeats the record; from the queue it is silent."""
    sent = parcel(tmp_path, server)
    first = feed(sent.wrapped())
    second, third, fourth = (sent.wrapped(), gift(sent.message.to_rumor(ANA.pubkey, NOW + 1)), sent.wrapped())
    assert feed(second).records == feed(third).records == first.records
    assert feed(second).records == first.records
    dvm.inbox().add(fourth, "wss://relay")
    assert feed(flags=("--pending",)).records == []
    assert (count(dvm, "bundle"), count(dvm, "dirty"), len(server.visits)) == (1, 1, 1)


def test_a_capture_bundled_anew_is_not_doubled(
    dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed
) -> None:
    """The same capture in a second bundle, with another key and hash, gives the first record."""
    first = feed(parcel(tmp_path, server).wrapped())
    second = feed(parcel(tmp_path, server).wrapped())
    assert second.records == first.records
    assert count(dvm, "bundle") == 1


# --- forged, malformed, not for us: each refused for good, and the next record handled


def _forged_signature(wrap: JsonEvent) -> JsonEvent:
    return wrap | {"sig": wrap["sig"][:-2] + ("00" if wrap["sig"][-2:] != "00" else "11")}


def _other_author(seal_event: JsonEvent) -> JsonEvent:
    """Return the seal's content, signed by somebody who is not the rumor's author."""
    unsigned = Unsigned(BEN.pubkey, seal_event["created_at"], 13, (), seal_event["content"])
    return sign(unsigned, BEN, secrets.token_bytes(32)).to_json()


def _with_tags(seal_event: JsonEvent) -> JsonEvent:
    unsigned = Unsigned(ANA.pubkey, seal_event["created_at"], 13, (("p", DVM.pubkey),), seal_event["content"])
    return sign(unsigned, ANA, secrets.token_bytes(32)).to_json()


FORGERIES: dict[str, tuple[int, Callable[[Any], JsonEvent]]] = {
    "wrap signature": (76, lambda sent: _forged_signature(sent.wrapped())),
    "wrap id": (76, lambda sent: sent.wrapped() | {"id": "0" * 64}),
    "not a wrap": (
        76,
        lambda sent: sign(Unsigned(ANA.pubkey, NOW, 1, (), "hi"), ANA, bytes(32)).to_json(),
    ),
    "somebody else's": (76, lambda sent: sent.wrapped(recipient=BEN.pubkey)),
    "seal signature": (76, lambda sent: sent.wrapped(change_seal=_forged_signature)),
    "seal by another": (76, lambda sent: sent.wrapped(change_seal=_other_author)),
    "seal with tags": (76, lambda sent: sent.wrapped(change_seal=_with_tags)),
    "expired": (65, lambda sent: sent.wrapped(expiration=int(time.time()) - 10)),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries_are_rejected(
    name: str, dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed
) -> None:
    """What is forged or expired is rejected with a reason, unasked for; the next record is handled."""
    status, forge = FORGERIES[name]
    sent = parcel(tmp_path, server)
    bad = forge(sent)
    first = feed(bad)
    assert (first.status, server.visits) == (status, [])
    assert first.reason
    assert "rejected: " in first.err
    assert feed(bad).records == first.records
    assert [record["type"] for record in feed(bad, sent.wrapped()).records] == ["rejected", "ingested"]
    assert count(dvm, "bundle") == 1


def test_a_forgery_takes_nobodys_place(server: BlobServer, tmp_path: Path, feed: Feed) -> None:
    """A forged event with a genuine id does not keep the genuine one out."""
    wrap = parcel(tmp_path, server).wrapped()
    assert feed(_forged_signature(wrap)).status == 76
    assert [record["type"] for record in feed(wrap).records] == ["ingested"]


def _message(**values: Any) -> Callable[[Any], JsonEvent]:
    return lambda sent: sent.changed(**values).wrapped()


MESSAGES: dict[str, tuple[str, Callable[[Any], JsonEvent]]] = {
    "another host": ("no host of", _message(url="http://127.0.0.1:1/" + "0" * 64)),
    "another port by fallback": (
        "no host of",
        _message(url="http://[::1]:1/x", fallbacks=("http://localhost/x",)),
    ),
    "no blob server": ("no host of", _message(url="https://blossom.example/" + "0" * 64)),
    "too large": ("more than the 1048576 allowed", _message(size=1 << 20 | 1)),
    "another algorithm": ("no powdo-bundle", _message(encryption_algorithm="aes-gcm")),
    "another type": ("no powdo-bundle", _message(file_type="image/png")),
    "malformed key": ("decryption-key", _message(decryption_key="x" * 64)),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_bad_messages_ask_for_nothing(name: str, server: BlobServer, tmp_path: Path, feed: Feed) -> None:
    """A message that is malformed, too large or leads elsewhere is rejected before any request is made."""
    part, make = MESSAGES[name]
    result = feed(make(parcel(tmp_path, server)))
    assert part in result.reason
    assert (result.status, server.visits) == (65, [])
    assert result.records[0]["npub"].startswith("npub1")


def _own(server: BlobServer, listed: list[Member]) -> JsonEvent:
    """Return the gift wrap of a bundle made byte by byte."""
    inner = inner_zip(listed)
    key = secrets.token_bytes(32)
    blob = seal(inner, key)
    return announced(server, blob, key, sha256(inner), outer_salt(blob).hex()).wrapped()


def _line(text: bytes) -> Callable[[BlobServer, Path], JsonEvent]:
    return lambda server, folder: parcel(folder, server, sample(buckets=(text,))).wrapped()


_LONG = b'{"timestamp":"2026-11-18T11:07:41Z","duration":1,"data":{"t":"%s"}}\n' % (b"x" * (1 << 20))
_OUTSIDE = b'{"timestamp":"2026-11-18T12:00:00Z","duration":1,"data":{}}\n'
_HUGE = b'{"timestamp":"2026-11-18T11:07:41Z","duration":1,"data":{"n":1e999}}\n'


def _proof(key: SecretKey, content: str | None = None) -> Callable[[BlobServer, Path], JsonEvent]:
    def make(server: BlobServer, folder: Path) -> JsonEvent:
        what = sample()
        return parcel(folder, server, what, proof=signed_proof(what, key, content)).wrapped()

    return make


def _bad_link_signature(server: BlobServer, folder: Path) -> JsonEvent:
    what = sample()
    proof = json.loads(signed_proof(what))
    proof["event"]["sig"] = "0" * 128
    return parcel(folder, server, what, proof=json.dumps(proof).encode()).wrapped()


def _wrong_bytes(server: BlobServer, folder: Path) -> JsonEvent:
    sent = parcel(folder, server)
    server.put(bytes(len(sent.blob)), sent.message.x)
    return sent.wrapped()


def _longer(server: BlobServer, folder: Path) -> JsonEvent:
    sent = parcel(folder, server)
    server.put(sent.blob + b"\0", sent.message.x)
    return sent.wrapped()


def _forked(server: BlobServer, folder: Path) -> JsonEvent:
    """Return a bundle whose place in the chain is that of another."""
    return parcel(folder, server, sample(buckets=(), capture_id="c9")).wrapped()


BUNDLES: dict[str, tuple[int, str, Callable[[BlobServer, Path], JsonEvent]]] = {
    "wrong bytes": (76, "hash", _wrong_bytes),
    "more bytes": (76, "size", _longer),
    "wrong key": (
        76,
        "key",
        lambda server, folder: parcel(folder, server).changed(decryption_key="0" * 64).wrapped(),
    ),
    "wrong inner hash": (
        76,
        "inner zip",
        lambda server, folder: parcel(folder, server).changed(ox="0" * 64).wrapped(),
    ),
    "a foreign member": (
        65,
        "not ours",
        lambda server, folder: _own(server, [*members(sample()), Member(name=b"../../x", data=b"x")]),
    ),
    "no manifest": (65, "belong", lambda server, folder: _own(server, members(sample())[1:])),
    "not an event": (65, "bucket event 1", _line(b"{}\n")),
    "an event elsewhere": (65, "outside", _line(_OUTSIDE)),
    "an endless line": (65, "longer than 1048576", _line(_LONG)),
    "an infinite number": (65, "cannot be written", _line(_HUGE)),
    "a link signed by another": (76, "another than the author", _proof(BEN)),
    "a forged link": (76, "signature of the link", _bad_link_signature),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_bad_bundles_are_rejected(
    name: str, dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed
) -> None:
    """A bundle that is not what it must be is rejected with its reason and leaves nothing behind."""
    status, part, make = BUNDLES[name]
    wrap = make(server, tmp_path)
    result = feed(wrap)
    assert part in result.reason
    assert result.status == status
    visits = len(server.visits)
    assert feed(wrap).records == result.records
    assert len(server.visits) == visits
    assert (count(dvm, "bundle"), count(dvm, "bucket"), dvm.evidence()) == (0, 0, [])


def test_a_forked_chain_is_rejected(dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed) -> None:
    """A second capture with the place of the first in the chain is refused; the first stays."""
    assert feed(parcel(tmp_path, server).wrapped()).status == 0
    result = feed(_forked(server, tmp_path))
    assert "place 1 in the chain" in result.reason
    assert (result.status, count(dvm, "bundle")) == (76, 1)


# --- strangers and other kinds


def test_a_stranger_leaves_an_id(dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed) -> None:
    """A stranger's wrap is no error, gets no record and no request; enrolled later, it can be sent again."""
    sent = parcel(tmp_path, server)
    wrap = gift(sent.message.to_rumor(BEN.pubkey, NOW), author=BEN)
    result = feed(wrap)
    assert (result.status, result.records, result.err, server.visits) == (0, [], "", [])
    inbox = dvm.inbox()
    assert inbox.outcome(wrap["id"]) == "stranger"
    inbox.close()
    assert feed(wrap).records == []
    store = dvm.store()
    store.enroll("ben", pubkeys=[BEN.pubkey])
    store.close()
    result = feed(wrap)
    assert result.reason == "the link is signed by another than the author"


def test_a_removed_worker_is_a_stranger(
    dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed
) -> None:
    """Who was removed is not listened to any more."""
    store = dvm.store()
    store.remove("ana")
    store.close()
    assert feed(parcel(tmp_path, server).wrapped()).records == []


def test_other_rumors_are_skipped(feed: Feed) -> None:
    """A chat message of a worker is none of our business."""
    result = feed(gift(Unsigned(ANA.pubkey, NOW, 14, (), "hello")))
    assert (result.status, result.records, result.err) == (0, [], "")


def test_a_forged_line_beside_the_real_one_is_told(server: BlobServer, tmp_path: Path, feed: Feed) -> None:
    """Of lines with one id that came together the forged are rejected and the real one is ingested once."""
    real = parcel(tmp_path, server).wrapped()
    forged = real | {"sig": "00" * 64}
    for lines in ([forged, real, real, forged], [forged, forged, real]):
        result = feed(*lines)
        assert [record["type"] for record in result.records][: lines.index(real) + 1][-1] == "ingested"
        assert sum(record["type"] == "ingested" for record in result.records) == 1
        assert result.status == 76
    assert len(server.visits) == 1


def test_a_bad_line_is_told(server: BlobServer, tmp_path: Path, feed: Feed) -> None:
    """What is no event is reported with its line, and the next line is handled."""
    result = feed({"id": 5}, parcel(tmp_path, server).wrapped())
    assert result.status == 65
    assert "line 1: " in result.err
    assert [record["type"] for record in result.records] == ["ingested"]


# --- what fails for now


def test_a_blob_that_is_away_is_waited_for(
    dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is away means another try later, and later still, until the bundle is there."""
    sent = parcel(tmp_path, server)
    server.status = 503
    wrap = sent.wrapped()
    assert (feed(wrap).status, len(server.visits)) == (75, 1)
    assert (feed(flags=("--pending",)).status, len(server.visits)) == (0, 1)
    store = dvm.store()
    with store.database.write() as connection:
        row = connection.execute(sa.text("SELECT attempts, next_at, lease_until, error FROM inbox")).one()
        connection.execute(sa.text("UPDATE inbox SET next_at = 0"))
    store.close()
    assert (row.attempts, row.lease_until) == (1, 0)
    assert 50 < row.next_at - time.time() <= 60
    assert "503" in row.error
    server.status = 200
    result = feed(flags=("--pending",))
    assert (result.status, [record["wrap"] for record in result.records]) == (0, [wrap["id"]])


def test_a_server_that_speaks_nonsense_is_waited_for(
    dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed
) -> None:
    """An answer that is not HTTP says nothing against the bundle, which stays in the inbox."""
    server.garble = True
    wrap = parcel(tmp_path, server).wrapped()
    assert (feed(wrap).status, feed(wrap).records) == (75, [])
    server.garble = False
    assert [record["type"] for record in feed(wrap).records] == ["ingested"]


def test_a_wrap_from_stdin_is_tried_at_once(server: BlobServer, tmp_path: Path, feed: Feed) -> None:
    """Who feeds a deferred wrap again wants it tried now."""
    wrap = parcel(tmp_path, server).wrapped()
    server.status = 404
    assert feed(wrap).status == 75
    server.status = 200
    assert feed(wrap).status == 0


def test_a_server_that_wants_another_key_holds_up_nobody_else(
    dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed
) -> None:
    """A blob that the server shows to others only waits, and the run goes on with the next wrap."""
    sent, other = parcel(tmp_path, server), parcel(tmp_path, server)
    server.status = 403
    result = feed(sent.wrapped(), other.wrapped())
    assert (result.status, result.records, len(server.visits)) == (69, [], 2)
    server.status = 200
    assert len(feed(sent.wrapped(), other.wrapped()).records) == 2


def test_what_never_comes_is_given_up(
    server: BlobServer, tmp_path: Path, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a month of tries the wrap is rejected: Blossom servers forget."""
    monkeypatch.setattr(receiver, "GIVE_UP", 0)
    server.status = 404
    result = feed(parcel(tmp_path, server).wrapped())
    assert "not to be had" in result.reason
    assert result.status == 65


def test_a_wrap_that_waited_past_its_expiry_is_taken(
    dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed
) -> None:
    """Expiry is judged by when a wrap came in, not by when its turn came."""
    wrap = parcel(tmp_path, server).wrapped(expiration=int(time.time()) - 100)
    dvm.inbox().add(wrap, "wss://relay", int(time.time()) - 200)
    assert [record["type"] for record in feed(flags=("--pending",)).records] == ["ingested"]


def test_one_bad_wrap_does_not_stop_the_queue(
    dvm: Operator, server: BlobServer, tmp_path: Path, feed: Feed
) -> None:
    """The queue goes on behind a wrap that is refused and one that must wait."""
    good, other = parcel(tmp_path, server), parcel(tmp_path, server, sample(sequence=2, capture_id="c2"))
    away = other.changed(url=server.url + "/" + "0" * 64)
    inbox = dvm.inbox()
    for number, wrap in enumerate((other.changed(ox="0" * 64).wrapped(), away.wrapped(), good.wrapped())):
        inbox.add(wrap, "wss://relay", NOW - 10 + number)
    inbox.close()
    result = feed(flags=("--pending",))
    assert [record["type"] for record in result.records] == ["rejected", "ingested"]
    assert result.status == 76


# --- processes


def _process(dvm: Operator, *flags: str) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-m", "powdo", "ingest", *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=root,
        env={"PATH": os.environ["PATH"]} | dvm.environment,
    )


def test_two_runs_on_one_database(dvm: Operator, server: BlobServer, tmp_path: Path) -> None:
    """Two runs that are fed the same wraps at once store each bundle once; the later exits 75 or repeats."""
    captures = [sample(sequence=number, capture_id=f"c{number}") for number in range(1, 6)]
    lines = b"".join(encode_line(parcel(tmp_path, server, what).wrapped()) for what in captures)
    server.pause = 0.05
    processes = [_process(dvm), _process(dvm)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(lines)
        process.stdin.close()
        process.stdin = None
    outputs = [process.communicate(timeout=60) for process in processes]
    assert {process.returncode for process in processes} <= {0, 75}
    records = [json.loads(line) for out, _ in outputs for line in out.splitlines()]
    assert {record["sequence"] for record in records} == {1, 2, 3, 4, 5}
    assert (count(dvm, "bundle"), count(dvm, "dirty"), len(server.visits)) == (5, 5, 5)


def test_several_hosts_share_one_postgresql(
    server: BlobServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Three runs over one inbox on PostgreSQL take each wrap exactly once, and store all of them."""
    url = empty_database(request.getfixturevalue("postgresql"))
    dvm = operator(tmp_path, server, database=url)
    inbox = dvm.inbox()
    for number in range(1, 13):
        what = sample(sequence=number, capture_id=f"c{number}")
        inbox.add(parcel(tmp_path, server, what).wrapped(), "wss://relay", NOW - 100)
    inbox.close()
    server.pause = 0.05
    processes = [_process(dvm, "--pending") for _ in range(3)]
    outputs = [process.communicate(b"", timeout=60) for process in processes]
    assert [(process.returncode, err) for process, (_, err) in zip(processes, outputs, strict=True)] == [
        (0, b"")
    ] * 3
    records = [json.loads(line) for out, _ in outputs for line in out.splitlines()]
    assert sorted(record["sequence"] for record in records) == list(range(1, 13))
    assert len(server.visits) == 12
    assert (count(dvm, "bundle"), count(dvm, "bucket_event")) == (12, 2)


def test_a_killed_run_loses_nothing(dvm: Operator, server: BlobServer, tmp_path: Path) -> None:
    """A run killed in the middle of a download leaves the wrap in the inbox, free for the next run."""
    wrap = parcel(tmp_path, server).wrapped()
    server.pause = 30
    first = _process(dvm)
    assert first.stdin is not None
    first.stdin.write(encode_line(wrap))
    first.stdin.flush()
    limit = time.monotonic() + 30
    while not server.visits and time.monotonic() < limit:
        time.sleep(0.02)
    first.kill()
    first.communicate()
    server.pause = 0
    second = _process(dvm, "--pending")
    out, err = second.communicate(b"", timeout=60)
    assert (second.returncode, err) == (0, b"")
    assert json.loads(out)["wrap"] == wrap["id"]


def test_lines_that_came_together_are_in_the_inbox_together(
    dvm: Operator, server: BlobServer, tmp_path: Path
) -> None:
    """A run killed at the first of several lines leaves all in the inbox; one told to end frees them."""
    wraps = [parcel(tmp_path, server, sample(sequence=n, capture_id=f"c{n}")).wrapped() for n in (1, 2, 3)]
    lines = b"".join(map(encode_line, wraps))
    server.pause = 1
    for end in (signal.SIGKILL, signal.SIGTERM):
        server.visits.clear()
        process = _process(dvm)
        assert process.stdin is not None
        process.stdin.write(lines)
        process.stdin.flush()
        limit = time.monotonic() + 30
        while not server.visits and time.monotonic() < limit:
            time.sleep(0.02)
        process.send_signal(end)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == -end
        assert (count(dvm, "inbox"), len(out.splitlines())) == (3, 1 if end == signal.SIGTERM else 0)
    server.pause = 0
    last = _process(dvm, "--pending")
    out, err = last.communicate(b"", timeout=60)
    assert (last.returncode, err) == (0, b"")
    assert sorted(json.loads(line)["sequence"] for line in out.splitlines()) == [2, 3]


def test_a_stopped_run_gives_its_claims_back(dvm: Operator, server: BlobServer, tmp_path: Path) -> None:
    """A run that is told to end finishes the wrap in hand, frees the others, and dies of the signal."""
    inbox = dvm.inbox()
    for number in (1, 2, 3):
        wrap = parcel(tmp_path, server, sample(sequence=number, capture_id=f"c{number}")).wrapped()
        inbox.add(wrap, "wss://relay", NOW - 100 + number)
    server.pause = 1
    process = _process(dvm, "--pending")
    limit = time.monotonic() + 30
    while not server.visits and time.monotonic() < limit:
        time.sleep(0.02)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert [json.loads(line)["sequence"] for line in out.splitlines()] == [1]
    store = dvm.store()
    with store.database.read() as connection:
        leases = connection.execute(
            sa.text("SELECT state, lease_until FROM inbox ORDER BY received_at")
        ).all()
    store.close()
    inbox.close()
    assert leases == [("done", 0), ("waiting", 0), ("waiting", 0)]


def test_the_queue_is_taken_while_stdin_is_open(dvm: Operator, server: BlobServer, tmp_path: Path) -> None:
    """With --pending what listen stored and printed is ingested once, though it comes both ways."""
    wraps = [parcel(tmp_path, server, sample(sequence=n, capture_id=f"c{n}")).wrapped() for n in (1, 2)]
    inbox = Inbox(dvm.url)
    inbox.add(wraps[0], "wss://relay")
    process = _process(dvm, "--pending")
    assert process.stdin is not None and process.stdout is not None
    first = json.loads(process.stdout.readline())
    inbox.add(wraps[1], "wss://relay")
    inbox.close()
    for wrap in wraps:
        process.stdin.write(encode_line(wrap))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert [first["wrap"], *(json.loads(line)["wrap"] for line in out.splitlines())] == [
        wrap["id"] for wrap in wraps
    ]


def test_help_is_light() -> None:
    """The help of `ingest` loads neither the database nor the network."""
    code = (
        "import sys; from powdo.commands.ingest import ingest; "
        "sys.exit(any(name in sys.modules for name in ('sqlalchemy', 'requests', 'coincurve', 'pyzipper')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
