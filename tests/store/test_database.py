"""The workspace database: migrated with a backup, refused in words when it cannot be used."""

from __future__ import annotations

import sqlite3

import pytest

from console.errors import InputError, WorldError
from console.store.database import FOLDER, Store, migrations


def folder_with(tmp_path, *texts):
    folder = tmp_path / "migrations"
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts, 1):
        (folder / f"{number:04d}_step.sql").write_text(text)
    return folder


def test_numbers_of_migrations_are_unique():
    files = list(FOLDER.glob("*.sql"))
    assert len(migrations()) == len(files)


def test_a_fresh_database_is_safe_to_trust_with_power_cuts(tmp_path):
    store = Store(tmp_path / "a.db")
    with store.read() as db:
        assert db.conn.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.conn.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert db.conn.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    assert (tmp_path / "a.db").stat().st_mode & 0o077 == 0
    store.close()


def test_a_write_is_all_or_nothing(tmp_path):
    store = Store(tmp_path / "a.db", folder_with(tmp_path, "CREATE TABLE t (n INTEGER);"))
    with pytest.raises(RuntimeError), store.write() as db:
        db.execute("INSERT INTO t VALUES (1)")
        raise RuntimeError
    with store.write() as db:
        with store.write() as inner:
            inner.execute("INSERT INTO t VALUES (2)")
        db.execute("INSERT INTO t VALUES (3)")
    with store.read() as db:
        assert [row["n"] for row in db.query("SELECT n FROM t ORDER BY n")] == [2, 3]
    store.close()


def test_a_later_step_makes_a_backup_first(tmp_path):
    folder = folder_with(tmp_path, "CREATE TABLE t (n INTEGER);")
    store = Store(tmp_path / "a.db", folder)
    with store.write() as db:
        db.execute("INSERT INTO t VALUES (7)")
    store.close()
    folder_with(tmp_path, "CREATE TABLE t (n INTEGER);", "ALTER TABLE t ADD COLUMN m INTEGER;")
    Store(tmp_path / "a.db", folder).close()
    (backup,) = (tmp_path / "backups").iterdir()
    with sqlite3.connect(backup) as old:
        assert old.execute("SELECT * FROM t").fetchall() == [(7,)]
    old.close()


def test_a_step_that_fails_leaves_the_database_as_it_was(tmp_path):
    folder = folder_with(tmp_path, "CREATE TABLE t (n INTEGER);")
    Store(tmp_path / "a.db", folder).close()
    folder_with(tmp_path, "CREATE TABLE t (n INTEGER);", "CREATE TABLE u (n INTEGER); SELECT nonsense FROM nowhere;")
    with pytest.raises(sqlite3.Error):
        Store(tmp_path / "a.db", folder)
    with sqlite3.connect(tmp_path / "a.db") as db:
        names = {row[0] for row in db.execute("SELECT name FROM sqlite_schema")}
        assert "u" not in names
        assert db.execute("SELECT max(number) FROM migration").fetchone() == (1,)
    db.close()


def test_a_newer_database_is_refused_in_words(tmp_path):
    folder = folder_with(tmp_path, "CREATE TABLE t (n INTEGER);", "CREATE TABLE u (n INTEGER);")
    Store(tmp_path / "a.db", folder).close()
    (folder / "0002_step.sql").unlink()
    with pytest.raises(InputError) as caught:
        Store(tmp_path / "a.db", folder)
    assert caught.value.code == "store.newer-database"


def test_fresh_and_migrated_databases_are_alike(tmp_path):
    def schema(path):
        with sqlite3.connect(path) as db:
            found = sorted(db.execute("SELECT type, name, sql FROM sqlite_schema").fetchall())
        db.close()
        return found

    steps = migrations()
    folder = tmp_path / "migrations"
    folder.mkdir()
    for number, text in steps:
        (folder / f"{number:04d}_step.sql").write_text(text)
        Store(tmp_path / "grown.db", folder).close()
    Store(tmp_path / "fresh.db").close()
    assert schema(tmp_path / "grown.db") == schema(tmp_path / "fresh.db")


@pytest.mark.parametrize("damage", [b"", b"this is no database, but it is long enough to look like one" * 20])
def test_what_is_no_database_is_refused_in_words(tmp_path, damage):
    path = tmp_path / "a.db"
    Store(path).close()
    raw = bytearray(path.read_bytes())
    if damage:
        path.write_bytes(damage)
    else:
        raw[4096:8192] = b"\xff" * 4096
        path.write_bytes(raw)
    with pytest.raises(WorldError) as caught:
        store = Store(path)
        with store.read() as db:
            list(db.query("PRAGMA integrity_check"))
            list(db.query("SELECT * FROM jobs"))
    assert caught.value.code == "store.corrupt"
