"""`powdo upload` as a process: an outbox, our Blossom server, and what goes wrong between them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.keystore import Keystore
from powdo.adapters.outbox import Outbox
from powdo.records import Bundle, Capture, encode_line
from tests.blossom_server import Blossom, running, sha

_MASTER = "7a" * 32
_DEVICE = "0b0e4c1e-5b8c-4a3c-9d3e-000000000001"
_BEGIN, _END = datetime(2026, 11, 20, 9, tzinfo=UTC), datetime(2026, 11, 20, 10, tzinfo=UTC)


@dataclass(frozen=True)
class Worker:
    """A worker's machine in a folder, with an access key."""

    folder: Path
    outbox: Outbox
    access: str

    def configure(self, *servers: str, access: bool = True) -> None:
        """Write powdo.toml."""
        user = 'access_user = "ana-access"' if access else ""
        path = self.folder / "powdo.toml"
        path.write_text(f"[identity]\n{user}\n[worker]\nblossom = {json.dumps(servers)}\n")
        path.chmod(0o600)

    def environment(self) -> dict[str, str]:
        """Return the environment of a process."""
        inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
        return inherited | {
            "HOME": str(self.folder),
            "POWDO_CONFIG": str(self.folder / "powdo.toml"),
            "POWDO_STATE_DIR": str(self.folder / "state"),
            "POWDO_DATA_DIR": str(self.folder / "data"),
            "NSEC_MASTER_KEY": _MASTER,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    def upload(self, *flags: str, lines: bytes = b"") -> tuple[int, list[dict[str, Any]], str]:
        """Return status, records and messages of a run fed with *lines*."""
        process = subprocess.run(
            [sys.executable, "-m", "powdo", "upload", *flags],
            input=lines,
            capture_output=True,
            env=self.environment(),
            timeout=60,
        )
        return (
            process.returncode,
            [json.loads(line) for line in process.stdout.splitlines()],
            process.stderr.decode(),
        )

    def bundle(self, number: int, *, known: bool = True) -> Bundle:
        """Return a bundle, in the outbox if *known*, as `bundle` leaves it."""
        name, data = f"c{number}", os.urandom(70_000)
        path = self.outbox.bundle_path(name)
        path.write_bytes(data)
        made = Bundle(
            id=name,
            sequence=number,
            device=_DEVICE,
            begin=_BEGIN,
            end=_END,
            path=str(path),
            sha256=sha(data),
            ox=sha(data[:9]),
            size=len(data),
            salt="00" * 16,
        )
        if known:
            capture = Capture(
                id=name,
                sequence=number,
                device=_DEVICE,
                begin=_BEGIN,
                end=_END,
                path=str(self.outbox.capture_path(name)),
                screenshots=0,
                bucket_events=0,
            )
            self.outbox.add_capture(capture, self.outbox.staging(name), {}, now=int(time.time()))
            self.outbox.add_bundle(made, "11" * 32)
        return made

    def state(self, number: int) -> str:
        """Return how far a capture has come."""
        entry = self.outbox.get(f"c{number}")
        assert entry is not None
        return entry.state


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Return a worker with an access key and an empty outbox."""
    (tmp_path / "data").mkdir(mode=0o700)
    keystore = Keystore(tmp_path / "data" / "keystore.json")
    keystore.create("ana-access", bytes.fromhex(_MASTER))
    outbox = Outbox(tmp_path / "state")
    yield Worker(tmp_path, outbox, keystore.unlock("ana-access", bytes.fromhex(_MASTER)).pubkey)
    outbox.close()


@pytest.fixture
def blossom(worker: Worker) -> Iterator[Blossom]:
    """Run a server for the worker's access key, configured as theirs."""
    with running(worker.folder / "blossom", allow=(worker.access,), max_size=100_000) as server:
        worker.configure(server.url)
        yield server


def test_a_bundle_is_uploaded_once_and_told_as_often_as_asked(worker: Worker, blossom: Blossom) -> None:
    """The record has its blob, the outbox too; the same line again gives the same record and no request."""
    bundle = worker.bundle(1)
    line = encode_line(bundle.to_json() | {"note": "kept", "key": "22" * 32})
    status, records, messages = worker.upload(lines=line)
    assert (status, messages) == (0, "")
    (record,) = records
    (blob,) = record["blobs"]
    assert blob["url"] == f"{blossom.url}/{bundle.sha256}.zip"
    assert (blob["sha256"], blob["size"]) == (bundle.sha256, bundle.size)
    assert (record["note"], record["key"]) == ("kept", "22" * 32)
    assert blossom.ask("GET", f"/{bundle.sha256}").body == Path(bundle.path).read_bytes()
    assert worker.state(1) == "uploaded"
    requests = len(blossom.log)
    assert worker.upload(lines=line * 2) == (0, records, "")
    assert len(blossom.log) == requests


def test_a_dry_run_asks_nobody_and_keeps_nothing(worker: Worker, blossom: Blossom) -> None:
    """With -n the record has the blob it would get, no server hears of it, and the bundle still waits."""
    bundle = worker.bundle(1)
    status, records, messages = worker.upload("--pending", "-n")
    assert (status, messages) == (0, "")
    assert [blob["url"] for blob in records[0]["blobs"]] == [f"{blossom.url}/{bundle.sha256}.zip"]
    assert (blossom.log, worker.state(1)) == ([], "bundled")
    Path(bundle.path).write_bytes(b"something else")
    assert worker.upload("--pending", "-n")[0] == 65


def test_pending_takes_what_waits_and_what_arrives_once(worker: Worker, blossom: Blossom) -> None:
    """--pending uploads the queue in order; what comes twice is done once; a second run has no work."""
    bundles = [worker.bundle(number) for number in (1, 2, 3)]
    status, records, messages = worker.upload("--pending", lines=encode_line(bundles[1].to_json()))
    assert (status, messages) == (0, "")
    assert [record["id"] for record in records] == ["c1", "c2", "c3"]
    assert worker.upload("--pending") == (0, [], "")
    assert sum("PUT" in line for line in blossom.log) == 3


def test_a_bundle_the_outbox_does_not_know_is_uploaded(worker: Worker, blossom: Blossom) -> None:
    """A foreign record is no less a bundle."""
    bundle = worker.bundle(1, known=False)
    status, records, _ = worker.upload(lines=encode_line(bundle.to_json()))
    assert (status, records[0]["blobs"][0]["sha256"]) == (0, bundle.sha256)
    assert worker.outbox.get("c1") is None


def test_a_bad_line_is_told_and_the_rest_go_on(worker: Worker, blossom: Blossom) -> None:
    """Another file is 65, none 66, junk 65; each is named by its line, and the good one goes up."""
    differs, missing, good, large = (worker.bundle(number) for number in (1, 2, 3, 4))
    Path(differs.path).write_bytes(b"x")
    Path(missing.path).unlink()
    Path(large.path).write_bytes(bytes(200_000))
    large = replace(large, id="c9", sha256=sha(bytes(200_000)), size=200_000)
    stale = replace(good, sha256="0" * 64)
    bundles = (differs, missing, good, large, stale)
    lines = b"junk\n" + b"".join(encode_line(each.to_json()) for each in bundles)
    status, records, messages = worker.upload(lines=lines)
    assert [record["id"] for record in records] == ["c3"]
    assert status == 69
    told = [line for line in messages.splitlines() if ": error: " in line]
    for number, text in (
        (1, "not JSON"),
        (2, "not the file"),
        (3, "No such file"),
        (5, "413"),
        (6, "another one"),
    ):
        assert any(f"line {number}: " in line and text in line for line in told), (number, messages)
    assert worker.state(1) == "bundled"
    assert worker.upload(lines=encode_line(differs.to_json()))[0] == 65
    assert worker.upload(lines=encode_line(missing.to_json()))[0] == 66


def test_a_server_that_is_away_keeps_the_queue(worker: Worker) -> None:
    """75 and a reason, nothing on stdout; once the server is back the same line in a timer does the work."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    worker.configure(f"http://127.0.0.1:{port}")
    bundle = worker.bundle(1)
    status, records, messages = worker.upload("--pending")
    assert (status, records) == (75, [])
    assert "cannot reach" in messages
    assert worker.upload("--pending", "-q")[::2] == (75, "")
    entry = worker.outbox.get("c1")
    assert entry is not None
    assert (entry.state, entry.attempts) == ("bundled", 2)
    assert entry.retry_at > time.time()
    with running(worker.folder / "blossom", port=port, open=True):
        status, records, _ = worker.upload("--pending")
    assert (status, records[0]["blobs"][0]["sha256"]) == (0, bundle.sha256)


def test_a_server_that_is_away_is_asked_once(worker: Worker) -> None:
    """Of many bundles that wait one is tried and noted; the others stay as they are, for the next run."""
    worker.configure("http://127.0.0.1:1")
    for number in (1, 2, 3):
        worker.bundle(number)
    for attempts in ([1, 0, 0], [1, 1, 0]):
        status, records, messages = worker.upload("--pending", "-v")
        assert (status, records) == (75, [])
        assert messages.count("error: cannot reach") == 1
        assert "the other bundles wait until the server is back" in messages
        entries = [worker.outbox.get(f"c{number}") for number in (1, 2, 3)]
        assert [entry.attempts for entry in entries if entry] == attempts


def test_one_bundle_that_fails_holds_up_no_other(worker: Worker) -> None:
    """What a server will not have for now is noted, and the others are uploaded in the same run."""
    with running(worker.folder / "blossom", open=True) as server:
        worker.configure(server.url)
        bundles = [worker.bundle(number) for number in (1, 2)]
        Path(bundles[0].path).write_bytes(b"another")
        status, records, _ = worker.upload("--pending")
    assert (status, [record["id"] for record in records]) == (65, ["c2"])
    assert (worker.state(1), worker.state(2)) == ("bundled", "uploaded")


def test_the_first_server_must_take_it_and_the_others_may(worker: Worker, blossom: Blossom) -> None:
    """One descriptor a server that has it; a failing second is a warning, a failing first an error."""
    away = "http://127.0.0.1:1"
    with running(worker.folder / "second", open=True) as second:
        worker.configure(blossom.url, away, second.url)
        worker.bundle(1)
        status, records, messages = worker.upload("--pending")
        assert status == 0
        assert [blob["url"].rpartition("/")[0] for blob in records[0]["blobs"]] == [blossom.url, second.url]
        assert f"warning: cannot reach '{away}'" in messages
        worker.configure(away, second.url)
        bundle = worker.bundle(2)
        assert worker.upload("--pending")[:2] == (75, [])
        assert second.ask("HEAD", f"/{bundle.sha256}").status == 404


def test_a_key_off_the_list_is_rejected(worker: Worker) -> None:
    """77, with the server's reason, and the bundle stays."""
    with running(worker.folder / "blossom") as server:
        worker.configure(server.url)
        worker.bundle(1)
        status, records, messages = worker.upload("--pending")
    assert (status, records) == (77, [])
    assert "this key is not on the allowlist" in messages
    assert "hint: " in messages
    assert worker.state(1) == "bundled"


def test_a_worker_without_server_or_key_is_told(worker: Worker) -> None:
    """Both are the configuration's fault: 78 and a hint."""
    worker.bundle(1)
    worker.configure()
    status, _, messages = worker.upload("--pending")
    assert (status, "hint: " in messages) == (78, True)
    worker.configure("http://127.0.0.1:1", access=False)
    status, _, messages = worker.upload("--pending")
    assert (status, "hint: " in messages) == (78, True)
    assert "access_user" in messages
