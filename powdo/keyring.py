"""Which keystore is in use: the file at a client's, the database where [identity] says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from powdo.custody import Custody
    from powdo.settings import Settings


def keystore(settings: Settings, *, create: bool = True) -> Custody:
    """Return the keystore that *settings* name.

    Raises: what opening a database raises; InputMissingError when it is not there and *create* is false.
    """
    if settings.identity.keystore == "database":
        from powdo.adapters.database import Database, KeyTable

        return KeyTable(Database(settings.database_url, create=create))
    from powdo.adapters.keystore import Keystore

    return Keystore(settings.keystore_path)


def keystore_name(settings: Settings) -> str:
    """Return where the keystore is, for a message."""
    return "the database" if settings.identity.keystore == "database" else f"'{settings.keystore_path}'"
