"""What no receipt covers waits again, and what one covers goes, never sooner."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from powdo.adapters.outbox import RESENDS, Outbox
from powdo.errors import BadRecordError
from powdo.records.receipt import Receipt
from tests.outbox_steps import KEY, bundle, capture

DAY = 86_400
DVM = "d0" * 32
NOW = 1_796_000_000


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """Return an empty outbox."""
    return Outbox(tmp_path / "state")


def publish(outbox: Outbox, name: str, now: int) -> None:
    """Let *name* go from its bundle to the relay, at *now*."""
    outbox.add_blobs(name, [{"url": "https://one.example/x"}])
    wrap = uuid.uuid4().hex * 2
    outbox.add_wraps(name, [(DVM, {"id": wrap})], now=now, rumor=f"{name:0>64}", addressees=[DVM])
    outbox.mark_published(wrap, [], done=True, now=now)


def sent(outbox: Outbox, now: int = NOW) -> str:
    """Return the id of a capture that was published at *now*."""
    record = capture(outbox, "d1", now=now)
    bundle(outbox, record)
    publish(outbox, record.id, now)
    return record.id


def receipt(name: str, status: str = "success") -> Receipt:
    """Return a receipt of the capture *name*."""
    return Receipt(
        id=name,
        sequence=1,
        device="d1",
        status=status,
        rumor="0e" * 32,
        sha256="ab" * 32,
        dvm="npub1dvm",
        received=datetime.fromtimestamp(NOW, UTC) if status != "error" else None,
        reason="too large" if status == "error" else None,
    )


def again(outbox: Outbox, now: int) -> list[str]:
    """Return what is sent again at *now*."""
    return outbox.resend_due(now=now, after=DAY)


def test_what_has_no_receipt_is_sent_after_one_two_four_and_eight_days(outbox: Outbox) -> None:
    """Each wait is twice the last; then nothing more is sent and a person is to be told, once."""
    name, now = sent(outbox), NOW
    for times in range(RESENDS):
        wait = DAY << times
        assert again(outbox, now + wait - 1) == []
        now += wait
        assert again(outbox, now) == [name]
        assert outbox.known(name).state == "bundled"
        assert again(outbox, now + 100 * DAY) == []  # it waits for upload already
        publish(outbox, name, now)
    (item,) = outbox.unanswered(now=now + DAY - 1, after=DAY)
    assert (item.again, item.overdue, item.times) == (None, False, RESENDS)
    (item,) = outbox.unanswered(now=now + DAY, after=DAY)
    assert (item.overdue, item.told) == (True, False)
    assert again(outbox, now + 1000 * DAY) == []
    outbox.mark_person_told([name])
    (item,) = outbox.unanswered(now=now + DAY, after=DAY)
    assert (item.overdue, item.told) == (True, True)


def test_a_person_starts_the_waits_anew(outbox: Outbox) -> None:
    """What a person sends again is sent again by itself afterwards, and told again in the end."""
    name = sent(outbox)
    again(outbox, NOW + DAY)
    publish(outbox, name, NOW + DAY)
    outbox.resend(name)
    publish(outbox, name, NOW + DAY)
    (item,) = outbox.unanswered(now=NOW + DAY, after=DAY)
    assert (item.times, item.again) == (0, NOW + 2 * DAY)


def test_with_zero_nothing_is_sent_again(outbox: Outbox) -> None:
    """`resend_after = 0` is for a DVM that sends no receipts."""
    sent(outbox)
    assert outbox.resend_due(now=NOW + 1000 * DAY, after=0) == []


@pytest.mark.parametrize("status", ["success", "partial", "error"])
def test_what_is_answered_is_not_sent_again(outbox: Outbox, status: str) -> None:
    """A receipt ends the waits, whatever it says; one of stored ends a sending under way."""
    name = sent(outbox)
    outbox.add_receipt(receipt(name, status), DVM, now=NOW)
    assert again(outbox, NOW + 1000 * DAY) == []
    assert outbox.unanswered(now=NOW + 1000 * DAY, after=DAY) == []


def test_a_bundle_that_was_removed_by_hand_is_told(outbox: Outbox) -> None:
    """What cannot be sent again is a person's matter at once, and nothing breaks."""
    name, other = sent(outbox), sent(outbox)
    outbox.bundle_path(name).unlink()
    assert again(outbox, NOW + DAY) == [other]
    (item,) = outbox.unanswered(now=NOW + 2 * DAY, after=DAY)
    assert (item.id, item.overdue) == (name, True)


def test_a_clock_that_was_ahead_delays_nothing(outbox: Outbox) -> None:
    """What was published, or acknowledged, in a year to come counts from when the clock was set right."""
    name, other = sent(outbox, NOW + 365 * DAY), sent(outbox, NOW)
    outbox.add_receipt(receipt(other), DVM, now=NOW + 365 * DAY)
    outbox.set_right(now=NOW)
    assert again(outbox, NOW + DAY) == [name]
    assert outbox.expire(before=NOW - 1) == []
    assert outbox.expire(before=NOW) == [other]


# --- what is kept


def test_bundle_and_key_go_after_the_receipt(outbox: Outbox) -> None:
    """After the days that were wished nothing that opens the bundle is left, and the receipt is."""
    name = sent(outbox)
    outbox.add_receipt(receipt(name), DVM, now=NOW)
    assert outbox.expire(before=NOW - 1) == []
    assert outbox.bundle_path(name).is_file()
    assert outbox.expire(before=NOW) == [name]
    assert not outbox.bundle_path(name).exists()
    entry = outbox.known(name)
    assert (entry.state, entry.key, entry.link) == ("acknowledged", None, f"link-{name}")
    assert outbox.wraps(name) == []
    assert len(outbox.receipts(name)) == 1
    files = [path for path in outbox.bundles.parent.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert outbox.expire(before=NOW) == []
    with pytest.raises(BadRecordError, match="not kept any more"):
        outbox.resend(name)


def test_the_first_receipt_counts(outbox: Outbox) -> None:
    """A receipt that comes again does not keep the bundle for longer."""
    name = sent(outbox)
    for now in (NOW, NOW + 10 * DAY):
        outbox.add_receipt(receipt(name), DVM, now=now)
    assert outbox.expire(before=NOW) == [name]


def test_what_was_sent_once_more_is_kept(outbox: Outbox) -> None:
    """What is on its way again keeps its bundle, though there was a receipt."""
    name = sent(outbox)
    outbox.add_receipt(receipt(name), DVM, now=NOW)
    outbox.resend(name)
    assert outbox.expire(before=NOW + 1000 * DAY) == []


class Life(RuleBasedStateMachine):
    """Captures that are sent, answered, sent again and removed, in any order and at any time."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.outbox = Outbox(Path(self.folder.name) / "state")
        self.now = NOW
        self.names: list[str] = []
        self.stored: dict[str, int] = {}

    def teardown(self) -> None:
        """Remove the folder."""
        self.outbox.close()
        self.folder.cleanup()

    @rule()
    def send(self) -> None:
        """Send one more."""
        if len(self.names) < 3:
            self.names.append(sent(self.outbox, self.now))

    @precondition(lambda self: self.names)
    @rule(which=st.integers(0, 2), status=st.sampled_from(["success", "partial", "error"]))
    def answer(self, which: int, status: str) -> None:
        """Let a receipt come."""
        name = self.names[which % len(self.names)]
        self.outbox.add_receipt(receipt(name, status), DVM, now=self.now)
        if status != "error":
            self.stored.setdefault(name, self.now)

    @rule(days=st.integers(0, 9))
    def wait(self, days: int) -> None:
        """Let days pass, send again what is due, and publish it."""
        self.now += days * DAY
        for name in self.outbox.resend_due(now=self.now, after=DAY):
            assert name not in self.stored
            publish(self.outbox, name, self.now)

    @rule(days=st.integers(0, 20))
    def remove(self, days: int) -> None:
        """Remove what was answered so many days ago."""
        for name in self.outbox.expire(before=self.now - days * DAY):
            assert self.stored[name] <= self.now - days * DAY

    @invariant()
    def nothing_is_lost(self) -> None:
        """Hold that what is not stored by a receipt is here whole, and what is stored is not sent."""
        for name in self.names:
            entry = self.outbox.known(name)
            if name in self.stored:
                assert entry.state == "acknowledged"
            else:
                assert entry.state in ("published", "rejected")
                assert entry.key == KEY
                assert self.outbox.bundle_path(name).is_file()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
