"""Captures in the outbox: devices, cursors, rows, links and bundles."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from powdo.adapters.outbox.control import Controls
from powdo.adapters.outbox.statements import Statements
from powdo.errors import BadRecordError, CannotCreateError, OutputError
from powdo.records import Bundle, Capture
from powdo.settings.paths import fsync_path

_STAGES = {"bundle": "captured", "upload": "bundled", "wrap": "uploaded"}
FIRST_RETRY, LONGEST_RETRY = 60, 3600
_FOR_EVER = 1 << 60


def remove_folder(path: Path) -> None:
    """Remove *path* and what is in it, as far as that can be done; what stays is swept later."""
    import shutil  # with it come the compressors, which few runs need

    shutil.rmtree(path, ignore_errors=True)


class Entry(NamedTuple):
    """One capture's row: *state*, its record, its *link* and *proof* (JSON texts), its bundle and key."""

    capture: Capture
    state: str
    link: str | None
    proof: str | None
    bundle: Bundle | None
    key: str | None
    created: int
    attempts: int
    retry_at: int
    error: str | None


def _entry(row: sqlite3.Row) -> Entry:
    bundle = Bundle.from_json(json.loads(row["bundle"])) if row["bundle"] else None
    return Entry(
        capture=Capture.from_json(json.loads(row["record"])),
        state=row["state"],
        link=row["link"],
        proof=row["proof"],
        bundle=bundle,
        key=row["key"],
        created=row["created"],
        attempts=row["attempts"],
        retry_at=row["retry_at"],
        error=row["error"],
    )


def _advance(db: sqlite3.Connection, cursors: Mapping[tuple[str, str], int]) -> None:
    db.executemany(
        "INSERT INTO cursor VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
        [(source, bucket, at) for (source, bucket), at in cursors.items()],
    )


class Captures(Controls, Statements):
    """The captures of the outbox and how far each has come."""

    # --- devices and cursors ---

    def device(self, identity: str) -> str:
        """Return the UUID under which *identity* captures from this state directory."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO device VALUES (?, ?)", (identity, str(uuid.uuid4())))
            return str(db.execute("SELECT id FROM device WHERE identity = ?", (identity,)).fetchone()[0])

    def cursor(self, source: str, bucket: str) -> int | None:
        """Return the unix second up to which *bucket* of *source* is captured, or None."""
        rows = self._query("SELECT at FROM cursor WHERE source = ? AND bucket = ?", source, bucket)
        return int(rows[0]["at"]) if rows else None

    # --- captures ---

    def staging(self, capture_id: str) -> Path:
        """Return a fresh private folder in which a capture is put together."""
        path = self.captures / f".staging-{capture_id}"
        try:
            path.mkdir(mode=0o700)
        except OSError as error:
            raise CannotCreateError(f"cannot create '{path}': {error.strerror}") from None
        return path

    def capture_path(self, capture_id: str) -> Path:
        """Return where the folder of *capture_id* lies until it is bundled."""
        return self.captures / capture_id

    def next_sequence(self, device: str) -> int:
        """Return the number of the next capture of *device*; hold the lock `capture`."""
        rows = self._query("SELECT max(sequence) AS last FROM capture WHERE device = ?", device)
        return 1 if rows[0]["last"] is None else int(rows[0]["last"]) + 1

    def add_capture(
        self,
        capture: Capture,
        staging: Path,
        cursors: Mapping[tuple[str, str], int],
        *,
        now: int,
        stated: Sequence[str] = (),
    ) -> None:
        """Make *capture* durable: its folder from *staging*, its row and *cursors* in one transaction.

        The manual records *stated* are marked as taken in it too. The files in *staging* must be on disk
        (fsync) already; hold the lock `capture`.
        """
        try:
            fsync_path(staging)
            staging.rename(self.capture_path(capture.id))
            fsync_path(self.captures)
        except OSError as error:
            raise OutputError(f"cannot keep capture '{capture.id}': {error.strerror}") from None
        with self._transaction() as db:
            db.execute(
                "INSERT INTO capture (id, device, sequence, state, record, created) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    capture.id,
                    capture.device,
                    capture.sequence,
                    "captured",
                    json.dumps(capture.to_json()),
                    now,
                ),
            )
            _advance(db, cursors)
            db.executemany(
                "UPDATE manual SET capture = ? WHERE id = ?", [(capture.id, name) for name in stated]
            )

    def advance(self, cursors: Mapping[tuple[str, str], int]) -> None:
        """Store *cursors* without a capture: what lies before them is never captured."""
        with self._transaction() as db:
            _advance(db, cursors)

    def sweep_captures(self) -> None:
        """Remove folders that a killed `capture` or `bundle` left behind; hold the lock `capture`."""
        for path in self.captures.iterdir():
            rows = self._query("SELECT state FROM capture WHERE id = ?", path.name)
            if not rows or rows[0]["state"] != "captured":
                remove_folder(path)
        for row in self._query("SELECT id FROM capture WHERE state = 'withheld'"):
            self.bundle_path(row["id"]).unlink(missing_ok=True)

    def get(self, capture_id: str) -> Entry | None:
        """Return the row of *capture_id*, or None."""
        rows = self._query("SELECT * FROM capture WHERE id = ?", capture_id)
        return _entry(rows[0]) if rows else None

    def waiting(self, stage: str, *, due: int | None = None, made_by: int | None = None) -> Iterator[Entry]:
        """Yield what waits for *stage* (`bundle`, `upload`, `wrap`), what failed last, else the oldest first.

        With *due* only what is not put off beyond that unix second; with *made_by* only what was captured by
        then, or released. Of ten thousand that wait one is in memory at a time.
        """
        state = _STAGES[stage]
        rows = self._query(
            "SELECT id FROM capture WHERE state = ? AND retry_at <= ? "
            "AND (created <= ? OR id IN (SELECT capture FROM released)) ORDER BY attempts, device, sequence",
            state,
            _FOR_EVER if due is None else due,
            _FOR_EVER if made_by is None else made_by,
        )
        for row in rows:
            entry = self.get(row["id"])
            if entry is not None and entry.state == state:
                yield entry

    def entries(self) -> list[Entry]:
        """Return every row, by device and sequence."""
        return [_entry(row) for row in self._query("SELECT * FROM capture ORDER BY device, sequence")]

    def defer(self, capture_id: str, error: str, *, now: int) -> None:
        """Remember that a step of *capture_id* failed for now; the delay to the next try doubles."""
        with self._transaction() as db:
            db.execute(
                "UPDATE capture SET error = ?, attempts = attempts + 1, "
                "retry_at = ? + min(? * (1 << min(attempts, 10)), ?) WHERE id = ?",
                (error, now, FIRST_RETRY, LONGEST_RETRY, capture_id),
            )

    def next_retry(self, stage: str) -> float | None:
        """Return the unix time at which *stage* (also `publish`) should look again, or None."""
        if stage == "publish":
            rows = self._query(
                "SELECT min(retry_at) AS at FROM wrap WHERE published IS NULL AND attempts > 0"
            )
        else:
            rows = self._query(
                "SELECT min(retry_at) AS at FROM capture WHERE state = ? AND attempts > 0", _STAGES[stage]
            )
        return None if rows[0]["at"] is None else float(rows[0]["at"])

    def next_release(self, hold: int | None) -> float | None:
        """Return the unix time at which the next held capture may be bundled, or None.

        It is held for *hold* seconds after it was made, or with None until somebody releases it.
        """
        rows = self._query(
            "SELECT min(CASE WHEN id IN (SELECT capture FROM released) THEN retry_at "
            "ELSE max(retry_at, created + ?) END) AS at FROM capture WHERE state = 'captured'",
            hold,
        )
        return None if rows[0]["at"] is None else float(rows[0]["at"])

    # --- links and bundles ---

    def chain(self, device: str, up_to: int) -> list[Entry]:
        """Return the rows of *device* from the last linked one to number *up_to*, in order."""
        return [
            _entry(row)
            for row in self._query(
                "SELECT * FROM capture WHERE device = ? AND sequence <= ? AND sequence >= "
                "coalesce((SELECT sequence FROM capture WHERE device = ? AND link IS NOT NULL "
                "ORDER BY sequence DESC LIMIT 1), 0) ORDER BY sequence",
                device,
                up_to,
                device,
            )
        ]

    def set_links(self, links: Sequence[tuple[str, str, str]]) -> None:
        """Store (capture id, link, proof) for several captures at once; hold the lock `bundle`."""
        with self._transaction() as db:
            db.executemany(
                "UPDATE capture SET link = ?, proof = ? WHERE id = ? AND link IS NULL",
                [(link, proof, capture_id) for capture_id, link, proof in links],
            )

    def bundle_path(self, capture_id: str) -> Path:
        """Return where the bundle of *capture_id* lies."""
        return self.bundles / f"{capture_id}.zip"

    def add_bundle(self, bundle: Bundle, key: str) -> None:
        """Store *bundle* and its *key*, then delete the plaintext; the file must be durable already."""
        stored = json.dumps(replace(bundle, key=None).to_json())
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE capture SET state = 'bundled', bundle = ?, key = ?, attempts = 0, retry_at = 0, "
                "error = NULL WHERE id = ? AND state = 'captured'",
                (stored, key, bundle.id),
            ).rowcount
            if changed != 1:
                raise BadRecordError(f"capture '{bundle.id}' is not waiting to be bundled")
        remove_folder(self.capture_path(bundle.id))

    def add_blobs(self, capture_id: str, blobs: Sequence[Mapping[str, Any]]) -> Bundle:
        """Store the blob descriptors of an upload and return the bundle with them."""
        entry = self.get(capture_id)
        if entry is None or entry.bundle is None:
            raise BadRecordError(f"no bundle '{capture_id}' in the outbox")
        bundle = replace(entry.bundle, blobs=tuple(dict(blob) for blob in blobs))
        with self._transaction() as db:
            db.execute(
                "UPDATE capture SET bundle = ?, attempts = 0, retry_at = 0, error = NULL, "
                "state = CASE state WHEN 'bundled' THEN 'uploaded' ELSE state END WHERE id = ?",
                (json.dumps(bundle.to_json()), capture_id),
            )
        return bundle
