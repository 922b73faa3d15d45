"""One event into the tables: all kinds of NIP-01, deletions (NIP-09), expiry (NIP-40), caps and retention."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

from powdo.nips.event import Event
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import WRAPS, recipient_of
from powdo.servers.relay.tables import strangers

_DELETION = 5
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LARGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Write:
    """One checked event on its way to the disk, and the connection that waits for the answer."""

    event: Event
    raw: bytes
    origin: object
    received_at: int
    #: It came in by proof of work alone.
    stranger: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What OK says; *new* events are passed on to subscribers."""

    accepted: bool
    message: str
    new: bool


def address_of(event: Event) -> str | None:
    """Return what a newer event replaces this one by, or None for a regular event."""
    kind = event.kind
    if kind in (0, 3) or 10000 <= kind < 20000:
        return f"{kind}:{event.pubkey}:"
    if 30000 <= kind < 40000:
        return f"{kind}:{event.pubkey}:{event.tag('d') or ''}"
    return None


def store_event(db: sqlite3.Connection, write: Write, limits: Limits) -> Outcome:
    """Return what became of the event, within the transaction that is open."""
    event = write.event
    if db.execute("SELECT 1 FROM event WHERE id = ?", (bytes.fromhex(event.id),)).fetchone():
        return Outcome(True, "duplicate: already stored", new=False)
    address = address_of(event)
    if _is_deleted(db, event, address):
        return Outcome(False, "blocked: this event was deleted", new=False)
    if write.stranger and (full := _is_full(db, event, limits)):
        return Outcome(False, f"restricted: {full}", new=False)
    if address is not None and not _make_way(db, event, address):
        return Outcome(False, "replaced: a newer version is stored", new=False)
    _insert(db, write, address)
    if event.kind == _DELETION:
        _delete(db, event)
    return Outcome(True, "", new=True)


def _is_full(db: sqlite3.Connection, event: Event, limits: Limits) -> str | None:
    """Return why no more wraps of strangers are kept for the recipient, None when there is room."""
    for_recipient, in_all = strangers(db, bytes.fromhex(recipient_of(event) or ""))
    if for_recipient >= limits.stranger_wraps_per_recipient:
        return "no more gift wraps of unknown senders are kept for this recipient"
    if in_all >= limits.stranger_wraps:
        return "no more gift wraps of unknown senders are kept"
    return None


def _insert(db: sqlite3.Connection, write: Write, address: str | None) -> None:
    event = write.event
    recipient = recipient_of(event)
    seq = db.execute(
        "INSERT INTO event (id, pubkey, created_at, kind, address, expires, recipient, received_at, "
        "stranger, raw) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            bytes.fromhex(event.id),
            bytes.fromhex(event.pubkey),
            event.created_at,
            event.kind,
            address,
            _expiry(event),
            None if recipient is None else bytes.fromhex(recipient),
            write.received_at,
            write.stranger,
            write.raw,
        ),
    ).lastrowid
    named = {(tag[0], tag[1]) for tag in event.tags if len(tag) > 1 and len(tag[0]) == 1}
    if recipient is not None:
        named.discard(("p", recipient))  # found by event.recipient
    if named:
        db.executemany(
            "INSERT INTO tag (name, value, kind, created_at, seq) VALUES (?, ?, ?, ?, ?)",
            [(name, value, event.kind, event.created_at, seq) for name, value in named],
        )


def _expiry(event: Event) -> int | None:
    text = event.tag("expiration")
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 20:
        return None
    return min(int(text), _LARGEST)


def _make_way(db: sqlite3.Connection, event: Event, address: str) -> bool:
    """Remove the older version at *address*; return False when the one there is newer (then lower id)."""
    row = db.execute("SELECT seq, created_at, id FROM event WHERE address = ?", (address,)).fetchone()
    if row is None:
        return True
    seq, created_at, event_id = row
    if (created_at, -int.from_bytes(event_id)) > (event.created_at, -int(event.id, 16)):
        return False
    _remove(db, [seq])
    return True


def _remove(db: sqlite3.Connection, seqs: list[int]) -> None:
    db.executemany("DELETE FROM tag WHERE seq = ?", [(seq,) for seq in seqs])
    db.executemany("DELETE FROM event WHERE seq = ?", [(seq,) for seq in seqs])


# --- NIP-09: only the author deletes, and the recipient of a gift wrap ---


def _is_deleted(db: sqlite3.Connection, event: Event, address: str | None) -> bool:
    """Return whether a stored deletion by someone entitled names the event."""
    entitled = [bytes.fromhex(event.pubkey)]
    if (recipient := recipient_of(event)) is not None:
        entitled.append(bytes.fromhex(recipient))
    by_id = db.execute(
        "SELECT event.pubkey FROM tag JOIN event ON event.seq = tag.seq "
        "WHERE tag.name = 'e' AND tag.value = ? AND tag.kind = 5",
        (event.id,),
    )
    if event.kind != _DELETION and any(pubkey in entitled for (pubkey,) in by_id):
        return True
    if address is None:
        return False
    by_address = db.execute(
        "SELECT 1 FROM tag JOIN event ON event.seq = tag.seq WHERE tag.name = 'a' AND tag.value = ? "
        "AND tag.kind = 5 AND event.pubkey = ? AND tag.created_at >= ? LIMIT 1",
        (address, entitled[0], event.created_at),
    )
    return by_address.fetchone() is not None


def _delete(db: sqlite3.Connection, deletion: Event) -> None:
    author = bytes.fromhex(deletion.pubkey)
    wraps = ",".join(str(kind) for kind in sorted(WRAPS))
    seqs: list[int] = []
    for event_id in deletion.tag_values("e"):
        if _HEX.fullmatch(event_id):
            seqs += [
                seq
                for (seq,) in db.execute(
                    f"SELECT seq FROM event WHERE id = ? AND kind != 5 AND "  # noqa: S608  # our own kinds only
                    f"(pubkey = ? OR (kind IN ({wraps}) AND recipient = ?))",
                    (bytes.fromhex(event_id), author, author),
                )
            ]
    for address in deletion.tag_values("a"):
        seqs += [
            seq
            for (seq,) in db.execute(
                "SELECT seq FROM event WHERE address = ? AND pubkey = ? AND created_at <= ?",
                (address, author, deletion.created_at),
            )
        ]
    _remove(db, seqs)


def sweep(db: sqlite3.Connection, now: int, limits: Limits, most: int) -> int:
    """Remove up to *most* events that have expired (NIP-40), and wraps past their retention; return how many.

    The retention counts from a wrap's arrival: its date is up to two days older (NIP-59).
    """
    found = db.execute("SELECT seq FROM event WHERE expires <= ? LIMIT ?", (now, most)).fetchall()
    if limits.retention:
        found += db.execute(
            "SELECT seq FROM event WHERE recipient IS NOT NULL AND received_at <= ? "
            "ORDER BY received_at LIMIT ?",
            (now - limits.retention, most),
        ).fetchall()
    seqs = list(dict.fromkeys(seq for (seq,) in found))[:most]
    _remove(db, seqs)
    return len(seqs)
