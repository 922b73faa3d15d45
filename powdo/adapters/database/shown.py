"""What a page shows of the evidence: the captures of a worker, how each stands, and their screenshots."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import bundle, rejection, screenshot, withheld
from powdo.worktime.intervals import SECOND
from powdo.worktime.pieces import Piece, State

#: So much of a sha256 tells a bundle from all others, and `extract` takes it.
_SHORT = 12
_DUE, _SENT = State("checked, receipt due", "fair"), State("checked, receipt sent", "good")
_WITHHELD = State("withheld", "gone")


class Shot(NamedTuple):
    """One stored screenshot: when it was taken, of which monitor, its size, file and encoding."""

    time: int
    monitor: int
    width: int
    height: int
    sha256: str
    kind: str


class Shown:
    """Captures and screenshots, read for a period."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    def pieces(self, worker: int, begin: int, end: int) -> list[Piece]:
        """Return the captures of *worker* that end within (begin, end], in microseconds, by time.

        Those that were destroyed before they were sent are among them, as far as their links were told.
        """
        query = _within(sa.select(bundle), bundle, worker, begin, end)
        gone = _within(sa.select(withheld), withheld, worker, begin, end)
        with self._database.read() as connection:
            found = [_piece(row) for row in connection.execute(query)]
            found += [_gone(row) for row in connection.execute(gone)]
        return sorted(found, key=lambda piece: (piece.begin, piece.device, piece.sequence))

    def places(self, worker: int, begin: int, end: int) -> list[Piece]:
        """Return what `pieces` returns with nothing but their places in the chains and their periods."""
        found: list[Piece] = []
        with self._database.read() as connection:
            for table, state in ((bundle, _SENT), (withheld, _WITHHELD)):
                columns = (table.c[name] for name in ("device", "sequence", "begin_us", "end_us"))
                rows = connection.execute(_within(sa.select(*columns), table, worker, begin, end))
                found += [_place(row, "", state) for row in rows]
        return found

    def shots(self, worker: int, begin: int, end: int) -> list[Shot]:
        """Return the screenshots of *worker* taken within [begin, end), in microseconds, by time.

        Those that retention took are not among them.
        """
        shots = screenshot.c
        query = (
            sa.select(shots.time_us, shots.monitor, shots.width, shots.height, shots.sha256, shots.file)
            .join_from(screenshot, bundle)
            .where(*_taken(worker, begin, end), bundle.c.screenshots_removed_at.is_(None))
            .order_by(shots.time_us, shots.monitor, shots.sha256)
        )
        with self._database.read() as connection:
            return [Shot(*row[:5], row.file.rpartition(".")[2]) for row in connection.execute(query)]

    def removed_shots(self, worker: int, begin: int, end: int) -> int:
        """Return how many screenshots of *worker* taken within [begin, end) retention took."""
        query = sa.select(sa.func.count()).select_from(sa.join(screenshot, bundle))
        query = query.where(*_taken(worker, begin, end), bundle.c.screenshots_removed_at.is_not(None))
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def refusals(self, worker: int, begin: int, end: int) -> list[tuple[int, str]]:
        """Return when something by *worker* was refused within [begin, end), in microseconds, and why."""
        query = (
            sa.select(rejection.c.rejected_at, rejection.c.reason)
            .where(rejection.c.worker_id == worker)
            .where(rejection.c.rejected_at >= begin // SECOND, rejection.c.rejected_at < end // SECOND)
            .order_by(rejection.c.rejected_at, rejection.c.wrap)
        )
        with self._database.read() as connection:
            return [(row.rejected_at * SECOND, row.reason) for row in connection.execute(query)]


def _taken(worker: int, begin: int, end: int) -> tuple[sa.ColumnElement[bool], ...]:
    shots = screenshot.c
    return shots.worker_id == worker, shots.time_us >= begin, shots.time_us < end


def _within(query: sa.Select[Any], table: sa.Table, worker: int, begin: int, end: int) -> sa.Select[Any]:
    return query.where(table.c.worker_id == worker, table.c.end_us > begin, table.c.end_us <= end)


def _place(row: sa.Row[Any], name: str, state: State) -> Piece:
    return Piece(
        id=name, device=row.device, sequence=row.sequence, begin=row.begin_us, end=row.end_us, state=state
    )


def _piece(row: sa.Row[Any]) -> Piece:
    absent = json.loads(row.manifest).get("absent", [])  # it was checked when it came in
    return replace(
        _place(row, row.sha256[:_SHORT], _DUE if row.receipt_due else _SENT),
        screenshots=row.screenshots,
        bucket_events=row.bucket_events,
        absent=tuple((item["what"], item["reason"]) for item in absent),
    )


def _gone(row: sa.Row[Any]) -> Piece:
    return _place(row, "–", _WITHHELD)
