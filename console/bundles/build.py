"""Builds a bundle on the connected side: describe, screen, hash, cut, write, sign, re-read, seal."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from console.bundles import chunking, describe, layout, manifest, screening, spec
from console.bundles.manifest import FileEntry
from console.errors import InputError, VerdictError, WorldError, code
from console.i18n import N_
from console.jobs.job import Context
from console.trust import dsse, oms, root
from console.trust.keys import PrivateKey
from console.units import size as shown_size
from console.units import utc_now

REFUSED = code("bundle.content-refused", VerdictError, N_("{path} may not go into a bundle: {reason}."),
               N_("{remedy}"))
NO_SPACE = code("bundle.no-space", WorldError, N_("{place} has {free} free, and the bundle needs {needed}."),
                N_("Free space there, give another place, or split the bundle with --volume-size."))
UNWRITABLE = code("bundle.unwritable", WorldError, N_("The bundle cannot be written to {place}: {reason}."),
                  N_("Check the drive, its rights and its free space, then build again."), retryable=True)
TOO_SMALL = code("bundle.volume-too-small", InputError, N_("Volumes of {size} are too small for this bundle."),
                 N_("Give at least {needed}."))
CHANGED = code("bundle.source-changed", WorldError, N_("{path} changed while it was being read."),
               N_("Build again when nothing writes to the source any more."), retryable=True)
NOT_WRITTEN = code("bundle.reread-failed", WorldError, N_("What was written to {place} reads back differently."),
                   N_("The drive is faulty. Use another one."))
AGAIN = N_("Download the model again and compare its files with the publisher's.")
CONVERT = N_("Convert the weights to safetensors on the connected side, or leave the file out of the model component.")
SIGNING = ("ecdsa-p384", "ecdsa-p256")
SKIP = N_("Leave the file out, or carry it in a component of another type.")


@dataclass(frozen=True)
class Built:
    """A bundle that was written. ``folders`` are the volumes' bundle folders."""

    bundle_id: str
    release_id: str
    folders: tuple[Path, ...]
    files: int
    bytes: int
    objects: int
    warnings: tuple[str, ...] = field(default=())


@dataclass
class _Read:
    entry: FileEntry
    tensors: list


def build(ctx: Context, spec_path: Path, out: Path, keys: Sequence[PrivateKey], volume_size: int | None = None,
          roots: Sequence[bytes] = ()) -> Built:
    """Write the bundle that ``spec_path`` describes below ``out``.

    ``roots`` is the chain of trust roots that it carries, oldest first. With ``volume_size`` it is split over ``out/vol-1``, ``out/vol-2`` …, each a complete volume. The source is only read.
    A cancel or an error leaves no SEALED, so nothing half-written is taken for a bundle.

    Raises:
        InputError: the description or a source file. VerdictError: content that is refused, all findings in ``details``.
        WorldError: no space, a drive that fails.
    """
    for key in keys:
        if key.public.alg not in SIGNING:
            raise oms.WRONG_KEY(alg=key.public.alg)
    asked = spec.read(Path(spec_path))
    ctx.phase(N_("Screen"))
    _refuse_bad_paths(asked)
    warnings = _screen(asked)
    ctx.phase(N_("Hash"))
    reads = _read_all(ctx, asked)
    tensors = {path: r.tensors for path, r in reads.items() if r.tensors}
    for part in asked.parts:
        if part.type == "model":
            for path, reason in describe.index_findings(part.files, tensors):
                raise REFUSED(path=path, reason=reason, remedy=AGAIN)
        for path, digest in part.upstream.items():
            if reads[path].entry.sha256 != digest:
                raise REFUSED(path=path, reason=N_("it is not the file that its publisher names"), remedy=AGAIN)
    index_raw = manifest.make_index([r.entry for r in reads.values()])
    signatures = {f"{layout.OMS}/{p.id}.oms.sig": _oms(p, reads, keys[0]) for p in asked.parts if p.type == "model"}
    carried = _roots(roots)
    payload = _payload(asked, index_raw, reads, tensors, signatures, len(carried) and max(carried))
    # What is written is held to the rules that the reading side holds it to.
    manifest.read_index(index_raw)
    manifest.read_statement(payload)
    envelope = dsse.seal(layout.PAYLOAD_TYPE, payload, keys)
    ctx.phase(N_("Write"))
    apart = signatures | {f"{layout.TRUST}/root.{version}.dsse.json": raw for version, raw in carried.items()}
    folders = _write(ctx, asked, reads, index_raw, envelope, apart, out, volume_size)
    objects = {d for r in reads.values() for d, _ in r.entry.chunks}
    return Built(manifest.bundle_id(index_raw), hashlib.sha256(payload).hexdigest(), tuple(folders), len(reads),
                 sum(r.entry.size for r in reads.values()), len(objects), tuple(warnings))


def _roots(chain: Sequence[bytes]) -> dict[int, bytes]:
    """By version; each must follow on the one before it."""
    carried: dict[int, bytes] = {}
    last: root.Root | None = None
    for raw in chain:
        last = root.follow(last, raw) if last else root.read(dsse.parse(raw, root.TYPE).payload, raw)
        carried[last.version] = raw
    return carried


def _refuse_bad_paths(asked: spec.Spec) -> None:
    paths = [path for part in asked.parts for path, _ in part.files]
    for path in paths:
        if problem := layout.path_problem(path):
            raise manifest.PATH(path=path, reason=problem)
    for first, second in layout.collisions(paths):
        raise manifest.DUPLICATE(first=first, second=second)


def _screen(asked: spec.Spec) -> list[str]:
    remarks, refused = [], []
    siblings = frozenset(path for part in asked.parts for path, _ in part.files)
    for part in asked.parts:
        for path, file in part.files:
            with open(file, "rb") as source:
                for found in screening.screen(part.type, path, file.stat().st_size, source, siblings):
                    (remarks if found.remark else refused).append(found)
    if refused:
        first = refused[0]
        problem = REFUSED(path=first.path, reason=first.message,
                          remedy=CONVERT if first.message == screening.WHY_PICKLE else SKIP)
        problem.params["findings"] = [{"code": f.code, "path": f.path, "message": f.message} for f in refused]
        raise problem
    return [f"{f.path}: {f.message}" for f in remarks]


def _read_all(ctx: Context, asked: spec.Spec) -> dict[str, _Read]:
    work = [(part, path, file) for part in asked.parts for path, file in part.files]
    total, done = sum(file.stat().st_size for _, _, file in work), 0
    reads: dict[str, _Read] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pending = [pool.submit(_read, ctx, part.id, path, file) for part, path, file in work]
        try:
            for future in pending:
                read = future.result()
                reads[read.entry.path] = read
                done += read.entry.size
                ctx.progress(done, total, "bytes")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return reads


def _read(ctx: Context, component: str, path: str, file: Path) -> _Read:
    """Hash one file and its chunks in one pass over its bytes (the header of weights is read apart)."""
    before = file.stat()
    with open(file, "rb", buffering=0) as source:
        sizes, tensors, _ = chunking.plan(source, before.st_size, path)
        source.seek(0)
        whole, chunks = hashlib.sha256(), []
        buffer = memoryview(bytearray(1 << 20))
        for length in sizes:
            ctx.checkpoint()
            digest, left = hashlib.sha256(), length
            while left:
                count = source.readinto(buffer[: min(left, len(buffer))])
                if not count:
                    raise CHANGED(path=str(file))
                digest.update(buffer[:count])
                whole.update(buffer[:count])
                left -= count
            chunks.append((digest.hexdigest(), length))
    after = file.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise CHANGED(path=str(file))
    entry = FileEntry(path, before.st_size, whole.hexdigest(), component, bool(before.st_mode & 0o100), tuple(chunks))
    return _Read(entry, tensors)


def _oms(part: spec.Part, reads: dict[str, _Read], key: PrivateKey) -> bytes:
    inside = [(path.removeprefix(part.path + "/"), reads[path].entry.sha256) for path, _ in part.files]
    return oms.sign(part.path.rsplit("/", 1)[-1], inside, key)


def _payload(asked: spec.Spec, index_raw: bytes, reads: dict[str, _Read], tensors: dict, signatures: dict[str, bytes],
             root_version: int) -> bytes:
    objects = {d for r in reads.values() for d, _ in r.entry.chunks}
    components = []
    for part in asked.parts:
        name = f"{layout.OMS}/{part.id}.oms.sig"
        told = part.installed_bytes if isinstance(part.installed_bytes, int) else describe.installed_bytes(part.files)
        components.append({
            "id": part.id, "type": part.type, "version": part.version, "path": part.path, "format": part.format,
            "installed_bytes": told,
            "summary": describe.summary(part.files, {p: tensors[p] for p, _ in part.files if p in tensors})
            if part.type == "model" else {},
            "oms": name if name in signatures else None,
            "oms_sha256": hashlib.sha256(signatures[name]).hexdigest() if name in signatures else None,
            "license": part.license, "source": part.source})
    return manifest.make_statement(
        index_raw, channel=asked.channel, sequence=asked.sequence, min_sequence=asked.min_sequence, revoked=list(asked.revoked),
        issued_at=utc_now(), expires_at=asked.expires_at, root_version=root_version, audience=list(asked.audience),
        bundle={"title": asked.title, "kind": "full", "bytes": sum(r.entry.size for r in reads.values()), "files": len(reads),
                "objects": len(objects), "chunk_max": layout.CHUNK_MAX},
        base=[], components=components)


def cosign(places: Sequence[Path], keys: Sequence[PrivateKey]) -> list[Path]:
    """Add signatures to a bundle that others have signed, on each of its volumes; the folders written.

    Raises:
        InputError: ``bundle.not-found``, ``bundle.several``, ``oms.wrong-key``. VerdictError: the bundle is not in order.
        WorldError: ``bundle.unwritable``.
    """
    from console.bundles.verify import inspect

    for key in keys:
        if key.public.alg not in SIGNING:
            raise oms.WRONG_KEY(alg=key.public.alg)
    seen = inspect(places, {})
    wrong = [f for f in seen.findings if f["code"] != "remark" and not f.get("pending")]
    if wrong or seen.statement is None:
        first = wrong[0] if wrong else {"path": layout.RELEASE, "message": ""}
        raise REFUSED(path=first["path"], reason=first["message"], remedy=AGAIN)
    sealed = dsse.cosign(seen.envelope_raw, layout.PAYLOAD_TYPE, keys)
    for volume in seen.media.volumes:
        try:
            _put(volume.folder / layout.RELEASE, sealed)
        except OSError as problem:
            raise UNWRITABLE(place=str(volume.folder), reason=problem.strerror or "?") from None
    return [v.folder for v in seen.media.volumes]


# Writing -------------------------------------------------------------------------------------------------------------


def _volumes(reads: dict[str, _Read], fixed_bytes: int, out: Path, volume_size: int | None) -> list[tuple[Path, list[str]]]:
    """Which chunks go onto which volume: each on exactly one, files in order so that few span a swap."""
    sizes: dict[str, int] = {}
    for read in sorted(reads.values(), key=lambda r: (r.entry.size > 1 << 20, r.entry.path)):
        for digest, length in read.entry.chunks:
            sizes.setdefault(digest, length)
    if volume_size is None:
        return [(out, list(sizes))]
    usable = int(volume_size * 0.98) - fixed_bytes
    largest = max(sizes.values(), default=0)
    if usable < largest + 4096:
        raise TOO_SMALL(size=shown_size(volume_size), needed=shown_size(int((fixed_bytes + largest + 8192) / 0.98)))
    volumes: list[tuple[Path, list[str]]] = []
    held = usable + 1
    for digest, length in sizes.items():
        # Drives store in clusters; 4 KiB is the usual one.
        cost = (length + 4095) // 4096 * 4096
        if held + cost > usable:
            volumes.append((out / f"vol-{len(volumes) + 1}", []))
            held = 0
        volumes[-1][1].append(digest)
        held += cost
    return volumes or [(out / "vol-1", [])]


def _write(ctx: Context, asked: spec.Spec, reads: dict[str, _Read], index_raw: bytes, envelope: bytes, signatures: dict[str, bytes],
           out: Path, volume_size: int | None) -> list[Path]:
    identity = manifest.bundle_id(index_raw)
    fixed = len(index_raw) + len(envelope) + sum(map(len, signatures.values())) + (64 << 10)
    volumes = _volumes(reads, fixed, out, volume_size)
    where = {path: file for part in asked.parts for path, file in part.files}
    spans = _spans(reads, where)
    total = sum(length for _, _, length in spans.values()) * 2
    done = [0]
    folders = []
    for number, (place, digests) in enumerate(volumes, 1):
        folder = place / layout.BUNDLES / identity
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lacking = [d for d in digests if not layout.object_path(folder, d).is_file()]
            _check_space(place, sum(spans[d][2] for d in lacking) + fixed)
            with contextlib.suppress(FileNotFoundError):
                (folder / layout.SEALED).unlink()
            _write_objects(ctx, folder, digests, spans, done, total)
            small = {layout.RELEASE: envelope, layout.INDEX: index_raw, **signatures, layout.VOLUME: json.dumps(
                {"v": 1, "bundle_id": identity, "number": number, "of": len(volumes), "label": asked.title[:40],
                 "objects": len(digests), "bytes": sum(spans[d][2] for d in digests)}).encode()}
            for name, data in small.items():
                _put(folder / name, data)
            _reread(ctx, folder, digests, done, total)
            _put(folder / layout.SEALED, b"")
        except OSError as problem:
            raise UNWRITABLE(place=str(place), reason=problem.strerror or str(problem)) from None
        folders.append(folder)
    return folders


def _spans(reads: dict[str, _Read], where: dict[str, Path]) -> dict[str, tuple[Path, int, int]]:
    spans: dict[str, tuple[Path, int, int]] = {}
    for path, read in reads.items():
        offset = 0
        for digest, length in read.entry.chunks:
            spans.setdefault(digest, (where[path], offset, length))
            offset += length
    return spans


def _check_space(place: Path, needed: int) -> None:
    free = shutil.disk_usage(place).free
    if free < needed:
        raise NO_SPACE(place=str(place), free=shown_size(free), needed=shown_size(needed))


def _write_objects(ctx: Context, folder: Path, digests: list[str], spans: dict, done: list[int], total: int) -> None:
    for digest in digests:
        file, offset, length = spans[digest]
        target = layout.object_path(folder, digest)
        if not (target.is_file() and target.stat().st_size == length):
            with open(file, "rb", buffering=0) as source:
                source.seek(offset)
                data = source.read(length)
            if len(data) != length or hashlib.sha256(data).hexdigest() != digest:
                raise CHANGED(path=str(file))
            target.parent.mkdir(parents=True, exist_ok=True)
            _put(target, data)
        done[0] += length
        ctx.progress(done[0], total, "bytes")


def _put(target: Path, data: bytes) -> None:
    """Write under another name, flush to the drive, rename: a name never holds half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with open(part, "wb", buffering=0) as out:
        out.write(data)
        os.fsync(out.fileno())
    part.replace(target)


def _reread(ctx: Context, folder: Path, digests: list[str], done: list[int], total: int) -> None:
    """Read every object back, past the cache where the system lets us, before the volume is sealed."""
    ctx.phase(N_("Read back"))
    for digest in digests:
        path = layout.object_path(folder, digest)
        with open(path, "rb", buffering=0) as source:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            data = source.read()
        if hashlib.sha256(data).hexdigest() != digest:
            raise NOT_WRITTEN(place=str(folder))
        done[0] += len(data)
        ctx.progress(done[0], total, "bytes")
