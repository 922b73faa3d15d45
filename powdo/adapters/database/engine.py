"""How our databases are opened: SQLite in WAL mode, or PostgreSQL by URL, migrated when it is opened.

Rules:
- a transaction that writes takes the write lock first (BEGIN IMMEDIATE), so that two runs never fail midway;
- what is committed is on the disk (synchronous=FULL), since a record is written only after the commit;
- alembic is imported only when the schema is not the current one;
- a library error never leaves here as such, and none tells the values: keys and titles are among them.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import event, exc

from powdo.errors import (
    BusyError,
    CannotCreateError,
    ConfigurationError,
    InputMissingError,
    OutputError,
    RetryLaterError,
)

#: The newest migration; a test holds it against `migrations/versions`.
HEAD = "0007"
_BUSY_MS = 30_000
_MIGRATION_LOCK = 0x706F77646F  # any number all of us agree on


class Schema(NamedTuple):
    """Tables that belong together: the folder of their migrations, the newest, and where that is noted."""

    migrations: Path
    head: str
    noted: str


DVM = Schema(Path(__file__).parent / "migrations", HEAD, "alembic_version")


class Database:
    """One database, migrated to the newest of *schema*; `close` gives its connections back.

    One that is not there is made, unless *create* is false: that raises InputMissingError.
    """

    def __init__(self, url: str, *, create: bool = True, schema: Schema = DVM) -> None:
        self._schema = schema
        self._url = _normal_url(url)
        self.sqlite = self._url.get_backend_name() == "sqlite"
        self.shown = self._url.render_as_string(hide_password=True)
        self._statements: dict[Callable[[Database], Any], Any] = {}
        if self.sqlite and create:
            _prepare_file(self._url.database)
        elif self.sqlite and not Path(self._url.database or "").is_file():
            raise self._missing()
        with self._translated():
            self._engine = _make_engine(self._url, sqlite=self.sqlite)
            self._writer = self._engine.execution_options(powdo_write=True)
        # A connection that is dropped without being closed is a warning in PostgreSQL's driver.
        self.close = weakref.finalize(self, self._engine.dispose)
        self._migrate(create=create)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Return a connection for one consistent look."""
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Return a connection whose changes are durable once the block ends without an error."""
        with self._translated(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def alone(self, name: str) -> Iterator[Callable[[], None]]:
        """Hold the lock *name* against all hosts of one PostgreSQL; yield what raises once it is lost.

        SQLite is one machine's, where a lock on a file does. Raises: BusyError, RetryLaterError.
        """
        if self.sqlite:
            yield lambda: None
            return
        number = int.from_bytes(hashlib.sha256(f"powdo {name}".encode()).digest()[:8], "big", signed=True)
        with self._translated(), self._engine.connect() as connection:
            session = connection.execution_options(isolation_level="AUTOCOMMIT")
            if not session.execute(sa.select(sa.func.pg_try_advisory_lock(number))).scalar():
                raise BusyError(f"another {name} is running on this database")

            def held() -> None:
                with self._translated():
                    session.execute(sa.select(1))  # the lock ends with this connection, and only with it

            try:
                yield held
            finally:
                connection.invalidate()  # the pool would keep the session, and with it the lock

    def scrub(self, table: sa.Table | None = None) -> None:
        """Give back what was deleted (from *table*), so that no file of the database's own still holds it.

        What PostgreSQL has in its log and SQLite on pages that were freed earlier is not reached.
        """
        with self._translated():
            if self.sqlite:
                raw = self._engine.raw_connection()
                try:
                    raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    raw.close()
                return
            vacuum = "VACUUM" if table is None else f"VACUUM {table.name}"
            with self._engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(vacuum)

    def once(self, make: Callable[[Database], Any]) -> Any:
        """Return the statement that *make* gives, made once: making one takes longer than running it."""
        found = self._statements.get(make)
        if found is None:
            found = self._statements[make] = make(self)
        return found

    def text(self, statement: sa.Insert) -> str:
        """Return *statement* as the driver takes it, with a place for each value in their order."""
        return str(statement.compile(dialect=self._engine.dialect))

    def insert(self, table: sa.Table) -> Any:
        """Return an INSERT that knows ON CONFLICT."""
        if self.sqlite:
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)

    def _missing(self) -> InputMissingError:
        return InputMissingError(f"there is no database '{self.shown}'")

    def _migrate(self, *, create: bool) -> None:
        version = self._version()
        if version == self._schema.head:
            return
        if version is None and not create:
            self.close()
            raise self._missing()
        with self.write() as connection:
            if not self.sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            if (
                _read_version(connection, self._schema) != self._schema.head
            ):  # another run may have been first
                self._upgrade(connection)

    def _version(self) -> str | None:
        with self.read() as connection:
            return _read_version(connection, self._schema)

    def _upgrade(self, connection: sa.Connection) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        folder = str(self._schema.migrations)
        config.set_main_option("script_location", folder.replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise ConfigurationError(
                f"the database '{self.shown}' has a schema this powdo does not know: {error}",
                hint="it was written by a newer powdo; update this one",
            ) from None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except exc.NoSuchModuleError as error:
            raise ConfigurationError(f"cannot use the database '{self.shown}': {error}") from None
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"the database '{self.shown}' needs the Python module '{error.name}'",
                hint="python -m pip install 'powdo[postgresql]'",
            ) from None
        except exc.DBAPIError as error:
            raise self._meaning(error) from None  # PostgreSQL's details quote whole rows
        except exc.SQLAlchemyError as error:
            raise RetryLaterError(f"the database '{self.shown}' failed: {error}") from error

    def _meaning(self, error: exc.DBAPIError) -> Exception:
        text = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no reason given"
        code = getattr(error.orig, "sqlite_errorname", "")
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return BusyError(f"the database '{self.shown}' is locked by another run")
        if code.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY")):
            return OutputError(f"cannot write the database '{self.shown}': {text}")
        if code.startswith("SQLITE_CANTOPEN"):
            return CannotCreateError(f"cannot open the database '{self.shown}': {text}")
        if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return ConfigurationError(f"the database '{self.shown}' is unusable: {text}")
        if isinstance(error, exc.IntegrityError | exc.ProgrammingError | exc.DataError):
            return RuntimeError(f"{type(error).__name__}: {text}")  # a bug of ours: let it be seen as one
        return RetryLaterError(f"the database '{self.shown}' does not answer: {text}")


def opened(database: str | Database) -> Database:
    """Return *database*, opened if it is still a URL."""
    return Database(database) if isinstance(database, str) else database


def _normal_url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except exc.ArgumentError:
        raise ConfigurationError(
            "the database URL cannot be read", hint="such as sqlite:////var/lib/powdo/dvm.sqlite"
        ) from None
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigurationError(
            f"'{url.drivername}' databases are not supported, only sqlite and postgresql"
        )
    return url


def _prepare_file(name: str | None) -> None:
    """Create the file so that nobody else can read it; SQLite gives its side files the same mode."""
    if not name or name == ":memory:":
        raise ConfigurationError("the SQLite database needs a file")
    path = Path(name)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CannotCreateError(f"cannot open the database '{path}': {error.strerror}") from None


def _make_engine(url: sa.URL, *, sqlite: bool) -> sa.Engine:
    if not sqlite:
        return sa.create_engine(
            url,
            pool_pre_ping=True,
            hide_parameters=True,
            paramstyle="format",  # values by their order, as in SQLite, where statements are text
            connect_args={"connect_timeout": 10},
        )
    engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": _BUSY_MS / 1000})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is ours to say
        for pragma in (
            f"busy_timeout={_BUSY_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("powdo_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _read_version(connection: sa.Connection, schema: Schema) -> str | None:
    if not sa.inspect(connection).has_table(schema.noted):
        return None
    version: str | None = connection.execute(sa.text(f"SELECT version_num FROM {schema.noted}")).scalar()  # noqa: S608  # a name of ours
    return version
