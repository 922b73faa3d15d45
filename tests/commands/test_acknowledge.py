"""`powdo acknowledge`: whom a receipt is believed of, and what it does to the outbox."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.database import Inbox
from powdo.adapters.keystore import Keystore
from powdo.adapters.outbox import Outbox
from powdo.commands import acknowledge as module
from powdo.lines import encode_line
from powdo.nips.bech32 import encode_npub
from powdo.nips.curve import SecretKey
from powdo.nips.event import Unsigned, sign
from powdo.nips.giftwrap import enclose
from powdo.nips.nip17 import FileMessage
from powdo.nips.nip90 import Feedback, Missing
from powdo.worktime.link import Link
from powdo.worktime.statement import Statement
from tests.outbox_steps import bundle, capture

DVM, OTHER = SecretKey(b"\x01" * 32), SecretKey(b"\x02" * 32)
DEVICE = "6f1c2c1e-3d0a-4d5e-9a64-0d7f6f1b2a33"
ROOT, BLOB, RUMOR = "7a" * 32, "ab" * 32, "0e" * 32
RECEIVED = 1_796_000_000

JsonEvent = dict[str, Any]


class Worker:
    """A worker with one capture that was published, and what `acknowledge` does for them."""

    def __init__(self, powdo: Any, world: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert powdo("init", "worker", "-q", "--user", "ana", "--dvm", DVM.pubkey).returncode == 0
        master = bytes.fromhex((world / "master.key").read_text())
        store = Keystore(world / "data" / "keystore.json")
        self.identity, self.access = store.unlock("ana", master), store.unlock("ana-access", master)
        self.world = world
        self.powdo = powdo
        self.outbox = Outbox(world / "state")
        self._capfd = capfd
        record = capture(self.outbox, DEVICE, now=int(time.time()))
        self.id = record.id
        link = Link(device=DEVICE, sequence=1, begin=RECEIVED, end=RECEIVED, previous=None, root=ROOT).content
        self.outbox.set_links([(self.id, link, "{}")])
        bundle(self.outbox, record)
        self.outbox.add_blobs(self.id, [{"url": "https://one.example/x"}])
        wraps = [(DVM.pubkey, {"id": "e1" * 32})]
        self.outbox.add_wraps(self.id, wraps, now=int(time.time()), rumor=RUMOR, addressees=[DVM.pubkey])

    def published(self) -> None:
        """Let the relay have taken the wrap."""
        self.outbox.mark_published("e1" * 32, [], done=True, now=int(time.time()))

    @property
    def state(self) -> tuple[str, str | None]:
        """How far the capture has come, and what the DVM said against it."""
        entry = self.outbox.known(self.id)
        return entry.state, entry.error

    def take(self, *events: JsonEvent, pending: bool = False) -> tuple[int, list[JsonEvent], str]:
        """Run `powdo acknowledge` over *events*; return status, records and what was said."""
        file = self.world / "events.jsonl"
        file.write_bytes(b"".join(map(encode_line, events)))
        self._capfd.readouterr()
        flags = ["--pending"] if pending else []
        run = module.acknowledge.main([*flags, str(file)], standalone_mode=False)
        out, err = self._capfd.readouterr()
        return run.console.status, [json.loads(line) for line in out.splitlines()], err

    def wrapped(self, rumor: Unsigned, author: SecretKey = DVM) -> JsonEvent:
        """Return *rumor* by *author* in a gift wrap for the access key."""
        return enclose(rumor, author, self.access.pubkey, now=int(time.time()), fresh=os.urandom).to_json()


@pytest.fixture
def worker(powdo: Any, own_world: Path, capfd: pytest.CaptureFixture[str]) -> Worker:
    """Return a worker whose bundle was published."""
    made = Worker(powdo, own_world, capfd)
    made.published()
    return made


STATEMENT = Statement(blob=BLOB, device=DEVICE, sequence=1, root=ROOT, received=RECEIVED)


def stated(statement: Statement = STATEMENT, key: SecretKey = DVM, kind: int = 78) -> str:
    """Return *statement* as an event by *key*."""
    unsigned = Unsigned(key.pubkey, RECEIVED, kind, (), statement.content)
    return sign(unsigned, key, os.urandom(32)).to_bytes().decode()


def success(**changes: Any) -> Feedback:
    """Return the answer that the bundle is stored."""
    return Feedback("success", RUMOR, "aa" * 32, BLOB, content=stated())._replace(**changes)


def refusal(reason: str = "too large") -> Feedback:
    """Return the answer that the bundle is refused."""
    return Feedback("error", RUMOR, "aa" * 32, BLOB, reason)


# --- what is believed


def test_a_receipt_ends_the_wait(worker: Worker) -> None:
    """The capture is acknowledged, and the record carries what the DVM signed."""
    feedback = success()
    status, (record,), err = worker.take(worker.wrapped(feedback.to_rumor(DVM.pubkey, RECEIVED)))
    assert (status, err, worker.state) == (0, "", ("acknowledged", None))
    assert record == {
        "type": "receipt",
        "v": 1,
        "id": worker.id,
        "sequence": 1,
        "device": DEVICE,
        "status": "success",
        "rumor": RUMOR,
        "sha256": BLOB,
        "dvm": encode_npub(DVM.pubkey),
        "received": "2026-11-30T00:53:20Z",
        "statement": json.loads(feedback.content),
        "missing": [],
    }
    assert worker.outbox.receipts(worker.id) == [record]


def test_a_refusal_is_told_with_its_reason(worker: Worker) -> None:
    """What the DVM refuses stands there as rejected, until it is sent again."""
    status, (record,), _ = worker.take(worker.wrapped(refusal().to_rumor(DVM.pubkey, RECEIVED)))
    assert (status, record["status"], record["reason"]) == (0, "error", "too large")
    assert "statement" not in record
    assert worker.state == ("rejected", "too large")
    worker.outbox.resend(worker.id)
    assert worker.state == ("bundled", None)


def test_stored_is_never_undone(worker: Worker) -> None:
    """A refusal of something sent twice changes nothing about what is stored."""
    for feedback in (success(), refusal()):
        worker.take(worker.wrapped(feedback.to_rumor(DVM.pubkey, RECEIVED)))
    assert worker.state == ("acknowledged", None)
    assert [record["status"] for record in worker.outbox.receipts(worker.id)] == ["success"]


def test_stored_beats_an_earlier_refusal(worker: Worker) -> None:
    """What was refused first, and then stored, is acknowledged."""
    for feedback in (refusal(), success()):
        worker.take(worker.wrapped(feedback.to_rumor(DVM.pubkey, RECEIVED)))
    assert worker.state == ("acknowledged", None)


def test_the_same_receipt_twice_gives_the_same_record(worker: Worker) -> None:
    """Whatever comes twice is harmless, in one run and in another."""
    event = worker.wrapped(success().to_rumor(DVM.pubkey, RECEIVED))
    _, first, _ = worker.take(event, event)
    status, again, _ = worker.take(event)
    assert (status, len(first), again) == (0, 1, first)


def test_a_receipt_ends_a_second_sending_too(worker: Worker) -> None:
    """One that comes while the bundle is on its way again ends that, and no later stage takes it back."""
    worker.outbox.resend(worker.id)
    worker.take(worker.wrapped(success().to_rumor(DVM.pubkey, RECEIVED)))
    worker.outbox.add_blobs(worker.id, [{"url": "https://one.example/x"}])
    worker.outbox.add_wraps(worker.id, [(DVM.pubkey, {"id": "e2" * 32})], now=int(time.time()))
    assert worker.state == ("acknowledged", None)


def test_a_receipt_may_come_before_publish_has_noted_its_ok(
    powdo: Any, own_world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the DVM has is sent, whatever a killed `publish` did not note."""
    worker = Worker(powdo, own_world, capfd)
    worker.take(worker.wrapped(success().to_rumor(DVM.pubkey, RECEIVED)))
    assert worker.state == ("acknowledged", None)
    assert list(worker.outbox.unpublished(now=int(time.time()))) == []


def test_what_is_asked_for_and_not_here_is_told_once(worker: Worker) -> None:
    """Numbers that the DVM lacks and this outbox has lost are a person's matter; nothing stops for it."""
    with worker.outbox._transaction() as db:
        db.execute("INSERT INTO device VALUES ('ana', ?)", (DEVICE,))
        db.execute("UPDATE capture SET sequence = 5")
    capture_of = Missing(DEVICE, 2, 4)
    content = stated(replace(STATEMENT, sequence=1))
    partial = success(status="partial", reason="missing: 2-4", missing=(capture_of,), content=content)
    status, (record,), err = worker.take(worker.wrapped(partial.to_rumor(DVM.pubkey, RECEIVED)))
    assert (status, record["status"], worker.state[0]) == (69, "partial", "acknowledged")
    assert f"numbers 2 3 4 of '{DEVICE}'" in err
    again = worker.wrapped(partial.to_rumor(DVM.pubkey, RECEIVED))
    assert worker.take(again)[0] == 0
    assert _rows(worker)["needs a person"]["detail"] == "asked for and not kept: 3"


# --- what is refused


def _by_another(worker: Worker) -> JsonEvent:
    rumor = success(content=stated(key=OTHER)).to_rumor(OTHER.pubkey, RECEIVED)
    return worker.wrapped(rumor, OTHER)


def _statement(**changes: Any) -> str:
    return stated(replace(STATEMENT, **changes))


FORGED = {
    "no-statement": ({"content": ""}, "not JSON"),
    "signed-by-another": ({"content": stated(key=OTHER)}, "not signed by its DVM"),
    "another-kind": ({"content": stated(kind=1)}, "not signed by its DVM"),
    "signature": ({"content": stated().replace('"sig":"', '"sig":"00')[:-3] + '"}'}, "statement"),
    "blob": ({"content": _statement(blob="00" * 32)}, "something else"),
    "root": ({"content": _statement(root="00" * 32)}, "something else"),
    "sequence": ({"content": _statement(sequence=2)}, "something else"),
    "device": ({"content": _statement(device=DEVICE.replace("6f", "00"))}, "something else"),
    "another-blob": ({"blob": "00" * 32, "content": _statement(blob="00" * 32)}, "another blob"),
    "no-blob": ({"blob": None}, "something else"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_receipt_with_a_wrong_statement_is_refused(worker: Worker, name: str) -> None:
    """Nothing is believed that the DVM did not sign over this blob, link and number."""
    changes, reason = FORGED[name]
    event = worker.wrapped(success(**changes).to_rumor(DVM.pubkey, RECEIVED))
    status, records, err = worker.take(event)
    assert (status, records, worker.state) == (76, [], ("published", None))
    assert reason in err
    assert worker.take(event)[:2] == (0, [])  # told once


def test_a_receipt_of_another_dvm_is_refused(worker: Worker) -> None:
    """Only the DVM for which the bundle was wrapped may say what became of it."""
    status, records, err = worker.take(_by_another(worker))
    assert (status, records, worker.state) == (76, [], ("published", None))
    assert "another than the DVM it was wrapped for" in err


def test_a_malformed_receipt_is_refused(worker: Worker) -> None:
    """An answer without a known status is none."""
    rumor = Unsigned(DVM.pubkey, RECEIVED, 7000, (("e", RUMOR), ("status", "processing")), "")
    status, records, err = worker.take(worker.wrapped(rumor))
    assert (status, records) == (65, [])
    assert "status" in err


def test_what_is_no_receipt_of_ours_is_passed_over(worker: Worker) -> None:
    """Own copies, receipts for another machine, other rumors and what cannot be opened say nothing."""
    elsewhere = success(request="0f" * 32).to_rumor(DVM.pubkey, RECEIVED)
    note = Unsigned(OTHER.pubkey, RECEIVED, 14, (("e", RUMOR),), "hello")
    message = FileMessage("https://one.example/x", "0f" * 32, "00" * 16, BLOB, "cd" * 32, 1, (DVM.pubkey,))
    own = message.to_rumor(worker.identity.pubkey, RECEIVED)
    broken = sign(
        Unsigned(OTHER.pubkey, RECEIVED, 1059, (("p", worker.access.pubkey),), "?"), OTHER, os.urandom(32)
    )
    events = [
        worker.wrapped(elsewhere),
        worker.wrapped(note, OTHER),
        worker.wrapped(own, worker.identity),
        broken.to_json(),
    ]
    assert worker.take(*events) == (0, [], "")
    assert worker.state == ("published", None)


def test_what_is_forged_is_told_and_not_remembered(worker: Worker) -> None:
    """The id of a forged wrap may be a genuine one's, which is taken afterwards."""
    event = worker.wrapped(success().to_rumor(DVM.pubkey, RECEIVED))
    status, records, _ = worker.take(event | {"sig": "00" * 64}, event)
    assert (status, [record["status"] for record in records]) == (76, ["success"])


# --- the queue


def test_pending_takes_what_listen_left(worker: Worker) -> None:
    """A receipt that `listen` took in and nobody opened is taken by the next run, once."""
    event = worker.wrapped(success().to_rumor(DVM.pubkey, RECEIVED))
    inbox = Inbox(f"sqlite:///{worker.world / 'state' / 'dvm.sqlite'}")
    assert inbox.add(event, "wss://relay.example")
    assert worker.take()[1] == []
    status, (record,), _ = worker.take(pending=True)
    assert (status, record["id"]) == (0, worker.id)
    assert worker.take(pending=True) == (0, [], "")
    inbox.close()


# --- what receipts, and their absence, lead to


def _status(worker: Worker, *flags: str) -> list[JsonEvent]:
    done = worker.powdo("status", "--json", *flags)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _rows(worker: Worker) -> dict[str, JsonEvent]:
    return {row["what"]: row for row in _status(worker)}


def test_a_person_is_told_once_that_no_receipt_comes(worker: Worker) -> None:
    """After the last waiting one message says so, with 69; then only `status` does."""
    long_ago = int(time.time()) - 30 * 86_400
    with worker.outbox._transaction() as db:
        db.execute("UPDATE wrap SET published = ?", (long_ago,))
        db.execute("INSERT INTO resent VALUES (?, 4, 0)", (worker.id,))
    status, _, err = worker.take()
    assert status == 69
    assert "no receipt came for 1 bundles, each sent 5 times" in err
    assert worker.take() == (0, [], "")
    assert _rows(worker)["needs a person"]["detail"] == "no receipt: 1"
    (row,) = _status(worker, "--bundles")
    assert (row["state"], row["detail"]) == ("published", "no receipt, sent 5 times: needs a person")


def test_status_tells_when_it_is_sent_again(worker: Worker) -> None:
    """What waits for its receipt is told with the day on which it is sent again."""
    row = _rows(worker)["published"]
    assert (row["count"], row["detail"]) == (1, None)
    assert row["next"] > row["since"]
    assert "needs a person" not in _rows(worker)


def test_status_tells_what_the_dvm_says(worker: Worker) -> None:
    """A refusal stands there with its reason, among what needs a person; a receipt ends that."""
    worker.take(worker.wrapped(refusal().to_rumor(DVM.pubkey, RECEIVED)))
    rows = _rows(worker)
    assert (rows["rejected"]["count"], rows["rejected"]["detail"]) == (1, "too large")
    assert rows["needs a person"]["detail"] == "refused: 1"
    (row,) = _status(worker, "--bundles")
    assert (row["id"], row["state"], row["detail"]) == (worker.id, "rejected", "too large")
    worker.take(worker.wrapped(success().to_rumor(DVM.pubkey, RECEIVED)))
    rows = _rows(worker)
    assert (rows["acknowledged"]["count"], rows["rejected"]["count"]) == (1, 0)
    assert "needs a person" not in rows


def test_status_tells_why_a_wrap_waits(
    powdo: Any, own_world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the relay has not taken is told with its error and the next try."""
    worker = Worker(powdo, own_world, capfd)
    worker.outbox.defer_wrap("e1" * 32, "timed out", now=int(time.time()))
    (row,) = _status(worker, "--bundles")
    assert (row["state"], row["detail"]) == ("wrapped", "timed out")
    assert row["next"] is not None


def test_status_tells_what_the_next_step_waits_for(worker: Worker) -> None:
    """Of a bundle that is sent again its own failure is told, not that of a copy which waits meanwhile."""
    now = int(time.time())
    wraps = [(DVM.pubkey, {"id": "e2" * 32}), (worker.access.pubkey, {"id": "e3" * 32})]
    worker.outbox.add_wraps(worker.id, wraps, now=now, rumor=RUMOR, addressees=[DVM.pubkey])
    worker.outbox.defer_wrap("e3" * 32, "timed out", now=now)
    worker.outbox.resend(worker.id)
    worker.outbox.defer(worker.id, "quota exceeded", now=now)
    (row,) = _status(worker, "--bundles")
    assert (row["state"], row["detail"]) == ("bundled", "quota exceeded")


def test_what_is_kept_no_longer_goes(worker: Worker) -> None:
    """With keep_days = 0 the next run removes bundle and key; what is left to show is the receipt."""
    config = worker.world / "powdo.toml"
    config.write_text(config.read_text().replace("[worker]", "[worker]\nkeep_days = 0"))
    worker.take(worker.wrapped(success().to_rumor(DVM.pubkey, RECEIVED)))
    path = worker.outbox.bundle_path(worker.id)
    assert path.is_file()
    with worker.outbox.lock("upload"):
        assert worker.take() == (0, [], "")  # an upload is under way
    assert path.is_file()
    worker.take()
    assert not path.exists()
    done = worker.powdo("outbox", "show", worker.id)
    assert done.returncode == 65
    assert b"not kept any more" in done.stderr
    (record,) = map(json.loads, worker.powdo("outbox", "receipts", worker.id).stdout.splitlines())
    assert record["statement"]["pubkey"] == DVM.pubkey
    assert worker.powdo("outbox", "receipts").stdout == worker.powdo("outbox", "receipts", worker.id).stdout


def test_upload_sends_again_what_no_receipt_covers(worker: Worker) -> None:
    """`upload --pending` lets it wait again, and asks the server; a dry run changes nothing."""
    with worker.outbox._transaction() as db:
        db.execute("UPDATE wrap SET published = ?", (int(time.time()) - 2 * 86_400,))
    config = worker.world / "powdo.toml"
    config.write_text(config.read_text().replace("[worker]", '[worker]\nblossom = ["http://127.0.0.1:9"]'))
    assert worker.powdo("upload", "-n", "--pending").returncode == 0
    assert worker.state == ("published", None)
    assert worker.powdo("upload", "--pending").returncode != 0  # there is no server
    assert worker.state[0] == "bundled"
