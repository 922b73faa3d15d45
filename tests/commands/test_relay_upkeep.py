"""`powdo relay stat` and `backup` beside a relay that runs, that has ended, and that never was."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from powdo.nips.bech32 import encode_npub
from powdo.servers.relay.tables import VERSION, make_tables
from tests.conftest import Powdo
from tests.relay_helpers import ask, client, new_key, signed, wrap_for
from tests.relay_wire import Served, relay_process

Command = Callable[..., subprocess.CompletedProcess[bytes]]
ALICE, BOB, WRITER = new_key(), new_key(), new_key()


def publish(relay: Served, *events: Any) -> None:
    """Publish *events*, each of which is OKed."""

    async def main() -> None:
        async with client(relay.url) as writer:
            for event in events:
                assert await writer.publish(event) == (True, "")

    asyncio.run(main())


def rows(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    """Return the records of a report."""
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


def names(folder: Path) -> dict[str, int]:
    """Return what lies in *folder*, and when it was last changed."""
    found = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    found.pop("relay.sqlite-shm", None)
    return found


def fill(db: sqlite3.Connection, tags: int) -> None:
    """Make the tables without auto_vacuum, as the first relays did, and fill them: a kilobyte each."""
    make_tables(db, 0)
    db.execute("BEGIN")
    db.executemany(
        "INSERT INTO tag VALUES ('t', hex(randomblob(500)), 1, 1, ?)", [(seq,) for seq in range(tags)]
    )
    db.execute("COMMIT")


# --- stat ---


def test_stat_counts_what_a_running_relay_has(powdo: Command, tmp_path: Path) -> None:
    """Events by kind, wraps by recipient, sizes, arrivals and the allowlist; nothing is made or changed."""
    begin = int(time.time())
    (tmp_path / "allowlist.json").write_text(json.dumps({"pubkeys": [ALICE.pubkey, BOB.pubkey]}))
    later = str(begin + 1000)
    with relay_process(tmp_path, "--open") as relay:
        publish(
            relay,
            *(signed(WRITER, content=str(number)) for number in range(3)),
            signed(WRITER, 30023, (("d", "x"), ("expiration", later))),
            *(wrap_for(ALICE.pubkey, created_at=begin - number) for number in range(5)),
            *(wrap_for(BOB.pubkey, created_at=begin - number) for number in range(2)),
        )
        before = names(tmp_path)
        found = rows(powdo("relay", "stat", "--data", str(tmp_path), "--json"))
        assert names(tmp_path) == before
    assert all(list(row) == ["what", "name", "count", "bytes", "time"] for row in found)
    counts = [(row["what"], row["name"], row["count"]) for row in found if row["count"] is not None]
    assert counts == [
        ("events", None, 11),
        ("kind", "1", 3),
        ("kind", "1059", 7),
        ("kind", "30023", 1),
        ("recipients", None, 2),
        ("recipient", encode_npub(ALICE.pubkey), 5),
        ("recipient", encode_npub(BOB.pubkey), 2),
        ("by work", None, 0),
        ("expiring", None, 1),
        ("allowlist", None, 2),
    ]
    others = {row["what"]: row for row in found}
    assert others["database"]["bytes"] > 0
    assert others["log"]["bytes"] > 0
    assert others["free"]["bytes"] == 0
    for what in ("oldest", "newest"):
        assert others[what]["time"] >= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begin))


def test_stat_reads_a_relay_that_has_ended_and_makes_no_file(powdo: Command, tmp_path: Path) -> None:
    """The same figures from a folder at rest, in which not even SQLite's own files appear."""
    with relay_process(tmp_path, "--open") as relay:
        publish(relay, signed(WRITER))
        relay.process.send_signal(signal.SIGTERM)
        relay.process.wait(20)
    before = names(tmp_path)
    assert "relay.sqlite-wal" not in before
    done = powdo("relay", "stat", "--data", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    assert ["kind", "1", "1"] in [line.split() for line in done.stdout.decode().splitlines()]
    assert names(tmp_path) == before


def test_stat_does_not_wait_for_the_writer(powdo: Command, tmp_path: Path) -> None:
    """While a transaction is open, stat sees what was committed before it."""
    with relay_process(tmp_path, "--open") as relay:
        publish(relay, signed(WRITER))
        with closing(sqlite3.connect(tmp_path / "relay.sqlite", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM event")
            assert rows(powdo("relay", "stat", "--data", str(tmp_path), "--json"))[0]["count"] == 1
            db.execute("ROLLBACK")


def test_stat_after_a_crash(powdo: Command, tmp_path: Path) -> None:
    """What a killed relay has committed is counted, though it is in the log only."""
    with relay_process(tmp_path, "--open") as relay:
        publish(relay, *(signed(WRITER, content=str(number)) for number in range(4)))
        relay.kill()
    assert rows(powdo("relay", "stat", "--data", str(tmp_path), "--json"))[0]["count"] == 4


@pytest.mark.parametrize("words", [("stat",), ("backup", "copy.sqlite")], ids="-".join)
def test_what_is_not_there_is_told(powdo: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    """No folder named, no events in it, or tables of another version: each has its status and a hint."""
    done = powdo("relay", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert b"--data" in done.stderr
    done = powdo("relay", *words, "--data", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 66
    assert b"hint: name the relay's folder" in done.stderr
    assert list(tmp_path.iterdir()) == []
    for version, hint in ((VERSION + 1, b"use that one"), (VERSION - 1, b"start the relay once")):
        with closing(sqlite3.connect(tmp_path / "relay.sqlite")) as db:
            db.execute(f"PRAGMA user_version = {version}")
        done = powdo("relay", *words, "--data", str(tmp_path), cwd=tmp_path)
        assert done.returncode == 78
        assert hint in done.stderr
    (tmp_path / "relay.sqlite").write_bytes(b"x" * 5000)
    done = powdo("relay", *words, "--data", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 74
    assert not (tmp_path / "copy.sqlite").exists()


# --- backup ---


def test_a_backup_under_load_has_all_that_was_oked_before(powdo: Command, tmp_path: Path) -> None:
    """A relay started on the copy serves every event OKed before the backup began, and the copy is whole."""
    data, other = tmp_path / "data", tmp_path / "other"
    copy = tmp_path / "copy.sqlite"

    async def load(relay: Served) -> tuple[set[str], int]:
        oked: list[str] = []

        async def write() -> None:
            async with client(relay.url) as writer:
                while not done.is_set():
                    event = signed(new_key(), content="x" * 3000)
                    assert await writer.publish(event) == (True, "")
                    oked.append(event.id)

        done = asyncio.Event()
        writers = [asyncio.ensure_future(write()) for _ in range(3)]
        while len(oked) < 300:
            await asyncio.sleep(0.01)
        before = set(oked)
        made = await asyncio.to_thread(powdo, "relay", "backup", str(copy), "--data", str(data))
        assert (made.returncode, made.stdout, made.stderr) == (0, b"", b"")
        during = len(oked) - len(before)
        done.set()
        await asyncio.gather(*writers)
        return before, during

    with relay_process(data, "--open") as relay:
        before, during = asyncio.run(load(relay))
    assert during > 0
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.sqlite", "data"]
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        db.execute("PRAGMA journal_mode=DELETE")
    other.mkdir()
    copy.rename(other / "relay.sqlite")
    with relay_process(other, "--open") as restored:
        found: set[str] = set()
        wanted = sorted(before)
        for begin in range(0, len(wanted), 300):
            found.update(ask(restored.url, {"ids": wanted[begin : begin + 300]}))
    assert found == before


def test_a_backup_overwrites_nothing(powdo: Command, tmp_path: Path) -> None:
    """A file, or a dangling link, of that name is left as it is; a folder that is not there is told."""
    with closing(sqlite3.connect(tmp_path / "relay.sqlite", isolation_level=None)) as db:
        make_tables(db, 0)
    copy, link = tmp_path / "copy", tmp_path / "link"
    copy.write_text("precious")
    link.symlink_to(tmp_path / "nowhere")
    for target in (copy, link):
        done = powdo("relay", "backup", str(target), "--data", str(tmp_path))
        assert done.returncode == 73
        assert b"is there already" in done.stderr
    assert copy.read_text() == "precious"
    done = powdo("relay", "backup", str(tmp_path / "no/copy"), "--data", str(tmp_path))
    assert done.returncode == 73
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "link", "relay.sqlite"]


def test_a_backup_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    """A signal in the middle ends it, with no piece of a copy left; the events are as before."""
    data, target = tmp_path / "data", tmp_path / "copies"
    data.mkdir()
    target.mkdir()
    with closing(sqlite3.connect(data / "relay.sqlite", isolation_level=None)) as db:
        fill(db, 60_000)
    process = Powdo(("-m", "powdo")).start("relay", "backup", str(target / "copy"), "--data", str(data))
    while not list(target.iterdir()):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM, said
    assert list(target.iterdir()) == []
    with closing(sqlite3.connect(data / "relay.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM tag").fetchone() == (60_000,)


def test_a_copy_of_an_old_file_gives_space_back(powdo: Command, tmp_path: Path) -> None:
    """A file made without auto_vacuum stays as it is; its copy is packed, and can shrink from then on."""
    file, copy = tmp_path / "relay.sqlite", tmp_path / "copy"
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        fill(db, 5000)
        db.execute("DELETE FROM tag WHERE seq >= 100")
    before = file.stat().st_size
    assert powdo("relay", "backup", str(copy), "--data", str(tmp_path)).returncode == 0
    assert copy.stat().st_size < before // 10
    for path, mode in ((file, 0), (copy, 2)):
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA auto_vacuum").fetchone() == (mode,)
            assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
            assert db.execute("SELECT count(*) FROM tag").fetchone() == (100,)
