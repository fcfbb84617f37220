"""The workspace's database: opened safely, migrated with a backup, written by one at a time.

WAL with ``synchronous=FULL``: what a write returned from survives a power cut. Migrations are numbered files of SQL
under ``migrations/``; each runs in one transaction together with its own record.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from console.errors import InputError, WorldError, code
from console.i18n import N_
from console.units import utc_now

if TYPE_CHECKING:
    import sqlite_utils

NEWER = code(
    "store.newer-database",
    InputError,
    N_("The workspace was written by a newer version of Sealift (step {found}; this one knows {known})."),
    N_("Open it with that version, or restore the backup that was made before its first start: {backup}."),
)
CORRUPT = code(
    "store.corrupt",
    WorldError,
    N_("The workspace database {path} is damaged or not a database: {reason}."),
    N_("Keep the file, restore the newest one from the folder backups beside it, and check the disk."),
)
FULL = code(
    "store.disk-full",
    WorldError,
    N_("The disk that holds the workspace is full, so {path} cannot be written."),
    N_("Free space on it and try again; nothing was half-written."),
    retryable=True,
)
FAILED = code(
    "store.failed",
    WorldError,
    N_("The workspace database {path} cannot be used: {reason}."),
    N_("Check the disk and the rights of the workspace folder, then try again."),
    retryable=True,
)

_MIGRATION = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
FOLDER = Path(__file__).parent / "migrations"
KEPT_BACKUPS = 5


def migrations(folder: Path = FOLDER) -> list[tuple[int, str]]:
    """Number and SQL of each migration, in order."""
    found = {int(match[1]): file for file in folder.iterdir() if (match := _MIGRATION.fullmatch(file.name))}
    return [(number, found[number].read_text(encoding="utf-8")) for number in sorted(found)]


class Store:
    """One open database. Any thread may read or write; there is one connection and writes take turns."""

    def __init__(self, path: Path, folder: Path = FOLDER):
        """Open or make the database at ``path`` and bring it up to date.

        Raises:
            InputError: ``store.newer-database``.
            WorldError: ``store.corrupt``, ``store.disk-full``, ``store.failed``.
        """
        self.path, self._lock, self._steps = path, threading.RLock(), migrations(folder)
        with self._translated():
            self._connection = _connect(path)
        try:
            with self._translated():
                self._migrate()
        except BaseException:
            self._connection.close()
            raise
        self._depth = 0

    @cached_property
    def _queries(self) -> sqlite_utils.Database:
        """Made when it is first wanted: to load sqlite-utils takes longer than most commands do all the rest of their start."""
        return _sqlite_utils().Database(self._connection)

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite_utils.Database]:
        """The database for reading."""
        with self._lock, self._translated():
            yield self._queries

    def rows(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """What a query gives, for those that every command asks, or asks for each server of a fleet: without sqlite-utils, which puts
        each of its own between two statements more, lest it should write."""
        with self._lock, self._translated():
            found = self._connection.execute(sql, params)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found]

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """The connection inside a transaction: all of the block or nothing of it. Blocks may nest."""
        with self._lock, self._translated():
            if self._depth:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield self._connection
            except BaseException:
                self._connection.rollback()
                raise
            else:
                self._connection.commit()
            finally:
                self._depth = 0

    def backup(self, target: Path) -> None:
        """A consistent copy at ``target``, by SQLite's own backup call."""
        with self._lock, self._translated(), contextlib.closing(sqlite3.connect(target)) as copy:
            self._connection.backup(copy)
        target.chmod(0o600)

    def close(self) -> None:
        """Close the database; safe to call twice."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise  # a caller's rule, such as a unique name; it knows what it means
        except sqlite3.DatabaseError as problem:
            where, name = str(self.path), getattr(problem, "sqlite_errorname", "")
            if name == "SQLITE_FULL":
                raise FULL(path=where) from None
            if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                raise CORRUPT(path=where, reason=str(problem)) from None
            if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_BUSY", "SQLITE_PERM")):
                raise FAILED(path=where, reason=str(problem)) from None
            raise

    def _migrate(self) -> None:
        self._connection.execute("CREATE TABLE IF NOT EXISTS migration (number INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)")
        done = {row[0] for row in self._connection.execute("SELECT number FROM migration")}
        known = [number for number, _ in self._steps]
        if strangers := done - set(known):
            raise NEWER(found=max(strangers), known=max(known, default=0), backup=str(self.path.parent / "backups"))
        todo = [(number, sql) for number, sql in self._steps if number not in done]
        if todo and done:
            self._backup_before(max(done))
        for number, sql in todo:
            # executescript would commit what is open first, so the transaction is part of the script.
            stamp = utc_now()
            self._connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nINSERT INTO migration VALUES ({number}, '{stamp}');\nCOMMIT;")

    def _backup_before(self, step: int) -> None:
        folder = self.path.parent / "backups"
        folder.mkdir(mode=0o700, exist_ok=True)
        stamp = utc_now().replace(":", "").replace("-", "")
        self.backup(folder / f"{self.path.stem}-{step:04d}-{stamp}.db")
        for old in sorted(folder.glob(f"{self.path.stem}-*.db"), key=lambda p: p.name.split("-")[-1])[:-KEPT_BACKUPS]:
            old.unlink()


def _connect(path: Path) -> sqlite3.Connection:
    fresh = not path.exists()
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        # Recursive triggers as sqlite-utils sets them, which is loaded sooner or later or not at all.
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON", "trusted_schema=OFF", "cell_size_check=ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("SELECT count(*) FROM sqlite_schema")
    except BaseException:
        connection.close()
        raise
    if fresh:
        path.chmod(0o600)
    return connection


def _sqlite_utils() -> ModuleType:
    """The package, loaded. It loads numpy where that is installed, to store its numbers, of which there are none here: 0.1 s and
    13 MB. With None in its place it counts as not installed meanwhile; whoever needs numpy comes later."""
    hides = sys.modules.setdefault("numpy", None) is None  # type: ignore[arg-type]
    try:
        import sqlite_utils
    finally:
        if hides:
            del sys.modules["numpy"]
    return sqlite_utils
