"""The tables of relay.sqlite, and how those of an older relay become them.

A gift wrap is found by its id or by its recipient, the only one who may see it, so the other indexes leave
wraps out: they come in any order, and each index more would cost them a page to write. For the same reason
`tag` has no row for a wrap's recipient.

What strangers have stored is counted by triggers: whatever removes a wrap (its recipient, its expiry, the
retention) or undoes its transaction, the counts are right, and they need no counting at a start.
"""

from __future__ import annotations

import sqlite3

from powdo.errors import ConfigurationError

VERSION = 2

#: The row of `stranger` that counts all.
ALL = b""

SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, pubkey BLOB NOT NULL, created_at INTEGER NOT NULL,
    kind INTEGER NOT NULL, address TEXT, expires INTEGER, recipient BLOB, received_at INTEGER NOT NULL,
    stranger INTEGER NOT NULL, raw BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS event_address ON event (address) WHERE address IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_time ON event (created_at) WHERE recipient IS NULL;
CREATE INDEX IF NOT EXISTS event_author ON event (pubkey, kind, created_at) WHERE recipient IS NULL;
CREATE INDEX IF NOT EXISTS event_kind ON event (kind, created_at) WHERE recipient IS NULL;
CREATE INDEX IF NOT EXISTS event_recipient ON event (recipient, created_at DESC, id)
    WHERE recipient IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_expires ON event (expires) WHERE expires IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_wrap ON event (received_at) WHERE recipient IS NOT NULL;
CREATE TABLE IF NOT EXISTS tag (
    name TEXT NOT NULL, value TEXT NOT NULL, kind INTEGER NOT NULL, created_at INTEGER NOT NULL,
    seq INTEGER NOT NULL, PRIMARY KEY (name, value, kind, created_at, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tag_event ON tag (seq);
CREATE TABLE IF NOT EXISTS stranger (recipient BLOB PRIMARY KEY, wraps INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS stranger_comes AFTER INSERT ON event WHEN new.stranger BEGIN
    INSERT INTO stranger VALUES (new.recipient, 1), (x'', 1) ON CONFLICT DO UPDATE SET wraps = wraps + 1;
END;
CREATE TRIGGER IF NOT EXISTS stranger_goes AFTER DELETE ON event WHEN old.stranger BEGIN
    UPDATE stranger SET wraps = wraps - 1 WHERE recipient IN (old.recipient, x'');
    DELETE FROM stranger WHERE recipient = old.recipient AND wraps = 0;
END;
"""

#: A column with a constant default costs no rewriting of the rows, however many there are. What is there
#: already counts as received when its relay was brought up to date.
_FROM_0 = """
ALTER TABLE event ADD COLUMN received_at INTEGER NOT NULL DEFAULT {now};
ALTER TABLE event ADD COLUMN stranger INTEGER NOT NULL DEFAULT 0;
"""

#: Until then all indexes held wraps, too.
_FROM_1 = """
DROP INDEX IF EXISTS event_time;
DROP INDEX IF EXISTS event_author;
DROP INDEX IF EXISTS event_kind;
DELETE FROM tag WHERE name = 'p' AND kind = 1059;
"""


def make_tables(db: sqlite3.Connection, now: int) -> None:
    """Make the tables that are missing, and bring older ones up to date.

    Raises: ConfigurationError when a newer powdo has made them; sqlite3.Error.
    """
    ((version,),) = db.execute("PRAGMA user_version")
    if version > VERSION:
        raise ConfigurationError("the events were kept by a newer powdo", hint="install that one again")
    known = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'event'").fetchone()
    older = (_FROM_0.format(now=now), _FROM_1)[version:] if known else ()
    db.executescript(f"BEGIN IMMEDIATE; {''.join(older)} {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")


def strangers(db: sqlite3.Connection, recipient: bytes) -> tuple[int, int]:
    """Return how many wraps of strangers are stored for *recipient*, and in all."""
    rows = dict(
        db.execute("SELECT recipient, wraps FROM stranger WHERE recipient IN (?, ?)", (recipient, ALL))
    )
    return rows.get(recipient, 0), rows.get(ALL, 0)


def give_back(db: sqlite3.Connection, most: int) -> bool:
    """Give up to *most* unused pages back to the system; return whether there are more to give.

    An eighth of the file stays for what comes next. A file that was made without `auto_vacuum` gives nothing.
    """
    ((pages,),), ((before,),) = db.execute("PRAGMA page_count"), db.execute("PRAGMA freelist_count")
    spare = before - pages // 8
    if spare <= 0:
        return False
    db.executescript(f"PRAGMA incremental_vacuum({min(spare, most)})")  # a script: each page is a row
    ((after,),) = db.execute("PRAGMA freelist_count")
    return most < spare and bool(after < before)
