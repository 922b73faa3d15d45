"""What the store keeps, of whom and how long: caps for strangers, expiry, retention, older files."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relay_helpers import client, mined_wrap, new_key, running_relay, signed, wrap_for

from powdo.errors import ConfigurationError
from powdo.nips.event import Event
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import Policy
from powdo.servers.relay.tables import make_tables, strangers
from powdo.servers.relay.writing import Outcome, Write, store_event, sweep

ALICE, BOB = new_key(), new_key()
NOW = 1_800_000_000
DAY = 86400
CAPS = Limits(stranger_wraps_per_recipient=2, stranger_wraps=3)
FULL_FOR_ONE = "restricted: no more gift wraps of unknown senders are kept for this recipient"
FULL = "restricted: no more gift wraps of unknown senders are kept"


@contextmanager
def tables(path: Path | str = ":memory:") -> Iterator[sqlite3.Connection]:
    """Yield a database with the relay's tables."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        make_tables(db, NOW)
        yield db
    finally:
        db.close()


def put(
    db: sqlite3.Connection, event: Event, *, at: int = NOW, stranger: bool = False, limits: Limits = CAPS
) -> Outcome:
    """Store one event that came at *at*."""
    return store_event(db, Write(event, event.to_bytes(), None, at, stranger), limits)


def stored(db: sqlite3.Connection) -> int:
    """Return how many events are stored."""
    ((number,),) = db.execute("SELECT count(*) FROM event")
    return int(number)


def counted(db: sqlite3.Connection, *pubkeys: str) -> tuple[int, ...]:
    """Return the strangers' wraps of each recipient, and in all."""
    pairs = [strangers(db, bytes.fromhex(pubkey)) for pubkey in pubkeys]
    return (*(for_one for for_one, _ in pairs), pairs[0][1])


# --- strangers ---


def test_wraps_of_strangers_are_capped_per_recipient_and_in_all() -> None:
    """Beyond a cap a stranger's wrap is refused and says why; those of members still come in."""
    with tables() as db:
        for _ in range(2):
            assert put(db, wrap_for(ALICE.pubkey), stranger=True).accepted
        assert put(db, wrap_for(ALICE.pubkey), stranger=True) == Outcome(False, FULL_FOR_ONE, new=False)
        assert put(db, wrap_for(ALICE.pubkey)).accepted
        assert put(db, wrap_for(BOB.pubkey), stranger=True).accepted
        assert put(db, wrap_for(BOB.pubkey), stranger=True) == Outcome(False, FULL, new=False)
        assert counted(db, ALICE.pubkey, BOB.pubkey) == (2, 1, 3)


def test_a_repeated_wrap_is_a_duplicate_even_at_the_cap() -> None:
    """What is stored already is told so, and takes no second place."""
    wraps = [wrap_for(ALICE.pubkey) for _ in range(2)]
    with tables() as db:
        for wrap in (*wraps, *wraps):
            assert put(db, wrap, stranger=True).accepted
        assert counted(db, ALICE.pubkey) == (2, 2)


def test_every_way_out_of_the_store_makes_room() -> None:
    """Deletion by the recipient, expiry, retention and a transaction undone give a place back."""
    limits = Limits(stranger_wraps_per_recipient=9, retention=DAY)
    expiring = wrap_for(ALICE.pubkey, tags=(("expiration", str(NOW + 5)),))
    deleted, kept = wrap_for(ALICE.pubkey), wrap_for(ALICE.pubkey)
    with tables() as db:
        for wrap in (expiring, deleted, kept):
            assert put(db, wrap, stranger=True, limits=limits).accepted
        assert put(db, signed(ALICE, 5, (("e", deleted.id),)), limits=limits).accepted
        assert counted(db, ALICE.pubkey) == (2, 2)
        assert sweep(db, NOW + 5, limits, 500) == 1
        assert counted(db, ALICE.pubkey) == (1, 1)
        db.execute("BEGIN")
        assert put(db, wrap_for(ALICE.pubkey), stranger=True, limits=limits).accepted
        db.execute("ROLLBACK")
        assert counted(db, ALICE.pubkey) == (1, 1)
        assert sweep(db, NOW + DAY, limits, 500) == 1
        assert counted(db, ALICE.pubkey) == (0, 0)


steps = st.lists(
    st.tuples(
        st.sampled_from(("wrap", "delete", "sweep", "restart", "undo")), st.integers(0, 1), st.booleans()
    ),
    max_size=25,
)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
def test_counts_are_those_of_the_rows(tmp_path: Path, taken: list[tuple[str, int, bool]]) -> None:
    """After any sequence of writes, deletions, sweeps, restarts and undone transactions the counts hold."""
    path = tmp_path / "relay.sqlite"
    path.unlink(missing_ok=True)
    db = sqlite3.connect(path, isolation_level=None)
    make_tables(db, NOW)
    wraps: list[Event] = []
    for number, (step, who, flag) in enumerate(taken):
        if step == "restart":
            db.close()
            db = sqlite3.connect(path, isolation_level=None)
            make_tables(db, NOW)
        elif step == "sweep":
            sweep(db, NOW + number, Limits(retention=5), 2)
        elif step == "delete" and wraps:
            key = (ALICE, BOB)[who]
            put(db, signed(key, 5, (("e", wraps[-1].id),)))
        else:
            wraps.append(wrap_for((ALICE, BOB)[who].pubkey))
            db.execute("BEGIN")
            put(db, wraps[-1], at=NOW + number, stranger=flag)
            db.execute("ROLLBACK" if step == "undo" else "COMMIT")
        rows = dict(db.execute("SELECT recipient, count(*) FROM event WHERE stranger GROUP BY recipient"))
        expected = tuple(rows.get(bytes.fromhex(key.pubkey), 0) for key in (ALICE, BOB))
        assert counted(db, ALICE.pubkey, BOB.pubkey) == (*expected, sum(expected))
    db.close()


def test_caps_hold_through_a_restart_of_the_relay(tmp_path: Path) -> None:
    """A relay counts what a former one has let in; a member is not capped."""
    policy = Policy(allowed={ALICE.pubkey}, min_pow=2, limits=Limits(stranger_wraps_per_recipient=1))

    async def scenario() -> None:
        async with running_relay(tmp_path, policy) as url, client(url) as stranger:
            assert await stranger.publish(mined_wrap(ALICE.pubkey, 2)) == (True, "")
        async with running_relay(tmp_path, policy) as url:
            async with client(url) as stranger:
                assert await stranger.publish(mined_wrap(ALICE.pubkey, 2)) == (False, FULL_FOR_ONE)
            async with client(url, ALICE) as member:
                assert await member.publish(mined_wrap(ALICE.pubkey, 2)) == (True, "")

    asyncio.run(scenario())


# --- expiry and retention ---


def test_retention_counts_from_arrival_and_is_for_wraps_only() -> None:
    """A wrap goes when it has been here for the retention, whatever its date; a note stays."""
    limits = Limits(retention=30 * DAY)
    old_date = wrap_for(ALICE.pubkey, created_at=NOW - 40 * DAY)
    with tables() as db:
        put(db, old_date, at=NOW, limits=limits)
        put(db, signed(ALICE, created_at=NOW - 40 * DAY), at=NOW, limits=limits)
        assert sweep(db, NOW + 30 * DAY - 1, limits, 500) == 0
        assert sweep(db, NOW + 30 * DAY, limits, 500) == 1
        assert db.execute("SELECT kind FROM event").fetchall() == [(1,)]
        assert db.execute("SELECT count(*) FROM tag").fetchall() == [(0,)]


def test_no_retention_keeps_wraps_for_ever() -> None:
    """Retention 0 removes nothing but what has expired."""
    limits = Limits(retention=0)
    with tables() as db:
        put(db, wrap_for(ALICE.pubkey), limits=limits)
        put(db, wrap_for(ALICE.pubkey, tags=(("expiration", str(NOW + 1)),)), limits=limits)
        assert sweep(db, NOW + 100 * 365 * DAY, limits, 500) == 1
        assert stored(db) == 1


def test_a_sweep_goes_in_slices_oldest_first() -> None:
    """A sweep removes no more than it may, expired and old ones together, and goes on where it stopped."""
    limits = Limits(retention=DAY)
    with tables() as db:
        for number in range(7):
            expiring = (("expiration", str(NOW + 1)),) if number < 2 else ()
            put(db, wrap_for(ALICE.pubkey, tags=expiring), at=NOW + number, limits=limits)
        assert [sweep(db, NOW + DAY + 5, limits, 4) for _ in range(3)] == [4, 2, 0]
        assert db.execute("SELECT received_at FROM event").fetchall() == [(NOW + 6,)]


def test_the_look_for_old_wraps_scans_nothing() -> None:
    """Both questions of a sweep are answered from an index, however many events stay."""
    with tables() as db:
        for condition in ("expires <= 5", "recipient IS NOT NULL AND received_at <= 5 ORDER BY received_at"):
            plan = db.execute(
                f"EXPLAIN QUERY PLAN SELECT seq FROM event WHERE {condition} LIMIT 9"
            ).fetchall()
            assert len(plan) == 1
            assert plan[0][3].startswith("SEARCH event USING")


def test_a_running_relay_sweeps_between_writes(tmp_path: Path) -> None:
    """More old wraps than a slice holds go while events are written, which wait for a slice at most."""
    old = int(time.time()) - 2 * DAY
    with tables(tmp_path / "relay.sqlite") as db:
        wrap = wrap_for(ALICE.pubkey)
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO event (id, pubkey, created_at, kind, recipient, received_at, stranger, raw) "
            "VALUES (randomblob(32), x'01', 1, 1059, x'02', ?, 0, ?)",
            [(old, wrap.to_bytes())] * 3000,
        )
        db.execute("COMMIT")
    policy = Policy(allowed=(), open=True, limits=Limits(retention=DAY))

    async def scenario() -> None:
        async with running_relay(tmp_path, policy) as url, client(url) as writer:
            for number in range(40):
                assert (await writer.publish(signed(ALICE, content=str(number)))) == (True, "")
            deadline = time.monotonic() + 20
            while left() > 40 and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            assert left() == 40

    def left() -> int:
        db = sqlite3.connect(tmp_path / "relay.sqlite")
        try:
            return stored(db)
        finally:
            db.close()

    asyncio.run(scenario())


# --- files of another version ---

OLD = """
CREATE TABLE event (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, pubkey BLOB NOT NULL, created_at INTEGER NOT NULL,
    kind INTEGER NOT NULL, address TEXT, expires INTEGER, recipient BLOB, raw BLOB NOT NULL
);
CREATE TABLE tag (
    name TEXT NOT NULL, value TEXT NOT NULL, kind INTEGER NOT NULL, created_at INTEGER NOT NULL,
    seq INTEGER NOT NULL, PRIMARY KEY (name, value, kind, created_at, seq)
) WITHOUT ROWID;
"""


def test_a_file_of_the_first_relay_is_brought_up_to_date(tmp_path: Path) -> None:
    """Its events are found as before, and its wraps count as received on that day."""
    wrap = wrap_for(ALICE.pubkey, created_at=NOW - 90 * DAY)
    db = sqlite3.connect(tmp_path / "relay.sqlite", isolation_level=None)
    db.executescript(OLD)
    row: tuple[Any, ...] = (bytes.fromhex(wrap.id), bytes.fromhex(wrap.pubkey), wrap.created_at)
    db.execute(
        "INSERT INTO event (id, pubkey, created_at, kind, recipient, raw) VALUES (?, ?, ?, 1059, ?, ?)",
        (*row, bytes.fromhex(ALICE.pubkey), wrap.to_bytes()),
    )
    db.close()

    async def scenario() -> None:
        async with running_relay(tmp_path, Policy(allowed=())) as url, client(url, ALICE) as alice:
            assert await alice.ids({"ids": [wrap.id]}) == [wrap.id]

    asyncio.run(scenario())
    with tables(tmp_path / "relay.sqlite") as db:
        ((received, stranger),) = db.execute("SELECT received_at, stranger FROM event").fetchall()
        assert abs(received - time.time()) < 60
        assert stranger == 0


def test_wraps_of_the_second_relay_are_found_by_their_recipient_only(tmp_path: Path) -> None:
    """Its indexes and tags lose the wraps that only cost time there; its notes stay where they are."""
    wrap, note = wrap_for(ALICE.pubkey), signed(ALICE, tags=(("p", BOB.pubkey),))
    with tables(tmp_path / "relay.sqlite") as db:
        for event in (wrap, note):
            assert put(db, event).accepted
        db.executescript(
            "DROP INDEX event_recipient; DROP INDEX event_time; CREATE INDEX event_time ON event(created_at);"
            "INSERT INTO tag SELECT 'p', lower(hex(recipient)), kind, created_at, seq FROM event "
            "WHERE kind = 1059; PRAGMA user_version = 1;"
        )
    with tables(tmp_path / "relay.sqlite") as db:
        assert db.execute("SELECT value FROM tag").fetchall() == [(BOB.pubkey,)]
        ((text,),) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'event_time'")
        assert "recipient IS NULL" in text

    async def scenario() -> None:
        async with running_relay(tmp_path, Policy(allowed=())) as url, client(url, ALICE) as alice:
            assert await alice.ids({"#p": [ALICE.pubkey]}) == [wrap.id]
            assert await alice.ids({"#p": [BOB.pubkey]}) == [note.id]

    asyncio.run(scenario())


def test_a_file_of_a_newer_relay_is_left_alone() -> None:
    """A newer version's tables are refused, not guessed at."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="newer powdo"):
        make_tables(db, NOW)
    assert db.execute("SELECT name FROM sqlite_schema").fetchall() == []
    db.close()
