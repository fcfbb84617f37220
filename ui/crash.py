"""Unexpected exceptions: first a report file, then a window. The report holds no secrets and no file contents."""

from __future__ import annotations

import platform
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from console import __version__, units

_folder: Path | None = None
_tell: Callable[[Path | None], None] | None = None
_busy = threading.Lock()


def install(folder: Path, tell: Callable[[Path | None], None] | None = None) -> None:
    """From now on, write a report into ``folder`` for each exception that nobody expected, then call ``tell``.

    ``tell`` may be called from any thread, with the report's path, or None where it could not be written.
    """
    global _folder, _tell
    _folder, _tell = folder, tell
    sys.excepthook = _hook
    threading.excepthook = lambda args: _hook(args.exc_type, args.exc_value, args.exc_traceback)


def uninstall() -> None:
    """Give the hooks back."""
    global _folder, _tell
    _folder = _tell = None
    sys.excepthook = sys.__excepthook__
    threading.excepthook = threading.__excepthook__


def report_exception(error: BaseException) -> Path | None:
    """Report ``error`` as if nobody had caught it."""
    return _hook(type(error), error, error.__traceback__)


def _hook(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> Path | None:
    if issubclass(kind, (KeyboardInterrupt, SystemExit)):
        return None
    if not _busy.acquire(blocking=False):
        return None  # a failure while reporting a failure would go round for ever
    try:
        path = _write(kind, error, trace)
        if _tell is not None:
            _tell(path)
        return path
    finally:
        _busy.release()


def _write(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> Path | None:
    if _folder is None:
        return None
    try:
        _folder.mkdir(parents=True, exist_ok=True)
        path = _folder / f"crash-{units.utc_now().replace(':', '')}.txt"
        path.write_text(report(kind, error, trace), encoding="utf-8", errors="backslashreplace")
        return path
    except OSError:
        return None


def report(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> str:
    """The text of a report: what, where in our code, on what. Local variables are left out: they may hold secrets."""
    lines = [f"Sealift {__version__}", f"time {units.utc_now()}", f"python {platform.python_version()}",
             f"system {platform.platform()}", f"thread {threading.current_thread().name}", ""]
    frames = "".join(traceback.format_tb(trace))
    return "\n".join(lines) + f"\n{frames}{kind.__module__}.{kind.__qualname__}: {error}\n"
