"""Puts a bundle onto its drives: each object flushed and renamed into place, read back past the cache, then sealed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from console.bundles import layout, parity
from console.bundles.manifest import FileEntry
from console.bundles.media import linked_folders
from console.bundles.volumes import Plan, Planned
from console.bundles.workers import in_step
from console.errors import WorldError, code, why
from console.i18n import N_
from console.jobs.job import Context
from console.units import size as shown_size

NO_SPACE = code("bundle.no-space", WorldError, N_("{place} has {free} free, and the bundle needs {needed}."),
                N_("Free space there, give another place, or split the bundle with --volume-size."))
UNWRITABLE = code("bundle.unwritable", WorldError, N_("The bundle cannot be written to {place}: {reason}."),
                  N_("Check the drive, its rights and its free space, then build again."), retryable=True)
CHANGED = code("bundle.source-changed", WorldError, N_("{path} changed while it was being read."),
               N_("Build again when nothing writes to the source any more."), retryable=True)
NOT_WRITTEN = code("bundle.reread-failed", WorldError, N_("What was written to {place} reads back differently."),
                   N_("The drive is faulty. Use another one."))

LINKED = N_("a link lies in the place of a folder")

WORKERS = 2
"""One reads and hashes while the other's object is on its way to the drive; more would only make a slow drive jump about."""
Swap = Callable[[int, int, Path], None]
"""Called before each volume but the first: (number, of how many, the place that the next drive has to come to)."""


class Origins:
    """Where the bytes of every object come from: spans of the source files, and for repair data the objects of its group."""

    def __init__(self, entries: Sequence[FileEntry], sources: Mapping[str, Path]):
        self._spans: dict[str, tuple[Path, int, int]] = {}
        self.groups: dict[str, list[str]] = {}
        for entry in entries:
            offset = 0
            for digest, length in entry.chunks:
                self._spans.setdefault(digest, (sources[entry.path], offset, length))
                offset += length

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of every chunk by digest."""
        return {digest: length for digest, (_, _, length) in self._spans.items()}

    def xor_of(self, members: Sequence[str]) -> bytes:
        """The parity object of a group of chunks.

        Raises:
            WorldError: ``bundle.source-changed``.
        """
        return parity.xor((self.read(digest) for digest in members), max(self._spans[digest][2] for digest in members))

    def read(self, digest: str) -> bytes:
        """An object's bytes, still what was hashed.

        Raises:
            WorldError: ``bundle.source-changed``.
        """
        if digest not in self._spans:
            return self.xor_of(self.groups[digest])
        source, offset, length = self._spans[digest]
        data = b""
        with contextlib.suppress(OSError), open(source, "rb", buffering=0) as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) != length or hashlib.sha256(data).hexdigest() != digest:
            raise CHANGED(path=str(source))
        return data


@dataclass
class Writer:
    """Writes the volumes of one bundle. ``small`` are the files that every volume carries, by name."""

    ctx: Context
    bundle_id: str
    title: str
    plan: Plan
    origins: Origins
    small: Mapping[str, bytes]
    swap: Swap | None = None

    def run(self, place: Path | None = None) -> list[Path]:
        """All volumes' bundle folders, each written, read back and sealed.

        Args:
            place: where every volume goes, one drive after the other; None: where the plan says.

        Raises:
            WorldError: ``bundle.no-space``, ``bundle.unwritable``, ``bundle.reread-failed``, ``bundle.source-changed``.
        """
        self._done, self._total = 0, 2 * sum(self.plan.bytes_of(v) for v in self.plan.volumes)
        folders = []
        for number, volume in enumerate(self.plan.volumes, 1):
            where = place or volume.place
            try:
                while number > 1 and self.swap is not None and (not where.is_dir() or self._other(number, where)):
                    self.swap(number, len(self.plan.volumes), where)
                folders.append(self._volume(number, volume, where))
            except OSError as problem:
                raise UNWRITABLE(place=str(where), reason=why(problem)) from None
        return folders

    def _other(self, number: int, place: Path) -> bool:
        """Whether the drive in the place is one that was written already."""
        folder = place / layout.BUNDLES / self.bundle_id
        with contextlib.suppress(OSError, ValueError, AttributeError):
            hint = json.loads((folder / layout.VOLUME).read_bytes())
            return (folder / layout.SEALED).exists() and hint.get("number") != number
        return False

    def _volume(self, number: int, volume: Planned, place: Path) -> Path:
        self.ctx.phase(N_("Write"))
        folder = place / layout.BUNDLES / self.bundle_id
        no_links(place, layout.BUNDLES, self.bundle_id)
        folder.mkdir(parents=True, exist_ok=True)
        for linked in linked_folders(folder):
            no_links(folder, linked.relative_to(folder).as_posix())
        lacking = [d for d in volume.objects if not layout.object_path(folder, d).is_file()]
        self._check_space(place, sum(self.plan.sizes[d] for d in lacking) + sum(map(len, self.small.values())) + (64 << 10))
        with contextlib.suppress(FileNotFoundError):
            (folder / layout.SEALED).unlink()
        with ThreadPoolExecutor(WORKERS) as pool:
            for length in in_step(pool, (lambda d=digest: self._object(folder, d) for digest in volume.objects), WORKERS):
                self._advance(length)
        hint = {"v": 1, "bundle_id": self.bundle_id, "number": number, "of": len(self.plan.volumes), "label": self.title[:40],
                "objects": len(volume.objects), "bytes": self.plan.bytes_of(volume)}
        for name, data in {**self.small, layout.VOLUME: json.dumps(hint).encode()}.items():
            put(folder / name, data)
        self._reread(folder, volume.objects)
        put(folder / layout.SEALED, b"")
        for path in (*(p for p in (folder / layout.OBJECTS).glob("*") if p.is_dir()), folder, folder.parent, place):
            sync_folder(path)
        return folder

    def _check_space(self, place: Path, needed: int) -> None:
        usage = shutil.disk_usage(place)
        if usage.total and usage.free < needed:  # some file systems tell neither, and say nought for both
            raise NO_SPACE(place=str(place), free=shown_size(usage.free), needed=shown_size(needed))

    def _object(self, folder: Path, digest: str) -> int:
        self.ctx.checkpoint()
        target, length = layout.object_path(folder, digest), self.plan.sizes[digest]
        if not (target.is_file() and target.stat().st_size == length):
            put(target, self.origins.read(digest))
        return length

    def _reread(self, folder: Path, digests: Sequence[str]) -> None:
        """Read every object back, past the cache where the system lets us, before the volume is sealed."""
        self.ctx.phase(N_("Read back"))
        def same(digest: str) -> int:
            self.ctx.checkpoint()
            with open(layout.object_path(folder, digest), "rb", buffering=0) as source:
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                data = source.read()
            if hashlib.sha256(data).hexdigest() != digest:
                raise NOT_WRITTEN(place=str(folder))
            return len(data)

        with ThreadPoolExecutor(WORKERS) as pool:
            for length in in_step(pool, (lambda d=digest: same(d) for digest in digests), WORKERS):
                self._advance(length)

    def _advance(self, count: int) -> None:
        self._done += count
        self.ctx.progress(self._done, self._total, "bytes")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the system and the drive's file system know how."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as problem:
            if problem.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
                raise
        finally:
            os.close(handle)


def no_links(place: Path, *names: str) -> None:
    """Whoever had a drive before may have laid links where we have folders: nothing is written through them.

    Args:
        names: of the folders below ``place``, each inside of the one before.

    Raises:
        OSError: ELOOP, one of them is a link.
    """
    for name in names:
        place = place / name
        if place.is_symlink():
            raise OSError(errno.ELOOP, LINKED, str(place))


def put(target: Path, data: bytes) -> None:
    """Write under another name, flush to the drive, rename: a name never holds half a file, and no link in its place is followed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)  # of a try that was cut off; or a link
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(handle, "wb", buffering=0) as out:
        view = memoryview(data)
        while len(view):
            view = view[out.write(view) :]
        os.fsync(out.fileno())
    part.replace(target)
