from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from threading import Barrier, Thread

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from powdo.adapters.database import (
    Author,
    Database,
    Delivery,
    Inbox,
    Refusal,
    Store,
    Stored,
    intake,
    stored_event,
)
from powdo.errors import PeerProtocolError, UsageError
from powdo.worktime.activity import BucketEvent
from powdo.worktime.link import Link
from powdo.worktime.manifest import BucketFile, Manifest, ScreenshotFile, manifest_root
from powdo.worktime.reconcile import SentTimesheet

SECOND = 1_000_000
HOUR = 3600 * SECOND
T0 = 1_800_000_000 * SECOND
DEVICE = "6f1c2b3a-0000-4000-8000-000000000001"
ANA = "a1" * 32


def hexes(number: int) -> str:
    """Return 64 digits that stand for *number*."""
    return f"{number:064x}"


def delivery(
    worker: int, number: int, events: list[BucketEvent], *, sequence: int | None = None, app: str = "window"
) -> Delivery:
    """Return one bundle of an hour with *events* in one bucket."""
    begin = T0 + number * HOUR
    sequence = number + 1 if sequence is None else sequence
    file = BucketFile(
        id=app,
        type="currentwindow",
        client="test",
        hostname="host",
        device_id="aw",
        begin=begin,
        end=begin + HOUR,
        events=len(events),
        file="buckets/0.jsonl",
        sha256=hexes(1),
        size=1,
    )
    shot = ScreenshotFile(
        time=begin, monitor=1, width=2, height=3, file="screenshots/0.png", sha256=hexes(2), size=4
    )
    manifest = Manifest(
        id=f"c{number}-{sequence}",
        device=DEVICE,
        sequence=sequence,
        begin=begin,
        end=begin + HOUR,
        timezone="Europe/Berlin",
        buckets=(file,),
        screenshots=(shot,),
        salt=f"{number:032x}",
    )
    data = manifest.to_bytes()
    link = Link(
        device=DEVICE,
        sequence=sequence,
        begin=manifest.begin,
        end=manifest.end,
        previous=None,
        root=manifest_root(data),
    )
    return Delivery(
        worker=Author(worker, "ana"),
        wrap=hexes(number),
        rumor=hexes(1000 + number),
        pubkey=ANA,
        sha256=hexes(2000 + number),
        ox=hexes(3),
        size=65536,
        manifest=manifest,
        manifest_text=data.decode(),
        link=link,
        link_event=None,
        wrap_event="{}",
        seal_event="{}",
        rumor_event="{}",
        bucket_events={file.file: [stored_event(event) for event in events]},
    )


def window(begin: int, end: int, app: str = "vim") -> BucketEvent:
    """Return a bucket event so many seconds into the first hour."""
    return BucketEvent(T0 + begin * SECOND, T0 + end * SECOND, {"app": app, "title": "ä\x00\ud800"})


@pytest.fixture
def store(database: Database) -> Store:
    """Return the store of an empty database."""
    return Store(database)


@pytest.fixture
def ana(store: Store) -> int:
    """Return the number of an enrolled worker."""
    return store.enroll("ana", pubkeys=[ANA]).id


# --- workers


def test_enrolling_twice_adds_to_the_first(store: Store) -> None:
    """A name names one worker; what is told later is added or takes the place of what was."""
    store.enroll("ana", pubkeys=[ANA], access=["b2" * 32], kimai_user=3)
    again = store.enroll("ana", pubkeys=[ANA, "c3" * 32], timezone="Europe/Berlin")
    assert set(again.pubkeys) == {ANA, "c3" * 32}
    assert (again.access_pubkeys, again.kimai_user, again.timezone) == (("b2" * 32,), 3, "Europe/Berlin")
    assert store.workers() == [again]


def test_a_key_belongs_to_one_worker(store: Store) -> None:
    """A key of another worker is refused, and the refusal leaves no half-made worker."""
    store.enroll("ana", pubkeys=[ANA])
    with pytest.raises(UsageError, match="belongs to the worker 'ana'"):
        store.enroll("bob", pubkeys=[ANA])
    with pytest.raises(UsageError, match="identity"):
        store.enroll("ana", access=[ANA])
    assert [worker.name for worker in store.workers()] == ["ana"]


def test_a_removed_worker_is_a_stranger(store: Store, ana: int) -> None:
    """The keys of a removed worker open nothing until they are enrolled again; access keys never do."""
    store.enroll("ana", access=["b2" * 32])
    assert store.author(ANA) is not None
    assert store.author("b2" * 32) is None
    store.remove("ana")
    assert store.author(ANA) is None
    assert store.workers(disabled=False) == []
    store.enroll("ana")
    assert store.author(ANA) is not None
    assert store.remove("nobody") is None


# --- bundles


def test_a_bundle_is_stored_with_all_it_brings(store: Store, database: Database, ana: int) -> None:
    """Bucket events can be read back, and the period waits for kimai-sync."""
    events = [window(10, 20), window(20, 20, "zero"), window(30, 400, "less")]
    stored, new = store.store(delivery(ana, 0, events))
    assert new
    assert (
        stored
        == store.find(hexes(0))
        == store.known(ana, hexes(1000), "")
        == store.known(ana, "", hexes(2000))
    )
    assert (stored.worker, stored.screenshots, stored.bucket_events) == ("ana", 1, 3)
    (bucket,) = store.bucket_events(ana, T0, T0 + HOUR)
    assert (bucket.id, bucket.type, bucket.device) == ("window", "currentwindow", "aw")
    assert list(bucket.events) == events
    assert [mark[:2] for mark in store.dirty(ana)] == [(T0, T0 + HOUR)]
    assert store.period(ana) == (T0, T0 + HOUR)
    assert store.zones(ana) == ["Europe/Berlin"]


def test_a_period_is_read_with_what_reaches_into_it(store: Store, ana: int) -> None:
    """Bucket events that begin before a period or end after it belong to it, others do not."""
    events = [
        window(0, 100, "reaches"),
        window(5, 10, "before"),
        window(90, 300, "goes on"),
        window(200, 201),
    ]
    store.store(delivery(ana, 0, events))
    (bucket,) = store.bucket_events(ana, T0 + 50 * SECOND, T0 + 150 * SECOND)
    assert [event.data["app"] for event in bucket.events] == ["reaches", "goes on"]


def test_zones_and_ends_are_found_among_many(store: Store, database: Database, ana: int) -> None:
    """The zones of the bundles come latest first, without those that do not exist; ends are the outermost."""
    assert (store.zones(ana), store.period(ana)) == ([], None)
    for number, zone in enumerate(
        ("Europe/Berlin", "Asia/Tokyo", "Europe/Berlin", "No/Where", "America/Lima")
    ):
        stored = delivery(ana, number, [])
        store.store(replace(stored, manifest=replace(stored.manifest, timezone=zone)))
    ben = store.enroll("ben", pubkeys=["b1" * 32])
    store.store(delivery(ben.id, 9, []))
    assert store.zones(ana) == ["America/Lima", "Europe/Berlin", "Asia/Tokyo"]
    assert store.period(ana) == (T0, T0 + 5 * HOUR)
    with database.read() as connection:
        if database.sqlite:
            plans = [
                row[3]
                for end in ("min(begin_us)", "max(end_us)", "min(timezone)")
                for row in connection.exec_driver_sql(
                    f"EXPLAIN QUERY PLAN SELECT {end} FROM bundle WHERE worker_id = 1"
                )
            ]
            assert all("COVERING INDEX" in plan for plan in plans), plans


def test_only_the_buckets_that_are_needed_are_read(store: Store, ana: int) -> None:
    """What is asked, is told the kind of each bucket, and buckets of other kinds than it names stay away."""
    store.store(delivery(ana, 0, [window(0, 100)]))
    told: list[Sequence[str]] = []

    def none(kinds: Sequence[str]) -> Sequence[str]:
        told.append(kinds)
        return ()

    assert store.bucket_events(ana, T0, T0 + HOUR, none) == []
    assert told == [["currentwindow"]]
    assert len(store.bucket_events(ana, T0, T0 + HOUR, lambda kinds: kinds)) == 1


def test_what_comes_twice_is_stored_once(store: Store, ana: int) -> None:
    """The same capture in another wrap, rumor and blob gives the bundle that is there."""
    first, _ = store.store(delivery(ana, 0, [window(1, 2)]))
    again = replace(delivery(ana, 0, [window(1, 2)]), wrap=hexes(7), rumor=hexes(8), sha256=hexes(9))
    assert store.store(again) == (first, False)
    assert len(store.dirty(ana)) == 1


def test_one_place_in_the_chain_holds_one_root(store: Store, ana: int) -> None:
    """Another bundle with a sequence that is taken is refused and leaves nothing behind."""
    store.store(delivery(ana, 0, [window(1, 2)]))
    with pytest.raises(PeerProtocolError, match="place 1 in the chain"):
        store.store(delivery(ana, 5, [window(5, 6)], sequence=1))
    assert store.find(hexes(5)) is None
    assert len(store.bucket_events(ana, T0, T0 + 9 * HOUR)[0].events) == 1


_TEXTS = st.text(st.characters(exclude_categories=()))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXTS, inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(_TEXTS, _VALUES, max_size=4))
def test_data_has_one_spelling(data: dict[str, object]) -> None:
    """Whatever the data of a bucket event, it is stored as Python's json writes it: digests stay the same."""
    spelt = json.dumps(data, sort_keys=True, separators=(",", ":"))
    assert stored_event(BucketEvent(0, 1, data)).data == spelt


def test_an_event_that_grew_is_lengthened(store: Store, ana: int) -> None:
    """The same beginning and data with a later end is the same bucket event, and never gets shorter."""
    for number, end in enumerate((100, 400, 200)):
        store.store(delivery(ana, number, [window(0, end)]))
    (bucket,) = store.bucket_events(ana, T0 + 350 * SECOND, T0 + HOUR)
    assert [event.end for event in bucket.events] == [T0 + 400 * SECOND]


def test_marks_set_meanwhile_are_kept(store: Store, ana: int) -> None:
    """Cleaning forgets the marks that were read, not those that came since."""
    store.store(delivery(ana, 0, []))
    seen = [mark[2] for mark in store.dirty(ana)]
    store.store(delivery(ana, 1, []))
    store.clean(seen)
    assert [mark[0] for mark in store.dirty(ana)] == [T0 + HOUR]


def test_two_runs_store_one_bundle_once(store: Store, database: Database, ana: int) -> None:
    """Of runs that store the same bundle at the same moment one adds it, the others find it."""
    barrier = Barrier(4)
    results: list[tuple[Stored, bool]] = []

    def run() -> None:
        barrier.wait()
        results.append(store.store(delivery(ana, 0, [window(n, n + 1, str(n)) for n in range(200)])))

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new for _, new in results) == [False, False, False, True]
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM bucket_event")).scalar() == 200
        assert connection.execute(sa.text("SELECT count(*) FROM dirty")).scalar() == 1


# --- refusals


def test_a_refusal_is_remembered(store: Store, database: Database, ana: int) -> None:
    """The reason is kept, and the wrap waits no longer."""
    inbox = Inbox(database)
    inbox.add({"id": hexes(1)}, "", 1)
    refusal = Refusal(wrap=hexes(1), reason="wrong hash", status=76, rumor=hexes(2), pubkey=ANA, worker=ana)
    store.refuse(refusal)
    store.refuse(replace(refusal, reason="another"))
    assert store.refusal(hexes(1)) == refusal
    assert store.refusal(hexes(2)) is None
    assert inbox.outcome(hexes(1)) == "rejected"


def test_workers_are_named_one_or_all(store: Store, ana: int) -> None:
    """Without a name all are meant; a name that nobody has is the caller's mistake."""
    ben = store.enroll("ben")
    assert [one.name for one in store.named(None)] == ["ana", "ben"]
    assert store.named("ben") == [ben]
    with pytest.raises(UsageError, match="no worker is called 'eve'"):
        store.named("eve")


def test_a_reason_may_quote_anything(store: Store, ana: int) -> None:
    """What a peer's nonsense brings into a reason cannot keep it from being stored."""
    store.refuse(Refusal(wrap=hexes(3), reason="unknown 'a\0b\ud800'", status=65, worker=ana))
    found = store.refusal(hexes(3))
    assert found is not None and found.reason == "unknown 'a\N{REPLACEMENT CHARACTER}b\\ud800'"


def test_anonymous_refusals_are_capped(
    store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wraps that nobody can be blamed for do not fill the database; a worker's refusals stay."""
    monkeypatch.setattr(intake, "ANONYMOUS", 20)
    ana = store.enroll("ana").id
    for number in range(60):
        store.refuse(Refusal(wrap=hexes(number), reason="x", status=65, worker=None if number % 2 else ana))
    with database.read() as connection:
        counts = connection.execute(sa.text("SELECT count(*), count(worker_id) FROM rejection")).one()
    assert counts == (50, 30)


# --- the ledger


def sent(worker: int, number: int, **changes: object) -> SentTimesheet:
    """Return a row of the ledger for one hour."""
    values: dict[str, object] = {
        "id": f"{number:032x}",
        "worker": worker,
        "marker": f"[powdo-{number:08x}]",
        "kimai_id": None,
        "state": "intent",
        "begin": T0 + number * HOUR,
        "end": T0 + (number + 1) * HOUR,
        "user": 1,
        "project": 2,
        "activity": 3,
        "tags": ("powdo", "ä"),
        "description": "text",
        "billable": None,
        "fingerprint": "",
    }
    return SentTimesheet(**(values | changes))  # type: ignore[arg-type]  # the values are of the right types


def test_the_ledger_keeps_what_was_sent(store: Store, ana: int) -> None:
    """A row is replaced by its id, and found by period and by state."""
    store.put_timesheets([sent(ana, 0), sent(ana, 1)])
    assert store.pending_timesheets(ana) == [sent(ana, 0), sent(ana, 1)]
    done = sent(ana, 0, state="sent", kimai_id=17, billable=False, fingerprint="f")
    store.put_timesheets([done])
    store.put_timesheets([sent(ana, 1, state="deleted")])
    assert store.pending_timesheets(ana) == []
    assert store.sent_timesheets(ana, T0 + HOUR - 1, T0 + 9 * HOUR) == [done]
    assert store.sent_timesheets(ana, T0 + HOUR, T0 + 9 * HOUR) == []
    assert store.sent_timesheets(ana + 1, T0, T0 + HOUR) == []


# --- properties

_EVENTS = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 600), st.sampled_from("abc")), max_size=30)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=_EVENTS, begin=st.integers(0, 3600), length=st.integers(1, 600))
def test_reading_agrees_with_looking_at_all(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, int, str]], begin: int, length: int
) -> None:
    """Whatever was stored, a period gives just the bucket events that touch it."""
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('db')}/dvm.sqlite")
    ana = store.enroll("ana").id
    longest: dict[tuple[int, str], int] = {}
    for at, duration, app in events:
        longest[(at, app)] = max(longest.get((at, app), 0), duration)
    store.store(delivery(ana, 0, [window(at, at + duration, app) for at, duration, app in events]))
    (bucket,) = store.bucket_events(ana, T0 + begin * SECOND, T0 + (begin + length) * SECOND)
    expected = {
        (at, at + duration, app)
        for (at, app), duration in longest.items()
        if at < begin + length and at + duration >= begin
    }
    found = [
        ((event.begin - T0) // SECOND, (event.end - T0) // SECOND, str(event.data["app"]))
        for event in bucket.events
    ]
    assert set(found) == expected
    assert len(found) == len(expected)
    store.close()
