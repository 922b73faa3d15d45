"""What a DVM asks for: sent again if it was sealed for that DVM, told to a person if it cannot be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from powdo.adapters.outbox import Outbox
from powdo.adapters.outbox.asking import IN_FLIGHT, Asked
from tests.adapters.test_outbox_resending import DVM, NOW, publish, receipt
from tests.outbox_steps import bundle, capture

OTHER = "e0" * 32
LATE = NOW + IN_FLIGHT


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """Return an outbox with a device."""
    return Outbox(tmp_path / "state")


@pytest.fixture
def device(outbox: Outbox) -> str:
    """Return the device."""
    return outbox.device("ana")


def sent(outbox: Outbox, device: str) -> str:
    """Return the id of a capture that was published to DVM at NOW."""
    record = capture(outbox, device, now=NOW)
    bundle(outbox, record)
    publish(outbox, record.id, NOW)
    return record.id


def asked(outbox: Outbox, device: str, *ranges: tuple[int, int], dvm: str = DVM, at: int = LATE) -> Asked:
    """Let *dvm* ask."""
    return outbox.asked_for(dvm, device, ranges, at=at, now=LATE)


def test_what_was_lost_on_the_way_is_sent_again(outbox: Outbox, device: str) -> None:
    """What was published an hour and more before waits for upload again; the rest stays."""
    names = [sent(outbox, device) for _ in range(4)]
    assert asked(outbox, device, (2, 3)) == (tuple(names[1:3]), ())
    states = [outbox.known(name).state for name in names]
    assert states == ["published", "bundled", "bundled", "published"]
    assert asked(outbox, device, (2, 3)) == ((), ())  # they wait already


def test_what_may_be_on_its_way_is_left_alone(outbox: Outbox, device: str) -> None:
    """What was published within the hour may just not have been stored yet."""
    sent(outbox, device)
    assert asked(outbox, device, (1, 1), at=LATE - 1) == ((), ())


def test_what_was_stored_since_is_left_alone(outbox: Outbox, device: str) -> None:
    """A question that is older than the receipt is answered by it; a later one means it was lost there."""
    name = sent(outbox, device)
    at = datetime.fromtimestamp(LATE, UTC)
    outbox.add_receipt(replace(receipt(name), received=at), DVM, now=LATE)
    assert asked(outbox, device, (1, 1)) == ((), ())
    assert asked(outbox, device, (1, 1), at=LATE + IN_FLIGHT) == ((name,), ())
    assert outbox.known(name).state == "bundled"


def test_what_waits_or_was_refused_is_left_alone(outbox: Outbox, device: str) -> None:
    """Captured, bundled, withheld: each goes its way; what was refused needs a person already."""
    capture(outbox, device, now=NOW)
    bundle(outbox, capture(outbox, device, now=NOW))
    dropped = capture(outbox, device, now=NOW)
    outbox.drop(dropped.id)
    refused = sent(outbox, device)
    outbox.add_receipt(receipt(refused, "error"), DVM, now=NOW)
    assert asked(outbox, device, (1, 4)) == ((), ())
    assert outbox.count_gone() == 0


def test_a_withheld_link_whose_bearer_was_refused_is_told_anew(outbox: Outbox, device: str) -> None:
    """The next bundle carries it once more."""
    dropped = capture(outbox, device, now=NOW)
    outbox.set_links([(dropped.id, "link", "{}")])
    outbox.drop(dropped.id)
    bearer = sent(outbox, device)
    outbox.mark_told(bearer, [dropped.id])
    assert asked(outbox, device, (1, 1)) == ((), ())
    assert outbox.untold(device, limit=9) == []
    outbox.add_receipt(receipt(bearer, "error"), DVM, now=NOW)
    asked(outbox, device, (1, 1))
    assert [entry.capture.id for entry in outbox.untold(device, limit=9)] == [dropped.id]


def test_what_is_not_kept_any_more_is_told_once(outbox: Outbox, device: str) -> None:
    """A person hears of it once, and it counts until the DVM asks no longer."""
    name = sent(outbox, device)
    sent(outbox, device)
    outbox.add_receipt(receipt(name), DVM, now=NOW)
    outbox.expire(before=NOW)
    assert asked(outbox, device, (1, 1)) == ((), (1,))
    assert asked(outbox, device, (1, 1)) == ((), ())
    assert outbox.count_gone() == 1
    assert asked(outbox, device) == ((), ())
    assert outbox.count_gone() == 0


def test_another_dvm_gets_nothing(outbox: Outbox, device: str) -> None:
    """What was sealed for one DVM is never sent because another one asks."""
    name = sent(outbox, device)
    assert asked(outbox, device, (1, 1), dvm=OTHER) == ((), (1,))
    assert outbox.known(name).state == "published"


def test_a_dvm_may_ask_for_anything(outbox: Outbox, device: str) -> None:
    """Numbers that never were are no work, however many; nor is another device."""
    name = sent(outbox, device)
    assert asked(outbox, device, (1, 10**14), (5, 10**14)) == ((name,), ())
    assert not outbox.is_own_device("6f1c2b3a-0000-4000-8000-000000000001")
    assert outbox.is_own_device(device)
