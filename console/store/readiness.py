"""The table of readiness verdicts, each run of a server a row."""

from __future__ import annotations

import json
from typing import Any

from console.store.database import Store
from console.units import utc_now

KEPT = 50


def put(store: Store, server: str, asked: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Keep one server's verdicts; the oldest of many go."""
    with store.write() as db:
        db.execute(
            "INSERT INTO readiness (server, judged_at, asked, results) VALUES (?, ?, ?, ?)",
            (server, utc_now(), json.dumps(asked), json.dumps(results, ensure_ascii=False)),
        )
        db.execute(
            "DELETE FROM readiness WHERE server = ? AND id NOT IN (SELECT id FROM readiness WHERE server = ? ORDER BY id DESC LIMIT ?)",
            (server, server, KEPT),
        )


def latest(store: Store) -> dict[str, dict[str, Any]]:
    """Each server's newest row."""
    with store.read() as db:
        rows = list(db.query("SELECT * FROM readiness WHERE id IN (SELECT max(id) FROM readiness GROUP BY server) ORDER BY server"))
    return {row["server"]: row | {"asked": json.loads(row["asked"]), "results": json.loads(row["results"])} for row in rows}
