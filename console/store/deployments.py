"""The tables of deployments: plans, what was applied where, and the journal of steps."""

from __future__ import annotations

import json
from typing import Any

from console.store.database import Store
from console.units import utc_now

_JSON = ("error", "smoke", "expect", "before", "document")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: json.loads(value) if key in _JSON and value is not None else value for key, value in row.items()}


def _dump(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _rows(store: Store, sql: str, params: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    with store.read() as db:
        return [_plain(row) for row in db.query(sql, params)]


def add_plan(store: Store, plan_id: str, digest: str, created_by: str, document: dict[str, Any]) -> None:
    """Keep a plan. The same plan again is kept once."""
    with store.write() as db:
        db.execute("INSERT OR IGNORE INTO plans (id, digest, created_at, created_by, state, document) VALUES (?, ?, "
                   "?, ?, ?, ?)",
                   (plan_id, digest, utc_now(), created_by, "planned", _dump(document)))


def get_plan(store: Store, plan_id: str) -> dict[str, Any] | None:
    """One plan's row, its document decoded."""
    return next(iter(_rows(store, "SELECT * FROM plans WHERE id = ?", (plan_id,))), None)


def set_plan_state(store: Store, plan_id: str, state: str) -> None:
    """Move a plan to ``state`` (planned, approved, applied)."""
    with store.write() as db:
        db.execute("UPDATE plans SET state = ? WHERE id = ?", (state, plan_id))


def plans(store: Store) -> list[dict[str, Any]]:
    """Every plan, newest first."""
    return _rows(store, "SELECT * FROM plans ORDER BY created_at DESC, rowid DESC")


def add_deployment(store: Store, row: dict[str, Any], servers: list[dict[str, Any]]) -> None:
    """A deployment with its servers, in one transaction."""
    with store.write() as db:
        db.execute("INSERT INTO deployments (id, plan_id, name, playbook, release_id, created_at, created_by) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?)", (row["id"], row["plan_id"], row["name"], row["playbook"],
                                                    row["release_id"],
                                                    utc_now(), row["created_by"]))
        for one in servers:
            db.execute("INSERT INTO deployment_servers (deployment_id, server, state, port, previous, updated_at) "
                       "VALUES (?, ?, ?, ?, ?, ?)", (row["id"], one["server"], "waiting", one["port"], one["previous"],
                                                     utc_now()))


def count_named(store: Store, name: str) -> int:
    """How many deployments ever had this name."""
    return _rows(store, "SELECT count(*) AS n FROM deployments WHERE name = ?", (name,))[0]["n"]


def deployments(store: Store) -> list[dict[str, Any]]:
    """Every deployment, newest first."""
    return _rows(store, "SELECT * FROM deployments ORDER BY created_at DESC, rowid DESC")


def get_deployment(store: Store, deployment_id: str) -> dict[str, Any] | None:
    """One deployment by its id, or by the id of its plan."""
    return next(iter(_rows(store, "SELECT * FROM deployments WHERE id = ? OR plan_id = ?",
                           (deployment_id, deployment_id))), None)


def servers(store: Store, deployment_id: str) -> list[dict[str, Any]]:
    """The servers of a deployment."""
    return _rows(store, "SELECT * FROM deployment_servers WHERE deployment_id = ? ORDER BY rowid", (deployment_id,))


def on_server(store: Store, server: str) -> list[dict[str, Any]]:
    """Everything ever deployed on a server, newest first, with the deployment's name."""
    return _rows(store, "SELECT s.*, d.name, d.release_id FROM deployment_servers s JOIN deployments d ON d.id = "
                        "s.deployment_id "
                        "WHERE s.server = ? ORDER BY d.rowid DESC", (server,))


def with_state(store: Store, state: str) -> list[dict[str, Any]]:
    """All rows of servers in ``state``."""
    return _rows(store, "SELECT * FROM deployment_servers WHERE state = ?", (state,))


def set_server(store: Store, deployment_id: str, server: str, state: str, **fields: Any) -> None:
    """Move one server of a deployment to ``state``; ``error``, ``smoke`` and ``expect`` are kept as JSON."""
    values = {"state": state, "updated_at": utc_now()} | {k: _dump(v) for k, v in fields.items() if k in _JSON}
    with store.write() as db:
        db.execute(f"UPDATE deployment_servers SET {', '.join(f'{k} = ?' for k in values)} "
                   "WHERE deployment_id = ? AND server = ?", (*values.values(), deployment_id, server))


def begin_step(store: Store, deployment_id: str, server: str, position: int, kind: str,
               before: dict[str, Any]) -> dict[str, Any]:
    """Journal that a step begins, and give what stood before it: the facts of its very first beginning."""
    with store.write() as db:
        db.execute("INSERT OR IGNORE INTO deployment_steps (deployment_id, server, position, kind, state, before, "
                   "updated_at) "
                   "VALUES (?, ?, ?, ?, 'begun', ?, ?)", (deployment_id, server, position, kind, _dump(before),
                                                          utc_now()))
        [row] = store.rows("SELECT * FROM deployment_steps WHERE deployment_id = ? AND server = ? AND position = ?",
                           (deployment_id, server, position))
        if row["state"] == "undone":
            db.execute("UPDATE deployment_steps SET state = 'begun', before = ?, updated_at = ? "
                       "WHERE deployment_id = ? AND server = ? AND position = ?",
                       (_dump(before), utc_now(), deployment_id, server, position))
            return before
    return _plain(row)["before"]


def set_step(store: Store, deployment_id: str, server: str, position: int, state: str) -> None:
    """Move a journaled step to ``done`` or ``undone``."""
    with store.write() as db:
        db.execute("UPDATE deployment_steps SET state = ?, updated_at = ? WHERE deployment_id = ? AND server = ? AND "
                   "position = ?",
                   (state, utc_now(), deployment_id, server, position))


def steps(store: Store, deployment_id: str, server: str) -> list[dict[str, Any]]:
    """The journal of one server, in order."""
    return _rows(store, "SELECT * FROM deployment_steps WHERE deployment_id = ? AND server = ? ORDER BY position",
                 (deployment_id, server))
