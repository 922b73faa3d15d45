"""The DVM's database: workers, inbox, what was ingested, and what was sent to Kimai."""

from powdo.adapters.database.engine import Database
from powdo.adapters.database.inbox import Inbox, Item

__all__ = ["Database", "Inbox", "Item"]
