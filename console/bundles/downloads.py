"""What download tools leave beside a model: where it comes from, its licence, and the digests that its publisher names.

Hugging Face: the cache's folders (``models--<owner>--<name>/snapshots/<revision>`` with links into ``blobs``), and the notes of a
download into a plain folder (``.cache/huggingface/download/*.metadata``, huggingface_hub 0.23 and later; ``.huggingface`` before).
Besides, ``SHA256SUMS`` and ``<file>.sha256`` as coreutils write them, and the blobs of an OCI image layout, which are named by their digests.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from console import plainyaml

_HEX64 = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[0-9a-f]{40}")
_CACHED = re.compile(r"models--([^/]+?)--([^/]+)")
_SUM = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(\S.*)")
_SUMS = ("SHA256SUMS", "SHA256SUMS.txt", "sha256sums.txt", "sha256sum.txt", "checksums.sha256")
_BLOB = re.compile(r"(?:^|/)blobs/sha256/([0-9a-f]{64})$")
NOTES = (Path(".cache/huggingface/download"), Path(".huggingface/download"))
MAX_NOTE_BYTES = 4 << 20


@dataclass(frozen=True)
class Repository:
    """Where a download comes from; ``id`` is owner and name."""

    id: str
    revision: str

    @property
    def name(self) -> str:
        """Its last part."""
        return self.id.rpartition("/")[2]


def snapshot(path: Path) -> Path:
    """The snapshot within a repository's folder of a download cache: that of ``main``, or the only one; else ``path`` itself."""
    if _CACHED.fullmatch(path.name) is None or not (path / "snapshots").is_dir():
        return path
    revision = _read(path / "refs" / "main").strip()
    named = path / "snapshots" / revision
    if _REVISION.fullmatch(revision) and named.is_dir():
        return named
    held = [folder for folder in (path / "snapshots").iterdir() if folder.is_dir()]
    return held[0] if len(held) == 1 else path


def repository(path: Path) -> Repository | None:
    """Where the download in a folder comes from, as far as its place in a cache tells."""
    inner = snapshot(path)
    found = _CACHED.fullmatch(inner.parent.parent.name) if inner.parent.name == "snapshots" else None
    return Repository(f"{found[1]}/{found[2]}", inner.name) if found is not None else None


def blob(link: Path, source: Path) -> Path | None:
    """The file behind a link of a cache (``snapshots/<revision>/x`` to ``blobs/<digest>``), else None."""
    target, blobs = link.resolve(), source.resolve().parent.parent / "blobs"
    return target if target.parent == blobs and target.is_file() and not target.is_symlink() else None


def licence(folder: Path) -> str:
    """The licence that a model's card names in its head; empty where it names none."""
    card = _read(folder / "README.md") if folder.is_dir() else ""
    if not card.startswith("---"):
        return ""
    with contextlib.suppress(ValueError, AttributeError):
        told = plainyaml.load(card[3:].partition("\n---")[0])
        name = told.get("license_name") if told.get("license") == "other" else told.get("license")
        return name[:400] if isinstance(name, str) else ""
    return ""


def digests(origin: Path, where: str, files: Sequence[tuple[str, Path]]) -> dict[str, str]:
    """By path in the bundle, the SHA-256 hex that the publisher names for a file."""
    told = {path: file.name for path, file in files if file.parent.name == "blobs" and _HEX64.fullmatch(file.name)}
    told |= {path: found[1] for path, _ in files if (found := _BLOB.search(path))}
    if origin.is_dir():
        beside = {path: file for path, file in files if path.endswith(".sha256")}
        listed, kept = dict(_sums(origin)), [notes for notes in NOTES if (origin / notes).is_dir()]
        for path, _ in files:
            inside = path.removeprefix(where + "/")
            if inside in listed:
                told[path] = listed[inside]
            if f"{path}.sha256" in beside and (found := _HEX64.match(_read(beside[f"{path}.sha256"]).strip().lower())):
                told[path] = found[0]
            for notes in kept:
                lines = _read(origin / notes / f"{inside}.metadata").splitlines()
                if len(lines) > 1 and _HEX64.fullmatch(lines[1].strip()):
                    told[path] = lines[1].strip()
    return told


def listed_and_missing(origin: Path, where: str, files: Sequence[tuple[str, Path]], left_out: Sequence[str]) -> list[str]:
    """Paths that a list of digests names, and that are neither there nor left out on purpose."""
    known = {path.removeprefix(where + "/") for path, _ in files} | {path.removeprefix(where + "/") for path in left_out}
    return sorted(name for name, _ in _sums(origin) if name not in known and not any(name.startswith(f"{k}/") for k in known)) \
        if origin.is_dir() else []


def _sums(folder: Path) -> Iterator[tuple[str, str]]:
    for name in _SUMS:
        for line in _read(folder / name).splitlines():
            if found := _SUM.fullmatch(line.strip()):
                yield found[2], found[1].lower()


def _read(path: Path) -> str:
    """A small text; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read(MAX_NOTE_BYTES)
    except OSError:
        return ""
