"""What a push sends, taken from a release: which files go where on the server, and where their bytes lie here."""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from console.bundles.library import Library, Release
from console.bundles.manifest import FileEntry

LANE_BYTES = 8 << 20
"""Files of at least this size may be sent over several connections."""

PIECE_BYTES = 64 << 10

IDLE_S = 30
"""A receiver that hears nothing for so long takes its console for gone; the console gives a sign of life more often."""

PATIENCE_S = 45
"""How long a new push waits for the store: longer than a receiver without a console lives."""


class Source:
    """One distinct file: its entry in the signed index and its bytes on this desktop. Small, for there may be 100,000.

    Args:
        place: where the bytes lie, or the library that knows.
    """

    __slots__ = ("_offsets", "_place", "entry")

    def __init__(self, entry: FileEntry, place: Path | str | Library):
        self.entry, self._place = entry, str(place) if isinstance(place, Path) else place
        self._offsets: tuple[int, ...] | None = None

    @property
    def place(self) -> str:
        """Where the bytes lie."""
        return self._place if isinstance(self._place, str) else str(self._place.file(self.entry.sha256))

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each chunk begins."""
        if self._offsets is None:
            # Most files have one chunk, and share what tells where it begins.
            lengths = [length for _, length in self.entry.chunks]
            self._offsets = tuple(accumulate(lengths[:-1], initial=0)) if len(lengths) > 1 else (0,)[: len(lengths)]
        return self._offsets


@dataclass(frozen=True)
class PushPlan:
    """A release as it goes to one store. ``links`` are (path below the release's folder, SHA-256)."""

    release_id: str
    store: str
    degree: str
    sources: tuple[Source, ...]
    links: Sequence[tuple[str, str]]
    executable: frozenset[str]
    patience_s: float = PATIENCE_S
    relay: bool = False

    @cached_property
    def bytes_total(self) -> int:
        """Sum of the distinct files' sizes."""
        return sum(s.entry.size for s in self.sources)

    @cached_property
    def first(self) -> array[int]:
        """For each file, the number of its first chunk over all files, as the receiver counts them; at the end, how many there are."""
        return array("I", accumulate((len(s.entry.chunks) for s in self.sources), initial=0))

    @cached_property
    def link_numbers(self) -> array[int]:
        """For each link, the number of its file."""
        numbers = {s.entry.sha256: n for n, s in enumerate(self.sources)}
        return array("I", (numbers[sha256] for _, sha256 in self.links))

    def to(self, store: str, relay: bool) -> PushPlan:
        """The same for one server's store. What was counted for one is not counted, and kept, again for each."""
        made = replace(self, store=store, relay=relay)
        for name in ("bytes_total", "first", "link_numbers"):
            made.__dict__[name] = getattr(self, name)
        return made

    def key(self, every: int) -> tuple[int, int]:
        """(file number, index) of the chunk with this number over all files."""
        number = bisect_right(self.first, every) - 1
        return number, every - self.first[number]

    def length(self, number: int, index: int) -> int:
        """Bytes of a chunk."""
        return self.sources[number].entry.chunks[index][1]

    def pieces(self, push: str, role: str) -> Iterator[bytes]:
        """The plan as a receiver reads it, in pieces to be sent one after the other: their length, themselves, packed, and at the
        end a length of none; before them the length of the whole unpacked.

        Args:
            push: this run's random name. role: lead or lane.
        """
        head = json.dumps(
            {
                "store": self.store,
                "release": self.release_id,
                "degree": self.degree,
                "push": push,
                "role": role,
                "idle_s": IDLE_S,
                "patience_s": self.patience_s,
                "lane_bytes": LANE_BYTES,
                "relay": self.relay and role == "lead",
            }
        ).encode()
        entries = [s.entry for s in self.sources]
        digests, paths = sum(len(_digests(e)) for e in entries), sum(len(path.encode()) for path, _ in self.links)
        size = 12 + (8 + 4 + 1 + 32) * len(entries) + 4 * self.first[-1] + 32 * digests + (4 + 2) * len(self.links) + paths
        yield struct.pack(">I", 4 + len(head) + size)
        packer, packed = zlib.compressobj(1), bytearray()
        for part in chain((struct.pack(">I", len(head)), head), self._body(entries)):
            packed += packer.compress(part)
            if len(packed) >= PIECE_BYTES:
                yield struct.pack(">I", len(packed)) + packed
                packed.clear()
        packed += packer.flush()
        yield struct.pack(">I", len(packed)) + packed + bytes(4)

    def message(self, push: str, role: str) -> bytes:
        """:meth:`pieces` as one."""
        return b"".join(self.pieces(push, role))

    def _body(self, entries: Sequence[FileEntry]) -> Iterator[bytes]:
        """In parts, each made when the one before is packed: with 100,000 files the whole is large."""
        yield struct.pack(">III", len(entries), sum(len(e.chunks) for e in entries), len(self.links))
        yield _packed("Q", (e.size for e in entries))
        yield _packed("I", (len(e.chunks) for e in entries))
        yield bytes(e.sha256 in self.executable for e in entries)
        for e in entries:
            yield bytes.fromhex(e.sha256)
        for e in entries:
            yield _packed("I", (length for _, length in e.chunks))
        for e in entries:
            yield bytes.fromhex("".join(digest for digest, _ in _digests(e)))
        yield _packed("I", self.link_numbers)
        yield _packed("H", (len(path.encode()) for path, _ in self.links))
        for path, _ in self.links:
            yield path.encode()


def _digests(entry: FileEntry) -> Sequence[tuple[str, int]]:
    """The chunks whose digests have to be told: that of the only one is the file's."""
    return entry.chunks if len(entry.chunks) > 1 else ()


class _Links(Sequence[tuple[str, str]]):
    """(path below the release's folder, SHA-256) of each file, made when asked for."""

    def __init__(self, entries: Sequence[FileEntry]):
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: Any) -> Any:
        entry = self._entries[number]
        return entry.path, entry.sha256


def _packed(kind: str, values: Iterable[int]) -> bytes:
    listed = array(kind, values)
    if sys.byteorder == "little":
        listed.byteswap()
    return listed.tobytes()


def plan(library: Library, release: Release, store: str, degree: str, components: Sequence[str] | None = None) -> PushPlan:
    """The push of a release, or of some of its components.

    Raises:
        WorldError: ``bundle.library-damaged`` when the library lacks a file.
    """
    wanted = release.files if components is None else tuple(f for f in release.files if f.component in components)
    distinct = {f.sha256: f for f in wanted}
    return PushPlan(
        release.release_id,
        store,
        degree,
        tuple(Source(f, _place(library, release, f)) for f in distinct.values()),
        _Links(wanted),
        frozenset(f.sha256 for f in wanted if f.exec),
    )


def _place(library: Library, release: Release, entry: FileEntry) -> Path | Library:
    try:
        if library.file(entry.sha256).stat().st_size == entry.size:
            return library
    except OSError:
        pass  # open_file says what is wrong with it
    return library.open_file(release, entry.path)
