"""The process that holds the practice servers, and the way to talk to it.

``python -m console.practice.host FOLDER`` (frozen: ``sealift _practice-host FOLDER``) serves until told to stop, or
until its state file is gone or another's. It is spoken to over a loopback port with a token that only the owner of
the folder can read.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets as random_tokens
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from console import processes
from console.assets import asset
from console.errors import SealiftError, WorldError, code, declared
from console.i18n import N_
from console.practice.server import PracticeServer, make_key
from console.units import GIB

NOT_STARTED = code("practice.not-started", WorldError, N_("The practice servers could not be started: {reason}."),
                   N_("Look at the log in {folder}, then try again."), retryable=True)
NOT_RUNNING = code("practice.not-running", WorldError, N_("The practice servers are not running."),
                   N_("Start them: sealift practice up."))
CONTROL_S = 60


@dataclass(frozen=True)
class Host:
    """One simulated server."""

    name: str
    labels: tuple[str, ...]
    disk_bytes: int | None = None


HOSTS = (Host("practice-nvidia", ("practice", "nvidia")), Host("practice-ascend", ("practice", "ascend")),
         Host("practice-amd", ("practice", "amd")),
         Host("practice-faulty", ("practice", "nvidia", "faulty"), disk_bytes=20 * GIB))
USER = "practice"


def key_file(folder: Path) -> Path:
    """The private key that logs in to every practice server of this folder; made when missing."""
    file = folder / "key"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        make_key(file)
    return file


class PracticeHost:
    """All practice servers of one folder, in this process."""

    def __init__(self, folder: Path):
        public = key_file(folder).with_name("key.pub").read_text(encoding="ascii").strip()
        ports = _known_ports(folder)
        self.folder = folder
        self.servers = {
            h.name: PracticeServer(folder / h.name, authorized_key=public, user=USER, port=ports.get(h.name, 0),
                                   assets=asset("practice") / h.name, disk_bytes=h.disk_bytes) for h in HOSTS}

    def start(self) -> None:
        """Start every server, on its port of the last time where that is free."""
        for server in self.servers.values():
            try:
                server.start()
            except OSError:
                server.port = 0
                server.start()
        (self.folder / "ports.json").write_text(json.dumps(self.ports()), encoding="ascii")

    def stop(self) -> None:
        """Stop every server."""
        for server in self.servers.values():
            server.stop()

    def ports(self) -> dict[str, int]:
        """Port by server name."""
        return {name: server.port for name, server in self.servers.items()}

    def fault(self, name: str, fault: str) -> None:
        """Bring a fault about; see ``console.practice.server``."""
        self.servers[name].fault(fault)


def _known_ports(folder: Path) -> dict[str, int]:
    with contextlib.suppress(OSError, ValueError):
        ports = json.loads((folder / "ports.json").read_text(encoding="ascii"))
        return {k: v for k, v in ports.items() if isinstance(v, int)}
    return {}


class HostProcess:
    """The host as another process, which outlives this one."""

    def __init__(self, folder: Path):
        self._folder, self._state = folder, folder / "host.json"

    def start(self) -> None:
        """Start the process and wait until it serves.

        Raises:
            WorldError: ``practice.not-started``.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        command, environment = processes.command(processes.PRACTICE, str(self._folder))
        with open(self._folder / "host.log", "wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                       start_new_session=True, env=environment, cwd=self._folder)
        with process.stdout as said:
            if said.readline().strip() != b"ready":
                raise NOT_STARTED(reason=_last_line(self._folder / "host.log"), folder=str(self._folder))

    def running(self) -> bool:
        """Whether the process answers."""
        try:
            self.ask({"do": "ports"})
        except SealiftError:
            return False
        return True

    def ports(self) -> dict[str, int]:
        """Port by server name."""
        return self.ask({"do": "ports"})

    def fault(self, name: str, fault: str) -> None:
        """Bring a fault about."""
        self.ask({"do": "fault", "server": name, "fault": fault})

    def stop(self) -> None:
        """End the process with all its servers; nothing happens when it does not run."""
        with contextlib.suppress(SealiftError):
            self.ask({"do": "stop"})

    def ask(self, request: dict) -> dict:
        """One request, one answer.

        Raises:
            SealiftError: ``practice.not-running``, or the error that the host answered with.
        """
        try:
            state = json.loads(self._state.read_text(encoding="ascii"))
            with socket.create_connection(("127.0.0.1", state["port"]), timeout=CONTROL_S) as sock:
                sock.sendall(json.dumps(request | {"token": state["token"]}).encode() + b"\n")
                answer = json.loads(sock.makefile("rb").readline(1 << 20))
        except (OSError, ValueError, KeyError):
            raise NOT_RUNNING() from None
        if "error" in answer:
            raise declared()[answer["error"]["code"]](**answer["error"]["params"])
        return answer["result"]


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it ended without a word"


class _Control:
    """Serves requests until told to stop."""

    def __init__(self, host: PracticeHost):
        self._host, self._token, self.stopped = host, random_tokens.token_hex(32), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._state = host.folder / "host.json"

    def publish(self) -> None:
        """Write the state file, readable by the owner only."""
        fresh = self._state.with_name("host.json.new")
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            json.dump({"pid": os.getpid(), "port": self._listener.getsockname()[1], "token": self._token}, out)
        fresh.replace(self._state)
        threading.Thread(target=self._serve, daemon=True, name="practice-control").start()

    def ours(self) -> bool:
        """Whether the state file is still the one that was published."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self._state.read_text(encoding="ascii"))["token"] == self._token
        return False

    def close(self) -> None:
        self._listener.close()
        if self.ours():
            self._state.unlink(missing_ok=True)

    def _serve(self) -> None:
        while not self.stopped.is_set():
            try:
                sock, _peer = self._listener.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError, ValueError, KeyError):
                sock.settimeout(5)
                self._answer(sock, json.loads(sock.makefile("rb").readline(1 << 16)))

    def _answer(self, sock: socket.socket, request: dict) -> None:
        if not hmac.compare_digest(str(request["token"]), self._token):
            return
        try:
            answer = {"result": self._do(request)}
        except SealiftError as problem:
            answer = {"error": {"code": problem.code, "params": problem.params}}
        sock.sendall(json.dumps(answer).encode() + b"\n")
        if request["do"] == "stop":
            self.stopped.set()

    def _do(self, request: dict) -> dict:
        if request["do"] == "fault":
            self._host.fault(request["server"], request["fault"])
        if request["do"] == "stop":
            self._host.stop()
            self.close()
        return self._host.ports()


def main(folder: Path) -> int:
    """Serve until told to stop."""
    host = PracticeHost(folder)
    host.start()
    control = _Control(host)
    control.publish()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: control.stopped.set())
    os.write(1, b"ready\n")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    while not control.stopped.wait(5) and control.ours():
        pass
    host.stop()
    control.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
