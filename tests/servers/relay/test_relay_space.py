"""The relay's file on the disk: what is removed is given back while the relay runs."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import Policy
from powdo.servers.relay.tables import give_back
from tests.relay_helpers import client, new_key, running_relay, signed, wrap_for

ALICE = new_key()
DAY = 86400
OPEN = Policy(allowed=(), open=True)


async def run_once(data: Path) -> None:
    """Let a relay make its file in *data*."""
    async with running_relay(data, OPEN):
        pass


def fill(data: Path, wraps: int, *, at: int) -> None:
    """Put *wraps* of a kilobyte each, that came at *at*, into the file of a relay that does not run."""
    raw = wrap_for(ALICE.pubkey, tags=(("padding", "x" * 1000),)).to_bytes()
    with closing(sqlite3.connect(data / "relay.sqlite", isolation_level=None)) as db:
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO event (id, pubkey, created_at, kind, recipient, received_at, stranger, raw) "
            "VALUES (randomblob(32), x'01', 1, 1059, x'02', ?, 0, ?)",
            [(at, raw)] * wraps,
        )
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def size(data: Path) -> int:
    """Return the bytes of the file."""
    return (data / "relay.sqlite").stat().st_size


def test_space_of_old_wraps_is_given_back_while_events_come_in(tmp_path: Path) -> None:
    """A file that has lost most of its events shrinks, with the relay running, and stays whole."""

    async def scenario() -> None:
        await run_once(tmp_path)
        fill(tmp_path, 8000, at=int(time.time()) - 2 * DAY)
        before = size(tmp_path)
        policy = Policy(allowed=(), open=True, limits=Limits(retention=DAY))
        async with running_relay(tmp_path, policy) as url, client(url) as writer:
            deadline = time.monotonic() + 30
            published = 0
            while size(tmp_path) > before // 8 and time.monotonic() < deadline:
                assert (await writer.publish(signed(ALICE, content=f"{published}" + "x" * 5000)))[0]
                published += 1
            await writer.say("COUNT", "c", {})
            assert await writer.hear() == ["COUNT", "c", {"count": published}]
        assert size(tmp_path) <= before // 8 < before

    asyncio.run(scenario())
    with closing(sqlite3.connect(tmp_path / "relay.sqlite")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_pages_are_read_from_a_file_that_shrinks_meanwhile(tmp_path: Path) -> None:
    """Readers have the file mapped: what a checkpoint cuts off it is nothing that they still read."""
    old, kept = int(time.time()) - 2 * DAY, [signed(ALICE, content=f"{n}" + "x" * 3000) for n in range(200)]

    async def scenario() -> None:
        async with running_relay(tmp_path, OPEN) as url, client(url) as writer:
            for event in kept[:100]:
                assert (await writer.publish(event))[0]
        fill(tmp_path, 8000, at=old)
        before = size(tmp_path)
        policy = Policy(allowed=(), open=True, limits=Limits(retention=DAY))
        async with running_relay(tmp_path, policy) as url, client(url) as reader, client(url) as writer:
            deadline = time.monotonic() + 30
            for event in kept[100:]:
                assert (await writer.publish(event))[0]
            known = {event.id for event in kept}
            asked = 0
            while size(tmp_path) > before // 4 and time.monotonic() < deadline:
                assert set(await reader.ids({"kinds": [1]})) == known
                assert (await writer.publish(signed(ALICE, 7, content=str(asked))))[0]
                asked += 1
            assert set(await reader.ids({"kinds": [1]})) == known
            assert asked > 0
        assert size(tmp_path) <= before // 4

    asyncio.run(scenario())


def test_an_eighth_is_kept_and_a_file_that_cannot_shrink_is_left_alone(tmp_path: Path) -> None:
    """Pages go in slices until an eighth is free; a file made without auto_vacuum is not asked again."""
    for mode, slices in (("INCREMENTAL", [True, True, True, False, False]), ("NONE", [False])):
        with closing(sqlite3.connect(tmp_path / mode, isolation_level=None)) as db:
            db.execute(f"PRAGMA auto_vacuum={mode}")
            db.execute("CREATE TABLE event (raw BLOB)")
            db.executemany("INSERT INTO event VALUES (zeroblob(4000))", [()] * 800)
            db.execute("DELETE FROM event WHERE rowid > 400")
            assert [give_back(db, 100) for _ in slices] == slices
            ((pages,),), ((free,),) = db.execute("PRAGMA page_count"), db.execute("PRAGMA freelist_count")
            assert (free <= pages // 8 + 1) is (mode == "INCREMENTAL")
            assert db.execute("SELECT count(*) FROM event").fetchone() == (400,)
