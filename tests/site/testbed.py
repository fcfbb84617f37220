"""The real servers of the shared testbed, and a network namespace for the console that reaches nothing else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

TESTBED = Path(__file__).resolve().parents[3] / "shared" / "testbed" / "testbed"
NAMESPACE, LINK, ADDRESS = "sealift-console", "slcons", "10.213.0.2/24"


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
