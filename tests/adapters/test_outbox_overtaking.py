"""Receipts that overtake `publish`: the state ends where it would have, and no copy is lost on the way."""

from __future__ import annotations

import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from powdo.adapters.outbox import STALE_WRAP_SECONDS, Outbox
from powdo.errors import BadRecordError
from powdo.records.receipt import Receipt
from tests.outbox_steps import KEY, bundle, capture

DVM, OTHER, OWN = "d0" * 32, "d1" * 32, "0a" * 32
RUMOR = "0e" * 32
NOW, FAR = 1_796_000_000, 1 << 40


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """Return an empty outbox."""
    made = Outbox(tmp_path / "state")
    yield made
    made.close()


def uploaded(outbox: Outbox) -> str:
    """Return the id of a capture that waits for its wraps."""
    record = capture(outbox, "d", now=NOW)
    bundle(outbox, record)
    outbox.add_blobs(record.id, [{"url": "https://one.example/x"}])
    return record.id


def wrap(outbox: Outbox, name: str, dvms: tuple[str, ...] = (DVM,), now: int = NOW) -> None:
    """Wrap *name* for the worker and for those of *dvms* who do not have it."""
    wanted = [pubkey for pubkey in (*dvms, OWN) if pubkey not in outbox.has_it(name)]
    wraps = [(pubkey, {"id": uuid.uuid4().hex}) for pubkey in wanted]
    outbox.add_wraps(name, wraps, now=now, rumor=RUMOR, addressees=dvms)


def wrapped(outbox: Outbox, dvms: tuple[str, ...] = (DVM,)) -> str:
    """Return the id of a capture whose wraps wait for the relay."""
    name = uploaded(outbox)
    wrap(outbox, name, dvms)
    return name


def waiting(outbox: Outbox, name: str) -> dict[str, str]:
    """Return the ids of the wraps of *name* that no relay has, by recipient."""
    return {item.recipient: item.id for item in outbox.wraps(name) if item.published is None}


def publish(outbox: Outbox, name: str, *recipients: str) -> None:
    """Let the relay take what waits for *recipients*."""
    for pubkey in recipients:
        outbox.mark_published(waiting(outbox, name)[pubkey], [], done=True, now=NOW)


def answer(outbox: Outbox, name: str, status: str = "success", dvm: str = DVM) -> None:
    """Let a receipt of *dvm* come."""
    stored = status != "error"
    receipt = Receipt(
        id=name, sequence=1, device="d", status=status, rumor=RUMOR, sha256="ab" * 32, dvm="npub1dvm",
        received=datetime.fromtimestamp(NOW, UTC) if stored else None, reason=None if stored else "too large",
    )  # fmt: skip
    outbox.add_receipt(receipt, dvm, now=NOW)


def state(outbox: Outbox, name: str) -> tuple[str, str | None]:
    """Return how far *name* has come, and what the DVM said against it."""
    entry = outbox.known(name)
    return entry.state, entry.error


@pytest.mark.parametrize("noted", [True, False])
def test_the_own_copy_outlives_the_receipt(outbox: Outbox, *, noted: bool) -> None:
    """What the DVM has before the worker's copy is out keeps copy, bundle and key until a relay has it."""
    name = wrapped(outbox)
    if noted:  # else `publish` was killed before it could note the relay's OK
        publish(outbox, name, DVM)
    answer(outbox, name)
    assert list(waiting(outbox, name)) == [OWN]
    assert [item.recipient for item in outbox.unpublished(now=NOW)] == [OWN]
    assert state(outbox, name) == ("wrapped", None)
    assert outbox.expire(before=FAR) == []
    assert (outbox.known(name).key, outbox.bundle_path(name).is_file()) == (KEY, True)

    publish(outbox, name, OWN)
    assert state(outbox, name) == ("acknowledged", None)
    assert outbox.expire(before=NOW) == [name]
    assert outbox.known(name).key is None


def test_a_refusal_may_overtake(outbox: Outbox) -> None:
    """What the DVM refuses before all is noted as published is rejected then, with its reason."""
    name = wrapped(outbox)
    answer(outbox, name, "error")
    assert sorted(waiting(outbox, name)) == [OWN, DVM]
    publish(outbox, name, DVM)
    assert state(outbox, name) == ("wrapped", None)
    publish(outbox, name, OWN)
    assert state(outbox, name) == ("rejected", "too large")
    assert outbox.resend_due(now=FAR, after=1) == []


@pytest.mark.parametrize("order", [("error", "success"), ("success", "error")])
def test_stored_beats_refused_here_too(outbox: Outbox, order: tuple[str, str]) -> None:
    """Of two early receipts the one that says stored counts."""
    name = wrapped(outbox)
    publish(outbox, name, DVM)
    for status in order:
        answer(outbox, name, status)
    publish(outbox, name, OWN)
    assert state(outbox, name) == ("acknowledged", None)


def test_an_early_refusal_ends_with_its_sending(outbox: Outbox) -> None:
    """What a person sends again is not refused by what was said of it before."""
    name = wrapped(outbox)
    answer(outbox, name, "error")
    outbox.resend(name)
    outbox.add_blobs(name, [{"url": "https://one.example/x"}])
    wrap(outbox, name)
    publish(outbox, name, DVM, OWN)
    assert state(outbox, name) == ("published", None)


def test_the_own_copy_outlives_a_second_sending(outbox: Outbox) -> None:
    """A copy that no relay had when its bundle was sent again is not lost to a receipt that comes then."""
    name = wrapped(outbox)
    publish(outbox, name, DVM)
    outbox.resend(name)
    assert list(waiting(outbox, name)) == [OWN]
    answer(outbox, name)
    assert state(outbox, name) == ("bundled", None)
    outbox.add_blobs(name, [{"url": "https://one.example/x"}])
    wrap(outbox, name)
    assert list(waiting(outbox, name)) == [OWN]  # the DVM has it
    publish(outbox, name, OWN)
    assert state(outbox, name) == ("acknowledged", None)


def test_what_is_asked_for_after_a_receipt_goes_to_the_dvm(outbox: Outbox) -> None:
    """A person who sends again what has an early receipt, since the DVM lost it, sends it to the DVM."""
    name = wrapped(outbox)
    publish(outbox, name, DVM)
    outbox.resend(name)
    answer(outbox, name)
    outbox.resend(name)
    outbox.add_blobs(name, [{"url": "https://one.example/x"}])
    wrap(outbox, name)
    assert sorted(waiting(outbox, name)) == [OWN, DVM]


def test_the_old_copy_will_do(outbox: Outbox) -> None:
    """The copy of the first sending may go out while the second is on its way, and ends it with a receipt."""
    name = wrapped(outbox)
    publish(outbox, name, DVM)
    outbox.resend(name)
    answer(outbox, name)
    publish(outbox, name, OWN)
    assert state(outbox, name) == ("acknowledged", None)


def test_a_stale_copy_is_left_alone_until_its_bundle_is_uploaded(outbox: Outbox) -> None:
    """What waits for upload is not offered to `wrap` as stale: it gets fresh wraps on its way."""
    name = wrapped(outbox)
    publish(outbox, name, DVM)
    later = NOW + STALE_WRAP_SECONDS + 1
    assert outbox.stale_captures(now=later) == [name]
    outbox.resend(name)
    assert outbox.stale_captures(now=later) == []
    assert list(outbox.unpublished(now=later)) == []


def test_another_dvm_still_gets_its_wrap(outbox: Outbox) -> None:
    """A receipt ends the waiting of its own DVM's wrap; the other recipients' go out first."""
    name = wrapped(outbox, (DVM, OTHER))
    answer(outbox, name)
    assert sorted(waiting(outbox, name)) == [OWN, OTHER]
    publish(outbox, name, OWN)
    assert state(outbox, name) == ("wrapped", None)
    publish(outbox, name, OTHER)
    assert state(outbox, name) == ("acknowledged", None)
    assert outbox.has_it(name) == frozenset()


def test_what_is_wrapped_once_more_is_kept(outbox: Outbox) -> None:
    """A wrap for somebody else, made of what is acknowledged, keeps the key until a relay has it."""
    name = wrapped(outbox)
    publish(outbox, name, DVM, OWN)
    answer(outbox, name)
    outbox.add_wraps(name, [(OTHER, {"id": "e9"})], now=NOW)
    answer(outbox, name)
    assert outbox.expire(before=FAR) == []
    publish(outbox, name, OTHER)
    assert state(outbox, name) == ("acknowledged", None)
    assert outbox.expire(before=FAR) == [name]


def test_an_older_outbox_is_taken_up(outbox: Outbox, tmp_path: Path) -> None:
    """An outbox from before early receipts were noted gets its table, and what is on its way goes on."""
    name, refused = wrapped(outbox), wrapped(outbox)
    publish(outbox, name, DVM)
    outbox.close()
    with closing(sqlite3.connect(tmp_path / "state" / "outbox.sqlite")) as db:
        db.execute("DROP TABLE early")
    newer = Outbox(tmp_path / "state")
    answer(newer, name)
    publish(newer, name, OWN)
    answer(newer, refused, "error")
    publish(newer, refused, DVM, OWN)
    assert (state(newer, name)[0], state(newer, refused)[0]) == ("acknowledged", "rejected")
    newer.close()


class Overtaking(RuleBasedStateMachine):
    """A capture on its way, with receipts, second sendings and restarts at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.outbox = Outbox(Path(self.folder.name) / "state")
        self.name = wrapped(self.outbox)
        self.copied = self.stored = False
        self.refused: bool | None = None

    def teardown(self) -> None:
        """Remove the folder."""
        self.outbox.close()
        self.folder.cleanup()

    @property
    def state(self) -> str:
        """How far the capture has come."""
        return state(self.outbox, self.name)[0]

    @property
    def kept(self) -> bool:
        """Whether the bundle can still be opened here."""
        return self.outbox.known(self.name).key is not None

    @rule()
    def restart(self) -> None:
        """Begin a new process."""
        self.outbox.close()
        self.outbox = Outbox(Path(self.folder.name) / "state")

    @precondition(lambda self: waiting(self.outbox, self.name))
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        """Let the relay take one wrap."""
        to = data.draw(st.sampled_from(sorted(waiting(self.outbox, self.name))))
        publish(self.outbox, self.name, to)
        self.copied |= to == OWN

    @rule(status=st.sampled_from(["success", "partial", "error"]))
    def answer(self, status: str) -> None:
        """Let a receipt come."""
        before = self.state
        answer(self.outbox, self.name, status)
        if status != "error":
            self.stored, self.refused = True, False
        elif not self.stored and before in ("wrapped", "published"):
            self.refused = True

    @rule()
    def resend(self) -> None:
        """Let a person send it again, as far as it is kept."""
        try:
            self.outbox.resend(self.name)
        except BadRecordError:
            assert not self.kept
        else:
            self.refused = None

    @precondition(lambda self: self.state == "bundled")
    @rule()
    def upload(self) -> None:
        """Upload it."""
        self.outbox.add_blobs(self.name, [{"url": "https://one.example/x"}])

    @precondition(lambda self: self.state == "uploaded")
    @rule()
    def wrap(self) -> None:
        """Wrap it."""
        wrap(self.outbox, self.name)

    @rule()
    def expire(self) -> None:
        """Remove what is kept no longer."""
        gone = self.outbox.expire(before=FAR)
        assert gone == [] or self.state == "acknowledged"

    @invariant()
    def a_copy_is_out_or_waits(self) -> None:
        """Hold that from the first wrap on a copy is at a relay or waits here, with the key of its bundle."""
        waits = waiting(self.outbox, self.name)
        assert self.copied or OWN in waits
        assert self.kept or not waits

    @invariant()
    def it_stands_where_it_would_have(self) -> None:
        """Hold that once all is out the last receipt of this sending tells, whenever it came."""
        found = self.state
        if waiting(self.outbox, self.name):
            assert found in ("bundled", "uploaded", "wrapped")
        elif found not in ("bundled", "uploaded"):
            told = {True: ("rejected",), None: ("published", "acknowledged"), False: ("acknowledged",)}
            assert found in told[self.refused]


TestOvertaking = Overtaking.TestCase
TestOvertaking.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
