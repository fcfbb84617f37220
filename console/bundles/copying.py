"""Files on their way from drives into the library: hashed while they are written, and resumed where they stopped.

What was hashed is what was written: nothing is verified on the drive and then read again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from console.bundles.acceptance import REFUSED
from console.bundles.manifest import FileEntry
from console.bundles.media import GONE, Media, Unsafe, open_plain
from console.errors import Cancelled, SealiftError, VerdictError, WorldError, code
from console.i18n import N_
from console.jobs.job import Context
from console.trust.oms import file_digest
from console.units import size as shown_size

SPACE = code("bundle.space", WorldError, N_("The library has {free} free and needs {needed} for this bundle."),
             N_("Remove a release that is not needed, or put the workspace on a larger disk."), retryable=True)
LIBRARY = code("bundle.library-unwritable", WorldError, N_("The library cannot be written at {path}: {reason}."),
               N_("Check the disk and the rights of the workspace folder, then import again."), retryable=True)

WORKERS = 4
SYNC_BYTES = 256 << 20
BLOCK_BYTES = 1 << 20


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the system knows how."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class Copying:
    """All files of one import. ``copied`` and ``reused`` count bytes; ``missing`` are chunks on drives not here."""

    def __init__(self, ctx: Context, staging: Path, media: Media, kept_file: Callable[[str], Path]):
        self._ctx, self._staging, self._media, self._kept_file = ctx, staging, media, kept_file
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._done = self._total = 0
        self.copied = self.reused = 0
        self.missing: set[str] = set()

    def run(self, entries: Sequence[FileEntry]) -> None:
        """Copy what is not there yet. A cancel or an error leaves what was checked so far.

        Raises:
            VerdictError: ``bundle.refused``. WorldError: a drive that is gone, a full disk. Cancelled.
        """
        self._total = sum(e.size for e in entries)
        with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:
            pending = [pool.submit(self._one, entry) for entry in entries]
            problems = [p for f in pending if (p := self._ended(f)) is not None]
        if problems:
            # A refusal outweighs the rest: it is what decides whether anything is kept.
            raise min(problems, key=lambda p: 0 if isinstance(p, VerdictError) else 1 if isinstance(p, Cancelled) else 2)

    def _ended(self, future: Any) -> BaseException | None:
        try:
            future.result()
        except _Stopped:
            return None
        except (SealiftError, Cancelled) as problem:
            self._stop.set()
            return problem
        except BaseException:
            self._stop.set()
            raise
        return None

    def _one(self, entry: FileEntry) -> None:
        try:
            self.pause()
            if _is(self._kept_file(entry.sha256), entry):
                with self._lock:
                    self.reused += entry.size
                self.advance(entry.size)
            else:
                _Copy(self, self._staging, entry, self._media).run()
        except BaseException:
            self._stop.set()
            raise

    def pause(self) -> None:
        """Where a copy may be stopped."""
        if self._stop.is_set():
            raise _Stopped
        self._ctx.checkpoint()

    def advance(self, count: int, *, copied: bool = False) -> None:
        """Count bytes that are in place."""
        with self._lock:
            self._done += count
            self.copied += count if copied else 0
            done = self._done
        self._ctx.progress(done, self._total, "bytes")

    def lacks(self, digest: str) -> None:
        """Note a chunk that no drive here holds."""
        with self._lock:
            self.missing.add(digest)


class _Stopped(Exception):
    """Another file's copy failed; this one ends quietly."""


def _is(path: Path, entry: FileEntry) -> bool:
    """Whether a file at rest is what it is named; hashed, for a disk may have lost bits since."""
    try:
        return path.stat().st_size == entry.size and file_digest(path) == (entry.sha256, entry.size)
    except OSError:
        return False


class _Copy:
    """One file: written at its places, chunk by chunk, with a journal of what is safely on disk."""

    def __init__(self, all_: Copying, staging: Path, entry: FileEntry, media: Media):
        self._all, self._entry, self._media = all_, entry, media
        self._part, self._journal = staging / f"{entry.sha256}.part", staging / f"{entry.sha256}.journal"
        self._final = staging / entry.sha256
        self._whole: Any = hashlib.sha256()
        self._gap = False
        self._fresh: list[int] = []
        self._unsynced = 0
        self._buffer = memoryview(bytearray(BLOCK_BYTES))

    def run(self) -> None:
        if _is(self._final, self._entry):
            self._all.advance(self._entry.size)
            return
        try:
            handle = os.open(self._part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as problem:
            raise _unwritable(self._part, problem, self._entry.size) from None
        with os.fdopen(handle, "r+b", buffering=0) as out:
            try:
                self._chunks(out)
            finally:
                self._sync(out)
        if not self._gap:
            self._finish()

    def _chunks(self, out: Any) -> None:
        kept, offset = self._kept(), 0
        for number, (digest, length) in enumerate(self._entry.chunks):
            self._all.pause()
            if number in kept and self._same(out, digest, offset, length):
                self._all.advance(length)
            elif self._fetch(out, digest, offset, length):
                self._fresh.append(number)
                self._unsynced += length
                if self._unsynced >= SYNC_BYTES:
                    self._sync(out)
                self._all.advance(length, copied=True)
            else:
                self._gap = True
            offset += length

    def _kept(self) -> set[int]:
        with contextlib.suppress(OSError, ValueError):
            return {int(line) for line in self._journal.read_text(encoding="ascii").split()}
        return set()

    def _same(self, out: Any, digest: str, offset: int, length: int) -> bool:
        """A chunk of an earlier try counts only when it still has its digest."""
        real, whole, left = hashlib.sha256(), self._whole.copy(), length
        out.seek(offset)
        while left:
            count = out.readinto(self._buffer[: min(left, BLOCK_BYTES)])
            if not count:
                return False
            real.update(self._buffer[:count])
            whole.update(self._buffer[:count])
            left -= count
        if real.hexdigest() != digest:
            return False
        self._whole = whole
        return True

    def _fetch(self, out: Any, digest: str, offset: int, length: int) -> bool:
        path = self._media.object_file(digest)
        if path is None:
            self._all.lacks(digest)
            return False
        out.seek(offset)
        try:
            with open_plain(path) as source:
                if os.fstat(source.fileno()).st_size != length:
                    raise self._refused(N_("a chunk has another size than the index says"), "object-size")
                real = self._pass(source, out, length, path)
        except Unsafe as problem:
            if problem.code == "object-missing":
                raise GONE(place=str(path), reason="it was there a moment ago") from None
            raise self._refused(N_("a chunk is no plain file"), problem.code) from None
        except OSError as problem:
            raise GONE(place=str(path), reason=problem.strerror or "?") from None
        if real != digest:
            raise self._refused(N_("a chunk's bytes are not those that were signed"), "object-digest")
        return True

    def _pass(self, source: Any, out: Any, length: int, path: Path) -> str:
        """Copy and hash; the digest of what was written."""
        real, left = hashlib.sha256(), length
        while left:
            count = source.readinto(self._buffer[: min(left, BLOCK_BYTES)])
            if not count:
                raise self._refused(N_("a chunk ends early"), "object-size")
            block = self._buffer[:count]
            real.update(block)
            if not self._gap:
                self._whole.update(block)
            try:
                _write_all(out, block)
            except OSError as problem:
                raise _unwritable(self._part, problem, self._entry.size) from None
            left -= count
        return real.hexdigest()

    def _refused(self, message: str, finding: str) -> SealiftError:
        return REFUSED(path=self._entry.path, message=message, finding=finding)

    def _sync(self, out: Any) -> None:
        if not self._fresh:
            return
        try:
            os.fsync(out.fileno())
            with open(self._journal, "a", encoding="ascii") as journal:
                journal.write("".join(f"{n}\n" for n in self._fresh))
                journal.flush()
                os.fsync(journal.fileno())
        except OSError as problem:
            raise _unwritable(self._part, problem, self._entry.size) from None
        self._fresh.clear()
        self._unsynced = 0

    def _finish(self) -> None:
        if self._whole.hexdigest() != self._entry.sha256:
            raise self._refused(N_("the whole file does not have the digest that was signed"), "digest")
        try:
            os.truncate(self._part, self._entry.size)
            self._part.replace(self._final)
        except OSError as problem:
            raise _unwritable(self._part, problem, self._entry.size) from None
        with contextlib.suppress(FileNotFoundError):
            self._journal.unlink()


def _write_all(out: Any, block: memoryview) -> None:
    while len(block):
        block = block[out.write(block) :]


def _unwritable(path: Path, problem: OSError, needed: int) -> SealiftError:
    if problem.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return SPACE(free=shown_size(0), needed=shown_size(needed))
    return LIBRARY(path=str(path), reason=problem.strerror or "?")
