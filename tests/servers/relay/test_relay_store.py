"""The store: SQL against the plain matcher, and what survives a killed process."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relay_helpers import client, new_key, running_relay, signed

from powdo.errors import BusyError
from powdo.nips.event import Event
from powdo.nips.filters import Filter
from powdo.servers.relay.application import Relay
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import WRAPS, Policy, recipient_of
from powdo.servers.relay.query import is_ephemeral, select
from powdo.servers.relay.store import Store
from powdo.servers.relay.tables import SCHEMA
from powdo.servers.relay.writing import Write, store_event

KEYS = [new_key() for _ in range(3)]
NAMES = tuple(key.pubkey for key in KEYS)
LETTERS = ("p", "t", "e")
VALUES = {"p": NAMES, "t": ("a", "b", "ä'"), "e": ("1" * 64, "2" * 64)}
BASE = 1_700_000_000
LIMITS = Limits()
WRAPS_OF = "INDEX event_recipient (recipient=?"

tags = st.lists(
    st.sampled_from(LETTERS).flatmap(
        lambda letter: st.tuples(st.just(letter), st.sampled_from(VALUES[letter]))
    ),
    max_size=4,
)
events = st.builds(
    lambda key, kind, tags, at, text: signed(
        KEYS[key], kind, tuple(tags) if kind not in WRAPS else (("p", NAMES[key]),), text, created_at=at
    ),
    st.integers(0, 2),
    st.sampled_from((1, 4, 1059, 7)),
    tags,
    st.integers(BASE, BASE + 5),
    st.text(max_size=3),
)
filters = st.builds(
    Filter,
    authors=st.none() | st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
    kinds=st.none() | st.lists(st.sampled_from((1, 7, 1059, 21059)), max_size=3).map(tuple),
    tags=st.dictionaries(st.sampled_from(LETTERS), st.just(()), max_size=2).flatmap(
        lambda names: st.fixed_dictionaries(
            {name: st.lists(st.sampled_from(VALUES[name]), max_size=2).map(tuple) for name in names}
        )
    ),
    since=st.none() | st.integers(BASE, BASE + 5),
    until=st.none() | st.integers(BASE, BASE + 5),
    limit=st.none() | st.integers(0, 4),
)


def expected(stored: list[Event], asked: Filter, readers: tuple[str, ...]) -> list[str]:
    """Return what a reader should be shown, by the plain matcher."""
    visible = [
        event
        for event in stored
        if asked.matches(event)
        and not is_ephemeral(event.kind)
        and (event.kind not in WRAPS or recipient_of(event) in readers)
    ]
    visible.sort(key=lambda event: (-event.created_at, event.id))
    return [event.id for event in visible][: 100 if asked.limit is None else asked.limit]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(events, max_size=12),
    st.lists(st.tuples(filters, st.sets(st.sampled_from(NAMES), max_size=2)), min_size=1, max_size=6),
)
def test_sql_finds_what_the_matcher_finds(
    written: list[Event], questions: list[tuple[Filter, set[str]]]
) -> None:
    """For any filter and reader the database shows exactly what the matcher and the privacy rule show."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(SCHEMA)
    stored = {event.id: event for event in written}
    for event in stored.values():
        assert store_event(db, Write(event, b"{}", None, BASE), LIMITS).accepted
    for asked, readers in questions:
        limit = 100 if asked.limit is None else asked.limit
        query = select("seq", asked, readers=tuple(readers), now=BASE, limit=limit)
        found = [] if query is None else [row[1].hex() for row in db.execute(*query)]
        assert found == expected(list(stored.values()), asked, tuple(readers))
    db.close()


PLANS = [
    ("a reader's wraps", Filter(kinds=(1059, 21059), tags={"p": NAMES[:1]}, since=5, until=9), 1, [WRAPS_OF]),
    ("wraps of two readers", Filter(kinds=(1059,)), 2, [WRAPS_OF] * 2),
    ("all there is", Filter(), 1, [WRAPS_OF, "INDEX event_time"]),
    ("a kind", Filter(kinds=(1,)), 1, ["INDEX event_kind (kind=?)"]),
    ("an author", Filter(authors=NAMES[:1], kinds=(1,)), 1, ["INDEX event_author (pubkey=? AND kind=?)"]),
    ("a tag", Filter(kinds=(1,), tags={"t": ("a",)}), 0, ["PRIMARY KEY (name=? AND value=? AND kind=?)"]),
]


@pytest.mark.parametrize(
    ("asked", "readers", "indexes"), [row[1:] for row in PLANS], ids=[row[0] for row in PLANS]
)
def test_a_filter_is_read_in_the_order_of_its_index(asked: Filter, readers: int, indexes: list[str]) -> None:
    """However many there are, nothing is sorted but events of one second, and of wraps not even those."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(SCHEMA)
    query = select("raw", asked, readers=NAMES[:readers], now=1, limit=10)
    assert query is not None
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query[0]}", query[1])]
    db.close()
    used = [line for line in plan if "INDEX" in line or "PRIMARY KEY (name" in line]
    assert [index in line for index, line in zip(indexes, used, strict=True)] == [True] * len(used)
    sorts = [line for line in plan if "TEMP B-TREE" in line]
    assert "USE TEMP B-TREE FOR ORDER BY" not in sorts
    assert len(sorts) == sum(index != WRAPS_OF for index in indexes)


def test_a_full_disk_is_answered_and_over_when_there_is_room(tmp_path: Path) -> None:
    """What cannot be stored gets `error:`, the relay goes on, and stores again when it can."""

    async def scenario() -> None:
        async with running_relay(tmp_path, Policy(allowed=(), open=True)) as url, client(url) as writer:
            small, big = signed(KEYS[0]), signed(KEYS[0], content="x" * 100_000)
            assert (await writer.publish(small))[0]
            database = sqlite3.connect(tmp_path / "relay.sqlite")
            (pages,) = database.execute("PRAGMA page_count").fetchone()
            database.close()
            relays = [item for item in gc.get_objects() if type(item) is Relay]  # not isinstance: proxies die
            (relay,) = (item for item in relays if item.urls[0] == url)
            relay.store._db.execute(f"PRAGMA max_page_count={pages}")
            assert await writer.publish(big) == (False, "error: cannot store the event")
            assert await writer.ids({}) == [small.id]
            relay.store._db.execute("PRAGMA max_page_count=1000000")
            assert await writer.publish(big) == (True, "")

    asyncio.run(scenario())


def test_a_second_relay_keeps_out(tmp_path: Path) -> None:
    """Two relays do not share a folder; the second is told to come back later."""

    async def scenario() -> None:
        async with running_relay(tmp_path, Policy(allowed=())):
            with pytest.raises(BusyError):
                async with running_relay(tmp_path, Policy(allowed=())):
                    pass

    asyncio.run(scenario())


def start_relay(data: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], str]:
    """Return a relay process and its address."""
    environment = {**os.environ, "POWDO_CONFIG": os.devnull, "POWDO_STATE_DIR": str(data / "state")}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "powdo",
            "relay",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data",
            str(data),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    record: dict[str, Any] = json.loads(process.stdout.readline())
    assert record["type"] == "listening"
    assert record["v"] == 1
    return process, record["url"]


def test_what_was_oked_survives_kill(tmp_path: Path) -> None:
    """A relay killed in the middle of a stream of writes has every event it said OK to."""
    process, url = start_relay(tmp_path, "--open")

    async def write() -> set[str]:
        oked: set[str] = set()
        async with client(url) as writer:
            for number in range(300):
                await writer.say("EVENT", signed(KEYS[0], content=str(number)).to_json())
            while len(oked) < 100:
                message = await writer.hear()
                assert message[2] is True
                oked.add(message[1])
            process.kill()
            try:
                while True:
                    oked.add((await writer.hear())[1])
            except Exception:  # the connection ends somewhere
                return oked

    async def read(address: str) -> list[str]:
        async with client(address) as reader:
            return await reader.ids({"authors": [NAMES[0]]})

    try:
        oked = asyncio.run(write())
    finally:
        process.kill()
        process.communicate()
    process, url = start_relay(tmp_path, "--open")
    try:
        found = set(asyncio.run(read(url)))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert oked <= found
    assert process.returncode == -signal.SIGTERM


def test_a_changed_allowlist_file_counts_at_once(tmp_path: Path) -> None:
    """The running relay lets in who is added to allowlist.json, and --allow adds to it."""
    from powdo.nips.bech32 import encode_npub

    process, url = start_relay(tmp_path, "--allow", encode_npub(NAMES[0]))

    async def scenario() -> None:
        async with client(url) as writer:
            assert (await writer.publish(signed(KEYS[0])))[0]
            assert not (await writer.publish(signed(KEYS[1])))[0]
            (tmp_path / "allowlist.json").write_text(json.dumps({"pubkeys": [NAMES[1]]}))
            deadline = time.monotonic() + 5
            while not (await writer.publish(signed(KEYS[1])))[0]:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)

    try:
        asyncio.run(scenario())
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_the_writer_outlives_what_cannot_be_stored(tmp_path: Path) -> None:
    """A value that SQLite has no room for is refused, and the next event is stored."""

    async def main() -> list[bool]:
        told: list[bool] = []
        done = asyncio.Event()

        def delivered(outcomes: Any) -> None:
            told.extend(outcome.accepted for _, outcome in outcomes)
            done.set()

        store = Store(tmp_path, delivered, LIMITS)
        store.start(asyncio.get_running_loop())
        good = signed(new_key())
        for event in (good._replace(created_at=1 << 70), good):
            done.clear()
            store.submit(Write(event, b"{}", None, BASE))
            await asyncio.wait_for(done.wait(), 10)
        await asyncio.to_thread(store.close)
        return told

    assert asyncio.run(main()) == [False, True]
