"""The tables of imported releases and of what each channel has seen."""

from __future__ import annotations

import json
from typing import Any

from console.store.database import Store
from console.units import utc_now


def releases(store: Store) -> list[dict[str, Any]]:
    """All imported releases, newest first."""
    with store.read() as db:
        rows = list(db.query("SELECT * FROM releases ORDER BY imported_at DESC, rowid DESC"))
    return [row | {"signers": json.loads(row["signers"]), "receipt": json.loads(row["receipt"])} for row in rows]


def channel(store: Store, name: str) -> dict[str, Any] | None:
    """What a channel has seen."""
    with store.read() as db:
        return next(iter(db.query("SELECT * FROM channels WHERE channel = ?", (name,))), None)


def time_floor(store: Store) -> str:
    """The latest time that any accepted release was issued at; empty when there is none."""
    with store.read() as db:
        return next(iter(db.query("SELECT coalesce(max(time_floor), '') AS t FROM channels")))["t"]


def is_revoked(store: Store, release_id: str) -> bool:
    """Whether an accepted release has revoked this one."""
    with store.read() as db:
        return bool(list(db.query("SELECT 1 FROM revoked_releases WHERE release_id = ?", (release_id,))))


def put_release(store: Store, row: dict[str, Any], files: set[str], seen: dict[str, Any], revoked: tuple[str, ...]) -> None:
    """Enter an accepted release with its files, its channel's state and what it revokes, all or nothing."""
    with store.write() as db:
        db.execute("INSERT INTO releases VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (release_id) DO UPDATE SET receipt = excluded.receipt",
                   (row["release_id"], row["bundle_id"], row["title"], utc_now(), row["imported_by"], json.dumps(row["signers"]),
                    json.dumps(row["receipt"])))
        db.conn.executemany("INSERT OR IGNORE INTO library_files VALUES (?, ?)", [(f, row["release_id"]) for f in sorted(files)])
        db.execute("INSERT INTO channels VALUES (:channel, :highest_sequence, :release_id, :min_sequence, :time_floor) "
                   "ON CONFLICT (channel) DO UPDATE SET "
                   "release_id = CASE WHEN excluded.highest_sequence > highest_sequence THEN excluded.release_id ELSE release_id END, "
                   "highest_sequence = max(highest_sequence, excluded.highest_sequence), "
                   "min_sequence = max(min_sequence, excluded.min_sequence), time_floor = max(time_floor, excluded.time_floor)", seen)
        db.conn.executemany("INSERT OR IGNORE INTO revoked_releases VALUES (?, ?)", [(r, row["release_id"]) for r in revoked])


def drop_release(store: Store, release_id: str) -> list[str]:
    """Take a release out; the files that no other release needs."""
    with store.write() as db:
        orphans = [r["sha256"] for r in db.query(
            "SELECT sha256 FROM library_files WHERE release_id = ? AND sha256 NOT IN "
            "(SELECT sha256 FROM library_files WHERE release_id != ?)", (release_id, release_id))]
        db.execute("DELETE FROM releases WHERE release_id = ?", (release_id,))
        return orphans
