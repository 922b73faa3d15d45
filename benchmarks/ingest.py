"""Bundles of 300 KB taken in by `powdo ingest`, durably, beside the sum of its parts.

    python benchmarks/ingest.py

The parts are the libraries' bare work for the same bundles, in one process: the gift wrap opened (our own
`unwrap`, measured by giftwrap.py), one GET by http.client over a connection that stays open, sha256 of the
bundle and of its inner ZIP, decryption by pyzipper, sha256 of each file inside, the screenshot and the
bundle written and synced, each bucket event parsed from JSON and inserted into SQLite, one synced commit a
bundle. What powdo does besides: the inbox with a synced commit of its own, the checks of layout, manifest,
link and signature, rows of bundle and evidence, syncing folders, deadlines, and SQLAlchemy.
The CPU of the blob server counts for nobody. `the others` is the run without what its first bundle took,
the start of Python and all imports: a run that follows `listen` pays that once.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import zipfile
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import measure
import pyzipper

from powdo.lines import encode_line, format_time
from powdo.nips.event import Event
from powdo.nips.giftwrap import unwrap
from powdo.nips.nip17 import FileMessage
from powdo.worktime.intervals import SECOND
from powdo.worktime.manifest import from_micros
from tests.bundles import BEGIN, END, sample
from tests.dvm import DVM, MASTER, BlobServer, JsonEvent, blob_server, operator, parcel

COUNT = 50
ROUNDS = 5
PICTURE = 270_000
_INSERT = "INSERT INTO bucket_event VALUES (?, ?, ?, ?, ?)"


def begin(capture: int) -> int:
    """Return when *capture* begins: one follows the other, as they come from a worker."""
    return BEGIN + capture * (END - BEGIN)


def lines(kind: int, capture: int) -> bytes:
    """Return the five minutes of one bucket that are *capture*'s, an event of its own every ten seconds."""
    rows = []
    for number in range(30):
        stamp = format_time(from_micros(begin(capture) + number * 10 * SECOND))
        data = {
            "app": f"app {kind}",
            "title": f"cursor by ana · Pull Request #{capture}/{number} · globex/api",
        }
        rows.append(encode_line({"timestamp": stamp, "duration": 9.5, "data": data}))
    return b"".join(rows)


def send(folder: Path, server: BlobServer) -> list[JsonEvent]:
    """Return the gift wraps of all bundles, which *server* has from now on."""
    wraps = []
    for number in range(1, COUNT + 1):
        buckets = tuple(lines(kind, number) for kind in range(5))
        picture = secrets.token_bytes(PICTURE)
        what = sample(buckets, (picture,), capture_id=f"c{number}", sequence=number, begin=begin(number))
        wraps.append(parcel(folder, server, what).wrapped())
    return wraps


class Dvm:
    """Fresh operators, one for each run, and the bare parts."""

    def __init__(self, folder: Path, server: BlobServer, wraps: list[JsonEvent]) -> None:
        self.folder, self.server, self.wraps = folder, server, wraps
        self.one, self.full = folder / "one.jsonl", folder / "wraps.jsonl"
        self.one.write_text(f"{json.dumps(wraps[0])}\n")
        self.full.write_text("".join(f"{json.dumps(wrap)}\n" for wrap in wraps))
        self.template = folder / "template"
        self.template.mkdir()
        operator(self.template, server).inbox()
        self.number = 0

    def _fresh(self) -> Path:
        self.number += 1
        place = self.folder / f"run{self.number}"
        shutil.copytree(self.template, place)
        return place

    def _ingest(self, source: Path) -> float:
        place = self._fresh()
        world = measure.environment(place, NSEC_MASTER_KEY=MASTER)
        world["PYTHONPYCACHEPREFIX"] = str(self.folder / "bytecode")
        taken = measure.child(measure.stage("ingest", str(source)), world)
        self.check(place, COUNT if source == self.full else 1)
        shutil.rmtree(place)
        return taken

    def check(self, place: Path, expected: int) -> None:
        """Return if *expected* bundles are stored at *place*. Raises: RuntimeError."""
        connection = sqlite3.connect(place / "state" / "dvm.sqlite")
        (found,) = connection.execute("SELECT count(*) FROM bundle").fetchone()
        connection.close()
        if found != expected:
            raise RuntimeError(f"{found} bundles are stored, not {expected}")

    def powdo(self) -> float:
        """Ingest all bundles."""
        return self._ingest(self.full)

    def first(self) -> float:
        """Ingest the first bundle only."""
        return self._ingest(self.one)

    def parts(self) -> float:
        """Do the bare parts for all bundles."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            return measure.own(lambda: self._parts(Path(name)))

    def _parts(self, place: Path) -> None:
        database = sqlite3.connect(place / "bare.sqlite", isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute(
            "CREATE TABLE bucket_event (bucket, begin, digest, end, data, "
            "PRIMARY KEY (bucket, begin, digest)) WITHOUT ROWID"
        )
        connection = http.client.HTTPConnection(urlsplit(self.server.url).netloc)
        for wrap in self.wraps:
            rumor = unwrap(Event.from_json(wrap), DVM).rumor
            message = FileMessage.from_rumor(rumor)
            connection.request("GET", urlsplit(message.url).path)
            blob = connection.getresponse().read()
            rows = _contents(place, blob, message)
            database.execute("BEGIN IMMEDIATE")
            database.executemany(_INSERT, rows)
            database.execute("COMMIT")
        connection.close()
        database.close()


def _contents(place: Path, blob: bytes, message: FileMessage) -> list[tuple[Any, ...]]:
    """Return the rows of one bundle, its files kept."""
    assert sha256(blob).hexdigest() == message.x
    with pyzipper.AESZipFile(io.BytesIO(blob)) as archive:
        archive.setpassword(message.decryption_key.encode())
        inner = archive.read(archive.namelist()[0])
    assert sha256(inner).hexdigest() == message.ox
    _keep(place, blob, message.x)
    rows: list[tuple[Any, ...]] = []
    with zipfile.ZipFile(io.BytesIO(inner)) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            digest = sha256(data).hexdigest()
            if name.endswith(".png"):
                _keep(place, data, digest)
            elif name.endswith(".jsonl"):
                rows += [_row(line, name) for line in data.splitlines()]
    return rows


def _row(line: bytes, name: str) -> tuple[Any, ...]:
    event = json.loads(line)
    data = json.dumps(event["data"], separators=(",", ":"), sort_keys=True)
    return name, event["timestamp"], sha256(data.encode()).hexdigest()[:32], event["duration"], data


def _keep(place: Path, data: bytes, digest: str) -> None:
    with (place / digest).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def serve(folder: Path, stack: ExitStack) -> tuple[BlobServer, list[JsonEvent]]:
    """Return a blob server and the gift wraps that lead to it."""
    server = stack.enter_context(blob_server())
    return server, send(folder, server)


def main() -> None:
    """Run all in turns and print the ratio."""
    measure.headline(f"Ingest: {COUNT} bundles of 300 KB with {5 * 30} bucket events each")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        dvm = Dvm(Path(name), *serve(Path(name), stack))
        rounds = measure.in_turns(
            {
                "powdo ingest": dvm.powdo,
                "powdo ingest, the first": dvm.first,
                "sum of its parts": dvm.parts,
            },
            ROUNDS,
        )
    pairs = zip(rounds["powdo ingest"], rounds["powdo ingest, the first"], strict=True)
    rounds["powdo ingest, the others"] = [(a - b) * COUNT / (COUNT - 1) for a, b in pairs]
    measure.show(rounds)
    measure.write()
    measure.at_least(
        "sum of its parts / powdo ingest, the others",
        measure.ratio(rounds, "sum of its parts", "powdo ingest, the others"),
        0.7,
    )
    measure.plain(
        "sum of its parts / powdo ingest", measure.ratio(rounds, "sum of its parts", "powdo ingest")
    )


if __name__ == "__main__":
    main()
