"""The table of servers on which a push may have left a key of its own."""

from __future__ import annotations

from collections.abc import Iterable

from console.store.database import Store
from console.units import utc_now


def note(store: Store, servers: Iterable[str]) -> None:
    """A key may lie on these servers from now on; returns when that is on the disk."""
    with store.write() as db:
        db.executemany(
            "INSERT INTO push_keys (server, noted_at) VALUES (?, ?) ON CONFLICT (server) DO NOTHING",
            [(name, utc_now()) for name in servers],
        )


def noted(store: Store) -> list[str]:
    """Servers that may hold a key, by name."""
    return [row["server"] for row in store.rows("SELECT server FROM push_keys ORDER BY server")]


def forget(store: Store, servers: Iterable[str]) -> None:
    """These servers hold none any more."""
    with store.write() as db:
        db.executemany("DELETE FROM push_keys WHERE server = ?", [(name,) for name in servers])
