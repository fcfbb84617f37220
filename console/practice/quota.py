"""The bounded disk of a practice server, enforced by the kernel.

While a bound is in force every process of the server has the kernel's file size limit (``RLIMIT_FSIZE``) set to
what is left: no file can be written past that offset. Where the system can change the limit of a running process
(Linux), a watcher measures the folder four times a second and tightens the limit as it fills, so that many small
files meet the bound too. A write over the limit fails with ``EFBIG`` ("File too large") where a full disk says
``ENOSPC``; the signal that goes with it is ignored, so programs see the error. ``df`` among the server's tools
shows the bounded disk.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

try:
    from resource import RLIM_INFINITY, RLIMIT_FSIZE, prlimit
except ImportError:  # macOS has no prlimit; the limit that a command starts with still holds there
    prlimit = None

WATCH_S = 0.25


class Quota:
    """How much the folder may hold.

    Args:
        disk_bytes: None for no bound until :meth:`restrict`.
        processes: gives the ids of the server's processes.
    """

    def __init__(self, folder: Path, disk_bytes: int | None, processes: Callable[[], Iterable[int]]):
        self._folder, self._disk_bytes, self._bound, self._processes = folder, disk_bytes, disk_bytes, processes
        self._ended = threading.Event()
        self._tell_df()

    def restrict(self, left_bytes: int | None) -> None:
        """From now on ``left_bytes`` more, for running processes too; None goes back to the disk's own size."""
        self.stop()
        self._bound = self._disk_bytes if left_bytes is None else used_bytes(self._folder) + left_bytes
        self._tell_df()
        self._tighten()
        if left_bytes is not None and prlimit:
            self._ended = ended = threading.Event()
            threading.Thread(target=self._watch, args=(ended,), daemon=True, name="practice-quota").start()

    def left_bytes(self) -> int | None:
        """What may still be written; None without a bound."""
        return None if self._bound is None else max(0, self._bound - used_bytes(self._folder))

    def command(self, line: str) -> tuple[str, ...]:
        """The arguments that run ``line`` under the limit as it is now."""
        left = self.left_bytes()
        if left is None:
            return ("/bin/sh", "-c", line)
        # POSIX counts `ulimit -f` in blocks of 512 bytes.
        return ("/bin/sh", "-c", f'trap "" XFSZ; ulimit -S -f {left // 512}; exec /bin/sh -c "$1"', "sh", line)

    def stop(self) -> None:
        """End the watcher."""
        self._ended.set()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(WATCH_S):
            self._tighten()

    def _tighten(self) -> None:
        if not prlimit:
            return
        left = self.left_bytes()
        for pid in self._processes():
            with contextlib.suppress(OSError, ValueError):
                hard = prlimit(pid, RLIMIT_FSIZE)[1]
                prlimit(pid, RLIMIT_FSIZE, (RLIM_INFINITY if left is None else left, hard))

    def _tell_df(self) -> None:
        text = "" if self._bound is None else f"{self._bound}\n"
        (self._folder / "disk_bytes").write_text(text, encoding="ascii")


def used_bytes(folder: Path) -> int:
    """What the folder takes, hard links counted once."""
    seen: dict[tuple[int, int], int] = {}
    for where, _folders, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                info = os.lstat(os.path.join(where, name))
                seen[info.st_dev, info.st_ino] = info.st_blocks * 512
    return sum(seen.values())
