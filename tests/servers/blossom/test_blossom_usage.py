from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from powdo.servers.blossom import rows, tables, usage
from powdo.servers.blossom.retention import Retention
from powdo.servers.blossom.rows import Blob
from powdo.servers.blossom.usage import Usage

_KEYS = tuple(f"{number:02x}" * 32 for number in (1, 2, 3))
_HASHES = tuple(f"{number:02x}" * 32 for number in range(16, 20))
_DAY = 86400

_steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(_KEYS), st.sampled_from(_HASHES), st.sampled_from([1, 5])),
        st.tuples(st.just("drop"), st.sampled_from(_KEYS), st.sampled_from(_HASHES)),
        st.tuples(st.just("sweep")),
        st.tuples(st.just("wait")),
        st.tuples(st.just("undo"), st.sampled_from(_KEYS), st.sampled_from(_HASHES)),
    ),
    max_size=30,
)


def _counted(db: sqlite3.Connection) -> dict[str | None, Usage]:
    """Return what the rows themselves add up to, and of whom."""
    whole = db.execute("SELECT count(*), coalesce(sum(size), 0) FROM blob").fetchone()
    each = db.execute(
        "SELECT hex(pubkey), count(*), sum(size) FROM owner JOIN blob USING (sha256) GROUP BY pubkey"
    )
    return {None: Usage(*whole)} | {key.lower(): Usage(blobs, size) for key, blobs, size in each}


def _add(db: sqlite3.Connection, pubkey: str, sha256: str, now: int, days: int) -> None:
    blob = Blob(sha256, int(sha256[:2], 16), "application/zip", now)
    rows.add(db, blob, pubkey, wish=now + days * _DAY, retention=Retention())


@settings(max_examples=60, deadline=None)
@given(_steps)
def test_sums_are_what_the_rows_add_up_to(steps: list[tuple[object, ...]]) -> None:
    """Whatever comes, goes, ends or is undone, the sum of each owner and of all is that of the rows."""
    now = 1_800_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "blossom.sqlite"
        tables.prepare(path)
        with closing(tables.connect(path)) as db:
            for number, step in enumerate(steps):
                match step:
                    case ("add", str(pubkey), str(sha256), int(days)):
                        _add(db, pubkey, sha256, now, days)
                    case ("drop", str(pubkey), str(sha256)):
                        token = f"{number:064x}"
                        rows.drop(db, sha256, pubkey, token=token, expires=now + 60, now=now)
                    case ("sweep",):
                        for sha256 in _HASHES:
                            rows.remove_over(db, sha256, now)
                        rows.remove_owners(db, now, 2)
                    case ("wait",):
                        now += 2 * _DAY
                    case ("undo", str(pubkey), str(sha256)):
                        db.execute("BEGIN")
                        _add(db, pubkey, sha256, now, 9)
                        db.execute("ROLLBACK")
                counted = _counted(db)
                assert {None: usage.of(db)} | {key: usage.of(db, key) for key in usage.owners(db)} == counted
                assert usage.owners(db) == counted.keys() - {None}
