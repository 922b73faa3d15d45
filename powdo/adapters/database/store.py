"""All that is stored, behind one object; each part has its own file."""

from __future__ import annotations

from powdo.adapters.database.activity import Activity
from powdo.adapters.database.chains import Chains
from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.intake import Intake
from powdo.adapters.database.kept import Keeping
from powdo.adapters.database.ledger import Ledger
from powdo.adapters.database.receipts import Receipts
from powdo.adapters.database.retention import Retention
from powdo.adapters.database.shown import Shown
from powdo.adapters.database.workers import Worker, Workers
from powdo.errors import InputMissingError


class Store(Workers, Activity, Intake, Keeping, Receipts, Chains, Ledger, Retention, Shown):
    """The workers, what they sent, what they were answered, and what went to Kimai."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    @property
    def database(self) -> Database:
        """The database, to be shared with the inbox."""
        return self._database

    def close(self) -> None:
        """Give the database connections back."""
        self._database.close()


def enrolled(url: str) -> list[Worker]:
    """Return the workers, removed ones too; none where there is no database, and none is made."""
    try:
        database = Database(url, create=False)
    except InputMissingError:
        return []
    try:
        return Workers(database).workers()
    finally:
        database.close()
