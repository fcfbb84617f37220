"""Checks a bundle on its drives: signatures, index, every byte, contents. Lists everything that it can know."""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from console.bundles import layout, manifest, screening
from console.bundles.manifest import FileEntry, Statement
from console.bundles.media import (
    GONE,
    ChunkedFile,
    Media,
    Unsafe,
    Volume,
    digest_of,
    linked_folders,
    only,
    open_plain,
    read_small,
)
from console.bundles.parity import Group
from console.errors import SealiftError
from console.i18n import N_
from console.jobs.job import Context
from console.trust import dsse, oms
from console.trust.keys import PublicKey

MAX_FINDINGS = 10_000
_BY_ERROR = {"trust.json": "json", "trust.size": "size", "trust.envelope": "json", "trust.sig-count": "sig-count",
             "trust.payload-type": "payload-type", "trust.signature": "signature", "trust.threshold": "threshold",
             "bundle.statement": "statement", "bundle.index": "index", "bundle.path": "path",
             "bundle.dup-name": "dup-name"}
_SAID = {"object-missing": N_("the chunk is not on the drives that are here"),
         "object-size": N_("the chunk has another size than the index says"),
         "object-unreadable": N_("the drive cannot read the chunk back"),
         "object-digest": N_("the chunk's bytes are not those that were signed"),
         "symlink": N_("a link lies where a file must be"),
         "special-file": N_("something lies there that is no file")}
REMARK = "remark"
"""Code of a finding that is for people to read and spoils no verdict."""
REPAIR_DATA = "repair data"
PART_BYTES, PART_OBJECTS, BLOCK_BYTES = 8 << 20, 64, 1 << 20
_T, _A = TypeVar("_T"), TypeVar("_A")


@dataclass
class Inspection:
    """What is known of a bundle before its bytes were read.

    Attributes:
        trusted: enough holders that are believed have signed. unknown_keys: ids of the others.
        findings: ``code``, ``path``, ``message``; ``pending`` where it only says what could not be checked yet.
            ``repairable`` where the bundle's own repair data, as far as it is here, brings back what is bad.
        states: by a volume's folder: complete, incomplete, damaged, older, newer or foreign.
    """

    media: Media
    statement: Statement | None = None
    files: tuple[FileEntry, ...] = ()
    parity: tuple[Group, ...] = ()
    envelope_raw: bytes = b""
    index_raw: bytes = b""
    signers: list[dict[str, str]] = field(default_factory=list)
    unknown_keys: list[str] = field(default_factory=list)
    trusted: bool = False
    findings: list[dict[str, Any]] = field(default_factory=list)
    states: dict[Path, str] = field(default_factory=dict)

    @property
    def objects(self) -> dict[str, int]:
        """Bytes of every object that the index lists, by digest."""
        return manifest.Index(self.files, self.parity).objects

    def found(self, code: str, path: str, message: str, **more: Any) -> None:
        """Note a finding."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append({"code": code, "path": path, "message": message} | more)


def inspect(places: Sequence[Path], trusted: Mapping[str, tuple[PublicKey, str]], threshold: int = 1,
            revoked: frozenset[str] = frozenset()) -> Inspection:
    """Who signed, with which key, and what is inside; accepts nothing and reads no object.

    Raises:
        InputError: ``bundle.not-found``, ``bundle.several``. WorldError: ``bundle.media-removed``.
    """
    media = only(places)
    try:
        # The volume whose small files are in order speaks for all of them.
        base = media.first
        seen = Inspection(replace(media, volumes=tuple(sorted(media.volumes, key=lambda v: v.folder != base))))
        _open_release(seen, trusted, threshold, revoked)
        _open_index(seen)
        seen.media = media
        _compare_volumes(seen, base)
        _judge_strangers(seen)
    except OSError as problem:
        raise GONE(place=str(media.volumes[0].folder), reason=problem.strerror or "?") from None
    return seen


def _small(seen: Inspection, name: str, limit: int) -> bytes | None:
    try:
        return read_small(seen.media.volumes[0].folder / name, limit)
    except Unsafe as problem:
        missing = problem.code == "object-missing"
        seen.found("missing" if missing else problem.code, name,
                   N_("the file is not there") if missing else _SAID[problem.code])
        return None


def _open_release(seen: Inspection, trusted, threshold: int, revoked: frozenset[str]) -> None:
    raw = _small(seen, layout.RELEASE, layout.MAX_RELEASE_BYTES)
    if raw is None:
        return
    seen.envelope_raw = raw
    try:
        envelope = dsse.parse(raw, layout.PAYLOAD_TYPE, max_bytes=layout.MAX_RELEASE_BYTES)
        _count_signers(seen, envelope, trusted, threshold, revoked)
        seen.statement = manifest.read_statement(envelope.payload)
    except SealiftError as problem:
        seen.found(_BY_ERROR.get(problem.code, "statement"), layout.RELEASE, str(problem))


def _count_signers(seen: Inspection, envelope: dsse.Envelope, trusted, threshold: int, revoked: frozenset[str]) -> None:
    seen.unknown_keys = [s.keyid for s in envelope.signatures if s.keyid not in trusted]
    holders: set[str] = set()
    for keyid, holder in dsse.good_signers(envelope, layout.PAYLOAD_TYPE, trusted):
        if holder not in holders:
            holders.add(holder)
            seen.signers.append({"key_id": keyid, "name": holder, "fingerprint": trusted[keyid][0].fingerprint})
    seen.trusted = len(holders) >= threshold
    for keyid in sorted({s.keyid for s in envelope.signatures} & revoked):
        # Enough others vouch for it: then the revoked signature is only one that counts for nothing.
        seen.found(REMARK if seen.trusted else "revoked", layout.RELEASE, f"the key {keyid} was revoked by this site")
    if trusted and not seen.trusted:
        seen.found("threshold", layout.RELEASE, f"{len(holders)} of {threshold} needed holders have signed")


def _open_index(seen: Inspection) -> None:
    raw = _small(seen, layout.INDEX, layout.MAX_INDEX_BYTES)
    if raw is None:
        return
    seen.index_raw, digest = raw, hashlib.sha256(raw).hexdigest()
    if digest[:32] != seen.media.bundle_id:
        seen.found("index", layout.INDEX, N_("the folder's name is not that of this index"))
    if seen.statement is not None and digest != seen.statement.index_sha256:
        seen.found("index", layout.INDEX, N_("the index is not the one that was signed"))
        return
    try:
        index = manifest.read_index(raw)
    except SealiftError as problem:
        seen.found(_BY_ERROR.get(problem.code, "index"), layout.INDEX, str(problem))
        return
    seen.files, seen.parity = index.files, index.parity
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
            seen.found("index", entry.path, N_("the file belongs to no component of the statement"))


# Volumes -------------------------------------------------------------------------------------------------------------


def _compare_volumes(seen: Inspection, base: Path) -> None:
    for volume in seen.media.volumes:
        state = "complete" if volume.sealed else "incomplete"
        for link in linked_folders(volume.folder):
            seen.found("symlink", str(link), _SAID["symlink"])
        if not volume.sealed:
            seen.found("missing", str(volume.folder / layout.SEALED), N_("the volume was not written to its end"))
        if volume.folder != base:
            state = _compare(seen, volume) or state
        seen.states[volume.folder] = state
    for number in seen.media.missing_volumes():
        seen.found("missing", f"volume {number}", N_("this volume is not here"), pending=True)


def _compare(seen: Inspection, volume: Volume) -> str | None:
    """What is wrong with a volume's small files against those of the first; None when nothing is."""
    state = None
    for name, raw, limit in ((layout.INDEX, seen.index_raw, layout.MAX_INDEX_BYTES),
                             (layout.RELEASE, seen.envelope_raw, layout.MAX_RELEASE_BYTES)):
        try:
            own = read_small(volume.folder / name, limit)
        except Unsafe as problem:
            missing = problem.code == "object-missing"
            seen.found("missing" if missing else problem.code, str(volume.folder / name),
                       N_("the file is not there") if missing else _SAID[problem.code])
            state = "damaged"
            continue
        if own != raw:
            state = "damaged" if name == layout.INDEX else state or _edition(seen, own)
            seen.found("index" if name == layout.INDEX else "signature", str(volume.folder / name),
                       f"the file differs from that on the other volumes: the volume is {state}")
    return state


def _judge_strangers(seen: Inspection) -> None:
    for volume in seen.media.strangers:
        try:
            state = _edition(seen, read_small(volume.folder / layout.RELEASE, layout.MAX_RELEASE_BYTES))
        except Unsafe:
            state = "damaged"
        seen.states[volume.folder] = state
        seen.found(REMARK, str(volume.folder), f"the volume is not of this bundle: {state}")


def _edition(seen: Inspection, envelope_raw: bytes) -> str:
    """How another release stands to this one: older or newer edition of the same channel, foreign, or damaged."""
    try:
        other = manifest.read_statement(dsse.parse(envelope_raw, layout.PAYLOAD_TYPE).payload)
    except SealiftError:
        return "damaged"
    if seen.statement is None or other.channel != seen.statement.channel:
        return "foreign"
    own = seen.statement
    return "older" if (other.sequence, other.issued_at) < (own.sequence, own.issued_at) else "newer"


# Every byte ----------------------------------------------------------------------------------------------------------


def verify(ctx: Context, places: Sequence[Path], trusted: Mapping[str, tuple[PublicKey, str]], threshold: int = 1,
           revoked: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The contract's verdict document; ``verified`` only when every byte was hashed and the signatures count.

    With some volumes of several, those are checked in full and the verdict is at best ``unverified``.

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
            ctx.phase(N_("Screen the contents"))
            _check_signatures_of_models(seen, trusted)
            _screen(ctx, seen)
        _look_for_extras(seen)
    except OSError as problem:
        place = problem.filename or str(seen.media.volumes[0].folder)
        raise GONE(place=place, reason=problem.strerror or "?") from None
    return document(seen, hashed)


def document(seen: Inspection, hashed: int | None) -> dict[str, Any]:
    """The JSON of an inspection; ``hashed`` None when no object was read."""
    bad = [f for f in seen.findings if f["code"] != REMARK and not f.get("pending")]
    whole = hashed is not None and bool(seen.files) and hashed == sum(seen.objects.values())
    pending = any(f.get("pending") for f in seen.findings)
    verdict = "failed" if bad else "verified" if whole and seen.trusted and not pending else "unverified"
    told: dict[str, Any] = {
        "verdict": verdict, "signers": seen.signers, "findings": seen.findings, "files": len(seen.files),
        "bytes": sum(f.size for f in seen.files), "hashed_bytes": hashed or 0, "bundle_id": seen.media.bundle_id,
        "unknown_keys": seen.unknown_keys, "objects": len(seen.objects),
        "parity": {"objects": len(seen.parity), "bytes": sum(g.object[1] for g in seen.parity)},
        "repairable": bool(bad) and all(f.get("repairable") for f in bad),
        "volumes": [{"number": v.number, "of": v.of, "label": v.label, "folder": str(v.folder),
                     "state": seen.states.get(v.folder, "complete")} for v in seen.media.volumes],
        "other_volumes": [{"folder": str(v.folder), "label": v.label, "state": seen.states[v.folder]}
                          for v in seen.media.strangers],
        "missing_volumes": seen.media.missing_volumes()}
    return told | (_statement_json(seen.statement) if seen.statement is not None else {})


def _statement_json(s: Statement) -> dict[str, Any]:
    return {"release_id": s.release_id, "title": s.bundle["title"], "channel": s.channel, "sequence": s.sequence,
            "issued_at": s.issued_at, "expires_at": s.expires_at, "audience": list(s.audience),
            "components": [{"id": c.id, "type": c.type, "version": c.version, "format": c.format, "license": c.license,
                            "installed_bytes": c.installed_bytes, "source": c.source} for c in s.components]}


def _hash_objects(ctx: Context, seen: Inspection) -> int:
    """Hash each object that is there once, every copy of it; the bytes of those that are what the index says."""
    objects = seen.objects
    named = {g.object[0]: REPAIR_DATA for g in seen.parity} | {d: f.path for f in seen.files for d, _ in f.chunks}
    total, done, good = sum(objects.values()), 0, 0
    held: dict[Path, int] = dict.fromkeys((v.folder for v in seen.media.volumes), 0)
    bad: dict[str, list[tuple[str, Path | None]]] = {}
    lost: set[str] = set()  # no copy of them is in order

    def check(part: list[tuple[str, int]]) -> list[tuple[str, int, list[Path], list[tuple[str, Path | None]]]]:
        buffer, told = memoryview(bytearray(BLOCK_BYTES)), []
        for digest, length in part:
            ctx.checkpoint()
            places = seen.media.object_files(digest)
            problems: list[tuple[str, Path | None]] = [] if places else [("object-missing", None)]
            for place in places:
                real, problem = digest_of(place, length, buffer)
                if problem is not None or real != digest:
                    problems.append((problem or "object-digest", place))
            told.append((digest, length, places, problems))
        return told

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for answer in _in_step(pool, check, _parts(objects)):
            for digest, length, places, problems in answer:
                done += length
                for place in places:
                    held[place.parents[2]] += 1
                if problems:
                    bad[digest] = problems
                    if len(problems) >= len(places):
                        lost.add(digest)
                else:
                    good += length
            ctx.progress(done, total, "bytes")
    _tell_bad_objects(seen, bad, lost, named)
    if seen.media.missing_volumes():
        _compare_counts(seen, held)
    return good


def _parts(objects: dict[str, int]) -> Iterator[list[tuple[str, int]]]:
    """The objects in runs that are worth a thread's while: one of them costs as much to hand over as to hash 100 KiB."""
    part: list[tuple[str, int]] = []
    held = 0
    for digest, length in objects.items():
        part.append((digest, length))
        held += length
        if held >= PART_BYTES or len(part) >= PART_OBJECTS:
            yield part
            part, held = [], 0
    if part:
        yield part


def _in_step(pool: ThreadPoolExecutor, work: Callable[[_T], _A], parts: Iterator[_T]) -> Iterator[_A]:
    """Answers in order, with only a few parts handed over at a time: the queue of a bundle with a million objects would
    otherwise stand in memory."""
    pending: deque[Future[_A]] = deque()
    try:
        for part in parts:
            pending.append(pool.submit(work, part))
            if len(pending) > 4 * (os.cpu_count() or 1):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _tell_bad_objects(seen: Inspection, bad: dict[str, list[tuple[str, Path | None]]], lost: set[str], named: dict[str, str]) -> None:
    """Note what is damaged or not there, and whether the repair data brings it back."""
    partial = bool(seen.media.missing_volumes())
    group_of = {d: g for g in seen.parity for d in g.of}
    needed = {d for f in seen.files for d, _ in f.chunks}  # the rest is repair data, which nothing but a repair needs
    for digest, problems in bad.items():
        group = group_of.get(digest)
        repairable = digest not in lost or digest not in needed or (
            group is not None and lost.intersection((group.object[0], *group.of)) == {digest})
        for problem, place in problems:
            if problem == "object-missing" and partial:
                continue  # on a volume that is not here, which is told apart
            volume = next((v for v in seen.media.volumes if place is not None and v.folder == place.parents[2]), None)
            where = f" (volume {volume.number})" if volume is not None and volume.of > 1 else ""
            seen.found("object-missing" if problem == "object-unreadable" else problem, named[digest], f"{_SAID[problem]} ({digest[:16]}…){where}", **({"repairable": True} if repairable else {}))


def _compare_counts(seen: Inspection, held: dict[Path, int]) -> None:
    """Whether each volume that is here holds as many objects as it says, while others are elsewhere."""
    for volume in seen.media.volumes:
        if volume.objects is None or held[volume.folder] < volume.objects:
            seen.states[volume.folder] = "damaged"
            told = "?" if volume.objects is None else volume.objects
            seen.found("object-missing", str(volume.folder),
                       f"the volume holds {held[volume.folder]} chunks, and it should hold {told}")


def _look_for_extras(seen: Inspection) -> None:
    wanted = seen.objects
    signatures = {c.oms for c in seen.statement.components if c.oms} if seen.statement else set()
    allowed = {layout.RELEASE, layout.INDEX, layout.VOLUME, layout.SEALED, *signatures}
    for volume in seen.media.volumes:
        linked = linked_folders(volume.folder)
        for base, folders, files in os.walk(volume.folder):
            links = [f for f in folders if os.path.islink(os.path.join(base, f)) and Path(base, f) not in linked]
            for name in [*files, *links]:
                path = Path(base, name).relative_to(volume.folder).as_posix()
                if path == f"{layout.OBJECTS}/{name[:2]}/{name}" and name in wanted:
                    continue
                if path in allowed or layout.ROOT_FILE.fullmatch(path):
                    _must_be_plain(seen, Path(base, name))
                elif seen.files or not path.startswith(layout.OBJECTS + "/"):
                    seen.found("extra", str(Path(base, name)), N_("the file is not part of the bundle"))


def _must_be_plain(seen: Inspection, path: Path) -> None:
    try:
        with open_plain(path) as source:
            size = os.fstat(source.fileno()).st_size
    except Unsafe as problem:
        seen.found(problem.code, str(path), _SAID.get(problem.code, problem.code))
        return
    if path.name == layout.SEALED and size:
        seen.found("extra", str(path), N_("the mark of a finished volume is not empty"))


def _check_signatures_of_models(seen: Inspection, trusted: Mapping[str, tuple[PublicKey, str]]) -> None:
    for component in seen.statement.components if seen.statement else ():
        if component.oms is not None:
            _check_model(seen, component, [key for key, _ in trusted.values()])
        elif component.type == "model":
            seen.found("missing", component.path, N_("the model carries no signature of its own"))


def _check_model(seen: Inspection, component: manifest.Component, keys: list[PublicKey]) -> None:
    raw = None
    for volume in seen.media.volumes:
        try:
            own = read_small(volume.folder / str(component.oms), oms.MAX_SIGNATURE_BYTES)
        except Unsafe as problem:
            missing = problem.code == "object-missing"
            seen.found("missing" if missing else problem.code, str(volume.folder / str(component.oms)),
                       N_("the file is not there") if missing else _SAID[problem.code])
            continue
        if hashlib.sha256(own).hexdigest() != component.oms_sha256:
            seen.found("digest", str(volume.folder / str(component.oms)),
                       N_("the model's signature is not the one that was signed with the bundle"))
        else:
            raw = own
    if raw is None:
        return
    files = {f.path.removeprefix(component.path + "/"): f.sha256 for f in seen.files if f.component == component.id}
    for found in oms.check_listing(raw, files, keys):
        # Who signed the model is shown; that the signature is this one is vouched for by the release.
        seen.found(REMARK if found.code == "key" else found.code,
                   f"{component.oms}: {found.path}" if found.path else str(component.oms), found.message)


def _screen(ctx: Context, seen: Inspection) -> None:
    kinds = {c.id: c.type for c in seen.statement.components} if seen.statement else {}
    broken = {f["path"] for f in seen.findings}
    partial = bool(seen.media.missing_volumes())
    siblings = frozenset(f.path for f in seen.files)
    for entry in seen.files:
        ctx.checkpoint()
        if entry.path in broken:
            continue
        source = io.BufferedReader(ChunkedFile(seen.media, entry), 1 << 20)
        try:
            for item in screening.screen(kinds.get(entry.component, ""), entry.path, entry.size, source, siblings):
                seen.found(REMARK if item.remark else item.code, item.path, item.message)
        except Unsafe as problem:
            if problem.code != "object-missing" or not partial:
                seen.found(problem.code, entry.path, _SAID[problem.code])
