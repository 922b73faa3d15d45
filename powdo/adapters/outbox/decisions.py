"""What a person decides on a capture: to release it, to destroy it."""

from __future__ import annotations

from powdo.adapters.outbox.captures import Captures, Entry, remove_folder
from powdo.errors import BadRecordError, OutputError, RetryLaterError
from powdo.settings.paths import fsync_path

#: A key that was sealed may be on its way; before that nobody else can open a bundle.
_UNSENT = ("captured", "bundled", "uploaded")


class Decisions(Captures):
    """The outbox as a person handles it."""

    def known(self, capture_id: str) -> Entry:
        """Return the row of *capture_id*. Raises: BadRecordError."""
        entry = self.get(capture_id)
        if entry is None:
            raise BadRecordError(f"capture '{capture_id}' is not in the outbox")
        return entry

    # --- release ---

    def release(self, capture_id: str) -> None:
        """Let *capture_id* be bundled though it is held. Raises: BadRecordError."""
        entry = self.known(capture_id)
        if entry.state == "withheld":
            raise BadRecordError(f"capture '{capture_id}' was dropped")
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO released VALUES (?)", (capture_id,))

    def is_released(self, capture_id: str) -> bool:
        """Return whether a person has let *capture_id* go on."""
        return bool(self._query("SELECT 1 FROM released WHERE capture = ?", capture_id))

    # --- drop ---

    def droppable(self, capture_id: str) -> Entry:
        """Return the row of a capture whose key was not sealed for anyone yet. Raises: BadRecordError."""
        entry = self.known(capture_id)
        if entry.state not in (*_UNSENT, "withheld") or self._is_sealed(capture_id):
            raise BadRecordError(
                f"capture '{capture_id}' is '{entry.state}': its key has been sealed for the recipients",
                hint="what may have been sent cannot be taken back",
            )
        return entry

    def _is_sealed(self, capture_id: str) -> bool:
        """Return whether there ever was a wrap of *capture_id*, though it may wait to be sent again."""
        rows = self._query(
            "SELECT EXISTS (SELECT 1 FROM sealed WHERE capture = ?) OR "
            "EXISTS (SELECT 1 FROM wrap WHERE capture = ?) AS found",
            *(capture_id, capture_id),
        )
        return bool(rows[0]["found"])

    def drop(self, capture_id: str) -> None:
        """Destroy a capture whose key was not sealed for anyone yet; its link stays in the chain.

        Hold the locks `bundle`, `upload` and `wrap`. Raises: BadRecordError, OutputError, RetryLaterError.
        """
        self.droppable(capture_id)
        with self._transaction() as db:
            db.execute(
                "UPDATE capture SET state = 'withheld', bundle = NULL, key = NULL, error = NULL, "
                "attempts = 0, retry_at = 0 WHERE id = ?",
                (capture_id,),
            )
            db.execute("DELETE FROM manual WHERE capture = ?", (capture_id,))
        self._destroy(capture_id)
        # An old page there still holds the key.
        if self._query("PRAGMA wal_checkpoint(TRUNCATE)")[0]["busy"]:
            raise RetryLaterError(
                f"the outbox is in use, and the key of '{capture_id}' may still be in its log",
                hint="drop it again when nothing else runs",
            )

    def _destroy(self, capture_id: str) -> None:
        remove_folder(self.capture_path(capture_id))
        try:
            self.bundle_path(capture_id).unlink(missing_ok=True)
            for folder in (self.captures, self.bundles):
                fsync_path(folder)
        except OSError as error:
            raise OutputError(f"cannot destroy the bundle of '{capture_id}': {error.strerror}") from None
        if self.capture_path(capture_id).exists():
            raise OutputError(f"cannot destroy '{self.capture_path(capture_id)}'")

    def untold(self, device: str, *, limit: int) -> list[Entry]:
        """Return the oldest dropped captures of *device* whose links no bundle carries but dropped ones."""
        rows = self._query(
            "SELECT id FROM capture WHERE state = 'withheld' AND device = ? AND link IS NOT NULL "
            "AND NOT EXISTS (SELECT 1 FROM told JOIN capture AS carrier ON carrier.id = told.carrier "
            "WHERE told.capture = capture.id AND carrier.state <> 'withheld') ORDER BY sequence LIMIT ?",
            device,
            limit,
        )
        return [self.known(row["id"]) for row in rows]

    def mark_told(self, carrier: str, captures: list[str]) -> None:
        """Store that the bundle of *carrier* carries the links of *captures*; hold the lock `bundle`."""
        with self._transaction() as db:
            db.executemany("INSERT OR IGNORE INTO told VALUES (?, ?)", [(item, carrier) for item in captures])
