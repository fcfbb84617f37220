"""Bundles as they lie on drives: found, joined from their volumes, read as hostile input and never written to."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from console.bundles import layout
from console.bundles.manifest import FileEntry
from console.errors import InputError, SealiftError, WorldError, code
from console.i18n import N_
from console.trust.canonical import decode

NONE = code("bundle.not-found", InputError, N_("No bundle was found at {place}."),
            N_("Name the drive's folder that holds BUNDLES, or the bundle's own folder."))
SEVERAL = code("bundle.several", InputError, N_("{place} holds several bundles: {found}."),
               N_("Name one of their folders."))
GONE = code("bundle.media-removed", WorldError, N_("{place} cannot be read any more: {reason}."),
            N_("Plug the drive in again and repeat; what was copied and checked is not copied again."), retryable=True)

MAX_ROOTS, MAX_ROOT_BYTES = 1000, 1 << 20
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class Unsafe(Exception):
    """A name on the drive is a link or no plain file. ``code`` is symlink, special-file or object-missing."""

    def __init__(self, code: str):
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Volume:
    """One volume's bundle folder and what its unsigned hint says of it; ``objects`` None when it does not say."""

    folder: Path
    number: int
    of: int
    label: str
    sealed: bool
    objects: int | None = None


@dataclass(frozen=True)
class Media:
    """The volumes of one bundle that are there, and what was named beside them and belongs to another bundle."""

    bundle_id: str
    volumes: tuple[Volume, ...]
    strangers: tuple[Volume, ...] = ()

    @property
    def first(self) -> Path:
        """A folder to read the small files from; they are the same on every volume. One whose index is what the
        bundle's name says goes before the others."""
        return next((v.folder for v in self.volumes if index_digest(v.folder)[:32] == self.bundle_id),
                    self.volumes[0].folder)

    def object_files(self, digest: str) -> list[Path]:
        """Where an object lies: usually on one volume, on none when its volume is not there, on several where a drive holds
        it once more."""
        return [p for v in self.volumes if os.path.lexists(p := layout.object_path(v.folder, digest))]

    def missing_volumes(self) -> list[int]:
        """Numbers of the volumes that are not there, as far as the hints tell."""
        return sorted(set(range(1, max(v.of for v in self.volumes) + 1)) - {v.number for v in self.volumes})


def index_digest(folder: Path) -> str:
    """SHA-256 hex of the index in a bundle's folder; empty when there is none that can be read."""
    with contextlib.suppress(Unsafe, OSError):
        raw = read_small(folder / layout.INDEX, layout.MAX_INDEX_BYTES)
        return hashlib.sha256(raw).hexdigest() if len(raw) <= layout.MAX_INDEX_BYTES else ""
    return ""


def read_roots(folder: Path) -> dict[int, bytes | str]:
    """The trust roots in a bundle's folder by version: the bytes of each, or the code of what lies in its place.

    Raises:
        OSError: the drive does not answer.
    """
    place = folder / layout.TRUST
    if place.is_symlink() or not place.is_dir():
        return {}
    found: dict[int, bytes | str] = {}
    for file in sorted(place.iterdir()):
        if layout.ROOT_FILE.fullmatch(f"{layout.TRUST}/{file.name}") and len(found) < MAX_ROOTS:
            try:
                found[int(file.name.split(".")[1])] = read_small(file, MAX_ROOT_BYTES)
            except Unsafe as problem:
                found[int(file.name.split(".")[1])] = problem.code
    return found


def linked_folders(folder: Path) -> list[Path]:
    """Links that lie where a bundle has folders: through one, a plain name could lead anywhere.

    Raises:
        OSError: the drive does not answer.
    """
    names = [folder / name for name in (layout.OBJECTS, layout.OMS, layout.TRUST)]
    links = [name for name in names if name.is_symlink()]
    if names[0].is_dir() and names[0] not in links:
        with os.scandir(names[0]) as entries:
            links += sorted(Path(e.path) for e in entries if e.is_symlink())
    return links


def open_plain(path: Path) -> io.BufferedReader:
    """Open a regular file, no link followed, no device waited on.

    Raises:
        Unsafe: it is something else, or not there. OSError: it cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | _NOFOLLOW)
    except FileNotFoundError:
        raise Unsafe("object-missing") from None
    except OSError:
        if os.path.islink(path):
            raise Unsafe("symlink") from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Unsafe("special-file")
    return os.fdopen(handle, "rb", buffering=0)


def read_small(path: Path, limit: int) -> bytes:
    """The bytes of a small file; one byte more than ``limit`` when it is larger.

    Raises:
        Unsafe, OSError.
    """
    with open_plain(path) as source:
        parts, left = [], limit + 1
        while left and (data := source.read(left)):
            parts.append(data)
            left -= len(data)
        return b"".join(parts)


def find(places: Iterable[Path]) -> list[Media]:
    """All bundles at these places, their volumes joined by bundle id. A place is a drive's folder, one that holds
    volumes' folders, or a bundle's own folder."""
    by_id: dict[str, list[Volume]] = {}
    for place in places:
        for identity, volume in _at(Path(place)):
            held = by_id.setdefault(identity, [])
            if volume.folder.resolve() not in {v.folder.resolve() for v in held}:
                held.append(volume)
    return [Media(identity, tuple(sorted(volumes, key=lambda v: v.number)))
            for identity, volumes in sorted(by_id.items())]


def only(places: Sequence[Path]) -> Media:
    """The one bundle at these places. Of several places the one that most of them hold counts, and the volumes of
    others are its ``strangers``.

    Raises:
        InputError: ``bundle.not-found``, ``bundle.several``. WorldError: ``bundle.media-removed``.
    """
    shown = ", ".join(map(str, places))
    try:
        found = find(places)
    except OSError as problem:
        raise GONE(place=shown, reason=problem.strerror or "?") from None
    if not found:
        raise NONE(place=shown)
    chosen = found[0] if len(found) == 1 else _most_wanted(places, found)
    if chosen is None:
        raise SEVERAL(place=shown, found=", ".join(m.bundle_id for m in found))
    others = tuple(v for m in found if m is not chosen for v in m.volumes)
    return Media(chosen.bundle_id, chosen.volumes, others)


def _most_wanted(places: Sequence[Path], found: list[Media]) -> Media | None:
    if len(places) < 2:
        return None
    ranked = sorted(found, key=lambda m: -len(m.volumes))
    if len(ranked[0].volumes) > len(ranked[1].volumes):
        return ranked[0]
    first = {identity for identity, _ in _at(Path(places[0]))}
    return next((m for m in found if {m.bundle_id} == first), None)


def _at(place: Path) -> list[tuple[str, Volume]]:
    """(bundle id, volume) of each bundle folder at a place."""
    if any(os.path.lexists(place / name) for name in (layout.INDEX, layout.RELEASE)):
        name = place.resolve().name
        return [(name if layout.BUNDLE_ID.fullmatch(name) else index_digest(place)[:32] or name, _volume(place))]
    roots = [place] if place.name == layout.BUNDLES else [place / layout.BUNDLES]
    with contextlib.suppress(OSError):
        roots += sorted(p / layout.BUNDLES for p in place.iterdir() if p.name.startswith("vol-") and not p.is_symlink())
    found = []
    for root in roots:
        if root.is_dir() and not root.is_symlink():
            found += [(p.name, _volume(p)) for p in sorted(root.iterdir())
                      if p.is_dir() and not p.is_symlink() and layout.BUNDLE_ID.fullmatch(p.name)]
    return found


def _volume(folder: Path) -> Volume:
    number, of, label, objects = 1, 1, "", None
    # The hint is unsigned: it may name the drive to ask for, and decides nothing else.
    with contextlib.suppress(OSError, Unsafe, SealiftError, KeyError, TypeError):
        hint = decode(read_small(folder / layout.VOLUME, 64 << 10), max_bytes=64 << 10)
        if all(type(hint[name]) is int for name in ("number", "of")) and 1 <= hint["number"] <= hint["of"] <= 10_000:
            number, of, label = hint["number"], hint["of"], str(hint.get("label", ""))[:40]
            objects = hint["objects"] if type(hint.get("objects")) is int else None
    return Volume(folder, number, of, label, _is_plain(folder / layout.SEALED), objects)


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


class ChunkedFile(io.RawIOBase):
    """One file of a bundle, read across its objects, for screening before anything is copied. ``bad`` are objects that are
    not what they are called; another copy is read where there is one."""

    def __init__(self, media: Media, entry: FileEntry, bad: Collection[Path] = ()):
        super().__init__()
        self._media, self._entry, self._bad, self._at = media, entry, bad, 0
        self._starts = [0, *accumulate(length for _, length in entry.chunks)]

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move; never fails, reads there just end early."""
        self._at = max(0, offset + (self._at if whence == 1 else self._entry.size if whence == 2 else 0))
        return self._at

    def tell(self) -> int:
        """Where it stands."""
        return self._at

    def readinto(self, buffer) -> int:  # noqa: ANN001 - the signature of io.RawIOBase
        """Bytes of at most one object."""
        number = bisect_right(self._starts, self._at) - 1
        if number >= len(self._entry.chunks) or not len(buffer):
            return 0
        digest, length = self._entry.chunks[number]
        inside = self._at - self._starts[number]
        places = self._media.object_files(digest)
        if not places:
            raise Unsafe("object-missing")
        place = next((p for p in places if p not in self._bad), places[0])
        try:
            with open_plain(place) as source:
                source.seek(inside)
                data = source.read(min(len(buffer), length - inside)) or b""
        except OSError as problem:
            if problem.errno == errno.EIO and still_there(place.parents[2]):
                raise Unsafe("object-unreadable") from None
            raise
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def still_there(folder: Path) -> bool:
    """Whether a volume still answers, so that what failed on it was one bad spot and not the drive."""
    try:
        return bool(read_small(folder / layout.INDEX, 1))
    except (OSError, Unsafe):
        return False


def digest_of(path: Path, size: int, buffer: memoryview, keep: bytearray | None = None) -> tuple[str, str | None]:
    """(SHA-256 hex, finding code or None) of an object that must have ``size`` bytes; never reads more than that.

    ``buffer`` is what it reads through: a new one for each of a million objects would cost more than hashing them.
    ``keep`` is filled with what was read.

    Raises:
        OSError: the drive does not answer any more.
    """
    try:
        with open_plain(path) as source:
            if os.fstat(source.fileno()).st_size != size:
                return "", "object-size"
            digest, left = hashlib.sha256(), size
            while left:
                count = source.readinto(buffer[: min(left, len(buffer))])
                if not count:
                    return "", "object-size"
                digest.update(buffer[:count])
                if keep is not None:
                    keep += buffer[:count]
                left -= count
            return digest.hexdigest(), None
    except Unsafe as problem:
        return "", problem.code
    except OSError as problem:
        if problem.errno == errno.EIO and still_there(path.parents[2]):
            return "", "object-unreadable"
        raise
