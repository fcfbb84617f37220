"""Bundles as they lie on drives: found, joined from their volumes, read as hostile input and never written to."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from console.bundles import layout
from console.bundles.manifest import FileEntry
from console.errors import InputError, WorldError, code
from console.i18n import N_
from console.trust.canonical import decode

NONE = code("bundle.not-found", InputError, N_("No bundle was found at {place}."),
            N_("Name the drive's folder that holds BUNDLES, or the bundle's own folder."))
SEVERAL = code("bundle.several", InputError, N_("{place} holds several bundles: {found}."),
               N_("Name one of their folders."))
GONE = code("bundle.media-removed", WorldError, N_("{place} cannot be read any more: {reason}."),
            N_("Plug the drive in again and repeat; what was copied and checked is not copied again."), retryable=True)

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class Unsafe(Exception):
    """A name on the drive is a link or no plain file. ``code`` is symlink, special-file or object-missing."""

    def __init__(self, code: str):
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Volume:
    """One volume's bundle folder and what its unsigned hint says of it."""

    folder: Path
    number: int
    of: int
    label: str
    sealed: bool


@dataclass(frozen=True)
class Media:
    """The volumes of one bundle that are there."""

    bundle_id: str
    volumes: tuple[Volume, ...]

    @property
    def first(self) -> Path:
        """A folder to read the small files from; they are the same on every volume."""
        return self.volumes[0].folder

    def object_file(self, digest: str) -> Path | None:
        """Where a chunk lies, or None when no volume that is there holds it."""
        return next((p for v in self.volumes if os.path.lexists(p := layout.object_path(v.folder, digest))), None)

    def missing_volumes(self) -> list[int]:
        """Numbers of the volumes that are not there, as far as the hints tell."""
        return sorted(set(range(1, max(v.of for v in self.volumes) + 1)) - {v.number for v in self.volumes})


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
        for folder in _folders(Path(place)):
            if (volume := _volume(folder)) is not None:
                by_id.setdefault(folder.name, []).append(volume)
    return [Media(identity, tuple(sorted(volumes, key=lambda v: v.number))) for identity, volumes in sorted(by_id.items())]


def only(places: Sequence[Path]) -> Media:
    """The one bundle at these places.

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
    if len(found) > 1:
        raise SEVERAL(place=shown, found=", ".join(m.bundle_id for m in found))
    return found[0]


def _folders(place: Path) -> list[Path]:
    if os.path.lexists(place / layout.INDEX) or os.path.lexists(place / layout.RELEASE):
        return [place]
    roots = [place / layout.BUNDLES]
    with contextlib.suppress(OSError):
        roots += sorted(p / layout.BUNDLES for p in place.iterdir() if p.name.startswith("vol-") and not p.is_symlink())
    found = []
    for root in roots:
        if root.is_dir() and not root.is_symlink():
            found += sorted(p for p in root.iterdir() if p.is_dir() and not p.is_symlink() and layout.BUNDLE_ID.fullmatch(p.name))
    return found


def _volume(folder: Path) -> Volume | None:
    number, of, label = 1, 1, ""
    # The hint is unsigned: it may name the drive to ask for, and decides nothing else.
    with contextlib.suppress(Exception):
        hint = decode(read_small(folder / layout.VOLUME, 64 << 10), max_bytes=64 << 10)
        if 1 <= hint["number"] <= hint["of"] <= 10_000:
            number, of, label = hint["number"], hint["of"], str(hint["label"])[:40]
    return Volume(folder, number, of, label, os.path.lexists(folder / layout.SEALED))


class ChunkedFile(io.RawIOBase):
    """One file of a bundle, read across its objects, for screening before anything is copied."""

    def __init__(self, media: Media, entry: FileEntry):
        super().__init__()
        self._media, self._entry, self._at = media, entry, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (self._at if whence == 1 else self._entry.size if whence == 2 else 0))
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:  # noqa: ANN001 - the signature of io.RawIOBase
        start = 0
        for digest, length in self._entry.chunks:
            if start <= self._at < start + length:
                inside = self._at - start
                path = self._media.object_file(digest)
                if path is None:
                    raise Unsafe("object-missing")
                with open_plain(path) as source:
                    source.seek(inside)
                    data = source.read(min(len(buffer), length - inside))
                buffer[: len(data)] = data
                self._at += len(data)
                return len(data)
            start += length
        return 0

    def read(self, size: int = -1) -> bytes:
        """Exactly ``size`` bytes unless the file ends."""
        left = self._entry.size - self._at if size is None or size < 0 else size
        parts = []
        while left > 0:
            piece = bytearray(min(left, 1 << 20))
            count = self.readinto(piece)
            if not count:
                break
            parts.append(bytes(piece[:count]))
            left -= count
        return b"".join(parts)


def digest_of(path: Path, size: int) -> tuple[str, str | None]:
    """(SHA-256 hex, finding code or None) of an object that must have ``size`` bytes; never reads more than that.

    Raises:
        OSError: the drive does not answer.
    """
    try:
        with open_plain(path) as source:
            if os.fstat(source.fileno()).st_size != size:
                return "", "object-size"
            digest, buffer, left = hashlib.sha256(), memoryview(bytearray(1 << 20)), size
            while left:
                count = source.readinto(buffer[: min(left, len(buffer))])
                if not count:
                    return "", "object-size"
                digest.update(buffer[:count])
                left -= count
            return digest.hexdigest(), None
    except Unsafe as problem:
        return "", problem.code
