"""What a push sends, taken from a release: which files go where on the server, and where their bytes lie here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from console.bundles.library import Library, Release
from console.bundles.manifest import FileEntry


@dataclass(frozen=True)
class Source:
    """One distinct file: its entry in the signed index and its bytes on this desktop."""

    entry: FileEntry
    place: Path


@dataclass(frozen=True)
class PushPlan:
    """A release as it goes to one store. ``links`` are (path below the release's folder, SHA-256)."""

    release_id: str
    store: str
    degree: str
    sources: tuple[Source, ...]
    links: tuple[tuple[str, str], ...]
    executable: frozenset[str]

    @property
    def bytes_total(self) -> int:
        """Sum of the distinct files' sizes."""
        return sum(s.entry.size for s in self.sources)

    def listing(self) -> list[list]:
        """The files as the receiver is told them, every link with its file's chunks."""
        by_digest = {s.entry.sha256: s.entry for s in self.sources}
        return [[path, by_digest[d].size, d, d in self.executable, [list(c) for c in by_digest[d].chunks]] for path, d in self.links]


def plan(library: Library, release: Release, store: str, degree: str, components: Sequence[str] | None = None) -> PushPlan:
    """The push of a release, or of some of its components.

    Raises:
        WorldError: ``bundle.library-damaged`` when the library lacks a file.
    """
    wanted = [f for f in release.files if components is None or f.component in components]
    distinct = {f.sha256: f for f in wanted}
    sources = tuple(Source(f, library.open_file(release, f.path)) for f in distinct.values())
    return PushPlan(release.release_id, store, degree, sources, tuple((f.path, f.sha256) for f in wanted),
                    frozenset(f.sha256 for f in wanted if f.exec))
