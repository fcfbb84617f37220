"""Further processes of this program: how they are started, from source and frozen alike, and how a worker is spoken to.

The threads of one process share the interpreter, so what keeps many of them busy has a process of its own. A worker is told
what to do over its standard input, secrets with it; nothing of that is on the command line. Its input ends when whoever
started it is gone, or wants it gone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import Any

from console.assets import root

PUSH, INVENTORY, PRACTICE = "_push-worker", "_inventory-worker", "_practice-host"
"""The hidden commands by which a frozen program starts itself again."""

WORKERS = {PUSH: "console.push.worker", INVENTORY: "console.servers.worker"}
_MODULES = WORKERS | {PRACTICE: "console.practice.host"}

LITTER = 50_000, 20, 50
"""When Python looks for cycles among its objects. Results of a fleet are many objects without any; by Python's own figures (2,000, 10,
10), looking through them again and again takes a sixth of an inventory's time, in pauses that the window feels."""

PIPE_BYTES = 256 << 10
"""What is read of a worker's answers at a time, so that a long one wakes its reader a few times only."""

BEHIND = 19
"""How nice a worker is that leaves the processor to the window. With 5, its thread was seen to wait 22 ms at a time for a processor
that it shared with the worker, where it had to be back after 50."""


def command(name: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment that start one of our further processes."""
    if getattr(sys, "frozen", False):
        return [sys.executable, name, *words], dict(os.environ)
    return [sys.executable, "-m", _MODULES[name], *words], os.environ | {"PYTHONPATH": str(root())}


def worker(name: str, *, behind: bool = False) -> subprocess.Popen:
    """Start a worker; its standard input and output are pipes. With ``behind`` it comes after the window for a processor.

    Raises:
        OSError: the system starts none.
    """
    line, environment = command(name)
    more: dict[str, Any] = {}
    if sys.platform == "win32":
        more["creationflags"] = subprocess.CREATE_NO_WINDOW | (subprocess.BELOW_NORMAL_PRIORITY_CLASS if behind else 0)
    started = subprocess.Popen(
        line, bufsize=PIPE_BYTES, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, **more
    )
    if behind and sys.platform != "win32":
        # From here, not by itself: to start takes it as much of the processor as anything that follows.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, started.pid, BEHIND)
    return started
