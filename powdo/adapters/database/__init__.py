"""The DVM's database: workers, inbox, what was ingested, what was sent to Kimai, and keys in custody."""

from powdo.adapters.database.buckets import StoredEvent, stored_event
from powdo.adapters.database.chains import Chain
from powdo.adapters.database.custody import KeyTable
from powdo.adapters.database.deliveries import Delivery, Refusal, Stored, Told
from powdo.adapters.database.engine import Database
from powdo.adapters.database.inbox import Inbox, Item
from powdo.adapters.database.kept import Kept, Picture, StoredLink
from powdo.adapters.database.receipts import Request
from powdo.adapters.database.retention import Expired, What
from powdo.adapters.database.shown import Shot
from powdo.adapters.database.store import Store, enrolled
from powdo.adapters.database.workers import Author, Worker

__all__ = [
    "Author",
    "Chain",
    "Database",
    "Delivery",
    "Expired",
    "Inbox",
    "Item",
    "Kept",
    "KeyTable",
    "Picture",
    "Refusal",
    "Request",
    "Shot",
    "Store",
    "Stored",
    "StoredEvent",
    "StoredLink",
    "Told",
    "What",
    "Worker",
    "enrolled",
    "stored_event",
]
