"""Keys in custody in the DVM's database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from powdo.adapters.database import Database, KeyTable
from powdo.adapters.database.tables import custody
from powdo.errors import KeyRejectedError
from tests.custody.contract import MASTER, OTHER, CustodyContract, nothing


class TestKeyTable(CustodyContract):
    """The contract, on SQLite and on PostgreSQL."""

    @pytest.fixture
    def store(self, database: Database) -> KeyTable:
        """Return an empty keystore."""
        return KeyTable(database)

    @pytest.fixture
    def again(self, database: Database) -> Callable[[], KeyTable]:
        """Return what opens the same keystore anew."""
        return lambda: KeyTable(database)

    @pytest.fixture
    def raw(self, database: Database, database_url: str) -> Callable[[], bytes]:
        """Return what reads all that is stored: of SQLite its files, of PostgreSQL its rows."""

        def files() -> bytes:
            path = Path(database_url.removeprefix("sqlite:///"))
            return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))

        def rows() -> bytes:
            with database.read() as connection:
                return repr(connection.execute(custody.select()).all()).encode()

        return files if database.sqlite else rows

    @pytest.fixture
    def tamper(self, database: Database) -> Callable[..., None]:
        """Return what changes parts of a record by hand."""

        def change(username: str, **parts: Any) -> None:
            with database.write() as connection:
                connection.execute(custody.update().where(custody.c.username == username).values(parts))

        return change


def test_hosts_that_make_keys_at_once_lose_nothing(database_url: str) -> None:
    """Of several hosts that make the same key at the same time one has made it, and others' are all there."""
    Database(database_url).close()
    stores = [KeyTable(database_url) for _ in range(4)]
    barrier = Barrier(4)
    refused: list[KeyRejectedError] = []

    def make(number: int) -> None:
        barrier.wait()
        stores[number].create(f"own-{number}", MASTER)
        try:
            stores[number].create("same", MASTER)
        except KeyRejectedError as error:
            refused.append(error)

    threads = [Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [record["username"] for record in stores[0].records()]
    assert sorted(names) == ["own-0", "own-1", "own-2", "own-3", "same"]
    assert len(refused) == 3
    for store in stores:
        store.close()


def test_no_second_master_key_gets_in_beside_a_rotation(database_url: str) -> None:
    """Keys made while another host rotates are under one master key with all others, or are refused."""
    one, two = KeyTable(database_url), KeyTable(database_url)
    one.create_all([f"user-{number}" for number in range(50)], MASTER)
    refused = 0

    def make() -> None:
        nonlocal refused
        for number in range(20):
            try:
                two.create(f"late-{number}", MASTER)
            except KeyRejectedError:
                refused += 1

    thread = Thread(target=make)
    thread.start()
    one.rotate(MASTER, OTHER, nothing)
    thread.join()
    records = one.records()
    assert len(records) == 70 - refused
    for record in records:
        one.unlock(record["username"], OTHER).wipe()
    one.close()
    two.close()
