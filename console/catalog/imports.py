"""Newer catalog files: kept in the workspace beside those that came with the program, numbered, never written over."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.catalog.catalog import load
from console.catalog.reading import MAX_BYTES, Entry, read
from console.errors import DeniedError, InputError, UsageError, WorldError, code
from console.events import Changed
from console.i18n import N_

if TYPE_CHECKING:
    from console.engine import Engine

NOT_VOUCHED = code("catalog.not-vouched", DeniedError, N_("The file {file} has the digest {found}, not the one that was given."),
                   N_("Ask its sender for the digest again; if it still differs, do not use the file."))
NO_DIGEST = code("catalog.no-digest", UsageError, N_("A catalog file is taken in with --sha256 and its digest, or from a release with --release."),
                 N_("Have the sender read the digest to you, or bring the catalog in as part of a signed bundle."))
NO_CATALOG = code("catalog.not-in-release", InputError, N_("The release {release} carries no catalog."),
                  N_("Choose a release with a component of the type catalog."))
NOT_READ = code("catalog.not-read", WorldError, N_("The catalog file {file} cannot be read: {reason}."), N_("Check the path and its rights."))
FOLDER = "catalog"
_NAME = re.compile(r"(\d{4})-[a-z]+(-[a-z]+)?-([0-9a-f]{12})\.yaml")


def import_file(engine: Engine, file: Path | None, sha256: str | None) -> list[dict[str, Any]]:
    """Take in one file that an administrator vouches for by its digest.

    Raises:
        UsageError, DeniedError, InputError, WorldError: ``catalog.…``; ``account.not-permitted``.
    """
    if file is None or not sha256:
        raise NO_DIGEST()
    engine.require("admin")
    try:
        raw = file.read_bytes() if file.stat().st_size <= MAX_BYTES else b""
    except OSError as problem:
        raise NOT_READ(file=str(file), reason=problem.strerror or "unreadable") from None
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256.strip().lower():
        engine.audit.append("catalog.import", outcome="denied", obj={"kind": "catalog", "id": file.name, "digest": found},
                            reason="catalog.not-vouched")
        raise NOT_VOUCHED(file=str(file), found=found)
    return [_take(engine, raw, file.name, {"vouched_by": engine.actor.id})]


def import_release(engine: Engine, name: str) -> list[dict[str, Any]]:
    """Take in the catalog files of a release that was verified when it came into the library.

    Raises:
        InputError: ``catalog.not-in-release``, ``catalog.malformed``, an unknown release.
    """
    engine.require("admin", "operator")
    release = engine.library.get(name)
    wanted = {c.id for c in release.components if c.type == "catalog"}
    files = [f for f in release.files if f.component in wanted and f.path.endswith((".yaml", ".yml"))]
    if not files:
        raise NO_CATALOG(release=release.title)
    raws = [(f.path, engine.library.open_file(release, f.path).read_bytes()) for f in files]
    for path, raw in raws:
        read(raw, path)
    return [_take(engine, raw, path.rpartition("/")[2], {"release": release.release_id}) for path, raw in raws]


def imported(workspace: Path) -> list[dict[str, Any]]:
    """The files taken in, in their order."""
    folder = workspace / FOLDER
    files = sorted(p for p in folder.glob("*.yaml") if _NAME.fullmatch(p.name)) if folder.is_dir() else []
    return [{"file": p.name, "sha256": hashlib.sha256(p.read_bytes()).hexdigest(), "entries": len(read(p.read_bytes(), p.name))} for p in files]


def _take(engine: Engine, raw: bytes, name: str, why: dict[str, Any]) -> dict[str, Any]:
    entries = read(raw, name)
    digest = hashlib.sha256(raw).hexdigest()
    folder = engine.workspace / FOLDER
    with engine.act("catalog.import", {"kind": "catalog", "id": name, "digest": digest}, why) as told:
        folder.mkdir(mode=0o700, exist_ok=True)
        before = {(e.kind, e.section, e.name) for e in load(folder).all()}
        replaced = sum((e.kind, e.section, e.name) in before for e in entries)
        number = max((int(m[1]) for p in folder.iterdir() if (m := _NAME.fullmatch(p.name))), default=0) + 1
        _write(folder / f"{number:04d}-{_kind(entries)}-{digest[:12]}.yaml", raw)
        told |= {"entries": len(entries), "replaced": replaced}
    engine.events.publish(Changed(None, frozenset({"settings"})))
    return {"file": name, "sha256": digest, "count": len(entries), "replaced": replaced}


def _kind(entries: tuple[Entry, ...]) -> str:
    kind = entries[0].kind if entries else "empty"
    vendor = entries[0].vendor if entries else None
    return f"{kind}-{vendor}" if vendor else kind


def _write(path: Path, raw: bytes) -> None:
    part = path.with_suffix(".part")
    with open(part, "wb") as out:
        out.write(raw)
        out.flush()
        os.fsync(out.fileno())
    os.replace(part, path)
