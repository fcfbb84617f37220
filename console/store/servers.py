"""The tables of servers: entries, pinned host keys, inventories with their raw evidence."""

from __future__ import annotations

import json
from typing import Any

from console.store.database import Store
from console.units import utc_now

KEPT_INVENTORIES = 20
"""Inventories kept of one server; the oldest go first."""


def all_servers(store: Store, name: str | None = None) -> list[dict[str, Any]]:
    """Every entry, or the one of ``name``, by name, as ``{"record": dict, "host_keys": [str]}``."""
    found: dict[str, dict[str, Any]] = {}
    for row in store.rows("SELECT name, record, key FROM servers LEFT JOIN host_keys ON server = name WHERE :name IS NULL OR name = :name "
                          "ORDER BY name, trusted_at, host_keys.rowid", {"name": name}):  # fmt: skip
        if row["name"] not in found:
            found[row["name"]] = {"record": json.loads(row["record"]), "host_keys": []}
        if row["key"] is not None:
            found[row["name"]]["host_keys"].append(row["key"])
    return list(found.values())


def put_server(store: Store, name: str, record: dict[str, Any]) -> None:
    """Add an entry or replace it; its host keys and inventories stay."""
    with store.write() as db:
        db.execute("INSERT INTO servers (name, record, added_at) VALUES (?, ?, ?) "
                   "ON CONFLICT (name) DO UPDATE SET record = excluded.record",
                   (name, json.dumps(record, ensure_ascii=False), utc_now()))


def delete_server(store: Store, name: str) -> None:
    """Remove an entry with its host keys and inventories, and what was noted of it."""
    with store.write() as db:
        for table, column in (("inventories", "server"), ("host_keys", "server"), ("push_keys", "server"),
                              ("servers", "name")):
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))


def pin_keys(store: Store, name: str, keys: list[str], source: str) -> None:
    """Replace the pinned host keys of a server."""
    with store.write() as db:
        db.execute("DELETE FROM host_keys WHERE server = ?", (name,))
        for key in keys:
            db.execute("INSERT INTO host_keys (server, key, source, trusted_at) VALUES (?, ?, ?, ?)",
                       (name, key, source, utc_now()))


def add_inventory(store: Store, server: str, taken_at: str, reached: bool, error: dict | None,
                  evidence: dict[str, Any]) -> int | None:
    """Keep one inventory, and give its id; a server that is gone meanwhile keeps none."""
    with store.write() as db:
        added = db.execute("INSERT INTO inventories (server, taken_at, reached, error, evidence) "
                   "SELECT ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM servers WHERE name = ?)",
                   (server, taken_at, int(reached), json.dumps(error, ensure_ascii=False) if error else None,
                    json.dumps(evidence, ensure_ascii=False), server))
        db.execute("DELETE FROM inventories WHERE server = ? AND id NOT IN (SELECT id FROM inventories "
                   "WHERE server = ? ORDER BY id DESC LIMIT ?)", (server, server, KEPT_INVENTORIES))
        return added.lastrowid if added.rowcount else None


def newest_inventory(store: Store, server: str, reached_only: bool = False) -> int | None:
    """The id of the newest inventory of a server."""
    which = " AND reached = 1" if reached_only else ""
    return store.rows(f"SELECT max(id) AS id FROM inventories WHERE server = ?{which}", (server,))[0]["id"]


def inventories(store: Store, server: str, limit: int, reached_only: bool = False) -> list[dict[str, Any]]:
    """The newest inventories of a server, newest first."""
    which = "AND reached = 1 " if reached_only else ""
    rows = store.rows(f"SELECT taken_at, reached, error, evidence FROM inventories WHERE server = ? {which}ORDER BY id DESC LIMIT ?", (server, limit))
    return [{"taken_at": r["taken_at"], "reached": bool(r["reached"]), "error": json.loads(r["error"]) if r["error"] else None,
             "evidence": json.loads(r["evidence"])} for r in rows]
