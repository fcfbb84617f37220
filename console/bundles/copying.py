"""Files on their way from drives into the library: hashed while they are written, and resumed where they stopped.

What was hashed is what was written: nothing is verified on the drive and then read again. A chunk that is damaged, or whose
volume is lost, is rebuilt where the bundle's repair data allows it; else it is refused, or waited for.
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

from console.bundles.acceptance import refused
from console.bundles.manifest import FileEntry, Index
from console.bundles.media import GONE, Media, Unsafe, open_plain, still_there
from console.bundles.repair import Repair
from console.bundles.workers import in_step
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
"""More than cores, for small files are waited for by the disk: what several of them flush, it flushes in one go."""
SYNC_BYTES = 256 << 20
BLOCK_BYTES = 1 << 20


class Copying:
    """All files of one import.

    Attributes:
        copied, reused, rebuilt: bytes taken from drives, found in the library, brought back from repair data.
        missing: chunks that no drive here holds in order. damaged: of those, by digest, the volume that holds a bad one.
    """

    def __init__(self, ctx: Context, staging: Path, media: Media, kept_file: Callable[[str], Path], index: Index):
        self._ctx, self._staging, self._media, self._kept_file = ctx, staging, media, kept_file
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._done = self._total = 0
        self._entries = list({f.sha256: f for f in index.files}.values())
        self._repair = Repair(index, staging, media, kept_file)
        self.copied = self.reused = self.rebuilt = 0
        self.missing: set[str] = set()
        self.damaged: dict[str, Path] = {}

    def run(self) -> None:
        """Copy what is not there yet. A cancel or an error leaves what was checked so far.

        Raises:
            VerdictError: ``bundle.refused``. WorldError: a drive that is gone, a full disk. Cancelled.
        """
        self._total = sum(e.size for e in self._entries)
        self._pass(self._entries)
        if not self.missing:
            return
        lacking = set(self.missing)
        try:
            self._repair.keep(lacking)
        except OSError as problem:
            raise _unwritable(self._staging, problem, self._total) from None
        # Members that lay in other files are in the staging folder by now. A chunk is in one group at most, so what this
        # pass brings back could help no further one.
        again = [e for e in self._entries if any(d in lacking and self._repair.possible(d) for d, _ in e.chunks)]
        if again:
            self._ctx.phase(N_("Rebuild from the repair data"))
            self.missing -= {d for e in again for d, _ in e.chunks}
            self._done, self._total = 0, sum(e.size for e in again)
            self._pass(again)

    def _pass(self, entries: Sequence[FileEntry]) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            outcomes = in_step(pool, (lambda entry=entry: self._outcome(entry) for entry in entries))
            problems = [problem for problem in outcomes if problem is not None]
        if problems:
            # A refusal outweighs the rest: it is what decides whether anything is kept.
            raise min(problems, key=lambda p: 0 if isinstance(p, VerdictError) else 1 if isinstance(p, Cancelled) else 2)

    def _outcome(self, entry: FileEntry) -> BaseException | None:
        try:
            self._one(entry)
        except _Stopped:
            return None
        except (SealiftError, Cancelled) as problem:
            return problem
        return None

    def _one(self, entry: FileEntry) -> None:
        try:
            self.pause()
            if _is(self._kept_file(entry.sha256), entry):
                with self._lock:
                    self.reused += entry.size
                self.advance(entry.size)
            else:
                _Copy(self, self._staging, entry, self._media, self._repair).run()
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

    def lacks(self, digest: str, damaged_on: Path | None) -> None:
        """Note a chunk that no drive here holds, or holds damaged."""
        with self._lock:
            self.missing.add(digest)
            if damaged_on is not None:
                self.damaged[digest] = damaged_on

    def warn_of_damage(self, digest: str, folder: Path) -> None:
        """Name the volume that a refusal is about."""
        self._ctx.warn(N_("{folder} holds a damaged chunk, {digest}."), folder=str(folder), digest=digest[:16])

    def has_rebuilt(self, digest: str, count: int, damaged_on: Path | None) -> None:
        """Note a chunk that was brought back."""
        with self._lock:
            self.rebuilt += count
        if damaged_on is not None:
            self._ctx.warn(N_("{folder} holds a damaged chunk, {digest}; it was rebuilt from the repair data."),
                           folder=str(damaged_on), digest=digest[:16])


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

    def __init__(self, all_: Copying, staging: Path, entry: FileEntry, media: Media, repair: Repair):
        self._all, self._entry, self._media, self._repair = all_, entry, media, repair
        final = f"{staging}/{entry.sha256}"
        self._part, self._final, self._journal, self._seal = Path(f"{final}.part"), Path(final), f"{final}.journal", f"{final}.done"
        self._whole: Any = hashlib.sha256()
        self._gap = self._lacked = False
        self._fresh: list[int] = []
        self._unsynced = 0
        # A file of one chunk is written in one go, and hashed again in little time where that was cut off.
        self._journaled = len(entry.chunks) > 1
        self._buffer = memoryview(bytearray(min(BLOCK_BYTES, entry.size)))

    def run(self) -> None:
        if self._untouched() or _is(self._final, self._entry):
            self._all.advance(self._entry.size)
            return
        try:
            handle = os.open(self._part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as problem:
            raise _unwritable(self._part, problem, self._entry.size) from None
        with os.fdopen(handle, "r+b", buffering=0) as out:
            try:
                self._chunks(out)
                if self._gap and not self._lacked:
                    # What was put off came to hand meanwhile, by the work on another file of its group.
                    self._sync(out)
                    self._whole = hashlib.sha256()
                    self._chunks(out)
            finally:
                self._sync(out)
        if not self._gap:
            self._finish()

    def _untouched(self) -> bool:
        """Whether an earlier pass finished the file, flushed it to the disk, and nothing wrote to it since."""
        if not self._journaled:
            return False
        with contextlib.suppress(OSError, ValueError):
            return _text(self._seal) == _times(self._final)
        return False

    def _chunks(self, out: Any) -> None:
        kept, offset = self._kept(), 0
        # Where chunks are on drives that are not here, the file cannot be finished now; then those of an earlier pass are
        # read back when it can be, and not at every swap.
        later = any(n not in kept and not self._media.object_files(d) and not self._repair.possible(d)
                    for n, (d, _) in enumerate(self._entry.chunks))
        self._gap = later
        for number, (digest, length) in enumerate(self._entry.chunks):
            self._all.pause()
            if number in kept and (later or self._same(out, digest, offset, length)):
                self._all.advance(length)
            elif self._fetch(out, digest, offset, length):
                self._fresh.append(number)
                self._unsynced += length
                if self._unsynced >= SYNC_BYTES:
                    self._sync(out)
            else:
                self._gap = self._lacked = True
            offset += length

    def _kept(self) -> set[int]:
        if not self._journaled:
            return set()
        with contextlib.suppress(OSError, ValueError):
            return {int(line) for line in _text(self._journal).split()}
        return set()

    def _same(self, out: Any, digest: str, offset: int, length: int) -> bool:
        """A chunk of an earlier try counts only when it still has its digest."""
        real, whole, left = hashlib.sha256(), self._whole.copy(), length
        out.seek(offset)
        while left:
            count = out.readinto(self._buffer[: min(left, len(self._buffer))])
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
        """Write a chunk from a drive, or rebuilt; False when neither can be done with what is here."""
        damaged_on = None
        for path in self._media.object_files(digest):
            out.seek(offset)
            before = self._whole.copy()
            problem = self._take(path, out, digest, length)
            if problem is None:
                self._all.advance(length, copied=True)
                return True
            self._whole, damaged_on = before, path.parents[2]
            if not self._repair.covers(digest):
                self._all.warn_of_damage(digest, damaged_on)
                raise self._refused(*problem)
        data = self._repair.chunk(digest, length)
        if data is None:
            self._all.lacks(digest, damaged_on)
            return False
        out.seek(offset)
        self._put(out, memoryview(data))
        self._all.has_rebuilt(digest, length, damaged_on)
        self._all.advance(length)
        return True

    def _take(self, path: Path, out: Any, digest: str, length: int) -> tuple[str, str] | None:
        """Copy one object; what was wrong with it (message, finding), or None."""
        try:
            with open_plain(path) as source:
                if os.fstat(source.fileno()).st_size != length:
                    return N_("a chunk has another size than the index says"), "object-size"
                real = self._pass(source, out, length)
        except Unsafe as problem:
            if problem.code == "object-missing":
                raise GONE(place=str(path), reason=N_("it was there a moment ago")) from None
            raise self._refused(N_("a chunk is no plain file"), problem.code) from None
        except OSError as problem:
            if problem.errno == errno.EIO and still_there(path.parents[2]):
                return N_("the drive cannot read a chunk back"), "object-missing"
            raise GONE(place=str(path), reason=problem.strerror or "?") from None
        if real is None:
            return N_("a chunk ends early"), "object-size"
        if real != digest:
            return N_("a chunk's bytes are not those that were signed"), "object-digest"
        return None

    def _pass(self, source: Any, out: Any, length: int) -> str | None:
        """Copy and hash; the digest of what was written, None when the object ended early."""
        real, left = hashlib.sha256(), length
        while left:
            count = source.readinto(self._buffer[: min(left, len(self._buffer))])
            if not count:
                return None
            block = self._buffer[:count]
            real.update(block)
            self._put(out, block)
            left -= count
        return real.hexdigest()

    def _put(self, out: Any, block: memoryview) -> None:
        if not self._gap and self._journaled:
            self._whole.update(block)
        try:
            _write_all(out, block)
        except OSError as problem:
            raise _unwritable(self._part, problem, self._entry.size) from None

    def _refused(self, message: str, finding: str) -> SealiftError:
        return refused([{"code": finding, "path": self._entry.path, "message": message}])

    def _sync(self, out: Any) -> None:
        if not self._fresh:
            return
        try:
            os.fsync(out.fileno())
            if self._journaled:
                with open(self._journal, "a", encoding="ascii") as journal:
                    journal.write("".join(f"{n}\n" for n in self._fresh))
                    journal.flush()
                    os.fsync(journal.fileno())
        except OSError as problem:
            raise _unwritable(self._part, problem, self._entry.size) from None
        self._fresh.clear()
        self._unsynced = 0

    def _finish(self) -> None:
        # A file of one chunk has its digest, which was compared already.
        if self._journaled and self._whole.hexdigest() != self._entry.sha256:
            raise self._refused(N_("the whole file does not have the digest that was signed"), "digest")
        try:
            if os.path.getsize(self._part) != self._entry.size:  # of another try, or of no chunk at all
                os.truncate(self._part, self._entry.size)
            os.replace(self._part, self._final)
            if self._journaled:
                Path(self._seal).write_text(_times(self._final), encoding="ascii")
        except OSError as problem:
            raise _unwritable(self._part, problem, self._entry.size) from None
        if self._journaled:
            Path(self._journal).unlink(missing_ok=True)


def _text(path: str) -> str:
    with open(path, encoding="ascii") as source:
        return source.read()


def _times(path: Path) -> str:
    about = path.stat()
    return f"{about.st_size} {about.st_mtime_ns} {about.st_ino}"


def _write_all(out: Any, block: memoryview) -> None:
    while len(block):
        block = block[out.write(block) :]


def _unwritable(path: Path, problem: OSError, needed: int) -> SealiftError:
    if problem.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return SPACE(free=shown_size(0), needed=shown_size(needed))
    return LIBRARY(path=str(path), reason=problem.strerror or "?")
