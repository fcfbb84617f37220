"""The table of jobs: what was asked for, by whom, and how it ended."""

from __future__ import annotations

import json
from typing import Any

from console.store.database import Store
from console.units import utc_now

OVER = ("succeeded", "failed", "cancelled", "interrupted")
KEPT_JOBS = 1000


def insert(store: Store, job: str, kind: str, title: str, servers: tuple[str, ...], params: dict[str, Any], actor: str) -> None:
    """Note a job before it starts."""
    with store.write() as db:
        db.execute(
            "INSERT INTO jobs (id, kind, title, servers, params, state, actor, submitted_at) VALUES (?,?,?,?,?,?,?,?)",
            (job, kind, title, json.dumps(servers), json.dumps(params), "queued", actor, utc_now()),
        )
        db.execute(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state != 'interrupted' ORDER BY submitted_at DESC LIMIT -1 OFFSET ?)",
            (KEPT_JOBS,),
        )


def move(store: Store, job: str, state: str, error: dict[str, Any] | None = None) -> None:
    """Note a job's new state."""
    with store.write() as db:
        db.execute(
            "UPDATE jobs SET state = ?, error = ?, ended_at = ? WHERE id = ?",
            (state, json.dumps(error) if error else None, utc_now() if state in OVER else None, job),
        )


def cut_off(store: Store) -> int:
    """Turn every job that was not over into ``interrupted``; called once, before any job of this start."""
    with store.write() as db:
        marks = ",".join("?" * len(OVER))
        return db.execute(f"UPDATE jobs SET state = 'interrupted', ended_at = ? WHERE state NOT IN ({marks})", (utc_now(), *OVER)).rowcount


def settle(store: Store, kind: str, servers: tuple[str, ...], params: dict[str, Any]) -> None:
    """The same job was carried to its end now, so its cut-off tries are no longer open."""
    with store.write() as db:
        db.execute(
            "UPDATE jobs SET dismissed = 1 WHERE state = 'interrupted' AND kind = ? AND servers = ? AND params = ?",
            (kind, json.dumps(servers), json.dumps(params)),
        )


def listed(store: Store, state: str | None = None, limit: int = 200) -> list[dict[str, Any]]:
    """Jobs, newest first; dismissed interrupted ones are left out when asked for by state."""
    where, values = ("WHERE state = ? AND NOT dismissed", (state,)) if state else ("", ())
    rows = store.rows(f"SELECT * FROM jobs {where} ORDER BY submitted_at DESC, rowid DESC LIMIT ?", (*values, limit))
    for row in rows:
        row["servers"], row["params"] = json.loads(row["servers"]), json.loads(row["params"])
        row["error"], row["dismissed"] = json.loads(row["error"]) if row["error"] else None, bool(row["dismissed"])
    return rows


def dismiss(store: Store, job: str) -> bool:
    """Take an interrupted job off the list of what is open."""
    with store.write() as db:
        return db.execute("UPDATE jobs SET dismissed = 1 WHERE id = ? AND state = 'interrupted'", (job,)).rowcount > 0
