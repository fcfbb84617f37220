"""Small files of the log that are replaced whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from console.errors import WorldError, code, why
from console.i18n import N_, Said

WRITE = code(
    "audit.write",
    WorldError,
    N_("The audit record cannot be written ({reason}), so nothing was started."),
    N_("Free space on the disk of the workspace, or repair it, then try again."),
    retryable=True,
)


def replace(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name, flush it, and rename it over ``path``.

    Raises:
        WorldError: ``audit.write``.
    """
    part = path.with_name(path.name + ".part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
        with contextlib.suppress(OSError):  # not every file system lets a folder be opened and flushed
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as problem:
        raise WRITE(reason=Said(N_("{path}: {message}"), path=str(path), message=Said(why(problem)))) from None
