"""What `capture` and `bundle` do to an outbox, step by step, for tests of what comes after them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from powdo.adapters.outbox import Outbox
from powdo.records import Bundle, Capture

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
KEY = "0f" * 32


def capture(
    outbox: Outbox, device: str, *, now: int = 1000, cursors: dict[tuple[str, str], int] | None = None
) -> Capture:
    """Put one capture with a file into *outbox* and return its record."""
    with outbox.lock("capture"):
        sequence = outbox.next_sequence(device)
        capture_id = uuid.uuid4().hex
        staging = outbox.staging(capture_id)
        (staging / "manifest.json").write_bytes(b"{}")
        begin = BEGIN + timedelta(minutes=5 * sequence)
        record = Capture(
            id=capture_id, sequence=sequence, device=device, begin=begin, end=begin + timedelta(minutes=5),
            path=str(outbox.capture_path(capture_id)), screenshots=1, bucket_events=2,
        )  # fmt: skip
        outbox.add_capture(record, staging, cursors or {}, now=now)
    return record


def bundle(outbox: Outbox, record: Capture) -> Bundle:
    """Bundle *record* in *outbox* and return the bundle's record."""
    path = outbox.bundle_path(record.id)
    path.write_bytes(b"zip")
    made = Bundle(
        id=record.id, sequence=record.sequence, device=record.device, begin=record.begin, end=record.end,
        path=str(path), sha256="ab" * 32, ox="cd" * 32, size=65536, salt="00" * 16, key=KEY,
    )  # fmt: skip
    outbox.set_links([(record.id, f"link-{record.id}", "{}")])
    outbox.add_bundle(made, KEY)
    return made
