"""Bundles that were taken in by a real ingest, and ways to tamper with each kind of their evidence."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from powdo.commands.ingest import ingest
from powdo.commands.receipt import receipt
from powdo.nips.curve import SecretKey
from powdo.nips.event import Unsigned, sign
from powdo.records import encode_line, format_time
from powdo.worktime.intervals import SECOND
from powdo.worktime.link import Link, proof_to_bytes
from powdo.worktime.manifest import from_micros
from tests.bundles import BEGIN, END, Sample, sample
from tests.dvm import (
    ANA,
    NOW,
    BlobServer,
    JsonEvent,
    Operator,
    Parcel,
    blob_server,
    link_of,
    operator,
    parcel,
)
from tests.postgresql import empty_database

#: Before any moment at which tests may run: what is taken in must be over.
FIRST = 1_750_000_000 * SECOND
STEP = END - BEGIN
WITHHELD = 2
PICTURE = b"\x89PNG looks like this"


def signed(link: Link, key: SecretKey = ANA) -> JsonEvent:
    """Return *link* as the event in which *key* signs it."""
    unsigned = Unsigned(key.pubkey, NOW, 78, (), link.content)
    return sign(unsigned, key, secrets.token_bytes(32)).to_json()


def bucket_line(begin: int) -> bytes:
    """Return one bucket event that begins at *begin*, in microseconds."""
    stamp = format_time(from_micros(begin))
    return encode_line({"timestamp": stamp, "duration": 1.5, "data": {"app": "code", "title": stamp}})


@dataclass
class Chained:
    """The bundles 1, 3, 4… of a device; 2 was withheld, which the next tells."""

    parcels: dict[int, Parcel]
    samples: dict[int, Sample]
    links: dict[int, Link]


def chained(folder: Path, server: BlobServer, count: int = 4) -> Chained:
    """Return *count* captures of one device, each five minutes after the other."""
    made = Chained({}, {}, {})
    previous: str | None = None
    told: list[JsonEvent] = []
    for number in range(1, count + 1):
        picture = PICTURE + b"%d" % number
        begin = FIRST + number * STEP
        what = sample(
            (bucket_line(begin), bucket_line(begin)),
            (picture,),
            capture_id=f"c{number}",
            sequence=number,
            begin=begin,
        )
        link = replace(
            link_of(what), previous=previous, root=None if number == WITHHELD else link_of(what).root
        )
        previous = link.hash
        made.links[number] = link
        if link.withheld:
            told.append({"link": link.content, "event": signed(link)})
            continue
        proof = proof_to_bytes(link.content, signed(link), told)
        told = []
        made.samples[number] = what
        made.parcels[number] = parcel(folder, server, what, proof=proof)
    return made


def take_in(folder: Path, *parcels: Parcel) -> None:
    """Let `powdo ingest` take *parcels* in."""
    file = folder / "events.jsonl"
    file.write_bytes(b"".join(encode_line(one.wrapped()) for one in parcels))
    assert ingest.main([str(file)], standalone_mode=False).console.status == 0


@dataclass
class Room:
    """The evidence of one operator, to be tampered with."""

    dvm: Operator
    sent: Chained

    @contextmanager
    def database(self) -> Iterator[sa.Connection]:
        """Return a connection to the database, whose changes are kept."""
        store = self.dvm.store()
        with store.database.write() as connection:
            yield connection
        store.close()

    def row(self, sequence: int) -> Any:
        """Return the row of the bundle *sequence*."""
        with self.database() as connection:
            query = sa.text("SELECT * FROM bundle WHERE sequence = :n")
            return connection.execute(query, {"n": sequence}).one()

    def put(self, sequence: int, **values: object) -> None:
        """Write *values* into the row of the bundle *sequence*."""
        with self.database() as connection:
            for name, value in values.items():
                query = sa.text(f"UPDATE bundle SET {name} = :v WHERE sequence = :n")
                connection.execute(query, {"v": value, "n": sequence})

    def sql(self, statement: str) -> None:
        """Run *statement* in the database."""
        with self.database() as connection:
            connection.exec_driver_sql(statement)

    def file(self, sha256: str) -> Path:
        """Return where the file *sha256* lies."""
        return self.dvm.folder / "data" / "evidence" / sha256[:2] / sha256

    def blob(self, sequence: int) -> Path:
        """Return where the blob of the bundle *sequence* lies."""
        return self.file(self.sent.parcels[sequence].message.x)

    def event(self, sequence: int, column: str, **values: object) -> None:
        """Change fields of the event in *column* of the bundle *sequence*."""
        event = json.loads(getattr(self.row(sequence), column)) | values
        self.put(sequence, **{column: json.dumps(event, separators=(",", ":"))})


class Looked:
    """What one run of `powdo verify --json` found."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.err = err
        records = [json.loads(line) for line in out.splitlines()]
        self.bundles = {one["sequence"]: one for one in records if one["type"] == "verified"}
        self.chains = [one for one in records if one["type"] == "chain"]

    def checks(self, sequence: int) -> set[str]:
        """Return the checks that failed for the bundle *sequence*."""
        return {problem["check"] for problem in self.bundles[sequence]["problems"]}


def flip(path: Path, at: int = -1) -> None:
    """Change one bit of the file *path*."""
    data = bytearray(path.read_bytes())
    data[at if at >= 0 else len(data) // 2] ^= 1
    path.write_bytes(data)


def flipped(text: str, at: int = -5) -> str:
    """Return *text* with one hex digit or letter changed."""
    other = "b" if text[at] == "a" else "a"
    return text[:at] + other + text[at + 1 :] if at != -1 else text[:-1] + other


@pytest.fixture(scope="module")
def server() -> Iterator[BlobServer]:
    """Return a running blob server."""
    with blob_server() as running:
        yield running


@pytest.fixture(scope="module")
def template(server: BlobServer, tmp_path_factory: pytest.TempPathFactory) -> Room:
    """Return an operator's evidence of three bundles and a withheld link, all sound."""
    with pytest.MonkeyPatch.context() as patch:
        return furnished(tmp_path_factory.mktemp("template"), server, patch)


def furnished(
    folder: Path, server: BlobServer, patch: pytest.MonkeyPatch, *, database: str | None = None
) -> Room:
    """Return the same in *folder*, all taken in and answered by the commands themselves."""
    dvm = operator(folder, server, database=database)
    for name, value in dvm.environment.items():
        patch.setenv(name, value)
    store = dvm.store()
    store.enroll("ana", access=[SecretKey(b"\x04" * 32).pubkey])
    store.close()
    sent = chained(folder, server)
    take_in(folder, *sent.parcels.values())
    assert receipt.main(["--pending", "/dev/null"], standalone_mode=False).console.status == 0
    return Room(dvm, sent)


@pytest.fixture
def room(template: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    """Return a copy of that evidence, to be tampered with."""
    folder = tmp_path / "operator"
    shutil.copytree(template.dvm.folder, folder)
    dvm = replace(template.dvm, folder=folder)
    for name, value in dvm.environment.items():
        monkeypatch.setenv(name, value)
    return Room(dvm, template.sent)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_room(
    request: pytest.FixtureRequest, server: BlobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Room:
    """Return that evidence on either database."""
    if request.param == "sqlite":
        found: Room = request.getfixturevalue("room")
        return found
    url = empty_database(request.getfixturevalue("postgresql"))
    (tmp_path / "shared").mkdir()
    return furnished(tmp_path / "shared", server, monkeypatch, database=url)
