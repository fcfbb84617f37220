"""The workspace: one private folder with everything a site's console knows, used by one process at a time."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
from pathlib import Path
from typing import IO

from console.errors import WorldError, code
from console.i18n import N_
from console.units import utc_now

BUSY = code(
    "workspace.busy",
    WorldError,
    N_("The workspace {workspace} is in use by process {pid} of {user} on {host}, since {since}."),
    N_("Close that window or wait for that command to end, then try again."),
    retryable=True,
)
UNUSABLE = code(
    "workspace.unusable",
    WorldError,
    N_("The workspace folder {workspace} cannot be used: {reason}."),
    N_("Choose another folder with --workspace, or correct its owner, rights or disk."),
)


class WorkspaceLock:
    """Held while a process uses a workspace. The operating system lets go of it when the process dies."""

    def __init__(self, workspace: Path):
        """Take the lock.

        Raises:
            WorldError: ``workspace.busy``, ``workspace.unusable``.
        """
        self._workspace = workspace
        try:
            workspace.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file: IO[bytes] = open(workspace / "lock", "a+b")  # noqa: SIM115 - held open for the lock's life
        except OSError as problem:
            raise UNUSABLE(workspace=str(workspace), reason=problem.strerror or str(problem)) from None
        try:
            _lock(self._file)
        except OSError:
            holder = self._holder()
            self._file.close()
            raise BUSY(workspace=str(workspace), **holder) from None
        note = {"pid": os.getpid(), "user": getpass.getuser(), "host": socket.gethostname(), "since": utc_now()}
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(note).encode())
        self._file.flush()

    def _holder(self) -> dict[str, object]:
        with contextlib.suppress(OSError, ValueError):
            self._file.seek(0)
            note = json.loads(self._file.read(4096))
            return {key: note.get(key, "?") for key in ("pid", "user", "host", "since")}
        return dict.fromkeys(("pid", "user", "host", "since"), "?")

    def release(self) -> None:
        """Let go; safe to call twice."""
        self._file.close()


if os.name == "nt":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        # A byte far behind the note, so that others can still read who holds it.
        file.seek(1 << 30)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
