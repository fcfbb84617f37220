"""Rebuilds chunks of a bundle from its repair data, out of what the drives and the staging folder hold."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from console.bundles.manifest import FileEntry, Index
from console.bundles.media import Media, Unsafe, open_plain, read_small
from console.bundles.parity import Group, xor


class _Lacking(Exception):
    """Another object of the group cannot be had either."""


class Repair:
    """The repair data of one bundle during its import. Safe from several threads.

    With one drive at a time in the machine, the members of a group are never all plugged in together: then members are read
    back from the staging folder, and parity objects are put there too until their groups are whole.
    """

    def __init__(self, index: Index, staging: Path, media: Media, kept_file: Callable[[str], Path]):
        self._staging, self._media, self._kept_file = staging, media, kept_file
        # One at a time: a few objects of 16 MiB are held meanwhile.
        self._lock = threading.Lock()
        self._group_of: dict[str, Group] = {d: g for g in index.parity for d in g.of}
        self._sizes = index.objects if index.parity else {}
        self._places: dict[str, list[tuple[FileEntry, int]]] = {}
        if index.parity:
            for entry in index.files:
                offset = 0
                for digest, length in entry.chunks:
                    self._places.setdefault(digest, []).append((entry, offset))
                    offset += length

    def covers(self, digest: str) -> bool:
        """Whether the chunk is in a group at all."""
        return digest in self._group_of

    def possible(self, digest: str) -> bool:
        """Whether everything that its rebuilding needs seems to be at hand; nothing is read for the answer."""
        group = self._group_of.get(digest)
        return group is not None and self._held(group.object[0]) and all(
            self._held(d) or self._staged(d) for d in group.of if d != digest)

    def chunk(self, digest: str, length: int) -> bytes | None:
        """The chunk's bytes, or None when another one of its group cannot be had either."""
        group = self._group_of.get(digest)
        if group is None:
            return None
        others = (group.object[0], *(d for d in group.of if d != digest))
        with self._lock, contextlib.suppress(_Lacking):
            data = xor((self._need(other) for other in others), group.object[1])[:length]
            return data if hashlib.sha256(data).hexdigest() == digest else None
        return None

    def _need(self, digest: str) -> bytes:
        data = self._read(digest)
        if data is None:
            raise _Lacking
        return data

    def keep(self, lacking: Iterable[str]) -> None:
        """Put the parity objects that ``lacking`` chunks need into the staging folder, as far as they are on drives here.

        Raises:
            OSError: the staging folder cannot be written.
        """
        for digest in sorted({g.object[0] for d in lacking if (g := self._group_of.get(d)) is not None}):
            place = self._spare(digest)
            if place.exists() or not self._media.object_files(digest):
                continue
            data = self._read(digest)
            if data is not None:
                place.parent.mkdir(mode=0o700, exist_ok=True)
                part = place.with_suffix(".part")
                part.write_bytes(data)
                part.replace(place)

    def _spare(self, digest: str) -> Path:
        return self._staging / "parity" / digest

    def _held(self, digest: str) -> bool:
        return bool(self._media.object_files(digest)) or self._spare(digest).exists()

    def _staged(self, digest: str) -> bool:
        return any(path.exists() for entry, _ in self._places.get(digest, ()) for path in self._files(entry))

    def _files(self, entry: FileEntry) -> tuple[Path, Path, Path]:
        return self._staging / entry.sha256, self._staging / f"{entry.sha256}.part", self._kept_file(entry.sha256)

    def _read(self, digest: str) -> bytes | None:
        """An object from wherever it lies, when it is what it is called."""
        size = self._sizes[digest]
        for path in (*self._media.object_files(digest), self._spare(digest)):
            with contextlib.suppress(OSError, Unsafe):
                data = read_small(path, size)
                if hashlib.sha256(data).hexdigest() == digest:
                    return data
        for entry, offset in self._places.get(digest, ()):
            for path in self._files(entry):
                with contextlib.suppress(OSError, Unsafe), open_plain(path) as source:
                    source.seek(offset, os.SEEK_SET)
                    data = source.read(size) or b""
                    if hashlib.sha256(data).hexdigest() == digest:
                        return data
        return None
