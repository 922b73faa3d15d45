from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from powdo.adapters.database import Database, engine, enrolled
from powdo.adapters.database.tables import metadata, worker
from powdo.adapters.database.workers import Workers
from powdo.errors import (
    BusyError,
    CannotCreateError,
    ConfigurationError,
    InputMissingError,
    RetryLaterError,
)


def test_migrations_make_the_tables(database: Database) -> None:
    """The migrations lead from nothing to exactly the tables that the program uses."""
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_look_makes_no_database(database_url: str) -> None:
    """Opened for a look only, a database that is not there, or has no tables, is left as it is."""
    path = Path(database_url.removeprefix("sqlite:///"))
    for _ in range(2):
        with pytest.raises(InputMissingError, match="there is no database"):
            Database(database_url, create=False)
        assert enrolled(database_url) == []
        assert not path.exists()
    Database(database_url).close()
    Database(database_url, create=False).close()
    workers = Workers(database_url)
    workers.enroll("ana", pubkeys=["a" * 64])
    assert [one.name for one in enrolled(database_url)] == ["ana"]
    workers._database.close()


def test_head_is_the_newest_migration() -> None:
    """The version compared at each opening is the newest there is."""
    config = Config()
    config.set_main_option("script_location", str(Path(engine.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == engine.HEAD


def test_a_current_database_is_opened_without_alembic(database_url: str) -> None:
    """alembic, slow to import, is left alone once the schema is the current one."""
    Database(database_url).close()
    code = (
        "import sys; from powdo.adapters.database import Database; "
        "Database(sys.argv[1]); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, database_url]).returncode == 0


def test_many_may_create_it_at_once(database_url: str) -> None:
    """Processes that open an empty database together all find it migrated."""
    code = "import sys; from powdo.adapters.database import Inbox; Inbox(sys.argv[1]).set_synced('x', 1)"
    processes = [subprocess.Popen([sys.executable, "-c", code, database_url]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0, 0, 0, 0]


def test_one_host_is_alone(database_url: str) -> None:
    """A lock of all hosts is one's until it ends, even by being killed; SQLite is one machine's."""
    one, other = Database(database_url), Database(database_url)
    if one.sqlite:
        with one.alone("kimai-sync") as held, other.alone("kimai-sync"):
            held()
    else:
        with one.alone("kimai-sync") as held:
            held()
            with pytest.raises(BusyError, match="another kimai-sync"), other.alone("kimai-sync"):
                pass
            with other.alone("something else"):
                pass
        with other.alone("kimai-sync"):
            pass
        with pytest.raises(RetryLaterError), one.alone("kimai-sync") as held:
            with other.write() as connection:
                connection.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_locks "
                        "WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()"
                    )
                )
            held()
        with other.alone("kimai-sync"):
            pass
    one.close()
    other.close()


def test_a_newer_schema_is_refused(database_url: str) -> None:
    """A database that a newer powdo migrated is not touched."""
    database = Database(database_url)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(ConfigurationError, match="does not know"):
        Database(database_url)


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    """The SQLite files are readable by their owner alone, in folders that are too."""
    database = Database(f"sqlite:///{tmp_path}/deep/dvm.sqlite")
    with database.write() as connection:
        connection.execute(sa.text("INSERT INTO relay_sync VALUES ('x', 1)"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "deep").iterdir()}
    assert "dvm.sqlite-wal" in modes
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700


def test_a_failed_transaction_changes_nothing(database: Database) -> None:
    """What was written before an error inside the block is gone."""
    with pytest.raises(RuntimeError), database.write() as connection:
        connection.execute(sa.text("INSERT INTO relay_sync VALUES ('x', 1)"))
        raise RuntimeError
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM relay_sync")).scalar() == 0


def test_no_message_tells_the_values(database: Database) -> None:
    """What the database refuses is told without the values: a key or a title would stand in a log."""
    with pytest.raises(RuntimeError, match="IntegrityError") as caught, database.write() as connection:
        connection.execute(worker.insert().values(name="top-secret"))
    assert "top-secret" not in str(caught.value)


def test_a_locked_database_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that stays locked ends in the status for another time."""
    monkeypatch.setattr(engine, "_BUSY_MS", 50)
    url = f"sqlite:///{tmp_path}/dvm.sqlite"
    one, two = Database(url), Database(url)
    with one.write(), pytest.raises(BusyError, match="locked"), two.write():
        pass


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("nonsense", ConfigurationError),
        ("sqlite://", ConfigurationError),
        ("mysql://localhost/x", ConfigurationError),
        ("sqlite:////proc/nowhere/dvm.sqlite", CannotCreateError),
        ("postgresql://powdo:hunter2@127.0.0.1:1/x", RetryLaterError),
    ],
)
def test_what_cannot_be_opened_is_told(url: str, error: type[Exception]) -> None:
    """A wrong URL, an impossible file and an absent server each get their own error, without the password."""
    with pytest.raises(error) as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """A damaged file is a matter for a person."""
    (tmp_path / "dvm.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(ConfigurationError, match="unusable"):
        Database(f"sqlite:///{tmp_path}/dvm.sqlite")
