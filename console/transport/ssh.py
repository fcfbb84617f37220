"""The real transport: SSH through paramiko, with pinned host keys and nothing accepted on trust.

One :class:`SshTransport` is one authenticated connection. Host keys are compared with the pins the caller
hands in; there is no path that learns a key by itself. Commands are quoted by ``base.command_line`` only.

What a hostile server may do is bounded: the size of its banner and of each packet before memory is taken for
it, the time for every stage of the handshake, the bytes kept of a command's output.
"""

from __future__ import annotations

import contextlib
import logging
import random
import secrets as random_tokens
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import paramiko

from console.errors import SealiftError, WorldError
from console.i18n import N_
from console.secrets import Secret
from console.transport.base import Completed, command_line
from console.transport.deadline import deadline
from console.transport.handshake import (
    BEFORE_GREETING,
    DEAD_LINK_S,
    Heard,
    Through,
    blocking_socket,
    close_link,
    handshake,
    judge_host_key,
    tuned_socket,
)
from console.transport.login import authenticate
from console.transport.packets import gated
from console.transport.problems import BUSY, CHANNEL_REFUSED, LOST, PORT_REFUSED, SUDO_PASSWORD_NEEDED, SUDO_REFUSED, TIMEOUT
from console.transport.publickey import AUTHORITY
from console.transport.streams import Capture, SshStream, close_channel
from console.transport.target import Login, Target

# The transport turns what paramiko logs into errors with a code; its own lines would only repeat server text raw.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

DATA_REKEY_BYTES = 1 << 36
"""New keys after this many bytes on a data connection: what OpenSSH itself uses for AES."""

MAX_DROPPED_BYTES = 256 << 20
"""Output past its limit is read and dropped up to here, then the channel is closed."""

SUDO_S = 60.0
"""How long sudo may take to ask, judge and start; directories in the network behind it are slow at times."""

SUDO_BYTES = 1 << 20
"""What sudo and whatever runs before it may say before the command starts."""

BUSY_WAITS_S = (0.4, 0.9, 1.8)
"""Pauses, on average, before the next try at a server that takes no more log-ins at the moment. Many at once are quite
normal on a bastion; OpenSSH drops some as soon as ten are under way."""

KEEPALIVE_S = 8


def connect(target: Target, login: Login | None = None, *, jumps: Sequence[tuple[Target, Login]] = (),
            via: SshTransport | None = None, purpose: str = "control", timeout_s: float = 15,
            heard: Heard = None) -> SshTransport:
    """Connect, compare the host key with the pins, log in.

    Args:
        jumps: the bastions on the way, nearest first; each host key is checked like the target's. They close with the target.
        via: a connection to the last bastion that others use too, in place of ``jumps``; it stays open.
        purpose: ``data`` sets the connection up for bulk transfer.
        timeout_s: deadline of each stage: TCP, key agreement, login.
        heard: called, in any thread, when the target says its first word.

    Raises:
        WorldError, InputError: with an ``ssh.…`` code; the connection is closed.
    """
    if via is not None:
        return _connect_one(target, login or Login(), via, purpose, timeout_s, heard, own=False)
    route: list[SshTransport] = []
    try:
        for hop, secret in jumps:
            route.append(_connect_one(hop, secret, route[-1] if route else None, "control", timeout_s))
        return _connect_one(target, login or Login(), route[-1] if route else None, purpose, timeout_s, heard)
    except BaseException:
        for done in reversed(route):
            done.close()
        raise


def _connect_one(target: Target, login: Login, via: SshTransport | None, purpose: str, timeout_s: float,
                 heard: Heard = None, own: bool = True) -> SshTransport:
    link = _link(target, via, timeout_s, heard)
    try:
        judge_host_key(target, link)
        authenticate(target, login, link, timeout_s)
    except BaseException:
        close_link(link)
        raise
    _watch(link)
    if purpose == "data":
        link.packetizer.REKEY_BYTES = DATA_REKEY_BYTES
        if via is None:
            blocking_socket(link.sock)
    return SshTransport(target, login, link, via if own else None)


def _watch(link: paramiko.Transport) -> None:
    """Ask an idle peer for a sign of life now and then, and end the connection when none has come for long.

    The system's own deadline sees only as far as the next host; behind a bastion, and with a server whose kernel lives
    while its SSH service does not, only the peer's answer tells.
    """
    packets = link.packetizer
    packets.heard_at = time.monotonic()

    def ask() -> None:
        if time.monotonic() - packets.heard_at > DEAD_LINK_S:
            raise EOFError
        question = paramiko.Message()
        question.add_byte(bytes([80]))  # SSH_MSG_GLOBAL_REQUEST; a peer that does not know the name answers all the same
        question.add_string("keepalive@openssh.com")
        question.add_boolean(True)
        link._send_user_message(question)

    packets.set_keepalive(KEEPALIVE_S, ask)


def _link(target: Target, via: SshTransport | None, timeout_s: float, heard: Heard = None) -> paramiko.Transport:
    """A connection whose keys are agreed; tried again while the server only says that it takes no more for now."""
    for wait_s in BUSY_WAITS_S:
        try:
            return _link_once(target, via, timeout_s, heard)
        except SealiftError as problem:
            closed_at_once = problem.code == LOST.code and problem.params.get("stage") == BEFORE_GREETING
            if problem.code != BUSY.code and not closed_at_once:
                raise
        # Spread, or all that were refused together would come back together.
        time.sleep(wait_s * random.uniform(0.5, 1.5))
    return _link_once(target, via, timeout_s, heard)


def _link_once(target: Target, via: SshTransport | None, timeout_s: float, heard: Heard) -> paramiko.Transport:
    if via:
        sock: Through | socket.socket = Through(via.channel_to(target.address, target.port, timeout_s))
    else:
        sock = tuned_socket(target, timeout_s)
    try:
        return handshake(target, sock, timeout_s, heard)
    except BaseException:
        sock.close()
        raise


def offered_key(target: Target, *, jumps: Sequence[tuple[Target, Login]] = (), via: SshTransport | None = None,
                timeout_s: float = 15, heard: Heard = None) -> str:
    """The host key that the server shows, as ``"ssh-ed25519 AAAA…"``, without logging in to it; ``via`` and ``heard`` as for
    :func:`connect`."""
    # The plain key is asked for: it is what an administrator's fingerprint names.
    target = replace(target, host_keys=tuple(k for k in target.host_keys if not k.startswith(AUTHORITY)))
    own = connect(jumps[-1][0], jumps[-1][1], jumps=jumps[:-1], timeout_s=timeout_s) if jumps and via is None else None
    try:
        link = _link(target, via or own, timeout_s, heard)
        key = link.get_remote_server_key()
        close_link(link)
        return f"{key.get_name()} {key.get_base64()}"
    finally:
        if own:
            own.close()


class SshTransport:
    """One connection; ``console.transport.base.Transport``. Made by :func:`connect`. Safe from several threads.

    Attributes:
        server: the target's name.
        link: the paramiko transport, for the push's data path.
        ask_sudo: called for the sudo password when the login has none; None for nobody to ask.
        sudo_wrong: called when sudo refused the password; None for nobody to tell.
    """

    def __init__(self, target: Target, login: Login, link: paramiko.Transport, via: SshTransport | None):
        self.server, self.target, self.link = target.name, target, link
        self._login, self._via, self._open_s = login, via, 30.0
        self.ask_sudo: Callable[[], Secret | None] | None = None
        self.sudo_wrong: Callable[[], None] | None = None

    @property
    def alive(self) -> bool:
        """Whether the connection still stands, as far as is known here."""
        return self.link.is_active()

    def lost(self, stage: str) -> SealiftError:
        return LOST(server=self.server, stage=stage)

    def late(self, timeout_s: float, stage: str) -> SealiftError:
        return TIMEOUT(server=self.server, timeout_s=round(timeout_s, 1), stage=stage)

    def open(self, argv: Sequence[str], *, sudo: bool = False) -> SshStream:
        """Start ``argv``; with ``sudo``, this returns once sudo has let it start."""
        if not sudo or (self.target.user == "root" and self.target.sudo == "none"):
            return self._exec(command_line(argv))
        return self._open_as_root(argv, time.monotonic() + SUDO_S)

    def _exec(self, line: str) -> SshStream:
        # paramiko waits for the answer to an exec request without a deadline; closing the channel wakes it.
        try:
            channel = gated(self.link.open_session(timeout=self._open_s))
            stream = SshStream(self, channel)
            with deadline(self._open_s, lambda: close_channel(channel)):
                channel.exec_command(line)
            return stream
        except paramiko.ChannelException as problem:
            raise CHANNEL_REFUSED(server=self.server, reason=problem.text) from None
        except (paramiko.SSHException, EOFError, OSError) as problem:
            if not self.alive:
                raise self.lost("starting a command") from None
            if "imeout" in str(problem):
                raise self.late(self._open_s, "starting a command") from None
            raise CHANNEL_REFUSED(server=self.server, reason=N_("it closed the channel")) from None

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60, max_output_bytes: int = 8 << 20,
            sudo: bool = False) -> Completed:
        started = time.monotonic()
        stream = self.open(argv, sudo=sudo)
        capture = Capture(max_output_bytes)
        stream.on_stderr = lambda data: capture.add(capture.stderr, data)
        try:
            self._feed(stream, stdin)
            exit_code, timed_out = self._collect(stream, capture, started + timeout_s)
        finally:
            stream.close()
        return Completed(exit_code, bytes(capture.stdout), bytes(capture.stderr), time.monotonic() - started,
                         capture.truncated, timed_out)

    def _feed(self, stream: SshStream, stdin: bytes) -> None:
        """Send the input: at once while it fits the window, else beside the reading, lest both sides wait."""
        if len(stdin) <= stream.channel.out_window_size:
            self._feed_now(stream, stdin)
        else:
            threading.Thread(target=self._feed_now, args=(stream, stdin), daemon=True, name="ssh-stdin").start()

    @staticmethod
    def _feed_now(stream: SshStream, stdin: bytes) -> None:
        # A command may end without reading its input; how it ended is what the caller asks for.
        with contextlib.suppress(WorldError):
            stream.write(stdin)
        stream.close_stdin()

    def _collect(self, stream: SshStream, capture: Capture, deadline: float) -> tuple[int | None, bool]:
        try:
            while data := stream.read(256 << 10, max(0.001, deadline - time.monotonic())):
                capture.add(capture.stdout, data)
                if capture.dropped > MAX_DROPPED_BYTES or time.monotonic() > deadline:
                    break
            else:
                return stream.wait(max(0.001, deadline - time.monotonic())), False
        except SealiftError as problem:
            if problem.code != TIMEOUT.code:
                raise
        stream.signal("TERM")
        return None, time.monotonic() >= deadline - 0.01

    def _open_as_root(self, argv: Sequence[str], deadline: float) -> SshStream:
        """Start ``argv`` under sudo. The password is sent only in answer to sudo's own question, which carries a
        random mark, and the command announces its start with another: so the password can never end up in the
        command's input, whatever sudoers says, and a wrong one is known at once, in every language."""
        target = self.target
        if target.sudo == "none":
            raise self._no_sudo(N_("the server is set to have no sudo"))
        ask, go = (f"[{random_tokens.token_hex(12)}]" for _ in range(2))
        announced = ("sh", "-c", f'printf %s "{go}" >&2; exec "$@"', "sh", *argv)
        if target.sudo == "nopasswd":
            stream = self._exec(command_line(("sudo", "-n", "--", *announced)))
        else:
            self._sudo_password()
            stream = self._exec(command_line(("sudo", "-k", "-S", "-p", ask, "--", *announced)))
        try:
            self._converse(stream, ask, go, deadline)
        except BaseException:
            stream.close()
            raise
        return stream

    def _sudo_password(self) -> Secret:
        known = self._login.sudo_password or (self.ask_sudo() if self.ask_sudo else None)
        if known is None:
            raise SUDO_PASSWORD_NEEDED(server=self.server, user=self.target.user)
        return known

    def _converse(self, stream: SshStream, ask: str, go: str, deadline: float) -> None:
        """Answer sudo's question once, and return when the command has started."""
        heard, answered, question = bytearray(), False, ask.encode()

        def hear(data: bytes) -> None:
            heard.extend(data)
            if len(heard) > SUDO_BYTES:
                stream.close()  # ends the drain too, however fast more comes

        stream.on_stderr = hear
        while True:
            stream.wake.rearm()
            ended = stream.channel.closed or stream.channel.eof_received
            stream.drain_stderr()
            if go.encode() in heard:
                break
            if len(heard) > SUDO_BYTES:
                raise self._no_sudo(N_("sudo does not come to an end of what it says"))
            if question in heard:
                if answered:
                    self._login = replace(self._login, sudo_password=None)
                    if self.sudo_wrong:
                        self.sudo_wrong()
                    raise self._no_sudo(N_("the sudo password is wrong"))
                answered = True
                del heard[: heard.index(question) + len(question)]
                stream.write(self._sudo_password().reveal().encode() + b"\n")
            elif ended:
                self._sudo_ended(stream, bytes(heard))
            elif not stream.wake.wait(max(0.0, deadline - time.monotonic())):
                raise self.late(SUDO_S, "waiting for sudo")
        rest = bytes(heard).partition(go.encode())[2]
        stream.on_stderr = stream.keep_tail
        if rest:
            stream.keep_tail(rest)

    def _sudo_ended(self, stream: SshStream, said: bytes) -> None:
        if not self.alive:
            raise self.lost("waiting for sudo")
        text = said.decode("utf-8", "replace").strip().splitlines()
        raise self._no_sudo(text[-1] if text else N_("sudo ended without a word"))

    def _no_sudo(self, reason: str) -> SealiftError:
        return SUDO_REFUSED(server=self.server, user=self.target.user, reason=reason)

    def channel_to(self, host: str, port: int, timeout_s: float = 10) -> paramiko.Channel:
        """A direct-tcpip channel to ``host:port`` as seen from the server."""
        try:
            return gated(self.link.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout_s))
        except paramiko.ChannelException as problem:
            raise PORT_REFUSED(server=self.server, host=host, port=port, reason=problem.text) from None
        except (paramiko.SSHException, EOFError, OSError) as problem:
            if not self.alive:
                raise self.lost("opening a connection through it") from None
            raise PORT_REFUSED(server=self.server, host=host, port=port, reason=str(problem)) from None

    def connect_port(self, host: str, port: int, timeout_s: float = 10) -> socket.socket:
        """A real socket whose far end is ``host:port`` as seen from the server; two threads carry the bytes."""
        channel = self.channel_to(host, port, timeout_s)
        ours, theirs = socket.socketpair()
        back = threading.Thread(target=_from_channel, args=(channel, ours), daemon=True, name=f"ssh-port-{port}")
        back.start()
        threading.Thread(target=_to_channel, args=(channel, ours, back), daemon=True, name=f"ssh-port-{port}").start()
        return theirs

    def close(self) -> None:
        close_link(self.link)
        if self._via:
            self._via.close()


def _from_channel(channel: paramiko.Channel, sock: socket.socket) -> None:
    try:
        while data := channel.recv(64 << 10):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except (OSError, EOFError, paramiko.SSHException):
        close_channel(channel)  # nobody takes the answer any more


def _to_channel(channel: paramiko.Channel, sock: socket.socket, back: threading.Thread) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        while data := sock.recv(64 << 10):
            channel.sendall(data)
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.shutdown_write()
    # The far end closes its half when it has answered; until then the other pump carries the answer.
    back.join()
    close_channel(channel)
    sock.close()
