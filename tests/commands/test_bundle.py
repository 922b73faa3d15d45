"""`powdo bundle` as a process over a real outbox: the chain, the queue, and what a killed run leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.archive_reader import Opened, open_bundle
from powdo.adapters.keystore import Keystore
from powdo.adapters.outbox import Outbox
from powdo.nips.event import Event
from powdo.records import Capture, encode_line
from powdo.worktime.link import parse_link, verify_chain
from powdo.worktime.manifest import from_micros
from tests.bundles import EVENT, Sample, listing, sample

MASTER = "5e" * 32


@dataclass(frozen=True)
class Worker:
    """A worker's machine in a folder."""

    folder: Path
    outbox: Outbox
    device: str
    pubkey: str

    def configure(self, text: str) -> None:
        """Write powdo.toml with *text* below the identity."""
        path = self.folder / "powdo.toml"
        path.write_text(f'[identity]\nuser = "ana"\n{text}')
        path.chmod(0o600)

    def environment(self) -> dict[str, str]:
        """Return the environment of a process."""
        inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
        return inherited | {
            "HOME": str(self.folder),
            "POWDO_CONFIG": str(self.folder / "powdo.toml"),
            "POWDO_STATE_DIR": str(self.folder / "state"),
            "POWDO_DATA_DIR": str(self.folder / "data"),
            "NSEC_MASTER_KEY": MASTER,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    def start(self, *flags: str) -> subprocess.Popen[bytes]:
        """Return `powdo bundle` started, with pipes."""
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "powdo", "bundle", *flags]
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment(), cwd=self.folder
        )

    def bundle(self, *flags: str, lines: bytes = b"") -> tuple[int, list[dict[str, Any]], str]:
        """Return status, records and messages of a run fed with *lines*."""
        process = self.start(*flags)
        output, messages = process.communicate(lines, timeout=60)
        return process.returncode, [json.loads(line) for line in output.splitlines()], messages.decode()

    def capture(self, sequence: int, *, created: float | None = None, of: Sample | None = None) -> Capture:
        """Return the record of a capture put into the outbox as `capture` does it."""
        name = f"c{sequence}"
        of = of or sample(
            (EVENT % sequence,),
            (b"shot %d" % sequence,),
            capture_id=name,
            device=self.device,
            sequence=sequence,
        )
        record = Capture(
            id=name,
            sequence=sequence,
            device=self.device,
            begin=from_micros(of.manifest.begin),
            end=from_micros(of.manifest.end),
            path=str(self.outbox.capture_path(name)),
            screenshots=1,
            bucket_events=1,
        )
        staging = self.outbox.staging(name)
        of.write(staging)
        self.outbox.add_capture(record, staging, {}, now=int(time.time() if created is None else created))
        return record

    def open(self, record: dict[str, Any]) -> Opened:
        """Return the contents of the bundle of *record*."""
        entry = self.outbox.get(record["id"])
        assert entry is not None
        assert entry.key is not None
        return open_bundle(
            Path(record["path"]),
            key_hex=entry.key,
            salt_hex=record["salt"],
            x=record["sha256"],
            ox=record["ox"],
            size=record["size"],
            max_size=1 << 20,
            destination=self.folder / f"opened-{record['id']}-{time.monotonic_ns()}",
        )


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Return a worker with a key and an empty outbox."""
    (tmp_path / "data").mkdir(mode=0o700)
    keystore = Keystore(tmp_path / "data" / "keystore.json")
    keystore.create("ana", bytes.fromhex(MASTER))
    outbox = Outbox(tmp_path / "state")
    pubkey = keystore.unlock("ana", bytes.fromhex(MASTER)).pubkey
    made = Worker(tmp_path, outbox, outbox.device("ana"), pubkey)
    made.configure("")
    yield made
    outbox.close()


def lines_of(*records: Capture) -> bytes:
    """Return *records* as they arrive on stdin."""
    return b"".join(encode_line(record.to_json()) for record in records)


def test_a_capture_becomes_a_bundle_with_a_signed_link(worker: Worker) -> None:
    """The record tells the bundle but not its key; the link is signed; the plaintext is gone."""
    capture = worker.capture(1)
    status, records, messages = worker.bundle(lines=lines_of(capture))
    assert (status, messages) == (0, "")
    (record,) = records
    assert record["type"] == "bundle"
    assert {record["id"], record["sequence"], record["device"]} == {"c1", 1, worker.device}
    assert "key" not in record
    assert len(record["salt"]) == 32
    opened = worker.open(record)
    assert (opened.folder / "buckets/0.jsonl").read_bytes() == EVENT % 1
    event = Event.from_json(opened.proof["event"])
    event.verify()
    assert (event.pubkey, event.kind, event.content) == (worker.pubkey, 78, opened.link.content)
    assert not Path(capture.path).exists()


def test_the_key_is_told_only_when_asked_for(worker: Worker) -> None:
    """--with-key adds the key that opens the bundle."""
    worker.capture(1)
    _status, records, _messages = worker.bundle("--pending", "--with-key")
    entry = worker.outbox.get("c1")
    assert entry is not None
    assert records[0]["key"] == entry.key
    assert len(records[0]["key"]) == 64


def test_without_proof_the_link_is_unsigned(worker: Worker) -> None:
    """[worker] proof = false sends the link without an event, and needs no key."""
    worker.configure("[worker]\nproof = false\n")
    (worker.folder / "data" / "keystore.json").unlink()
    worker.capture(1)
    _status, records, _messages = worker.bundle("--pending")
    assert worker.open(records[0]).proof["event"] is None


def test_links_are_made_in_order_whatever_is_asked_for_first(worker: Worker) -> None:
    """Bundling the third capture links the first two with it, and the chain is sound."""
    captures = [worker.capture(sequence) for sequence in (1, 2, 3)]
    _status, records, _messages = worker.bundle(lines=lines_of(captures[2]))
    assert [record["sequence"] for record in records] == [3]
    _status, more, _messages = worker.bundle("--pending")
    assert [record["sequence"] for record in more] == [1, 2]
    links = [worker.open(record).link for record in (*more, *records)]
    assert verify_chain(links) == []
    assert [link.previous for link in links] == [None, links[0].hash, links[1].hash]


def test_the_chain_goes_on_over_runs(worker: Worker) -> None:
    """A later run continues where the last one ended."""
    records = []
    for sequence in (1, 2, 3):
        worker.capture(sequence)
        records += worker.bundle("--pending")[1]
    assert verify_chain([worker.open(record).link for record in records]) == []


def test_a_capture_destroyed_before_its_link_is_withheld(worker: Worker) -> None:
    """A capture that no longer waits when its link is due stays in the chain, with its period alone."""
    worker.capture(1)
    second = worker.capture(2)
    with sqlite3.connect(worker.folder / "state" / "outbox.sqlite") as database:
        database.execute("UPDATE capture SET state = 'dropped' WHERE id = 'c1'")
    database.close()
    _status, records, _messages = worker.bundle(lines=lines_of(second))
    entry = worker.outbox.get("c1")
    assert entry is not None
    assert entry.link is not None
    withheld = parse_link(entry.link)
    assert withheld.withheld
    assert verify_chain([withheld, worker.open(records[0]).link]) == []


def test_what_is_bundled_gives_its_record_again_and_no_work(worker: Worker) -> None:
    """A capture that arrives again is not encrypted again."""
    capture = worker.capture(1)
    first = worker.bundle(lines=lines_of(capture, capture))
    modified = Path(first[1][0]["path"]).stat().st_mtime_ns
    again = worker.bundle(lines=lines_of(capture))
    assert len(first[1]) == 1
    assert again[1] == first[1]
    assert Path(first[1][0]["path"]).stat().st_mtime_ns == modified
    assert worker.bundle("--pending") == (0, [], "")


def test_what_comes_both_ways_is_done_once(worker: Worker) -> None:
    """A capture that waits and arrives gives one record."""
    capture = worker.capture(1)
    _status, records, _messages = worker.bundle("--pending", lines=lines_of(capture))
    assert [record["id"] for record in records] == ["c1"]


def test_unknown_keys_pass_through(worker: Worker) -> None:
    """What another tool added to the capture record stands in the bundle record."""
    capture = worker.capture(1)
    line = encode_line(capture.to_json() | {"note": "mine"})
    assert worker.bundle(lines=line)[1][0]["note"] == "mine"


def test_a_held_capture_waits(worker: Worker) -> None:
    """[worker] hold keeps captures from --pending, not from those who name them."""
    worker.configure('[worker]\nhold = "1h"\n')
    young = worker.capture(1)
    assert worker.bundle("--pending")[1] == []
    worker.capture(2, created=time.time() - 3601)
    assert [record["id"] for record in worker.bundle("--pending")[1]] == ["c2"]
    assert [record["id"] for record in worker.bundle(lines=lines_of(young))[1]] == ["c1"]


def test_review_keeps_captures_back(worker: Worker) -> None:
    """With [worker] review nothing leaves by itself."""
    worker.configure("[worker]\nreview = true\n")
    worker.capture(1)
    assert worker.bundle("--pending")[:2] == (0, [])


# --- what is refused -------------------------------------------------------------------------------


def test_a_capture_that_is_nowhere_is_missing_input(worker: Worker) -> None:
    """A record whose folder is not there ends in 66, and the next one is done."""
    here = worker.capture(1)
    gone = replace(here, id="gone", path=str(worker.folder / "gone"))
    status, records, messages = worker.bundle(lines=lines_of(gone, here))
    assert status == 66
    assert [record["id"] for record in records] == ["c1"]
    assert "gone" in messages


def test_a_capture_of_another_state_directory_is_refused(worker: Worker) -> None:
    """A capture that lies somewhere but is not in the outbox ends in 65 with a hint."""
    here = worker.capture(1)
    foreign = replace(here, id="foreign", path=str(worker.folder))
    status, records, messages = worker.bundle(lines=lines_of(foreign))
    assert (status, records) == (65, [])
    assert "another state directory" in messages


@pytest.mark.parametrize("line", [b"{}\n", b"nonsense\n", b'{"type":"capture","v":1}\n'])
def test_a_bad_line_is_told_and_the_next_is_done(worker: Worker, line: bytes) -> None:
    """A line that is no capture record ends in 65 and stops nothing."""
    status, records, messages = worker.bundle(lines=line + lines_of(worker.capture(1)))
    assert status == 65
    assert len(records) == 1
    assert "1" in messages


def test_an_altered_capture_is_refused_and_waits(worker: Worker) -> None:
    """A capture changed on disk is not sent; it is tried again later, not at once."""
    capture = worker.capture(1)
    (Path(capture.path) / "screenshots/0.png").write_bytes(b"another picture")
    status, records, messages = worker.bundle("--pending")
    assert (status, records) == (65, [])
    assert "not what its manifest says" in messages
    assert worker.bundle("--pending")[:2] == (0, [])
    assert listing(worker.outbox.bundles) == []


def test_a_manifest_of_another_capture_is_refused(worker: Worker) -> None:
    """A folder that holds another capture cannot be linked under this one's number."""
    worker.capture(1, of=sample(capture_id="other", device=worker.device, sequence=9))
    status, records, messages = worker.bundle("--pending")
    assert (status, records) == (65, [])
    assert "not that of capture" in messages


def test_without_the_master_key_nothing_is_bundled(worker: Worker) -> None:
    """A key that cannot be unlocked ends in 77 and leaves the capture waiting."""
    worker.capture(1)
    (worker.folder / "data" / "keystore.json").unlink()
    status, records, _messages = worker.bundle("--pending")
    assert (status, records) == (77, [])
    entry = worker.outbox.get("c1")
    assert entry is not None
    assert (entry.state, entry.link) == ("captured", None)


# --- killed runs -----------------------------------------------------------------------------------


def test_a_run_killed_before_the_row_is_done_again(worker: Worker) -> None:
    """A bundle file without a row, and half-written ones, give way to the next run's."""
    worker.capture(1)
    worker.outbox.bundle_path("c1").write_bytes(b"complete, but nobody knows its key")
    (worker.outbox.bundles / f".c1.zip.{'0' * 16}.tmp").write_bytes(b"half")
    _status, records, _messages = worker.bundle("--pending")
    assert listing(worker.outbox.bundles) == ["c1.zip"]
    worker.open(records[0])


def test_a_run_killed_after_the_row_leaves_no_plaintext(worker: Worker) -> None:
    """The folder of what is bundled already goes with the next run."""
    capture = worker.capture(1)
    shutil.copytree(capture.path, worker.folder / "copy")
    worker.bundle("--pending")
    shutil.copytree(worker.folder / "copy", capture.path)
    assert worker.bundle("--pending") == (0, [], "")
    assert not Path(capture.path).exists()


def test_a_run_killed_at_any_moment_loses_and_doubles_nothing(worker: Worker) -> None:
    """After kill -9 at many moments each capture has one bundle that opens, and the chain is sound."""
    for sequence in range(1, 31):
        worker.capture(sequence)
    for number in range(6):
        process = worker.start("--pending")
        assert process.stdout is not None
        if number:
            process.stdout.readline()
        time.sleep(number * 0.004)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    status, _records, messages = worker.bundle("--pending")
    assert (status, messages) == (0, "")
    entries = [worker.outbox.get(f"c{sequence}") for sequence in range(1, 31)]
    bundles = [entry.bundle.to_json() for entry in entries if entry is not None and entry.bundle is not None]
    assert len(bundles) == 30
    assert verify_chain([worker.open(record).link for record in bundles]) == []
    assert listing(worker.outbox.captures) == []
    assert len(listing(worker.outbox.bundles)) == 30


def test_two_runs_at_once_double_nothing(worker: Worker) -> None:
    """Two runs over one queue give each capture one bundle and one link."""
    for sequence in range(1, 13):
        worker.capture(sequence)
    processes = [worker.start("--pending") for _ in range(2)]
    outputs = [process.communicate(b"", timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    seen = {record["id"]: record for output, _ in outputs for record in map(json.loads, output.splitlines())}
    assert len(seen) == 12
    links = [parse_link(str(worker.open(record).proof["link"])) for record in seen.values()]
    assert verify_chain(links) == []
