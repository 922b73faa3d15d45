"""The worker's own copy of a gift wrap, with which they open their bundle later: no receipt ends its way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

from powdo.adapters.keystore import Keystore
from powdo.adapters.outbox import STALE_WRAP_SECONDS, Outbox
from powdo.lines import encode_line
from powdo.nips.bech32 import decode_npub
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Unsigned, sign
from powdo.nips.giftwrap import enclose, unwrap
from powdo.nips.nip17 import FileMessage
from powdo.nips.nip90 import Feedback
from powdo.records import Bundle
from powdo.servers.relay.policy import Policy
from powdo.worktime.link import Link, parse_link
from powdo.worktime.statement import Statement
from tests.outbox_steps import KEY, bundle, capture
from tests.relay_helpers import answering, relay_thread

DVM = SecretKey(b"\x01" * 32)
DEVICE = "6f1c2c1e-3d0a-4d5e-9a64-0d7f6f1b2a33"


class Worker:
    """A worker who keeps nothing after a receipt, with one bundle that was uploaded."""

    def __init__(self, powdo: Any, world: Path) -> None:
        assert powdo("init", "worker", "-q", "--user", "ana", "--dvm", DVM.pubkey).returncode == 0
        config = world / "powdo.toml"
        config.write_text(config.read_text().replace("[worker]", "[worker]\nkeep_days = 0"))
        master = bytes.fromhex((world / "master.key").read_text())
        store = Keystore(world / "data" / "keystore.json")
        self.access = store.unlock("ana-access", master)
        self.identity = decode_npub(store.get("ana")["nostr"]["npub"])
        self.powdo, self.world = powdo, world
        self.outbox = Outbox(world / "state")
        now = int(time.time())
        record = capture(self.outbox, DEVICE, now=now)
        self.id = record.id
        link = Link(device=DEVICE, sequence=1, begin=now, end=now, previous=None, root="7a" * 32).content
        self.outbox.set_links([(self.id, link, "{}")])
        bundle(self.outbox, record)
        self.outbox.add_blobs(self.id, [{"url": "https://one.example/x"}])

    def run(self, *arguments: str, stdin: bytes = b"") -> list[Any]:
        """Return the records that a command writes, which must end well."""
        done = self.powdo(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    @property
    def state(self) -> str:
        """How far the capture has come."""
        return self.outbox.known(self.id).state

    @property
    def bundle(self) -> Bundle:
        """The record of its bundle, as `upload` wrote it."""
        found = self.outbox.known(self.id).bundle
        assert found is not None
        return found

    @property
    def is_kept(self) -> bool:
        """Whether the bundle is here and can be opened."""
        return self.outbox.known(self.id).key == KEY and self.outbox.bundle_path(self.id).is_file()

    def answer(self, wrap: dict[str, Any], status: str) -> None:
        """Let the DVM open *wrap*, and `acknowledge` its receipt."""
        rumor = unwrap(Event.from_json(wrap), DVM).rumor
        blob, now = FileMessage.from_rumor(rumor).x, int(time.time())
        feedback = Feedback(status, rumor.id, self.identity, blob, "too large")
        if status == "success":
            root = parse_link(self.outbox.known(self.id).link or "").root
            statement = Statement(blob=blob, device=DEVICE, sequence=1, root=root, received=now)
            unsigned = Unsigned(DVM.pubkey, now, 78, (), statement.content)
            signed = sign(unsigned, DVM, os.urandom(32)).to_bytes().decode()
            feedback = feedback._replace(content=signed, reason="")
        answer = enclose(
            feedback.to_rumor(DVM.pubkey, now), DVM, self.access.pubkey, now=now, fresh=os.urandom
        )
        (record,) = self.run("acknowledge", stdin=encode_line(answer.to_json()))
        assert (record["id"], record["status"]) == (self.id, status)


@pytest.fixture
def worker(powdo: Any, own_world: Path) -> Iterator[Worker]:
    """Return a worker whose bundle waits to be wrapped."""
    made = Worker(powdo, own_world)
    yield made
    made.outbox.close()


@contextmanager
def late_relay() -> Iterator[tuple[str, threading.Event]]:
    """Give the address of a relay that answers for the DVM alone, and what tells of another question."""
    asked = threading.Event()

    def answer(connection: ServerConnection) -> None:
        for message in connection:
            event = json.loads(message)[1]
            if ["p", DVM.pubkey] in event["tags"]:
                connection.send(json.dumps(["OK", event["id"], True, ""]))
            else:
                asked.set()

    with answering(answer) as url:
        yield url, asked


def killed_at_the_copy(worker: Worker) -> dict[str, Any]:
    """Wrap the bundle, kill `publish` while the relay is late with the copy, and return the DVM's wrap."""
    wraps = worker.run("wrap", "--pending")
    with late_relay() as (url, asked):
        command = [*worker.powdo.command, "publish", "--pending", "--relay", url]
        with subprocess.Popen(
            command, env=worker.powdo.environment({}), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as process:
            assert asked.wait(60)
            process.kill()
            out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    (published,) = map(json.loads, out.splitlines())
    (wrap,) = (item for item in wraps if item["id"] == published["id"])
    assert worker.state == "wrapped"
    return dict(wrap)


def published_copy(worker: Worker, folder: Path) -> FileMessage:
    """Publish what waits, one wrap, and return what the access key finds in it."""
    ours = {item.id: item.event for item in worker.outbox.wraps(worker.id)}
    with relay_thread(folder / "relay", Policy(allowed={worker.access.pubkey})) as url:
        (record,) = worker.run("publish", "--pending", "--relay", url)
    assert record["accepted"]
    return FileMessage.from_rumor(unwrap(Event.from_json(ours[record["id"]]), worker.access).rumor)


def test_a_receipt_before_the_copy_is_out_leaves_it_its_way(worker: Worker, tmp_path: Path) -> None:
    """`publish` killed before the copy: the receipt removes nothing until a relay has that too."""
    worker.answer(killed_at_the_copy(worker), "success")
    assert (worker.run("acknowledge"), worker.state, worker.is_kept) == ([], "wrapped", True)
    assert published_copy(worker, tmp_path).decryption_key == KEY
    assert (worker.state, worker.is_kept) == ("acknowledged", True)
    assert worker.run("acknowledge") == []
    assert not worker.is_kept


def test_a_refusal_before_the_copy_is_out_is_shown_in_the_end(worker: Worker, tmp_path: Path) -> None:
    """A refused bundle is rejected once its copy is out, not sent again, and the reason is told."""
    worker.answer(killed_at_the_copy(worker), "error")
    assert published_copy(worker, tmp_path).x == "ab" * 32
    (row,) = worker.run("status", "--bundles", "--json")
    assert (row["state"], row["detail"]) == ("rejected", "too large")


def test_a_copy_that_has_grown_stale_is_made_anew_alone(worker: Worker, tmp_path: Path) -> None:
    """After a day the copy is sealed anew, and nothing for the DVM that has the bundle."""
    worker.answer(killed_at_the_copy(worker), "success")
    with worker.outbox._transaction() as db:
        db.execute("UPDATE wrap SET created = created - ?", (STALE_WRAP_SECONDS + 10,))
    (wrap,) = worker.run("wrap", "--pending")
    assert wrap["tags"][0] == ["p", worker.access.pubkey]
    assert worker.run("wrap", stdin=encode_line(worker.bundle.to_json())) == [wrap]
    assert published_copy(worker, tmp_path).decryption_key == KEY
    assert worker.state == "acknowledged"


def test_a_person_can_give_the_copy_up(worker: Worker) -> None:
    """`wrap --no-self` ends the wait for a relay that never takes it; then the key goes as ever."""
    worker.answer(killed_at_the_copy(worker), "success")
    assert worker.run("wrap", "--no-self", stdin=encode_line(worker.bundle.to_json())) == []
    assert worker.state == "acknowledged"
    worker.run("acknowledge")
    assert not worker.is_kept
