"""`powdo receipt`, and the way of a receipt back to the worker, as processes over real servers."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from powdo.nips.curve import SecretKey
from powdo.nips.event import Event
from powdo.worktime.statement import parse_statement
from tests.faults.harness import RECEIVE, SEND, run_line
from tests.faults.world import Export, Side, World, export, iso, query, world

JsonObject = dict[str, Any]


class Loop:
    """A worker with an export to capture from, and the DVM they send to."""

    def __init__(self, made: World, name: str) -> None:
        self.operator = made.operator
        self.worker = made.machine(name)
        self.export: Export = export(self.worker.folder, name, random.Random(1))
        self.cuts = iter(self.export.cuts)

    def send(self) -> str:
        """Capture one slice, send it, and return its id."""
        flags = ["--no-screenshots", "--activity", str(self.export.file), "--until", iso(next(self.cuts))]
        name: str = json.loads(self.worker.text("capture", *flags))["id"]
        self.line(self.worker, *SEND)
        return name

    def line(self, side: Side, *stages: str, status: int = 0) -> None:
        """Run a line whose stages must end well, or the last with *status*."""
        ends = run_line(side, stages)
        assert list(ends.values()) == [0] * (len(ends) - 1) + [status], ends

    def receive(self) -> None:
        """Take in what was sent."""
        self.line(self.operator, *RECEIVE)

    def answer(self) -> None:
        """Send the receipts and take them."""
        self.line(self.operator, "receipt", "publish")
        self.line(self.worker, "listen", "acknowledge")

    def receipts(self, *arguments: str, side: Side | None = None) -> list[JsonObject]:
        """Return the gift wraps that `powdo receipt` writes, without publishing them."""
        text = (side or self.operator).text("receipt", *arguments)
        return [json.loads(line) for line in text.splitlines()]

    def due(self) -> int:
        """Return how many bundles and refusals wait for a receipt."""
        rows = query(
            self.operator,
            "SELECT (SELECT count(*) FROM bundle WHERE receipt_due) + "
            "(SELECT count(*) FROM rejection WHERE receipt_due)",
        )
        number: int = rows[0][0]
        return number

    def state(self, name: str) -> tuple[str, str | None]:
        """Return how far a capture has come, and its error."""
        ((state, error),) = query(self.worker, "SELECT state, error FROM capture WHERE id = ?", name)
        return state, error


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a worker's and an operator's machine with their servers."""
    with world(tmp_path_factory.mktemp("loop")) as running:
        yield running


@pytest.fixture
def loop(made: World, request: pytest.FixtureRequest) -> Loop:
    """Return a worker's machine of the test's own."""
    return Loop(made, request.node.name.replace("_", "-"))


def test_a_receipt_arrives(loop: Loop) -> None:
    """What was stored is acknowledged, with a statement that anybody can check by the DVM's npub."""
    name = loop.send()
    loop.receive()
    assert loop.due() == 1
    loop.answer()
    assert loop.due() == 0
    assert loop.state(name) == ("acknowledged", None)
    (row,) = query(loop.worker, "SELECT record FROM receipt WHERE capture = ?", name)
    record = json.loads(row[0])
    event = Event.from_json(record["statement"])
    event.verify()
    assert event.pubkey == loop.operator.text("keys", "show", "dvm", "--hex")
    statement = parse_statement(event.content)
    ((sha256, root),) = query(
        loop.operator, "SELECT sha256, root FROM bundle WHERE rumor = ?", record["rumor"]
    )
    assert (statement.blob, statement.root, statement.sequence) == (sha256, root, 1)
    assert loop.receipts("--pending") == []


def test_what_is_lost_in_the_pipe_is_written_again(loop: Loop) -> None:
    """Until the relay has it a receipt stays due: the same wrap each time, and no second statement."""
    name = loop.send()
    loop.receive()
    first, second = loop.receipts("--pending"), loop.receipts("--pending")
    assert len(first) == 1
    assert second == first
    assert loop.due() == 1
    loop.answer()
    assert loop.state(name)[0] == "acknowledged"
    assert loop.due() == 0


def test_a_record_is_answered_once(loop: Loop) -> None:
    """What comes as a record and by the queue is one receipt; the record alone is enough."""
    loop.send()
    loop.line(loop.operator, "listen")
    records = loop.operator.text("ingest", "--pending")
    file = loop.operator.folder / "records.jsonl"
    file.write_text(records + "\n")
    both = loop.receipts("--pending", str(file))
    assert len(both) == 1
    assert loop.receipts(str(file)) == both
    loop.answer()


def test_what_is_sent_again_is_answered_again(loop: Loop) -> None:
    """A bundle that comes again provokes its receipt anew, with the statement of the first."""
    name = loop.send()
    loop.receive()
    loop.answer()
    before = query(loop.worker, "SELECT record FROM receipt WHERE capture = ?", name)
    loop.worker.text("outbox", "resend", name)
    loop.line(loop.worker, *SEND)
    assert loop.state(name)[0] == "published"
    loop.receive()
    assert loop.due() == 1
    loop.answer()
    assert loop.state(name)[0] == "acknowledged"
    assert query(loop.worker, "SELECT record FROM receipt WHERE capture = ?", name) == before


def test_a_refusal_arrives_and_can_be_mended(loop: Loop) -> None:
    """What is refused is told with its reason; sent again once the reason is gone, it is stored."""
    config = loop.operator.folder / "powdo.toml"
    sound = config.read_text()
    config.write_text(sound.replace("blossom_hosts = [", 'blossom_hosts = ["https://other.example"] # ['))
    name = loop.send()
    loop.line(loop.operator, *RECEIVE, status=65)
    loop.answer()
    assert loop.state(name) == ("rejected", "the bundle lies on no host of [dvm] blossom_hosts")
    assert loop.due() == 0
    config.write_text(sound)
    loop.worker.text("outbox", "resend", name)
    loop.line(loop.worker, *SEND)
    loop.receive()
    loop.answer()
    assert loop.state(name) == ("acknowledged", None)


def test_what_is_missing_is_asked_for_and_comes(loop: Loop) -> None:
    """A hole in the chain shows in `users show`, is asked for in the next receipt, and is sent again."""
    first, lost = loop.send(), loop.send()
    loop.line(loop.operator, "listen")
    dvm = loop.operator.text("keys", "show", "dvm", "--hex")
    ((wrap,),) = query(loop.worker, "SELECT id FROM wrap WHERE capture = ? AND recipient = ?", lost, dvm)
    query(loop.operator, "UPDATE inbox SET state = 'done', outcome = 'skipped' WHERE wrap = ?", wrap)
    last = loop.send()
    loop.receive()
    ((device,),) = query(loop.operator, "SELECT DISTINCT device FROM bundle ORDER BY id DESC LIMIT 1")

    def chain() -> JsonObject:
        row = json.loads(loop.operator.text("users", "show", "ana", "--json"))
        (found,) = (each for each in row["devices"] if each["device"] == device)
        assert isinstance(found, dict)
        return found

    assert (chain()["last"], chain()["missing"]) == (3, [{"first": 2, "last": 2}])
    assert f"{device} since" in loop.operator.text("users", "show", "ana")
    query(loop.worker, "UPDATE wrap SET published = published - 7200")
    loop.answer()
    assert [loop.state(name)[0] for name in (first, lost, last)] == [
        "acknowledged",
        "bundled",
        "acknowledged",
    ]
    ((text,),) = query(loop.worker, "SELECT record FROM receipt WHERE capture = ?", last)
    record = json.loads(text)
    assert (record["status"], record["reason"]) == ("partial", "missing: 2")
    assert record["missing"] == [{"device": device, "first": 2, "last": 2}]
    loop.line(loop.worker, *SEND)
    loop.receive()
    loop.answer()
    assert loop.state(lost)[0] == "acknowledged"
    assert chain()["missing"] == []


def test_strangers_hear_nothing(loop: Loop) -> None:
    """The record of a stranger's wrap leads to no receipt; one from another DVM is told."""
    wrap = {"type": "rejected", "v": 1, "wrap": "ab" * 32, "reason": "expired"}
    file = loop.operator.folder / "strangers.jsonl"
    file.write_text(json.dumps(wrap) + "\n")
    assert loop.receipts(str(file)) == []


def test_a_bundle_that_is_not_here_is_told(loop: Loop) -> None:
    """A record of what this database does not hold cannot be answered."""
    loop.send()
    loop.line(loop.operator, "listen")
    record = json.loads(loop.operator.text("ingest", "--pending"))
    file = loop.operator.folder / "elsewhere.jsonl"
    file.write_text(json.dumps(record | {"rumor": "ab" * 32}) + "\n")
    loop.operator.text("receipt", str(file), status=65)
    assert "is not in the database" in loop.operator.said
    loop.answer()


def test_without_an_access_key_a_person_is_told(made: World, tmp_path: Path) -> None:
    """Receipts never go to an identity: where no access key is known, a warning says how to name one."""
    loop = Loop(made, "no-access")
    loop.send()
    loop.receive()
    rows = query(
        made.operator, "SELECT pubkey, worker_id, role, added_at FROM worker_key WHERE role = 'access'"
    )
    query(made.operator, "DELETE FROM worker_key WHERE role = 'access'")
    try:
        assert loop.receipts("--pending") == []
        assert "has no access key" in loop.operator.said
        assert "users add --name ana --access NPUB" in loop.operator.said
        assert loop.due() == 1
    finally:
        for row in rows:
            query(made.operator, "INSERT INTO worker_key VALUES (?, ?, ?, ?)", *row)
    loop.answer()


def test_a_relay_that_refuses_one_key_does_not_make_another_hear_it_twice(loop: Loop) -> None:
    """While the receipt to one access key waits, nothing is written to one that was told already."""
    loop.send()
    loop.receive()
    key = SecretKey(bytes([5] * 32)).pubkey
    query(loop.operator, "INSERT INTO worker_key SELECT ?, id, 'access', 9999999999 FROM worker", key)
    try:
        own, other = loop.receipts("--pending")
        file = loop.operator.folder / "own.jsonl"
        file.write_text(json.dumps(own) + "\n")
        loop.operator.text("publish", str(file))
        assert loop.due() == 1
        assert loop.receipts("--pending") == [other]
        file.write_text(json.dumps(other) + "\n")
        loop.operator.text("publish", str(file))
        assert loop.due() == 0
    finally:
        query(loop.operator, "DELETE FROM worker_key WHERE pubkey = ?", key)
    loop.line(loop.worker, "listen", "acknowledge")


def test_a_dry_run_changes_nothing(loop: Loop) -> None:
    """With -n the wraps are written and neither they nor a statement are kept."""
    loop.send()
    loop.receive()
    assert len(loop.receipts("-n", "--pending")) == 1
    assert query(loop.operator, "SELECT count(*) FROM receipt WHERE published_at IS NULL") == [(0,)]
    assert query(loop.operator, "SELECT count(*) FROM bundle WHERE receipt_due AND statement IS NULL") == [
        (1,)
    ]
    loop.answer()


def test_a_full_disk_loses_no_receipt(loop: Loop) -> None:
    """Where the wrap cannot be written, status 74 says so and the receipt stays due."""
    loop.send()
    loop.receive()
    with Path("/dev/full").open("wb") as full:
        process = loop.operator.start(
            "receipt", "--pending", stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE
        )
        process.communicate(timeout=60)
    assert process.returncode == 74
    assert loop.due() == 1
    loop.answer()
    assert loop.due() == 0
