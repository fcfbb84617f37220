"""Real OpenSSH servers on loopback, each with a home of its own, for what only they can show."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from console.servers.record import ServerRecord
from tests.push.local import until

ADDRESS = "127.0.0.3"
needs_sshd = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists() or not shutil.which("ssh-keygen"),
    reason="needs root, /usr/sbin/sshd and ssh-keygen",
)


class Sshd:
    """One server. All run as root on this machine; their homes, host keys and ports differ.

    Attributes:
        home: what the account's commands take for their home; its ``store`` folder is the server's store.
        bare: whether the account's list of keys is one that sshd does not read.
        authority: the key of an authority that vouches for it; it is trusted through that and not by its own key.
    """

    def __init__(
        self, folder: Path, key: Path, name: str, address: str = ADDRESS, netns: str | None = None, bare: bool = False, authority: Path | None = None
    ):  # fmt: skip
        self.folder, self.key, self.name, self.address, self.netns, self.bare = folder, key, name, address, netns, bare
        self.home = folder / "home"
        (self.home / ".ssh").mkdir(parents=True, mode=0o700, exist_ok=True)
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")), check=True)
        self.host_key = " ".join((folder / "host.pub").read_text().split()[:2])
        self.certified = authority is not None
        if authority is not None:
            subprocess.run(("ssh-keygen", "-q", "-s", str(authority), "-h", "-n", address, "-I", name, str(folder / "host.pub")), check=True)
            self.host_key = "@cert-authority " + " ".join(authority.with_suffix(".pub").read_text().split()[:2])
        self.people = self.home / ".ssh/authorized_keys"
        self.people.write_text("# the site's own\n" + key.with_suffix(".pub").read_text())
        if netns is None:
            with socket.create_server((address, 0)) as listener:
                self.port = listener.getsockname()[1]
        else:
            self.port = 22
        self.process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        """Listen."""
        shutil.copy(self.key.with_suffix(".pub"), self.folder / "operator")
        (self.folder / "config").write_text(
            f"Port {self.port}\nListenAddress {self.address}\nHostKey {self.folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder}/operator{'' if self.bare else f' {self.people}'}\nSetEnv HOME={self.home}\n"
            "Subsystem sftp internal-sftp\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 100\n"
            + (f"HostCertificate {self.folder}/host-cert.pub\n" if self.certified else "")
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        words = ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "config")]
        if self.netns:
            words = ["nsenter", f"--net=/run/netns/{self.netns}", *words]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        until(self._listens, "sshd")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((self.address, self.port)) == 0

    def crash(self) -> None:
        """Everything on it ends at once: sshd, its sessions and what they run."""
        for pid in family(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def stop(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.crash()

    @property
    def record(self) -> ServerRecord:
        return ServerRecord(
            self.name, self.address, self.port, "root", str(self.key), "key", store="~/store", host_keys=(self.host_key,)
        )  # fmt: skip

    @property
    def unpinned(self) -> ServerRecord:
        """The entry for a book, which learns the host key by itself."""
        return replace(self.record, host_keys=())

    @property
    def untouched(self) -> bool:
        """Whether the list of keys is as it was."""
        return self.people.read_text() == "# the site's own\n" + self.key.with_suffix(".pub").read_text()

    def released(self, release_id: str) -> dict[str, bytes]:
        """The release's files."""
        folder = self.home / "store/releases" / release_id
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def running(self) -> list[str]:
        """The command lines of what runs on it."""
        found = []
        for pid in family(self.process.pid)[1:]:
            try:
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
            except OSError:
                continue
        return found


def family(pid: int) -> list[int]:
    """A process and all that came from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, at = [pid], 0
    while at < len(found):
        found += children.get(found[at], [])
        at += 1
    return found


def keys_left() -> list[Path]:
    """Folders of hops that lie about on this machine."""
    return [p for base in ("/run/user/0", "/dev/shm", "/run", "/tmp") for p in Path(base).glob("*sealift-relay-*")]
