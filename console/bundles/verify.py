"""Checks a bundle on its drives: signatures, index, every byte, contents. Lists everything that it can know."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from console.bundles import layout, manifest, screening
from console.bundles.manifest import FileEntry, Statement
from console.bundles.media import GONE, ChunkedFile, Media, Unsafe, digest_of, only, read_small
from console.errors import SealiftError
from console.i18n import N_
from console.jobs.job import Context
from console.trust import dsse
from console.trust.keys import PublicKey

MAX_FINDINGS = 10_000
_BY_ERROR = {"trust.json": "json", "trust.size": "size", "trust.envelope": "json", "trust.sig-count": "sig-count",
             "trust.payload-type": "payload-type", "trust.signature": "signature", "trust.threshold": "threshold",
             "bundle.statement": "statement", "bundle.index": "index", "bundle.path": "path", "bundle.dup-name": "dup-name"}
_SAID = {"object-missing": N_("the chunk is not on the drives that are here"), "object-size": N_("the chunk has another size than the index says"),
         "object-digest": N_("the chunk's bytes are not those that were signed"), "symlink": N_("a link lies where a file must be"),
         "special-file": N_("something lies there that is no file")}


@dataclass
class Inspection:
    """What is known of a bundle before its bytes were read. ``verdict_so_far`` is unverified or failed, never more."""

    media: Media
    statement: Statement | None = None
    files: tuple[FileEntry, ...] = ()
    envelope_raw: bytes = b""
    index_raw: bytes = b""
    signers: list[dict[str, str]] = field(default_factory=list)
    unknown_keys: list[str] = field(default_factory=list)
    trusted: bool = False
    findings: list[dict[str, str]] = field(default_factory=list)

    def found(self, code: str, path: str, message: str) -> None:
        """Note a finding."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append({"code": code, "path": path, "message": message})


def inspect(places: Sequence[Path], trusted: Mapping[str, tuple[PublicKey, str]], threshold: int = 1,
            revoked: frozenset[str] = frozenset()) -> Inspection:
    """Who signed, with which key, and what is inside; accepts nothing and reads no object.

    Raises:
        InputError: ``bundle.not-found``, ``bundle.several``. WorldError: ``bundle.media-removed``.
    """
    seen = Inspection(only(places))
    try:
        _open_release(seen, trusted, threshold, revoked)
        _open_index(seen)
        _compare_volumes(seen)
    except OSError as problem:
        raise GONE(place=str(seen.media.first), reason=problem.strerror or "?") from None
    return seen


def _small(seen: Inspection, name: str, limit: int) -> bytes | None:
    try:
        return read_small(seen.media.first / name, limit)
    except Unsafe as problem:
        missing = problem.code == "object-missing"
        seen.found("missing" if missing else problem.code, name, "the file is not there" if missing else _SAID[problem.code])
        return None


def _open_release(seen: Inspection, trusted, threshold: int, revoked: frozenset[str]) -> None:
    raw = _small(seen, layout.RELEASE, layout.MAX_RELEASE_BYTES)
    if raw is None:
        return
    seen.envelope_raw = raw
    try:
        envelope = dsse.parse(raw, layout.PAYLOAD_TYPE)
        holders: dict[str, str] = {}
        for keyid, holder in dsse.good_signers(envelope, layout.PAYLOAD_TYPE, trusted):
            if holder not in holders:
                holders[holder] = keyid
                seen.signers.append({"key_id": keyid, "name": holder, "fingerprint": trusted[keyid][0].fingerprint})
        seen.unknown_keys = [s.keyid for s in envelope.signatures if s.keyid not in trusted]
        for keyid in sorted({s.keyid for s in envelope.signatures} & revoked):
            seen.found("revoked", layout.RELEASE, f"the key {keyid} was revoked by this site")
        seen.trusted = len(holders) >= threshold
        if trusted and not seen.trusted:
            seen.found("threshold", layout.RELEASE, f"{len(holders)} of {threshold} needed holders have signed")
        seen.statement = manifest.read_statement(envelope.payload)
    except SealiftError as problem:
        seen.found(_BY_ERROR.get(problem.code, "statement"), layout.RELEASE, str(problem))


def _open_index(seen: Inspection) -> None:
    raw = _small(seen, layout.INDEX, layout.MAX_INDEX_BYTES)
    if raw is None:
        return
    seen.index_raw = raw
    if seen.statement is not None and hashlib.sha256(raw).hexdigest() != seen.statement.index_sha256:
        seen.found("index", layout.INDEX, "the index is not the one that was signed")
        return
    try:
        seen.files = manifest.read_index(raw)
    except SealiftError as problem:
        seen.found(_BY_ERROR.get(problem.code, "index"), layout.INDEX, str(problem))
        return
    if seen.statement is not None:
        _check_totals(seen, seen.statement)


def _check_totals(seen: Inspection, statement: Statement) -> None:
    told, objects = statement.bundle, {d for f in seen.files for d, _ in f.chunks}
    real = {"bytes": sum(f.size for f in seen.files), "files": len(seen.files), "objects": len(objects)}
    for name, value in real.items():
        if told[name] != value:
            seen.found("index", layout.INDEX, f"the statement says {told[name]} {name}, the index lists {value}")
    known = {c.id: c.path for c in statement.components}
    for entry in seen.files:
        place = known.get(entry.component)
        if place is None or not entry.path.startswith(place + "/"):
            seen.found("index", entry.path, "the file belongs to no component of the statement")


def _compare_volumes(seen: Inspection) -> None:
    for volume in seen.media.volumes:
        if not volume.sealed:
            seen.found("missing", str(volume.folder / layout.SEALED), "the volume was not written to its end")
        for name, raw, limit in ((layout.RELEASE, seen.envelope_raw, layout.MAX_RELEASE_BYTES),
                                 (layout.INDEX, seen.index_raw, layout.MAX_INDEX_BYTES)):
            if volume.folder == seen.media.first:
                continue
            try:
                same = read_small(volume.folder / name, limit) == raw
            except Unsafe:
                same = False
            if not same:
                seen.found("index" if name == layout.INDEX else "signature", str(volume.folder / name),
                           "the volume belongs to another edition of the bundle")


def verify(ctx: Context, places: Sequence[Path], trusted: Mapping[str, tuple[PublicKey, str]], threshold: int = 1,
           revoked: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The contract's verdict document; ``verified`` only when every byte was hashed and the signatures count.

    Raises:
        InputError: ``bundle.not-found``, ``bundle.several``. WorldError: ``bundle.media-removed``. Cancelled.
    """
    ctx.phase(N_("Check the signature"))
    seen = inspect(places, trusted, threshold, revoked)
    hashed = 0
    try:
        if seen.files:
            ctx.phase(N_("Hash every byte"))
            hashed = _hash_objects(ctx, seen)
            _look_for_extras(seen)
            _check_signatures_of_models(seen)
            ctx.phase(N_("Screen the contents"))
            _screen(ctx, seen)
    except OSError as problem:
        raise GONE(place=str(seen.media.first), reason=problem.strerror or "?") from None
    return document(seen, hashed)


def document(seen: Inspection, hashed: int | None) -> dict[str, Any]:
    """The JSON of an inspection; ``hashed`` None when no object was read."""
    bad = [f for f in seen.findings if f["code"] != "remark"]
    whole = hashed is not None and bool(seen.files) and hashed == sum({d: n for f in seen.files for d, n in f.chunks}.values())
    verdict = "failed" if bad else "verified" if whole and seen.trusted else "unverified"
    told: dict[str, Any] = {"verdict": verdict, "signers": seen.signers, "findings": seen.findings, "files": len(seen.files),
                            "bytes": sum(f.size for f in seen.files), "bundle_id": seen.media.bundle_id,
                            "unknown_keys": seen.unknown_keys, "volumes": [
                                {"number": v.number, "of": v.of, "label": v.label, "folder": str(v.folder)} for v in seen.media.volumes],
                            "missing_volumes": seen.media.missing_volumes()}
    if (s := seen.statement) is not None:
        told |= {"release_id": s.release_id, "title": s.bundle["title"], "channel": s.channel, "sequence": s.sequence,
                 "issued_at": s.issued_at, "expires_at": s.expires_at, "audience": list(s.audience),
                 "components": [{"id": c.id, "type": c.type, "version": c.version, "format": c.format, "license": c.license,
                                 "installed_bytes": c.installed_bytes, "source": c.source} for c in s.components]}
    return told


def _hash_objects(ctx: Context, seen: Inspection) -> int:
    wanted: dict[str, tuple[int, str]] = {}
    for entry in seen.files:
        for digest, length in entry.chunks:
            wanted.setdefault(digest, (length, entry.path))
    total, done, good = sum(n for n, _ in wanted.values()), 0, 0

    def check(item: tuple[str, tuple[int, str]]) -> str | None:
        digest, (length, _) = item
        ctx.checkpoint()
        path = seen.media.object_file(digest)
        if path is None:
            return "object-missing"
        real, problem = digest_of(path, length)
        return problem or (None if real == digest else "object-digest")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # In slices, so that neither the queue nor the answers of a bundle with a million chunks stand in memory.
        items = list(wanted.items())
        for start in range(0, len(items), 256):
            part = items[start : start + 256]
            for (digest, (length, path)), problem in zip(part, pool.map(check, part), strict=True):
                done += length
                if problem is None:
                    good += length
                else:
                    seen.found(problem, path, f"{_SAID[problem]} ({digest[:16]}…)")
                ctx.progress(done, total, "bytes")
    return good


def _look_for_extras(seen: Inspection) -> None:
    wanted = {d for f in seen.files for d, _ in f.chunks}
    signatures = {c.oms for c in seen.statement.components if c.oms} if seen.statement else set()
    allowed = {layout.RELEASE, layout.INDEX, layout.VOLUME, layout.SEALED, *signatures}
    for volume in seen.media.volumes:
        for base, folders, files in os.walk(volume.folder):
            links = [f for f in folders if os.path.islink(os.path.join(base, f))]
            for name in [*files, *links]:
                path = Path(base, name).relative_to(volume.folder).as_posix()
                is_object = path.startswith(layout.OBJECTS + "/") and name in wanted and path == f"objects/{name[:2]}/{name}"
                if not is_object and path not in allowed and not path.startswith(layout.TRUST + "/"):
                    seen.found("extra", str(Path(base, name)), "the file is not part of the bundle")


def _check_signatures_of_models(seen: Inspection) -> None:
    for component in seen.statement.components if seen.statement else ():
        if component.oms is None:
            continue
        raw = _small(seen, component.oms, 64 << 20)
        if raw is not None and hashlib.sha256(raw).hexdigest() != component.oms_sha256:
            seen.found("digest", component.oms, "the model's signature is not the one that was signed with the bundle")


def _screen(ctx: Context, seen: Inspection) -> None:
    kinds = {c.id: c.type for c in seen.statement.components} if seen.statement else {}
    broken = {f["path"] for f in seen.findings}
    for entry in seen.files:
        ctx.checkpoint()
        if entry.path in broken:
            continue
        try:
            for item in screening.screen(kinds.get(entry.component, ""), entry.path, entry.size, ChunkedFile(seen.media, entry)):
                seen.found("remark" if item.remark else item.code, item.path, item.message)
        except Unsafe as problem:
            seen.found(problem.code, entry.path, _SAID[problem.code])
