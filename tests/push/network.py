"""Servers on a switch of their own, each in a network namespace, with links of a chosen rate. Needs root and ``ip``."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.push.sshd import Sshd

NET = "10.214.7"
CLONE_NEWNET = 0x40000000
EXT4_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


def _can() -> bool:
    """Whether namespaces and rates can be made here; tried, since containers often forbid the one or lack the other."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc") or not Path("/usr/sbin/sshd").exists():
        return False
    made = subprocess.run(("ip", "netns", "add", "slprobe"), capture_output=True).returncode == 0
    try:
        limit = ("tc", "-n", "slprobe", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1mbit", "burst", "10kb", "latency", "10ms")
        return made and subprocess.run(limit, capture_output=True).returncode == 0
    finally:
        subprocess.run(("ip", "netns", "del", "slprobe"), capture_output=True)


@contextmanager
def own_loopback() -> Iterator[None]:
    """While inside, this thread and all that it starts have a loopback of their own, with the congestion control that is everywhere:
    over bbr, which some systems begin with, SSH on loopback was seen to idle. Without the rights for it nothing changes."""
    libc, home = ctypes.CDLL(None, use_errno=True), os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET) == 0:
            subprocess.run(("ip", "link", "set", "lo", "up"), check=True, capture_output=True)
            Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text("reno")
        yield
    finally:
        libc.setns(home, CLONE_NEWNET)
        os.close(home)


needs_network = pytest.mark.skipif(not _can(), reason="needs root, sshd, and network namespaces with tbf")


def _ip(*words: str, tool: str = "ip") -> None:
    subprocess.run((tool, *words), check=True, capture_output=True)


class Network:
    """A switch; the console's namespace is ``<mark>console`` at .1, a server N's is ``<mark>s<N>`` at .1N.

    Args:
        mark: two letters that no other switch on this machine has; ``net`` likewise, the first three numbers of its addresses.

    Attributes:
        disk_mib: with it, each server's home is a disk of its own, ext4 in a file.
    """

    def __init__(self, folder: Path, servers: int, mark: str = "sl", net: str = NET):
        self.folder, self.servers, self.disk_mib, self.mark, self.net = folder, {}, 0, mark, net
        self.bridge = f"{mark}bench0"
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")), check=True)
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.clear()
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("link", "set", self.bridge, "up")
        self._attach(f"{mark}console", f"{net}.1")
        self.add(servers)

    def add(self, count: int) -> None:
        """So many more servers."""
        for number in range(len(self.servers) + 1, len(self.servers) + count + 1):
            name, address = f"s{number}", f"{self.net}.{10 + number}"
            self.leave()
            self._attach(f"{self.mark}{name}", address)
            (self.folder / name / "home").mkdir(parents=True)
            if self.disk_mib:
                with open(self.folder / name / "disk", "wb") as disk:
                    disk.truncate(self.disk_mib << 20)
                _ip("-q", "-m", "0", str(self.folder / name / "disk"), tool="mkfs.ext4")
                self._mount(name)
            self.enter()
            self.servers[name] = Sshd(self.folder / name, self.folder / "key", name, address, f"{self.mark}{name}")
        self.enter()

    def _mount(self, name: str) -> None:
        _ip("-o", "loop", str(self.folder / name / "disk"), str(self.folder / name / "home"), tool="mount")

    def power_cut(self, name: str) -> None:
        """What a server had not flushed is gone, and all that ran there; its disk is mounted again."""
        home = self.folder / name / "home"
        handle = os.open(home, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, EXT4_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(handle)
        self.servers[name].crash()
        end = time.monotonic() + 20
        while subprocess.run(("umount", str(home)), capture_output=True).returncode:
            assert time.monotonic() < end, "what ran there does not end"
            time.sleep(0.05)
        # Another namespace may still hold the dead file system, and with it the file; a copy of that is free.
        disk = self.folder / name / "disk"
        _ip("--sparse=always", str(disk), str(disk.with_name("copy")), tool="cp")
        disk.with_name("copy").replace(disk)
        self._mount(name)

    def _attach(self, name: str, address: str) -> None:
        _ip("netns", "add", name)
        _ip("link", "add", f"{name}p", "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", f"{name}p", "master", self.bridge, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", name, "link", "set", device, "up")
        # The same everywhere, and always there; with bbr loopback SSH was seen to idle.
        subprocess.run(("ip", "netns", "exec", name, "sysctl", "-q", "-w", "net.ipv4.tcp_congestion_control=reno"), capture_output=True)

    def enter(self) -> None:
        """This thread, and all that it starts, is the console on the switch from now on."""
        with open(f"/run/netns/{self.mark}console") as space:
            assert ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET) == 0

    def leave(self) -> None:
        """This thread is where it was before."""
        assert ctypes.CDLL(None, use_errno=True).setns(self._home, CLONE_NEWNET) == 0

    def plug(self, name: str, plugged: bool) -> None:
        """A server's cable in its socket, or out of it."""
        subprocess.run(
            ("nsenter", f"--net=/proc/self/fd/{self._home}", "ip", "link", "set", f"{self.mark}{name}p", "up" if plugged else "down"),
            check=True, capture_output=True, pass_fds=(self._home,),
        )  # fmt: skip

    def shape(self, name: str, mbit: int) -> None:
        """Limit one link (``console`` or a server's name) both ways; 0 for no limit."""
        space = f"{self.mark}{name}"
        for words in (("-n", space, "qdisc", "%s", "dev", "eth0", "root"), ("qdisc", "%s", "dev", f"{space}p", "root")):
            tc = ("nsenter", f"--net=/proc/self/fd/{self._home}", "tc")
            subprocess.run((*tc, *(w.replace("%s", "del") for w in words)), capture_output=True, pass_fds=(self._home,))
            if mbit:
                rate = ("tbf", "rate", f"{mbit}mbit", "burst", "128kb", "latency", "40ms")
                subprocess.run((*tc, *(w.replace("%s", "add") for w in words), *rate), check=True, capture_output=True, pass_fds=(self._home,))

    def clear(self) -> None:
        """Remove all of it."""
        for server in self.servers.values():
            server.stop()
            subprocess.run(("umount", "-l", str(server.home)), capture_output=True)
        self.leave()
        for name in (f"{self.mark}console", *(f"{self.mark}s{n}" for n in range(1, 10))):
            subprocess.run(("ip", "netns", "del", name), capture_output=True)
            subprocess.run(("ip", "link", "del", f"{name}p"), capture_output=True)
        subprocess.run(("ip", "link", "del", self.bridge), capture_output=True)
