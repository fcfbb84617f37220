"""Copies of signed heads on the managed servers: a file that is only appended to, and read back for a comparison.

A copy outside this host is what shows a cut tail: a log that lost its newest records looks whole by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from console.audit import note
from console.audit.log import copy_name
from console.errors import SealiftError, WorldError, code
from console.i18n import N_
from console.steps import Host

NO_HEAD = code(
    "audit.no-head",
    WorldError,
    N_("No head was signed in this log yet, so there is none to copy."),
    N_("Do something that is recorded first, such as `sealift audit verify`."),
)
WRONG_COPY = code(
    "audit.head-not-kept",
    WorldError,
    N_("{server} does not give back the signed head that was written there."),
    N_("Look at the disk of {server} and the rights of its store, then copy the head again."),
    retryable=True,
)
KEPT = N_("{server} keeps a copy of the signed head over {records} records.")
NOT_KEPT = N_("{server} could not be given a copy of the signed head: {message}")

AT_ONCE = 8
MAX_BYTES = 4 << 20
_APPEND = """
set -eu
umask 077
mkdir -p "$(dirname "$1")"
head=$(cat; printf .)
printf '%s\\n' "${head%.}" >>"$1"
sync "$1" 2>/dev/null || sync
tail -c "$2" "$1"
"""
_READ = '[ -f "$1" ] && tail -c "$2" "$1" || :'


def copy_heads(engine: Any, ctx: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """Sign a head over all records and append it to the file that each server keeps.

    A server that cannot be reached is a result, not an error; the record of the copy tells both.

    Returns:
        ``[{"name", "outcome": "kept" | "failed", "size", "error"}]``

    Raises:
        WorldError: ``audit.no-head``.
    """
    engine.audit.checkpoint()
    signed = engine.audit.newest_note()
    if signed is None:
        raise NO_HEAD()
    size = note.read(signed).size

    def one(name: str) -> dict[str, Any]:
        try:
            _with_host(engine, name, lambda host: _append(host, engine.audit.origin, signed))
        except SealiftError as problem:
            ctx.server(name).warn(NOT_KEPT, server=name, message=problem.message())
            return {"name": name, "outcome": "failed", "size": size, "error": problem.kept()}
        ctx.server(name).note(KEPT, server=name, records=size)
        return {"name": name, "outcome": "kept", "size": size, "error": None}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(one, names))
    failed = [r["name"] for r in results if r["error"]]
    engine.audit.append("audit.copy", outcome="failure" if failed else "success", obj={"kind": "head", "id": str(size), "digest": None},
                        detail={"kept": [r["name"] for r in results if not r["error"]], "failed": failed})
    return results


def read_heads(engine: Any, names: Sequence[str]) -> list[tuple[str, bytes]]:
    """The heads of this log that the servers keep, each with the name of its server.

    Raises:
        WorldError, InputError: a server cannot be reached or asked.
    """
    def one(name: str) -> list[tuple[str, bytes]]:
        kept = _with_host(engine, name, lambda host: _read(host, engine.audit.origin))
        return [(f"{name}:{note.read(signed).size}", signed) for signed in kept]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [row for rows in pool.map(one, names) for row in rows]


def notes_in(text: str, origin: str) -> list[bytes]:
    """The signed notes of one log in a file of appended ones; what is damaged or another's is left out."""
    start = re.escape(origin) + r"\n(?:0|[1-9][0-9]{0,17})\n[A-Za-z0-9+/=]+\n\n(?:\u2014 [^\n]+\n)+"
    found = []
    for match in re.finditer(rf"(?m)^{start}", text):
        try:
            note.read(match[0].encode())
        except ValueError:
            continue
        found.append(match[0].encode())
    return found


def _with_host(engine: Any, name: str, act: Any) -> Any:
    link = engine.servers.connect(name)
    try:
        return act(Host.of(link, engine.servers.get(name)))
    finally:
        link.close()


def _file(host: Host, origin: str) -> str:
    return f"{host.store}/audit/{copy_name(origin)}"


def _append(host: Host, origin: str, signed: bytes) -> None:
    said = host.script("keeping a copy of the signed head", _APPEND, _file(host, origin), str(len(signed) + 1), stdin=signed)
    if said.encode() != signed + b"\n":
        raise WRONG_COPY(server=host.server)


def _read(host: Host, origin: str) -> list[bytes]:
    return notes_in(host.script("reading the kept heads", _READ, _file(host, origin), str(MAX_BYTES)), origin)
