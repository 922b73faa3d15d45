"""What the DVM asks for, since its chain of a device has a hole there.

Rules:
- only what was sealed for this very DVM is sent to it again: another's captures are none of its business;
- what may still be on its way is left alone, and so is what waits, was refused, or was withheld;
- what cannot be sent any more is noted, for a person to hear of it once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from powdo.adapters.outbox.captures import Entry
from powdo.adapters.outbox.resending import Resending, again
from powdo.lines import parse_time

#: So long what was published may take to be stored; clocks may differ by some of it.
IN_FLIGHT = 3600
#: So many numbers are looked at, of all that a DVM may ask for.
_MOST = 1000


class Asked(NamedTuple):
    """What is done about what a DVM asks for: captures *sent* again, and numbers newly known as *gone*."""

    sent: tuple[str, ...]
    gone: tuple[int, ...]


class Asking(Resending):
    """The outbox as a DVM with a hole in its chain asks for it."""

    def asked_for(
        self, dvm: str, device: str, ranges: Sequence[tuple[int, int]], *, at: int, now: int
    ) -> Asked:
        """Let wait again what *dvm*, at *at* by its clock, missed of *device* in *ranges*, and can be sent.

        Hold the locks `upload` and `wrap`.
        """
        last = self.next_sequence(device) - 1
        wanted = [number for first, end in ranges for number in range(first, min(end, last) + 1)[:_MOST]]
        sent, gone = [], []
        for number in wanted[:_MOST]:
            with self._transaction() as db:
                entry = self._numbered(device, number)
                if entry is None or self._is_gone(db, entry, dvm, at):
                    gone.append(number)
                elif self._is_lost(db, entry, dvm, at):
                    again(db, entry)
                    sent.append(entry.capture.id)
                elif entry.state == "withheld":
                    _tell_anew(db, entry.capture.id)
        return Asked(tuple(sent), self._note_gone(dvm, device, gone, now))

    def is_own_device(self, device: str) -> bool:
        """Return whether *device* captured into this outbox."""
        return bool(self._query("SELECT 1 FROM device WHERE id = ?", device))

    def count_gone(self) -> int:
        """Return how many captures a DVM asks for that cannot be sent."""
        return int(self._query("SELECT count(*) AS count FROM asked")[0]["count"])

    def _numbered(self, device: str, number: int) -> Entry | None:
        rows = self._query("SELECT id FROM capture WHERE device = ? AND sequence = ?", device, number)
        return self.get(rows[0]["id"]) if rows else None

    def _is_gone(self, db: sqlite3.Connection, entry: Entry, dvm: str, at: int) -> bool:
        """Return whether *entry* was sent and cannot be sent to *dvm* again."""
        if entry.state not in ("published", "acknowledged"):
            return False
        kept = entry.key is not None and self.bundle_path(entry.capture.id).is_file()
        known = db.execute(
            "SELECT 1 FROM sent WHERE capture = ? AND recipient = ?", (entry.capture.id, dvm)
        ).fetchone()
        return known is None or (not kept and self._is_lost(db, entry, dvm, at))

    def _is_lost(self, db: sqlite3.Connection, entry: Entry, dvm: str, at: int) -> bool:
        """Return whether *dvm* should have had *entry* by *at*."""
        name = entry.capture.id
        if entry.state == "published":
            (published,) = db.execute("SELECT max(published) FROM wrap WHERE capture = ?", (name,)).fetchone()
            return published is not None and published + IN_FLIGHT <= at
        if entry.state != "acknowledged":
            return False
        stored = [
            parse_time(record["received"]).timestamp()
            for record in self.receipts(name)
            if "received" in record
        ]
        return max(stored, default=0) + IN_FLIGHT <= at

    def _note_gone(self, dvm: str, device: str, gone: Sequence[int], now: int) -> tuple[int, ...]:
        """Keep what is *gone* of what *dvm* asks for now, and return what was not known to be."""
        rows = self._query("SELECT sequence FROM asked WHERE dvm = ? AND device = ?", dvm, device)
        known = {row["sequence"] for row in rows}
        if known == set(gone):
            return ()
        with self._transaction() as db:
            db.executemany(
                "DELETE FROM asked WHERE dvm = ? AND device = ? AND sequence = ?",
                [(dvm, device, number) for number in known.difference(gone)],
            )
            db.executemany(
                "INSERT OR IGNORE INTO asked VALUES (?, ?, ?, ?)",
                [(dvm, device, number, now) for number in gone],
            )
        return tuple(number for number in gone if number not in known)


def _tell_anew(db: sqlite3.Connection, capture_id: str) -> None:
    """Let the next bundle carry the link of a withheld capture, if the one that did was refused."""
    db.execute(
        "DELETE FROM told WHERE capture = ? AND carrier IN (SELECT id FROM capture WHERE state = 'rejected')",
        (capture_id,),
    )
