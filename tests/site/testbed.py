"""The real servers of the shared testbed, and a network namespace for the console that reaches nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTBED = Path(os.environ.get("SEALIFT_TESTBED") or Path(__file__).resolve().parents[3] / "shared" / "testbed" / "testbed")
NAMESPACE, LINK, ADDRESS = "sealift-console", "slcons", "10.213.0.2/24"


class Failed(Exception):
    """An expectation of a step was not met."""


def testbed(*words: str) -> str:
    """Run one testbed verb; raises CalledProcessError with its output on failure."""
    return subprocess.run([str(TESTBED), *words], check=True, capture_output=True, text=True).stdout


def up(hosts: int, bare: int, disk: str) -> list[dict]:
    """Start servers; a record each, as the testbed prints them."""
    return [json.loads(line) for line in testbed("up", "--hosts", str(hosts), "--bare", str(bare), "--disk", disk).splitlines()]


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)


def console_namespace_up() -> None:
    """A namespace on the servers' switch with no default route: every packet can only go to a server."""
    console_namespace_down()
    _ip("netns", "add", NAMESPACE)
    _ip("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
    _ip("link", "set", LINK, "master", "slbr0", "up")
    _ip("-n", NAMESPACE, "addr", "add", ADDRESS, "dev", "eth0")
    _ip("-n", NAMESPACE, "link", "set", "lo", "up")
    _ip("-n", NAMESPACE, "link", "set", "eth0", "up")


def console_namespace_down() -> None:
    """Remove the namespace and its link; silent when there is none."""
    _ip("netns", "del", NAMESPACE, check=False)
    _ip("link", "del", LINK, check=False)


def in_namespace(argv: list[str]) -> list[str]:
    """``argv`` as run by a console that is confined to the servers' network."""
    return ["ip", "netns", "exec", NAMESPACE, *argv]


def run(name: str, make: Callable[[Path, list[dict]], Any], *, hosts: int, bare: int, disk: str) -> int:
    """Run the steps of a site test on servers started for it, a line each; its exit code.

    Args:
        make: the test, made of a scratch folder and the servers; its ``steps()`` gives the steps in order. One that raises
            Failed ends the test: each builds on the ones before it. The scratch folder stays then.
    """
    if os.geteuid():
        print(f"{name}: needs root, for the network namespaces of the testbed")
        return 2
    if not TESTBED.exists():
        print(f"{name}: no testbed at {TESTBED}")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="sealift-site-"))
    passed = failed = 0
    try:
        test = make(folder, up(hosts, bare, disk))
        console_namespace_up()
        for step in test.steps():
            began = time.monotonic()
            try:
                step()
            except Failed as problem:
                failed += 1
                print(f"FAILED {step.__name__}: {problem}", flush=True)
                break
            passed += 1
            print(f"passed {step.__name__:<14} {time.monotonic() - began:6.1f} s  {step.__doc__}", flush=True)
    finally:
        console_namespace_down()
        testbed("down")
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
