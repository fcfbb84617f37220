"""The table of trust roots."""

from __future__ import annotations

from console.store.database import Store
from console.units import utc_now


def newest_root(store: Store) -> bytes | None:
    """The signed root in force."""
    with store.read() as db:
        row = next(iter(db.query("SELECT envelope FROM trust_roots ORDER BY version DESC LIMIT 1")), None)
    return bytes(row["envelope"]) if row else None


def roots(store: Store) -> list[bytes]:
    """All signed roots, oldest first."""
    with store.read() as db:
        return [bytes(row["envelope"]) for row in db.query("SELECT envelope FROM trust_roots ORDER BY version")]


def put_root(store: Store, version: int, envelope: bytes, digest: str, by: str) -> None:
    """Enter a root; a version is entered once."""
    with store.write() as db:
        db.execute("INSERT INTO trust_roots VALUES (?, ?, ?, ?, ?)", (version, envelope, digest, utc_now(), by))
