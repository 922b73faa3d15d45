"""powdo wrap, over a real outbox and keystore."""

from __future__ import annotations

import json
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from powdo.adapters.keystore import Keystore
from powdo.adapters.outbox import STALE_WRAP_SECONDS, Delivery, Outbox
from powdo.lines import encode_line
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event
from powdo.nips.giftwrap import Unwrapped, unwrap
from powdo.nips.nip17 import FileMessage
from powdo.nips.pow import check, committed
from powdo.servers.relay.policy import Policy
from tests.outbox_steps import KEY, bundle, capture
from tests.relay_helpers import relay_thread

_DVM = SecretKey(b"\x01" * 32)
_BLOBS = [{"url": "https://one.example/x.bin"}, {"url": "https://two.example/x.bin"}]
_DAYS = 2 * 86400


class Worker:
    """A worker that is set up, with its outbox."""

    def __init__(self, powdo, world: Path) -> None:
        self.powdo = powdo
        assert powdo("init", "worker", "-q", "--user", "ana", "--dvm", _DVM.pubkey).returncode == 0
        store, master = (
            Keystore(world / "data" / "keystore.json"),
            bytes.fromhex((world / "master.key").read_text()),
        )
        self.identity, self.access = store.unlock("ana", master), store.unlock("ana-access", master)
        self.outbox = Outbox(world / "state")

    def uploaded(self) -> str:
        """Return the id of a new bundle that has been uploaded."""
        record = capture(self.outbox, "d1", now=int(time.time()))
        bundle(self.outbox, record)
        self.outbox.add_blobs(record.id, _BLOBS)
        return record.id

    def wrap(self, *arguments: str, stdin: bytes = b"", status: int = 0) -> list[Event]:
        """Run wrap and return the events it writes, each of them verified."""
        done = self.powdo("wrap", *arguments, stdin=stdin)
        assert done.returncode == status, done.stderr
        events = [Event.from_json(json.loads(line)) for line in done.stdout.splitlines()]
        for event in events:
            event.verify()
        return events


@pytest.fixture
def worker(powdo, own_world: Path) -> Worker:
    """Return a worker that is set up."""
    made = Worker(powdo, own_world)
    yield made
    made.outbox.close()


def _message(opened: Unwrapped) -> FileMessage:
    return FileMessage.from_rumor(opened.rumor)


def test_each_recipient_gets_a_wrap_that_only_they_open(worker: Worker):
    """DVM and access key get the same rumor by the identity, which names blobs, hashes and key."""
    name = worker.uploaded()
    events = worker.wrap("--pending")
    assert [event.tag_values("p") for event in events] == [(_DVM.pubkey,), (worker.access.pubkey,)]
    opened = [unwrap(events[0], _DVM), unwrap(events[1], worker.access)]
    assert opened[0].rumor == opened[1].rumor
    assert opened[0].rumor.pubkey == opened[0].seal.pubkey == worker.identity.pubkey
    message = _message(opened[0])
    entry = worker.outbox.get(name)
    assert (message.url, message.fallbacks) == ("https://one.example/x.bin", ("https://two.example/x.bin",))
    assert (message.decryption_key, message.decryption_nonce) == (KEY, entry.bundle.salt)
    assert (message.x, message.ox, message.size) == (entry.bundle.sha256, entry.bundle.ox, entry.bundle.size)
    assert entry.state == "wrapped"


def test_nothing_outside_tells_who_or_when(worker: Worker):
    """The wrap's keys are new each time, its times and the seal's dated back apart, its tags only p."""
    worker.uploaded()
    worker.uploaded()
    now = time.time()
    events = worker.wrap("--pending")
    assert len({event.pubkey for event in events}) == 4
    known = {worker.identity.pubkey, worker.access.pubkey}
    assert not known & {event.pubkey for event in events}
    seals = [unwrap(event, _DVM).seal for event in events if event.tag_values("p") == (_DVM.pubkey,)]
    times = [item.created_at for item in (*events, *seals)]
    assert all(now - _DAYS - 5 <= at <= now + 5 for at in times)
    assert len(set(times)) > 4
    assert all(event.tags == (("p", event.tag_values("p")[0]),) for event in events)


def test_a_second_run_gives_the_same_wraps(worker: Worker):
    """What was wrapped is given out again, not made again: by the record, and not by the queue."""
    name = worker.uploaded()
    first = worker.wrap("--pending")
    assert worker.wrap("--pending") == []
    record = encode_line(worker.outbox.get(name).bundle.to_json())
    assert worker.wrap(stdin=record) == first
    assert [wrap.id for wrap in worker.outbox.wraps(name)] == [event.id for event in first]


def test_a_wrap_left_unsent_for_a_day_is_made_anew(worker: Worker):
    """A stale wrap gives way to a fresh one around the same rumor; a sent one does not."""
    name = worker.uploaded()
    first = worker.wrap("--pending")
    old = int(time.time()) - STALE_WRAP_SECONDS - 10
    worker.outbox.add_wraps(name, [(event.tag_values("p")[0], event.to_json()) for event in first], now=old)
    again = worker.wrap("--pending")
    assert not {event.id for event in first} & {event.id for event in again}
    assert unwrap(again[0], _DVM).rumor == unwrap(first[0], _DVM).rumor
    worker.outbox.add_wraps(name, [(event.tag_values("p")[0], event.to_json()) for event in again], now=old)
    for event in again:
        worker.outbox.mark_published(event.id, [Delivery("wss://r", True, "")], done=True, now=old)
    assert worker.wrap("--pending") == []


def test_what_another_program_uploaded_is_made_anew_too(worker: Worker) -> None:
    """Where a bundle lies is kept from the record that told it: a day later its stale wrap gives way."""
    record = capture(worker.outbox, "d1", now=int(time.time()))
    made = bundle(worker.outbox, record)
    first = worker.wrap(stdin=encode_line(made.to_json() | {"blobs": _BLOBS}))
    assert worker.outbox.known(record.id).state == "wrapped"
    old = int(time.time()) - STALE_WRAP_SECONDS - 10
    wraps = [(event.tag_values("p")[0], event.to_json()) for event in first]
    worker.outbox.add_wraps(record.id, wraps, now=old)
    second = worker.wrap("--pending")
    assert not {event.id for event in first} & {event.id for event in second}
    assert unwrap(second[0], _DVM).rumor == unwrap(first[0], _DVM).rumor


def test_a_dry_run_changes_nothing(worker: Worker):
    """-n writes the wraps and keeps none of them."""
    name = worker.uploaded()
    assert len(worker.wrap("-n", "--pending")) == 2
    assert (worker.outbox.get(name).state, worker.outbox.wraps(name)) == ("uploaded", [])


def test_flags_choose_the_recipients(worker: Worker):
    """--to takes the DVM's place, each recipient once; --no-self leaves the copy out."""
    name = worker.uploaded()
    record = encode_line(worker.outbox.get(name).bundle.to_json())
    other = SecretKey(b"\x02" * 32)
    events = worker.wrap("-n", "--to", other.pubkey, "--to", other.pubkey, "--no-self", stdin=record)
    assert [event.tag_values("p") for event in events] == [(other.pubkey,)]
    events = worker.wrap("-n", "--to", worker.access.pubkey, stdin=record)
    assert [event.tag_values("p") for event in events] == [(worker.access.pubkey,)]


def test_what_cannot_be_wrapped_is_told(worker: Worker, own_world: Path):
    """A bundle without blobs, or whose key is elsewhere, is a bad record; the others go on."""
    record = capture(worker.outbox, "d1")
    made = bundle(worker.outbox, record)
    foreign = made.to_json() | {"id": "foreign", "blobs": _BLOBS}
    del foreign["key"]
    good = made.to_json() | {"id": "good", "blobs": _BLOBS}
    done = worker.powdo("wrap", stdin=b"".join(map(encode_line, (made.to_json(), foreign, good))))
    assert done.returncode == 65
    assert done.stdout.count(b"\n") == 2
    assert b"line 1: bundle" in done.stderr
    assert b"line 2: no key for bundle 'foreign'" in done.stderr
    (own_world / "powdo.toml").write_text('[identity]\nuser = "ana"\n')
    done = worker.powdo("wrap", stdin=encode_line(good))
    assert done.returncode == 78
    assert b"--to NPUB" in done.stderr


def test_an_expiration_stands_on_the_wrap(worker: Worker, own_world: Path):
    """[worker] expiration becomes a NIP-40 tag of the wrap, from now on."""
    config = own_world / "powdo.toml"
    config.write_text(config.read_text().replace("[worker]", '[worker]\nexpiration = "30d"'))
    worker.uploaded()
    for event in worker.wrap("--pending"):
        assert abs(int(event.tag("expiration")) - time.time() - 30 * 86400) < 30


def test_another_recipient_gets_a_wrap_of_their_own(worker: Worker) -> None:
    """A bundle that is wrapped already is wrapped anew for a recipient it was not wrapped for."""
    record = encode_line(worker.outbox.get(worker.uploaded()).bundle.to_json())
    first = worker.wrap(stdin=record)
    assert worker.wrap("--no-self", stdin=record) == first[:1]
    other = SecretKey(b"\x02" * 32)
    (event,) = worker.wrap("--no-self", "--to", other.pubkey, stdin=record)
    assert unwrap(event, other).rumor.content == unwrap(first[0], _DVM).rumor.content
    assert worker.wrap("--no-self", "--to", other.pubkey, stdin=record) == [event]


# --- proof of work ---


def test_a_wrap_carries_the_work_it_was_asked_for(worker: Worker) -> None:
    """--pow mines before it signs: committed bits, the date left as it was, and it opens as ever."""
    worker.uploaded()
    for event in worker.wrap("--pending", "--pow=9"):
        assert check(event, 9) and committed(event.tags) == 9
        assert event.tags[0][0] == "p" and event.tags[-1][0] == "nonce"
        assert event.created_at <= time.time()
        recipient = _DVM if event.tag_values("p") == (_DVM.pubkey,) else worker.access
        assert unwrap(event, recipient).rumor.pubkey == worker.identity.pubkey


def test_a_wrap_that_waits_with_too_little_work_is_made_anew(worker: Worker) -> None:
    """After a relay has asked for more, the wraps that wait are mined; with enough they are given again."""
    record = encode_line(worker.outbox.get(worker.uploaded()).bundle.to_json())
    plain = worker.wrap(stdin=record)
    mined = worker.wrap("--pow", "8", stdin=record)
    assert not {event.id for event in plain} & {event.id for event in mined}
    assert worker.wrap("--pow=7", stdin=record) == mined
    assert worker.wrap(stdin=record) == mined


def test_without_a_number_the_relay_says_how_much(worker: Worker, own_world: Path) -> None:
    """--pow alone takes what the primary relay's NIP-11 document wants, and that may be nothing."""
    record = encode_line(worker.outbox.get(worker.uploaded()).bundle.to_json())
    config, kept = own_world / "powdo.toml", (own_world / "powdo.toml").read_text()
    for bits in (6, 0):
        with relay_thread(own_world / f"relay{bits}", Policy(allowed={_DVM.pubkey}, min_pow=bits)) as url:
            worker_side = f'[worker]\ndvm = "{_DVM.pubkey}"\nrelays = ["{url}"]\n'
            config.write_text(kept.partition("[worker]")[0] + worker_side)
            events = worker.wrap("-n", "--pow", "--pending")
        assert [committed(event.tags) for event in events] == [bits or None] * 2
    done = worker.powdo("wrap", "-n", "--pow", "-", stdin=record)
    assert done.returncode == 2 and b"write --pow=BITS" in done.stderr
    done = worker.powdo("wrap", "-n", "--pending", "--pow")
    assert done.returncode == 75 and b"cannot reach" in done.stderr


def test_what_would_take_too_long_is_refused_with_a_hint(worker: Worker, own_world: Path) -> None:
    """More than [pow] max_seconds on average is refused at once, and the bundle still waits."""
    name = worker.uploaded()
    done = worker.powdo("wrap", "--pending", "--pow=70")
    assert (done.returncode, done.stdout) == (78, b"")
    assert b"70 bits would take" in done.stderr and b"max_seconds in [pow]" in done.stderr
    assert worker.outbox.get(name).state == "uploaded"


def test_a_signal_while_a_wrap_is_mined_leaves_the_bundle_waiting(worker: Worker, own_world: Path) -> None:
    """Ctrl-C ends mining within a slice; nothing is written, and the next run wraps."""
    name = worker.uploaded()
    config = own_world / "powdo.toml"
    config.write_text(config.read_text() + '\n[pow]\nmax_seconds = "3650d"\n')
    with worker.powdo.start("wrap", "--pending", "--pow=38", "-vv") as process:
        while b"attempts, about" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert process.stdout.read() == b""
    assert worker.outbox.get(name).state == "uploaded"
    assert len(worker.wrap("--pending", "--pow=4")) == 2


def test_a_relay_that_wants_the_impossible_is_not_believed(worker: Worker, own_world: Path) -> None:
    """More bits than an id has, in the relay's document: status 76, and the bundle waits."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"limitation":{"min_pow_difficulty":1000000}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    name = worker.uploaded()
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        config, url = own_world / "powdo.toml", f"ws://127.0.0.1:{server.server_port}"
        kept = config.read_text().partition("[worker]")[0]
        config.write_text(f'{kept}[worker]\ndvm = "{_DVM.pubkey}"\nrelays = ["{url}"]\n')
        done = worker.powdo("wrap", "--pending", "--pow")
        server.shutdown()
    assert (done.returncode, done.stdout) == (76, b"")
    assert b"wants 1000000 bits" in done.stderr
    assert worker.outbox.get(name).state == "uploaded"
