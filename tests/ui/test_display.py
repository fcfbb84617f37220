"""Where no window can open, the program says so before Qt ends the process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from console.errors import SealiftError
from ui import display

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a desktop")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@linux_only
def test_the_program_says_that_there_is_no_display(tmp_path: Path):
    environment = {k: v for k, v in os.environ.items() if k not in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run([sys.executable, "-m", "ui.launch", "--json", "--workspace", str(tmp_path / "ws")],
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 3 and '"window.no-display"' in done.stdout, done.stderr
    assert not (tmp_path / "ws").exists()


@linux_only
@pytest.mark.parametrize("name", [":987", "localhost:987", "nonsense", "/nowhere/socket:0"])
def test_a_display_that_does_not_answer_is_named(bare, name: str):
    bare.setenv("DISPLAY", name)
    with pytest.raises(SealiftError) as refused:
        display.require_display()
    assert refused.value.code == "window.no-display" and name in refused.value.message()


@linux_only
def test_a_display_that_answers_is_taken(bare, tmp_path: Path):
    bare.setattr(display, "_X_SOCKETS", str(tmp_path / "X"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "X5"))
        server.listen()
        bare.setenv("DISPLAY", ":5.0")
        display.require_display()


@linux_only
def test_a_platform_library_that_does_not_load_is_named(bare):
    bare.setattr(display, "_missing_library", lambda plugin: "libxcb-cursor.so.0: cannot open shared object file")
    bare.setenv("DISPLAY", ":0")
    with pytest.raises(SealiftError) as refused:
        display.require_display()
    assert "libxcb-cursor.so.0" in refused.value.message()


def test_whoever_names_a_platform_means_it(bare):
    bare.setenv("QT_QPA_PLATFORM", "offscreen")
    display.require_display()
