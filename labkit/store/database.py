"""The store's file: made whole or not at all, opened with care, never overwritten."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DatabaseError, IntegrityError

from labkit.errors import StoreBusy, StoreError, StoreTooNew, StoreUnreadable
from labkit.store import schema
from labkit.store.interrupts import held_back

FILE = "labkit.db"
MAGIC = b"SQLite format 3\0"
BUSY_SECONDS = 30.0


def default_path() -> Path:
    """The store of this user: in LABKIT_DATA_DIR, or else in the user's data directory.

    It must be on a local disk: SQLite's write-ahead log is shared memory, which processes on
    several machines do not have in common on a network file system.
    """
    folder = os.environ.get("LABKIT_DATA_DIR")
    return (Path(folder) if folder else platformdirs.user_data_path("labkit")) / FILE


class Database:
    """Transactions on one file. Threads and forked children may share it."""

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self._busy_seconds = busy_seconds
        self._pid = os.getpid()
        try:
            _make(path)
            _check_file(path)
        except OSError as error:
            raise StoreError(
                f"the store {path} cannot be opened",
                why=str(error),
                fix="Give it a writable place on a local disk by LABKIT_DATA_DIR.",
            ) from error
        self._engine = _engine(path, busy_seconds)
        with self.reading() as connection:
            _check_content(path, connection)

    def close(self) -> None:
        """Close all connections; the file is whole at any moment."""
        self._engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, alone among all processes; saved when the block ends well."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One unchanging view of the store; it waits for nobody."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        if os.getpid() != self._pid:  # SQLite's connections do not survive a fork
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        try:
            with (
                held_back(),
                self._engine.connect().execution_options(labkit_begin=begin) as connection,
                connection.begin(),
            ):
                yield connection
        except IntegrityError:
            raise
        except DatabaseError as error:
            raise self._explained(error) from error

    def _explained(self, error: DatabaseError) -> StoreError:
        cause = str(error.orig)
        name = getattr(error.orig, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreBusy(
                f"cannot write to {self.path}",
                why=f"other processes have held it for {self._busy_seconds:g} s",
                fix="Wait for them, or end them; nothing was written.",
            )
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return _unreadable(self.path, cause)
        return StoreError(
            f"the store {self.path} cannot be used",
            why=f"{cause} ({name})",
            fix="Look at the disk and at the permissions; nothing was written.",
        )


def _unreadable(path: Path, why: str) -> StoreUnreadable:
    return StoreUnreadable(
        f"the store {path} cannot be read",
        why=why,
        fix="labkit leaves it as it is. Move it away (with its -wal and -shm files) and put back "
        "a backup or an export, or begin a new store; machines still running are then leftovers.",
        path=str(path),
    )


def _url(path: Path) -> sqlalchemy.URL:
    return sqlalchemy.URL.create("sqlite+pysqlite", database=str(path))


def _engine(path: Path, busy_seconds: float) -> Engine:
    engine = sqlalchemy.create_engine(
        _url(path), connect_args={"timeout": busy_seconds, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where sqlite3 does
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")  # saved means saved, also when power fails

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        begin = connection.get_execution_options().get("labkit_begin", "BEGIN IMMEDIATE")
        connection.exec_driver_sql(begin)

    return engine


def _make(path: Path) -> None:
    """Make an empty store beside `path` and link it there whole; the first of several wins."""
    if path.exists():
        return
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        why = "the file is missing, but its log of the last changes is still there"
        raise _unreadable(path, why)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".labkit-new-") as folder:
        new = Path(folder) / FILE
        engine = _engine(new, BUSY_SECONDS)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        with engine.begin() as connection:
            schema.metadata.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            connection.exec_driver_sql(f"PRAGMA user_version = {schema.VERSION}")
        engine.dispose()
        new.chmod(0o600)
        try:
            path.hardlink_to(new)
        except FileExistsError:
            return  # another process was first: its store is as good


def _check_file(path: Path) -> None:
    """An empty or foreign file would be taken for a new database by SQLite."""
    with path.open("rb") as file:
        begin = file.read(len(MAGIC))
    if not begin:
        raise _unreadable(path, "the file is empty: it was cut off")
    if begin != MAGIC:
        raise _unreadable(path, "the file is no SQLite database")


def _check_content(path: Path, connection: Connection) -> None:
    application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if application != schema.APPLICATION_ID:
        raise _unreadable(path, "the file is another program's database")
    if version > schema.VERSION:
        raise StoreTooNew(
            f"the store {path} is of version {version}",
            why=f"this labkit knows versions up to {schema.VERSION}",
            fix="Use the newer labkit that wrote it, or another LABKIT_DATA_DIR.",
            path=str(path),
        )
    problem = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if problem != "ok":
        raise _unreadable(path, f"the database is damaged: {problem}")
