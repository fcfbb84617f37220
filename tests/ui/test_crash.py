"""Unexpected exceptions: the report file first, then the window; no secrets in it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from console.secrets import Secret
from ui import crash

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def told(tmp_path):
    paths: list[Path | None] = []
    crash.install(tmp_path / "reports", paths.append)
    yield paths
    crash.uninstall()


def _fail(secret: Secret) -> None:
    raise RuntimeError(f"lost my way with {secret}")


def test_the_report_is_written_before_anyone_is_told(told):
    try:
        _fail(Secret("".join(("hunter", "2"))))
    except RuntimeError:
        sys.excepthook(*sys.exc_info())
    assert len(told) == 1
    text = told[0].read_text(encoding="utf-8")
    assert "RuntimeError" in text and "_fail" in text and "".join(("hunter", "2")) not in text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_fails_is_reported_too(told):
    thread = threading.Thread(target=lambda: threading.excepthook(threading.ExceptHookArgs((ValueError, ValueError("x"),
                                                                                            None, None))))
    thread.start()
    thread.join()
    assert len(told) == 1 and told[0].exists()


def test_a_folder_that_cannot_be_written_still_tells(tmp_path):
    blocked, paths = tmp_path / "file", []
    blocked.write_text("in the way")
    crash.install(blocked / "reports", paths.append)
    try:
        assert crash.report_exception(RuntimeError("x")) is None
    finally:
        crash.uninstall()
    assert paths == [None]


def test_the_program_loads_no_qt_before_a_window_opens():
    code = ("import sys, ui.launch, ui; "
            "sys.exit(1 if any(name.split('.')[0] in ('PySide6', 'shiboken6') for name in sys.modules) else 0)")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
