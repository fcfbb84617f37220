"""One practice server: real SSH on a loopback port, real commands in a folder of its own.

A command runs as ``sh -c`` in its own session, with a limited environment: ``HOME`` in the server's folder,
``PATH`` first the simulated vendor tools, then the tools of this machine except those that would leave the
folder or contradict the simulation (see ``console.practice.toolbox``).

Failures come on demand, by name, and are real effects:

==================== =========================================================================================
``disk-full[=BYTES]``  the folder may grow by BYTES more (0 by default); the kernel's file size limit of every
                       process of the server enforces it, so a write fails with ``EFBIG`` and ``df`` shows it
``cut-after=BYTES``    after so many further bytes of input every connection is torn down, once
``slow=BYTES``         input is taken at BYTES per second
``host-key-changed``   new connections are shown another host key
``reboot[=SECONDS]``   every connection and process of the server ends; it listens again after SECONDS (2)
``no-python3``         there is no ``python3`` on ``PATH``
==================== =========================================================================================
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import paramiko
import psutil
from paramiko.common import cMSG_CHANNEL_SUCCESS

from console.errors import InputError, WorldError, code
from console.i18n import N_
from console.practice.quota import Quota
from console.practice.toolbox import install_tools, system_tools
from console.units import parse_size

NO_SHELL = code("practice.no-shell", WorldError,
                N_("The practice servers need a POSIX shell, and this machine has none."),
                N_("Use the practice site on Linux or macOS, or add a real server."))
FAULT_UNKNOWN = code("practice.unknown-fault", InputError, N_("There is no practice fault {fault}."),
                     N_("Use one of: {known}; or none to end all faults."))

FAULTS = ("disk-full", "cut-after", "slow", "host-key-changed", "reboot", "no-python3")
WINDOW_BYTES, PACKET_BYTES = 8 << 20, 128 << 10
"""What the server grants a client; fewer, larger packets than OpenSSH's cost less of the shared processor."""

MARK = "SEALIFT_PRACTICE_FOLDER"
"""Environment variable by which a reboot finds the processes of a server, those that outlived their session too."""

_CONNECTION_LOST = (OSError, EOFError, paramiko.SSHException)


@dataclass(frozen=True)
class Faults:
    """The faults in force. None or False: not in force."""

    disk_full_bytes: int | None = None
    cut_after_bytes: int | None = None
    slow_bytes_per_s: int | None = None
    host_key_changed: bool = False
    no_python3: bool = False


def parse_fault(text: str) -> tuple[str, int | None]:
    """``"cut-after=1MiB"`` to ``("cut-after", 1048576)``.

    Raises:
        InputError: ``practice.unknown-fault``.
    """
    name, _, value = text.partition("=")
    try:
        number = parse_size(value) if value else None
        if name not in FAULTS or (name in ("cut-after", "slow") and not number):
            raise ValueError(name)
    except ValueError:
        known = "disk-full[=BYTES], cut-after=BYTES, slow=BYTES, host-key-changed, reboot[=SECONDS], no-python3"
        raise FAULT_UNKNOWN(fault=text, known=known) from None
    return name, number


class PracticeServer:
    """Serves until :meth:`stop`. Usable as a context manager, which starts it.

    Args:
        folder: everything of the server lies here; made when missing.
        authorized_key: OpenSSH public key that may log in; None for none.
        password: password that may log in; None for none.
        user: the only account.
        assets: folder with ``bin/`` and ``recordings/`` of the simulated vendor tools; None for none.
        port: 0 for any free one; the choice is kept over a restart of the same object.
        disk_bytes: size of the server's disk; None for that of this machine.

    Attributes:
        host_key: the host key as it stands, ``"ssh-ed25519 AAAA…"``.
        home: the account's home folder.
    """

    def __init__(self, folder: Path, *, authorized_key: str | None = None, password: str | None = None,
                 user: str = "practice", assets: Path | None = None, port: int = 0, disk_bytes: int | None = None):
        if not shutil.which("sh"):
            raise NO_SHELL()
        self.folder, self.user, self.port, self.address = folder.resolve(), user, port, "127.0.0.1"
        self.authorized_key, self.password = authorized_key, password
        self.home, self.tools = self.folder / "home", self.folder / "tools"
        for part in (self.home, self.folder / "tmp"):
            part.mkdir(parents=True, exist_ok=True)
        install_tools(self.tools, assets)
        self._system_tools = system_tools(self.folder.parent / "system-tools")
        self.quota = Quota(self.folder, disk_bytes, self._processes)
        self.faults, self.input_bytes, self.connections_seen = Faults(), 0, 0
        self._keys = [_host_key(self.folder / name) for name in ("host_key", "other_host_key")]
        self._listener: socket.socket | None = None
        self._links: set[paramiko.Transport] = set()
        self._runs: set[_Run] = set()
        self._lock, self._serving = threading.RLock(), False

    def __enter__(self) -> PracticeServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def host_key(self) -> str:
        key = self._keys[self.faults.host_key_changed]
        return f"{key.get_name()} {key.get_base64()}"

    @property
    def key(self) -> paramiko.PKey:
        """The private host key that is shown to new connections."""
        return self._keys[self.faults.host_key_changed]

    def start(self) -> None:
        """Listen and serve in the background."""
        listener = socket.create_server((self.address, self.port), backlog=64)
        self.port, self._listener, self._serving = listener.getsockname()[1], listener, True
        threading.Thread(target=self._accept, args=(listener,), daemon=True, name=f"practice-{self.port}").start()

    def stop(self) -> None:
        """Stop listening; end every connection and every process of the server. Safe to call twice."""
        self._serving = False
        self._drop_listener()
        self._drop_connections()
        self._kill_processes()
        self.quota.stop()

    def fault(self, text: str) -> None:
        """Bring a fault about, or end all with ``"none"``.

        Raises:
            InputError: ``practice.unknown-fault``.
        """
        if text == "none":
            self._set(Faults())
            return
        name, number = parse_fault(text)
        if name == "reboot":
            self.reboot(2 if number is None else number)
            return
        changes = {"disk-full": {"disk_full_bytes": number or 0}, "slow": {"slow_bytes_per_s": number},
                   "cut-after": {"cut_after_bytes": self.input_bytes + (number or 0)},
                   "host-key-changed": {"host_key_changed": True}, "no-python3": {"no_python3": True}}
        self._set(replace(self.faults, **changes[name]))

    def _set(self, faults: Faults) -> None:
        before, self.faults = self.faults, faults
        python3 = self.tools / "python3"
        if faults.no_python3 != before.no_python3:
            python3.unlink(missing_ok=True) if faults.no_python3 else install_tools(self.tools, None)
        if faults.disk_full_bytes != before.disk_full_bytes:
            self.quota.restrict(faults.disk_full_bytes)

    def reboot(self, down_s: float = 2) -> None:
        """Power off at once: connections are cut, every process killed; listens again after ``down_s``."""
        self._drop_listener()
        self._drop_connections()
        self._kill_processes()
        again = threading.Timer(down_s, self._come_back)
        again.daemon = True
        again.start()

    def _come_back(self) -> None:
        with self._lock:
            if self._serving and self._listener is None:
                self.start()

    def environment(self) -> dict[str, str]:
        """The environment of a command, complete."""
        return {"HOME": str(self.home), "PATH": f"{self.tools}:{self._system_tools}", "USER": self.user,
                "LOGNAME": self.user, "SHELL": "/bin/sh", "LANG": "C.UTF-8", "TMPDIR": str(self.folder / "tmp"),
                "PWD": str(self.home), MARK: str(self.folder)}

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _peer = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True, name=f"practice-{self.port}").start()

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(sock, default_window_size=WINDOW_BYTES, default_max_packet_size=PACKET_BYTES)
        link.add_server_key(self.key)
        link.packetizer.REKEY_BYTES = 1 << 36
        with self._lock:
            self._links = {known for known in self._links if known.is_active()} | {link}
            self.connections_seen += 1
        session = _Session(self)
        try:
            link.start_server(server=session)
        except Exception:  # whatever a client sends, the server only loses that client
            link.close()
        while link.is_active():
            if (channel := link.accept(60)) is not None:
                session.opened(channel)

    def took_input(self, count: int) -> None:
        """Account for input, and let ``slow`` and ``cut-after`` act."""
        self.input_bytes += count
        faults = self.faults
        if faults.slow_bytes_per_s:
            time.sleep(count / faults.slow_bytes_per_s)
        if faults.cut_after_bytes is not None and self.input_bytes >= faults.cut_after_bytes:
            self.faults = replace(self.faults, cut_after_bytes=None)
            self._drop_connections()

    def _drop_listener(self) -> None:
        with self._lock:
            listener, self._listener = self._listener, None
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _drop_connections(self) -> None:
        with self._lock:
            links, self._links = self._links, set()
            runs = tuple(self._runs)
        for link in links:
            _cut(link)
        for run in runs:
            run.hang_up()

    def _kill_processes(self) -> None:
        """Every process of the server, found by its environment, so that services that left their session end too."""
        with self._lock:
            for run in self._runs:
                run.hang_up()
        deadline = time.monotonic() + 5
        # Again until none is found: one that was just being made is seen only the next time.
        while (found := self._processes()) and time.monotonic() < deadline:
            for pid in found:
                with contextlib.suppress(OSError):
                    os.kill(pid, 9)
            with contextlib.suppress(psutil.Error):
                psutil.wait_procs([psutil.Process(pid) for pid in found if psutil.pid_exists(pid)], timeout=0.5)

    def _processes(self) -> list[int]:
        """The ids of every process that was started here and still runs."""
        mine, found = str(self.folder), []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARK) == mine:
                    found.append(process.pid)
        return found

    def spawn(self, channel: paramiko.Channel, line: str) -> None:
        """Run ``line`` on ``channel``."""
        run = _Run(self, channel, line)
        with self._lock:
            self._runs.add(run)
        run.start()

    def finished(self, run: _Run) -> None:
        """``run`` has ended."""
        with self._lock:
            self._runs.discard(run)


def _cut(link: paramiko.Transport) -> None:
    """Tear the connection down without a goodbye."""
    with contextlib.suppress(OSError, EOFError):
        link.sock.shutdown(socket.SHUT_RDWR)
    link.close()


def _host_key(file: Path) -> paramiko.PKey:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        make_key(file)
    return paramiko.Ed25519Key(filename=str(file))


def make_key(file: Path) -> str:
    """A new Ed25519 key in ``file`` (mode 0600) and ``file.pub``; gives the public line."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(private)
    file.with_name(file.name + ".pub").write_text(public + "\n", encoding="ascii")
    return public


class _Link(paramiko.Transport):
    """A connection on which a command begins only once its request is answered: one that ends at once would else close its
    channel before the client hears that it was taken, as no OpenSSH server does."""

    then: Callable[[], None] | None = None

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)
        if self.then is not None and data.packet.getbuffer()[:1] == cMSG_CHANNEL_SUCCESS:
            begin, self.then = self.then, None
            begin()


class _Session(paramiko.ServerInterface):
    """What one client may do: log in as the account, run commands, reach loopback ports."""

    def __init__(self, server: PracticeServer):
        self._server = server
        self._ports: dict[int, socket.socket] = {}

    def get_allowed_auths(self, username: str) -> str:
        ways = {"publickey": self._server.authorized_key, "password": self._server.password}
        return ",".join(way for way, given in ways.items() if given)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        given = f"{key.get_name()} {key.get_base64()}"
        known = self._server.authorized_key or ""
        good = username == self._server.user and " ".join(known.split()[:2]) == given
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        good = username == self._server.user and self._server.password == password
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED if kind == "session" else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        line = command.decode("utf-8", "surrogateescape")
        channel.get_transport().then = lambda: self._server.spawn(channel, line)
        return True

    def check_channel_direct_tcpip_request(self, chanid: int, origin: tuple, destination: tuple) -> int:
        host, port = destination
        if host not in ("127.0.0.1", "localhost", "::1"):
            return paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        try:
            sock = socket.create_connection((host, port), timeout=5)
        except OSError:
            return paramiko.OPEN_FAILED_CONNECT_FAILED
        sock.settimeout(None)
        self._ports[chanid] = sock
        return paramiko.OPEN_SUCCEEDED

    def opened(self, channel: paramiko.Channel) -> None:
        """A channel stands; carry the bytes if it leads to a port."""
        sock = self._ports.pop(channel.get_id(), None)
        if sock is not None:
            threading.Thread(target=_forward, args=(channel, sock), daemon=True, name="practice-port").start()


def _forward(channel: paramiko.Channel, sock: socket.socket) -> None:
    back = threading.Thread(target=_pump_back, args=(sock, channel), daemon=True)
    back.start()
    with contextlib.suppress(*_CONNECTION_LOST):
        while data := channel.recv(64 << 10):
            sock.sendall(data)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
    back.join()
    with contextlib.suppress(*_CONNECTION_LOST):
        channel.close()
    sock.close()


def _pump_back(sock: socket.socket, channel: paramiko.Channel) -> None:
    with contextlib.suppress(*_CONNECTION_LOST):
        while data := sock.recv(64 << 10):
            channel.sendall(data)
    with contextlib.suppress(*_CONNECTION_LOST):
        channel.shutdown_write()


class _Run:
    """One command on one channel: three pumps and a thread that waits for the end."""

    def __init__(self, server: PracticeServer, channel: paramiko.Channel, line: str):
        self._server, self._channel, self._line = server, channel, line
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="practice-run").start()

    def hang_up(self) -> None:
        """Kill the command with everything in its process group."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, 9)

    def _run(self) -> None:
        server = self._server
        try:
            self._process = subprocess.Popen(
                server.quota.command(self._line), cwd=server.home, env=server.environment(), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, bufsize=0)
        except OSError:
            with contextlib.suppress(*_CONNECTION_LOST):
                self._channel.close()
            server.finished(self)
            return
        self._relay(self._process)
        server.finished(self)

    def _relay(self, process: subprocess.Popen) -> None:
        channel = self._channel
        threading.Thread(target=self._input, args=(process,), daemon=True, name="practice-stdin").start()
        errors = threading.Thread(target=_output, args=(process.stderr, channel.sendall_stderr), daemon=True)
        errors.start()
        broken = not _output(process.stdout, channel.sendall)
        if broken:
            self.hang_up()
        errors.join()
        status = process.wait()
        with contextlib.suppress(*_CONNECTION_LOST):
            channel.send_exit_status(status if status >= 0 else 128 - status)
            channel.close()

    def _input(self, process: subprocess.Popen) -> None:
        """Client to command. When the connection goes, the command is hung up, as sshd does."""
        channel, sink = self._channel, process.stdin
        with contextlib.suppress(*_CONNECTION_LOST):
            while data := channel.recv(1 << 20):
                self._server.took_input(len(data))
                _write_all(sink.fileno(), data)
        with contextlib.suppress(OSError):
            sink.close()
        channel.status_event.wait()  # set when the channel is closed, by either side
        if process.poll() is None:
            self.hang_up()


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view):]


def _output(source, send) -> bool:
    """Command to client until its end; False when the client is gone."""
    with source:
        try:
            while data := source.read(256 << 10):
                send(data)
        except _CONNECTION_LOST:
            return False
    return True
