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


def files(store: Store) -> set[str]:
    """The digests of the files that any release needs."""
    with store.read() as db:
        return {row["sha256"] for row in db.query("SELECT DISTINCT sha256 FROM library_files")}


def channel(store: Store, name: str) -> dict[str, Any] | None:
    """What a channel has seen."""
    with store.read() as db:
        return next(iter(db.query("SELECT * FROM channels WHERE channel = ?", (name,))), None)


def channels(store: Store) -> dict[str, int]:
    """The highest sequence of each channel."""
    with store.read() as db:
        return {row["channel"]: row["highest_sequence"] for row in db.query("SELECT * FROM channels")}


def time_floor(store: Store) -> str:
    """The latest time that any accepted release was issued at; empty when there is none."""
    with store.read() as db:
        return next(iter(db.query("SELECT coalesce(max(time_floor), '') AS t FROM channels")))["t"]


def is_revoked(store: Store, release_id: str) -> bool:
    """Whether an accepted release has revoked this one."""
    with store.read() as db:
        return bool(list(db.query("SELECT 1 FROM revoked_releases WHERE release_id = ?", (release_id,))))


def was_imported(store: Store, release_id: str) -> bool:
    """Whether this site imported the release at any time."""
    with store.read() as db:
        return bool(list(db.query("SELECT 1 FROM imported_releases WHERE release_id = ?", (release_id,))))


def put_release(
    store: Store, row: dict[str, Any], files: set[str], seen: dict[str, Any], revoked: tuple[str, ...]
) -> None:
    """Enter an accepted release with its files, its channel's state and what it revokes, all or nothing."""
    now = utc_now()
    with store.write() as db:
        db.execute(
            "INSERT INTO releases VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (release_id) DO UPDATE SET receipt = excluded.receipt, signers = excluded.signers",
            (row["release_id"], row["bundle_id"], row["title"], now, row["imported_by"], json.dumps(row["signers"]),
             json.dumps(row["receipt"])),
        )
        db.execute("INSERT OR IGNORE INTO imported_releases VALUES (?, ?, ?, ?)",
                   (row["release_id"], seen["channel"], seen["highest_sequence"], now))
        held = [(sha256, row["release_id"]) for sha256 in sorted(files)]
        db.executemany("INSERT OR IGNORE INTO library_files VALUES (?, ?)", held)
        db.execute(
            "INSERT INTO channels VALUES (:channel, :highest_sequence, :release_id, :min_sequence, :time_floor) "
            "ON CONFLICT (channel) DO UPDATE SET release_id = "
            "CASE WHEN excluded.highest_sequence > highest_sequence THEN excluded.release_id ELSE release_id END, "
            "highest_sequence = max(highest_sequence, excluded.highest_sequence), "
            "min_sequence = max(min_sequence, excluded.min_sequence), "
            "time_floor = max(time_floor, excluded.time_floor)",
            seen,
        )
        db.executemany("INSERT OR IGNORE INTO revoked_releases VALUES (?, ?)",
                            [(identity, row["release_id"]) for identity in revoked])


def raise_channel(store: Store, name: str, sequence: int) -> None:
    """Bring a channel's highest sequence up to what the audit log says of it."""
    with store.write() as db:
        db.execute("INSERT INTO channels VALUES (?, ?, '', 0, '') ON CONFLICT (channel) DO UPDATE SET "
                   "highest_sequence = max(highest_sequence, excluded.highest_sequence)", (name, sequence))


def drop_release(store: Store, release_id: str) -> list[str]:
    """Take a release out; the files that no other release needs."""
    with store.write() as db:
        orphans = [r["sha256"] for r in store.rows(
            "SELECT sha256 FROM library_files WHERE release_id = ? AND sha256 NOT IN "
            "(SELECT sha256 FROM library_files WHERE release_id != ?)", (release_id, release_id))]
        db.execute("DELETE FROM releases WHERE release_id = ?", (release_id,))
        return orphans
