"""Fleets without servers: entries with pinned keys, and answers taken from the practice servers once."""

from __future__ import annotations

from typing import Any

from console.jobs.job import NullContext
from console.servers.record import ServerRecord
from console.store import servers as table

PIN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1w4wPqIbTQm5jmB2ZQf5Gk6mQ2m8v1b5kS6c0m1v0Z"


def practice_answers(engine: Any) -> dict[str, dict[str, Any]]:
    """The raw evidence of each practice server, by name; the practice servers are taken down again."""
    engine.practice.up(in_process=True)
    names = [record.name for record in engine.servers.list()]
    engine.inventory.refresh(NullContext(), names)
    answers = {name: table.inventories(engine.store, name, 1, True)[0]["evidence"] for name in names}
    engine.practice.down()
    for name in names:
        if name in {record.name for record in engine.servers.list()}:
            engine.servers.remove(name)
    return answers


def enter(engine: Any, count: int, *, prefix: str = "gpu-", group: str = "") -> list[str]:
    """Enter ``count`` servers with pinned keys; gives their names."""
    names = [f"{prefix}{number:03d}" for number in range(count)]
    for number, name in enumerate(names):
        put(engine, ServerRecord(name, f"10.20.{number // 200}.{number % 200}", group=group or f"hall {1 + number // 100}",
                                 labels=(("training", "inference")[number % 2],)))
    return names


def put(engine: Any, record: ServerRecord, trusted: bool = True) -> None:
    """Enter one server without the audit's detour, as fast as a test of hundreds needs it."""
    table.put_server(engine.store, record.name, record.as_dict())
    if trusted:
        table.pin_keys(engine.store, record.name, [PIN], "fingerprint")
