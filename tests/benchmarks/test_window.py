"""The window's own speed: how long its thread is ever away from its loop during the main job, and its first frame.

Run by ``make bench``. The last lines are the figures.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from tests.ui.heartbeat import LONG_S, Heartbeat
from tests.ui.test_main_job import Operator, operator, whole_job  # noqa: F401 - a fixture
from ui.app import TURN_S

pytestmark = pytest.mark.benchmark
ROUNDS = 5
FIRST_FRAME_S = 1.5
ROOT = Path(__file__).resolve().parents[2]

FIRST_FRAME = """
import os, sys, time
from pathlib import Path
from PySide6.QtWidgets import QApplication
from ui import window

def seen():
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    print(float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK"), flush=True)
    QApplication.instance().quit()

made = window.MainWindow.__init__
def watched(self, *args, **kwargs):
    made(self, *args, **kwargs)
    self.painted.connect(seen)
window.MainWindow.__init__ = watched
from ui.app import run
run(Path(sys.argv[1]))
"""


def test_the_window_comes_back_to_its_loop_in_time(operator: Operator, tmp_path, monkeypatch):  # noqa: F811
    """The main job by clicking, with the practice servers' work on the same machine and in the same interpreter."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(TURN_S)
    beat = Heartbeat()
    operator.watch = beat.not_the_window
    try:
        whole_job(operator, tmp_path / "drive", monkeypatch)
    finally:
        beat.stop()
        sys.setswitchinterval(before)
    longest, busiest = beat.longest(), beat.busiest()
    late = sum(gap.wall_s > LONG_S for gap in beat.gaps)
    print(f"\nlongest away from the loop: {longest.wall_s * 1000:.0f} ms ({longest.cpu_s * 1000:.0f} ms of it computing); "
          f"longest computing: {busiest.cpu_s * 1000:.0f} ms; {late} of {beat.beats} beats over {LONG_S * 1000:.0f} ms")
    for gap in sorted(beat.gaps, key=lambda one: -one.wall_s)[:int(os.environ.get("SEALIFT_BENCH_GAPS", "0"))]:
        print(f"--- {gap.wall_s * 1000:.0f} ms, computing {gap.cpu_s * 1000:.0f} ms\n{gap.where}")
    assert busiest.cpu_s < LONG_S, busiest.where


@pytest.mark.parametrize("platform", ["offscreen", "xcb"])
def test_the_first_frame_is_there_in_time(tmp_path, platform):
    """From the start of the process to the first drawn frame, over a workspace that exists already."""
    if not Path("/proc/self/stat").exists() or (platform == "xcb" and shutil.which("xvfb-run") is None):
        pytest.skip("needs /proc, and for X11 xvfb-run")
    wrap = ["xvfb-run", "-a"] if platform == "xcb" else []
    took = []
    for _round in range(ROUNDS + 1):
        told = subprocess.run([*wrap, sys.executable, "-c", FIRST_FRAME, str(tmp_path / "workspace")], cwd=ROOT, check=True,
                              env=os.environ | {"QT_QPA_PLATFORM": platform, "PYTHONPATH": str(ROOT)}, capture_output=True,
                              text=True, timeout=60)
        took.append(float(told.stdout.split()[-1]))
    print(f"\nfirst frame, {platform}: median {statistics.median(took[1:]):.2f} s, worst {max(took[1:]):.2f} s; "
          f"first start ever {took[0]:.2f} s")
    assert statistics.median(took[1:]) < FIRST_FRAME_S
