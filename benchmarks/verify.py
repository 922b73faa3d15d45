"""`powdo verify` over many bundles of 300 KB, beside reading and hashing them.

    python benchmarks/verify.py [COUNT]

COUNT bundles, 10 000 unless told otherwise, are taken in by `powdo ingest` and answered by `powdo receipt`
first; that takes minutes, and 600 KB of disk for each. Two bare loops in one process stand beside it:

- *read and hash*: each blob and each screenshot is read from its file and goes through sha256;
- *all that has to be hashed*: besides that the key of the ZIP from its password (PBKDF2), HMAC-SHA1 over the
  ciphertext, AES, sha256 of the inner ZIP and of each file in it, by hashlib, hmac and pycryptodomex.

What powdo does besides: four signatures and two key agreements for each bundle, the ZIPs' layout, manifest,
link, chain, rows. CPU is counted for both; the time by the clock is told too, since verify uses all cores.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import shutil
import sqlite3
import sys
import tempfile
import time
import zipfile
from io import BytesIO
from pathlib import Path

import measure
from Cryptodome.Cipher import AES
from Cryptodome.Util import Counter

from powdo.lines import encode_line, format_time
from powdo.nips.curve import SecretKey
from powdo.worktime.bundle_format import OUTER_HEAD, OUTER_TAIL
from powdo.worktime.intervals import SECOND
from powdo.worktime.link import Link, proof_to_bytes
from powdo.worktime.manifest import from_micros, manifest_root
from tests.bundles import Sample, sample
from tests.dvm import MASTER, BlobServer, JsonEvent, Operator, blob_server, operator, parcel
from tests.evidence_room import signed

COUNT = 10_000
ROUNDS = 2
PICTURE = 270_000
CHUNK = 250
FIRST = 1_700_000_000 * SECOND
STEP = 300 * SECOND


def lines(begin: int, kind: int) -> bytes:
    """Return five minutes of one bucket, an event every ten seconds."""
    rows = []
    for number in range(30):
        stamp = format_time(from_micros(begin + number * 10 * SECOND))
        data = {"app": f"app {kind}", "title": f"cursor by ana · Pull Request #{number} · globex/api"}
        rows.append(encode_line({"timestamp": stamp, "duration": 9.5, "data": data}))
    return b"".join(rows)


def chained(number: int, previous: str | None) -> tuple[Sample, Link]:
    """Return the capture *number* of a device, and its link."""
    begin = FIRST + number * STEP
    buckets = tuple(lines(begin, kind) for kind in range(5))
    picture = secrets.token_bytes(PICTURE)
    what = sample(buckets, (picture,), capture_id=f"c{number}", sequence=number, begin=begin)
    period = {"begin": what.manifest.begin, "end": what.manifest.end}
    root = manifest_root(what.data)
    return what, Link(device=what.manifest.device, sequence=number, previous=previous, root=root, **period)


class Evidence:
    """An operator's evidence, and the ways to go over it."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count = count
        with blob_server() as server:
            self.dvm = operator(folder, server)
            store = self.dvm.store()
            store.enroll("ana", access=[SecretKey(b"\x04" * 32).pubkey])
            store.close()
            self.world = measure.environment(folder, NSEC_MASTER_KEY=MASTER)
            previous = None
            for first in range(1, count + 1, CHUNK):
                wraps = []
                for number in range(first, min(first + CHUNK, count + 1)):
                    what, link = chained(number, previous)
                    previous = link.hash
                    proof = proof_to_bytes(link.content, signed(link))
                    wraps.append(self._send(folder, server, what, proof))
                self._take_in(folder, wraps)
                server.blobs.clear()
        measure.child(measure.stage("receipt", "--pending", "/dev/null"), self.world)
        self.rows = self._rows(self.dvm)

    @staticmethod
    def _send(folder: Path, server: BlobServer, what: Sample, proof: bytes) -> JsonEvent:
        sent = parcel(folder, server, what, proof=proof).wrapped()
        for capture in folder.glob("capture-*"):
            shutil.rmtree(capture)
        return sent

    def _take_in(self, folder: Path, wraps: list[JsonEvent]) -> None:
        file = folder / "wraps.jsonl"
        file.write_text("".join(f"{json.dumps(wrap)}\n" for wrap in wraps))
        measure.child(measure.stage("ingest", str(file)), self.world)

    @staticmethod
    def _rows(dvm: Operator) -> list[tuple[str, str, str]]:
        """Return blob, key and screenshot of each bundle."""
        db = sqlite3.connect(dvm.folder / "state" / "dvm.sqlite")
        query = "SELECT b.sha256, rumor_event, s.sha256 FROM bundle b JOIN screenshot s ON s.bundle_id = b.id"
        rows = []
        for blob, rumor, picture in db.execute(query):
            tags = dict(tag[:2] for tag in json.loads(rumor)["tags"])
            rows.append((blob, tags["decryption-key"], picture))
        db.close()
        return rows

    def file(self, name: str) -> Path:
        """Return where *name* lies."""
        return self.dvm.folder / "data" / "evidence" / name[:2] / name

    def verify(self) -> float:
        """Let powdo verify everything."""
        return measure.child(measure.stage("verify", "--json"), self.world)

    def read_and_hash(self) -> float:
        """Read each file and hash it."""
        return measure.own(self._read_and_hash)

    def _read_and_hash(self) -> None:
        for blob, _, picture in self.rows:
            for name in (blob, picture):
                with self.file(name).open("rb") as file:
                    assert hashlib.file_digest(file, "sha256").hexdigest() == name

    def all_hashes(self) -> float:
        """Do all the hashing that the formats ask for."""
        return measure.own(self._all_hashes)

    def _all_hashes(self) -> None:
        for blob, key, picture in self.rows:
            data = self.file(blob).read_bytes()
            assert hashlib.sha256(data).hexdigest() == blob
            salt, sealed = data[OUTER_HEAD : OUTER_HEAD + 16], data[OUTER_HEAD + 18 : -OUTER_TAIL - 10]
            keys = hashlib.pbkdf2_hmac("sha1", key.encode(), salt, 1000, 66)
            hmac.digest(keys[32:64], sealed, "sha1")
            counter = Counter.new(128, little_endian=True, initial_value=1)
            inner = AES.new(keys[:32], AES.MODE_CTR, counter=counter).decrypt(sealed)
            hashlib.sha256(inner).digest()
            with zipfile.ZipFile(BytesIO(inner)) as archive:
                for member in archive.namelist():
                    hashlib.sha256(archive.read(member)).digest()
            assert hashlib.sha256(self.file(picture).read_bytes()).hexdigest() == picture


def main() -> None:
    """Take everything in, go over it in turns and print the ratios."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    measure.headline(f"Verify: {count:,} bundles of 300 KB")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        evidence = Evidence(Path(name), count)
        works = {
            "powdo verify": evidence.verify,
            "read and hash": evidence.read_and_hash,
            "all that has to be hashed": evidence.all_hashes,
        }
        rounds: dict[str, list[float]] = {work: [] for work in works}
        clock: dict[str, list[float]] = {work: [] for work in works}
        for _ in range(ROUNDS):
            for work, run in works.items():
                begin = time.monotonic()
                rounds[work].append(run())
                clock[work].append(time.monotonic() - begin)
    measure.show(rounds, count)
    measure.write()
    measure.at_least(
        "all that has to be hashed / powdo verify",
        measure.ratio(rounds, "all that has to be hashed", "powdo verify"),
        0.7,
    )
    measure.plain("powdo verify / read and hash", measure.ratio(rounds, "powdo verify", "read and hash"))
    measure.plain(
        "by the clock: all that has to be hashed / powdo verify",
        measure.ratio(clock, "all that has to be hashed", "powdo verify"),
    )


if __name__ == "__main__":
    main()
