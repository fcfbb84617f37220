"""Builds a bundle on the connected side: describe, screen, hash, cut, write, sign, re-read, seal."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from console.bundles import chunking, describe, layout, manifest, sbom, spec, vetting, volumes
from console.bundles.headers import Tensor
from console.bundles.manifest import FileEntry
from console.bundles.parity import Group
from console.bundles.workers import in_step
from console.bundles.writing import CHANGED, UNWRITABLE, Origins, Swap, Writer, put
from console.i18n import N_
from console.jobs.job import Context
from console.trust import dsse, oms, root
from console.trust.keys import PrivateKey
from console.units import size as shown_size
from console.units import utc_now

SIGNING = ("ecdsa-p384", "ecdsa-p256")


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
    parity_bytes: int = 0


class _Reads:
    """What the reading of all files came to: their entries by path, and the tensors of those that hold any."""

    def __init__(self) -> None:
        self.entries: dict[str, FileEntry] = {}
        self.tensors: dict[str, Sequence[Tensor]] = {}


def build(ctx: Context, spec_path: Path, out: Path | Sequence[Path], keys: Sequence[PrivateKey], volume_size: int | None = None,
          roots: Sequence[bytes] = (), *, parity: str | int | None = None, swap: Swap | None = None, exclude: Sequence[str] = ()) -> Built:
    """Write the bundle that ``spec_path`` describes below ``out``.

    The source is only read. A cancel or an error leaves no SEALED, so nothing half-written is taken for a bundle; a build that
    is started again goes on with what was written.

    Args:
        out: a folder or drive, or several drives, which then take what each has room for.
        volume_size: split over ``out/vol-1``, ``out/vol-2`` … of so many bytes, each a complete volume.
        roots: the chain of trust roots that it carries, oldest first.
        parity: repair data: ``volume`` for a drive of it, or a number N for one object to every N; else as described.
        swap: the volumes go to ``out`` one after the other, and this is called between them until the next drive is there.
        exclude: patterns of files that stay out, besides those of the description.

    Raises:
        InputError: the description or a source file. VerdictError: content that is refused, all findings in ``details``.
        WorldError: no space, a drive that fails.
    """
    for key in keys:
        if key.public.alg not in SIGNING:
            raise oms.WRONG_KEY(alg=key.public.alg)
    asked = spec.read(Path(spec_path), exclude)
    places = _places(out)
    vetting.must_lie_apart(asked, places)
    wanted = volumes.read_parity(parity if parity is not None else asked.parity)
    carried = _roots(roots)
    with vetting.source_errors():
        ctx.phase(N_("Screen"))
        warnings = vetting.screen_sources(ctx, asked)
        ctx.phase(N_("Hash"))
        reads = _read_all(ctx, asked)
        vetting.check_origin(asked, reads.entries)
        warnings += vetting.check_publishers(asked, reads.entries)
    installed = {part.id: _installed(part) for part in asked.parts}
    with tempfile.TemporaryDirectory(prefix="sealift-build-") as scratch:
        return _written(ctx, *_with_bill(asked, reads, installed, Path(scratch)), reads, installed, warnings, places, keys, carried, volume_size, wanted, swap)


def _written(ctx: Context, asked: spec.Spec, bill: dict[str, Path], reads: _Reads, installed: dict[str, int], warnings: list[str],
             places: list[Path], keys: Sequence[PrivateKey], carried: dict[int, bytes], volume_size: int | None, wanted: volumes.Parity,
             swap: Swap | None) -> Built:
    """Plan, sign and write what was read."""
    entries = list(reads.entries.values())
    signatures = {f"{layout.OMS}/{p.id}.oms.sig": _oms(p, reads, keys[0]) for p in asked.parts if p.type == "model"}
    origins = Origins(sorted(entries, key=_small_first), {path: file for part in asked.parts for path, file in part.files} | bill)
    apart = signatures | {f"{layout.TRUST}/root.{version}.dsse.json": raw for version, raw in carried.items()}

    def stated(index_raw: bytes) -> bytes:
        return _payload(asked, index_raw, reads, installed, signatures, len(carried) and max(carried))

    index_raw = manifest.make_index(entries)
    fixed = _fixed_bytes(index_raw, stated, apart, wanted, len(origins.sizes))
    planned = volumes.plan(origins.sizes, fixed, places, volume_size, wanted, swap=swap is not None)
    if planned.groups:
        planned, groups = _with_parity(ctx, planned, origins)
        index_raw = manifest.make_index(entries, groups)
    payload = stated(index_raw)
    # What is written is held to the rules that the reading side holds it to.
    manifest.read_index(index_raw)
    manifest.read_statement(payload)
    small = {layout.RELEASE: dsse.seal(layout.PAYLOAD_TYPE, payload, keys), layout.INDEX: index_raw, **apart}
    folders = Writer(ctx, manifest.bundle_id(index_raw), asked.title, planned, origins, small, swap).run(places[0] if swap else None)
    return Built(manifest.bundle_id(index_raw), hashlib.sha256(payload).hexdigest(), tuple(folders), len(entries),
                 sum(e.size for e in entries), len(origins.sizes), tuple(warnings), planned.parity_bytes)


@dataclass(frozen=True)
class Preview:
    """What a build would write, found without hashing: chunks that are equal are not known yet, so it is the most.

    ``volumes`` are (place, bytes of objects, whether it holds repair data alone).
    """

    title: str
    files: int
    bytes: int
    volumes: tuple[tuple[Path, int, bool], ...]
    parity_bytes: int


def preview(spec_path: Path, out: Path | Sequence[Path], volume_size: int | None = None, *, parity: str | int | None = None,
            swap: bool = False, exclude: Sequence[str] = ()) -> Preview:
    """How many drives a bundle would take, and what its repair data would cost. Writes nothing, hashes nothing.

    Raises:
        InputError, VerdictError: as :func:`build`, as far as it can be seen without hashing. WorldError: ``bundle.drives-too-few``.
    """
    asked = spec.read(Path(spec_path), exclude)
    places = _places(out)
    vetting.must_lie_apart(asked, places)
    vetting.refuse(vetting.bad_paths([path for part in asked.parts for path, _ in part.files]))
    sizes: dict[str, int] = {}
    total = 0
    with vetting.source_errors():
        for path, file in sorted((f for part in asked.parts for f in part.files), key=lambda f: (f[1].stat().st_size > 1 << 20, f[0])):
            size = file.stat().st_size
            total += size
            with open(file, "rb") as source:
                sizes |= {f"{path}#{n}": length for n, length in enumerate(chunking.plan(source, size, path)[0])}
    names = sum(len(path.encode()) + 200 for part in asked.parts for path, _ in part.files)
    fixed = names + len(sizes) * 300 + (80 << 10)
    planned = volumes.plan(sizes, fixed, places, volume_size, volumes.read_parity(parity if parity is not None else asked.parity),
                           swap=swap)
    return Preview(asked.title, sum(len(part.files) for part in asked.parts), total,
                   tuple((v.place, planned.bytes_of(v), v.repair) for v in planned.volumes), planned.parity_bytes)


def _places(out: Path | Sequence[Path]) -> list[Path]:
    return [Path(out)] if isinstance(out, str | os.PathLike) else [Path(place) for place in out]


def _small_first(entry: FileEntry) -> tuple[bool, str]:
    """Small files on the first drive, then the large ones in order, so that few span a change of drives."""
    return entry.size > 1 << 20, entry.path


def _installed(part: spec.Part) -> int:
    return part.installed_bytes if isinstance(part.installed_bytes, int) else describe.installed_bytes(part.files)


def _with_bill(asked: spec.Spec, reads: _Reads, installed: dict[str, int], scratch: Path) -> tuple[spec.Spec, dict[str, Path]]:
    """The description with the bill of materials as one more component, and that one's file: of many files it is a large one."""
    taken = {part.id for part in asked.parts} | {layout.fold(part.path).split("/")[0] for part in asked.parts}
    name = next(n for n in (sbom.COMPONENT, *(f"{sbom.COMPONENT}-{i}" for i in range(2, len(taken) + 3))) if n not in taken)
    raw, file = sbom.make(asked, reads.entries, installed), scratch / sbom.FILE
    file.write_bytes(raw)
    digest, path = hashlib.sha256(raw).hexdigest(), f"{name}/{sbom.FILE}"
    chunks = [(hashlib.sha256(raw[at : at + layout.CHUNK_MAX]).hexdigest(), len(raw[at : at + layout.CHUNK_MAX]))
              for at in range(0, len(raw), layout.CHUNK_MAX)]
    reads.entries[path] = FileEntry(path, len(raw), digest, name, False, tuple(chunks))
    installed[name] = len(raw)
    part = spec.Part(name, "docs", "1", name, "other", "", {}, ())
    return replace(asked, parts=(*asked.parts, part)), {path: file}


def _fixed_bytes(index_raw: bytes, stated: Callable[[bytes], bytes], apart: dict[str, bytes], wanted: volumes.Parity, objects: int) -> int:
    """About what the small files of every volume take; repair data makes the index longer by a digest for each object."""
    more = 0 if wanted is None else objects * 170
    return len(index_raw) + more + 2 * len(stated(index_raw)) + sum(map(len, apart.values())) + (64 << 10)


def _with_parity(ctx: Context, planned: volumes.Plan, origins: Origins) -> tuple[volumes.Plan, list[Group]]:
    """The plan with its parity objects under their digests; their bytes are worked out again when they are written."""
    ctx.phase(N_("Work out the repair data"))
    ctx.note(N_("The repair data takes {size}, besides {data} of contents."), size=shown_size(planned.parity_bytes),
             data=shown_size(sum(origins.sizes.values())))
    digests: dict[str, str] = {}
    groups, done = [], 0
    for name, members in planned.groups.items():
        ctx.checkpoint()
        digests[name] = hashlib.sha256(origins.xor_of(members)).hexdigest()
        groups.append(Group((digests[name], planned.sizes[name]), tuple(members)))
        origins.groups[digests[name]] = members
        done += planned.sizes[name]
        ctx.progress(done, planned.parity_bytes, "bytes")
    return planned.renamed(digests), groups


def _roots(chain: Sequence[bytes]) -> dict[int, bytes]:
    """By version; each must follow on the one before it."""
    carried: dict[int, bytes] = {}
    last: root.Root | None = None
    for raw in chain:
        last = root.follow(last, raw) if last else root.self_signed(raw)
        if not carried and last.version != 1:
            raise root.CHAIN(version=last.version, reason=N_("a bundle carries the whole chain, from version 1"))
        carried[last.version] = raw
    return carried


def _read_all(ctx: Context, asked: spec.Spec) -> _Reads:
    work = [(part.id, path, file) for part in asked.parts for path, file in part.files]
    total, done = sum(file.stat().st_size for _, _, file in work), 0
    reads = _Reads()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for entry, tensors in in_step(pool, (lambda one=one: _read(ctx, *one) for one in work)):
            reads.entries[entry.path] = entry
            if tensors:
                reads.tensors[entry.path] = tensors
            done += entry.size
            ctx.progress(done, total, "bytes")
    return reads


def _read(ctx: Context, component: str, path: str, file: Path) -> tuple[FileEntry, Sequence[Tensor]]:
    """Hash one file and its chunks in one pass over its bytes (the header of weights is read apart)."""
    before = file.stat()
    with open(file, "rb", buffering=0) as source:
        sizes, tensors, _ = chunking.plan(source, before.st_size, path)
        source.seek(0)
        whole, chunks = hashlib.sha256(), []
        buffer = memoryview(bytearray(min(1 << 20, before.st_size)))
        alone = len(sizes) == 1  # then the chunk's digest is the file's
        for length in sizes:
            ctx.checkpoint()
            digest, left = hashlib.sha256(), length
            while left:
                count = source.readinto(buffer[: min(left, len(buffer))])
                if not count:
                    raise CHANGED(path=str(file))
                digest.update(buffer[:count])
                if not alone:
                    whole.update(buffer[:count])
                left -= count
            chunks.append((digest.hexdigest(), length))
    after = file.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise CHANGED(path=str(file))
    entry = FileEntry(path, before.st_size, chunks[0][0] if alone else whole.hexdigest(), component, bool(before.st_mode & 0o100), tuple(chunks))
    return entry, tensors


def _oms(part: spec.Part, reads: _Reads, key: PrivateKey) -> bytes:
    inside = [(path.removeprefix(part.path + "/"), reads.entries[path].sha256) for path, _ in part.files]
    return oms.sign(part.path.rsplit("/", 1)[-1], inside, key)


def _payload(asked: spec.Spec, index_raw: bytes, reads: _Reads, installed: dict[str, int], signatures: dict[str, bytes],
             root_version: int) -> bytes:
    objects = {d for entry in reads.entries.values() for d, _ in entry.chunks}
    components = []
    for part in asked.parts:
        name = f"{layout.OMS}/{part.id}.oms.sig"
        components.append({
            "id": part.id, "type": part.type, "version": part.version, "path": part.path, "format": part.format,
            "installed_bytes": installed[part.id],
            "summary": describe.summary(part.files, {p: reads.tensors[p] for p, _ in part.files if p in reads.tensors})
            if part.type == "model" else {},
            "oms": name if name in signatures else None,
            "oms_sha256": hashlib.sha256(signatures[name]).hexdigest() if name in signatures else None,
            "license": part.license, "source": part.source})
    return manifest.make_statement(
        index_raw, channel=asked.channel, sequence=asked.sequence, min_sequence=asked.min_sequence, revoked=list(asked.revoked),
        issued_at=utc_now(), expires_at=asked.expires_at, root_version=root_version, audience=list(asked.audience),
        bundle={"title": asked.title, "kind": "full", "bytes": sum(entry.size for entry in reads.entries.values()), "files": len(reads.entries),
                "objects": len(objects), "chunk_max": layout.CHUNK_MAX},
        base=[], components=components)


def cosign(places: Sequence[Path], keys: Sequence[PrivateKey]) -> list[Path]:
    """Add signatures to a bundle that others have signed, on each of its volumes; the folders written.

    Raises:
        InputError: ``bundle.not-found``, ``bundle.several``, ``oms.wrong-key``. VerdictError: the bundle is not in order.
        WorldError: ``bundle.unwritable``.
    """
    from console.bundles.inspection import inspect

    for key in keys:
        if key.public.alg not in SIGNING:
            raise oms.WRONG_KEY(alg=key.public.alg)
    seen = inspect(places, {})
    wrong = [f for f in seen.findings if f["code"] != "remark" and not f.get("pending")]
    if wrong or seen.statement is None:
        first = wrong[0] if wrong else {"path": layout.RELEASE, "message": ""}
        raise vetting.REFUSED(path=first["path"], reason=first["message"], remedy=vetting.AGAIN)
    sealed = dsse.cosign(seen.envelope_raw, layout.PAYLOAD_TYPE, keys)
    for volume in seen.media.volumes:
        try:
            put(volume.folder / layout.RELEASE, sealed)
        except OSError as problem:
            raise UNWRITABLE(place=str(volume.folder), reason=problem.strerror or "?") from None
    return [v.folder for v in seen.media.volumes]
