"""The beginning of a connection: the socket, the agreement on keys, and whether the host is the one that is trusted."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
from collections.abc import Callable

import paramiko

from console.errors import SealiftError
from console.i18n import N_
from console.transport import hostcert
from console.transport.packets import Packets
from console.transport.problems import (
    BUSY,
    CERT_REFUSED,
    KEY_CHANGED,
    KEY_UNKNOWN,
    LOST,
    NO_COMMON,
    NOT_SSH,
    PROTOCOL,
    REFUSED,
    TIMEOUT,
    UNREACHABLE,
)
from console.transport.publickey import AUTHORITY, HOST_KEY_TYPES, fingerprint, key_blob
from console.transport.streams import close_channel
from console.transport.target import Target

KEY_EXCHANGES = ("mlkem768x25519-sha256", "ecdh-sha2-nistp256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521",
                 "diffie-hellman-group16-sha512", "diffie-hellman-group-exchange-sha256", "diffie-hellman-group14-sha256")  # fmt: skip
"""First what a quantum computer could not undo either, where both sides have it. Else P-256 ahead of Curve25519, which is as strong (RFC 9142):
OpenSSL computes the one, OpenSSH the other by code of its own, which is 5 of some 32 ms that a log-in costs a server (OpenSSH 9.2, perf)."""

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
SHORT_BYTES = 1024
"""What is received in one piece below this is a short message, to be acknowledged at once."""

AHEAD_BYTES = 16 << 10
"""So much is received at once where less is asked for: the packets that wait come with one call for all of them."""

DEAD_LINK_S = 25
"""An unanswered link is given up after about this long, where the system lets us say so."""


class Through:
    """A channel in a socket's place. paramiko's thread closes what it stands on as its last act, and a channel whose
    own connection is gone already would raise there, where nobody catches."""

    def __init__(self, channel: paramiko.Channel):
        self._channel = channel
        self.send, self.recv, self.settimeout = channel.send, channel.recv, channel.settimeout

    @property
    def _closed(self) -> bool:
        return self._channel.closed

    def shutdown(self, how: int) -> None:
        self.close()

    def close(self) -> None:
        close_channel(self._channel)


class _PromptSocket(socket.socket):
    """Acknowledges short messages at once, and receives ahead.

    Servers hold back a short packet until the one before it is acknowledged, for sshd turns Nagle's algorithm off for terminals
    only; a delayed acknowledgement then costs 40 ms for each command that is run. The kernel falls back to delaying by itself,
    so that it is asked anew each time.

    paramiko asks for each packet's head and body by itself, two calls where one brings several packets."""

    _ahead = b""

    def recv(self, count: int, flags: int = 0) -> bytes:
        data = self._ahead
        if not data:
            data = super().recv(max(count, AHEAD_BYTES), flags)
            if len(data) < SHORT_BYTES:
                self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._ahead = data[count:]
        return data[:count]


def tuned_socket(target: Target, timeout_s: float) -> socket.socket:
    """A connected TCP socket that sends at once and notices a dead link."""
    where = {"server": target.name, "address": target.address, "port": target.port}
    try:
        sock = socket.create_connection((target.address, target.port), timeout=timeout_s)
    except TimeoutError:
        raise TIMEOUT(timeout_s=round(timeout_s), stage="connecting", **where) from None
    except ConnectionRefusedError:
        raise REFUSED(**where) from None
    except (OSError, UnicodeError) as problem:
        reason = getattr(problem, "strerror", None) or N_("the name is not known")
        raise UNREACHABLE(reason=reason, **where) from None
    if hasattr(socket, "TCP_QUICKACK"):
        span = sock.gettimeout()
        sock = _PromptSocket(fileno=sock.detach())
        sock.settimeout(span)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAD_LINK_S * 1000))
    if os.name == "nt":
        # Windows starts with a send buffer too small for a fast link (paramiko issue 2476).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    return sock


def blocking_socket(sock: socket.socket) -> None:
    """Let the kernel keep the 100 ms deadline that paramiko wants, which saves a ``poll`` before every send."""
    if os.name != "posix":
        return
    span = (0).to_bytes(8, "little") + (100_000).to_bytes(8, "little")  # struct timeval on 64-bit systems
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, span)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, span)
    except OSError:
        return
    sock.settimeout(None)


Heard = Callable[[], None] | None


class _Link(paramiko.Transport):
    """A connection that leaves unread what a server has to say to those who look for faults in it; OpenSSH says much at each
    log-in."""

    def _parse_debug(self, message: paramiko.Message) -> None:
        pass


def handshake(target: Target, sock: socket.socket | Through, timeout_s: float, heard: Heard = None) -> paramiko.Transport:
    """Agree on keys with the peer; the host key is known afterwards, and not yet judged."""
    link = _Link(sock, packetizer_class=Packets)
    link.packetizer.heard = heard
    # Longer than ours, so that it is always our own deadline that ends a stage, and its name is known.
    link.banner_timeout = 2 * timeout_s + 5
    link.auth_timeout = link.channel_timeout = timeout_s
    options = link.get_security_options()
    options.ciphers, options.digests = CIPHERS, MACS
    options.kex = tuple(name for name in KEY_EXCHANGES if name in options.kex)
    options.key_types = _key_types(target)
    where = {"server": target.name, "address": target.address, "port": target.port}
    try:
        link.start_client(timeout=timeout_s)
    except Exception as problem:  # paramiko hands on whatever its thread met in a hostile peer's bytes
        heard = link.packetizer.greeting
        close_link(link)
        raise _handshake_error(where, problem, link.remote_version, heard, timeout_s) from None
    if not link.initial_kex_done:
        close_link(link)
        raise TIMEOUT(timeout_s=round(timeout_s), stage="agreeing on keys", **where)
    return link


def _key_types(target: Target) -> tuple[str, ...]:
    """Types that are pinned first, so that a server with several keys shows the one that can be compared."""
    pinned = {line.split(" ")[0] for line in target.host_keys}
    wanted = [t for t in HOST_KEY_TYPES if t in pinned or (t.startswith("rsa-") and "ssh-rsa" in pinned)]
    certified = hostcert.ALGORITHMS if hostcert.authorities(target.host_keys) else ()
    return (*wanted, *certified, *(t for t in HOST_KEY_TYPES if t not in wanted))


BEFORE_GREETING = "before the greeting"
_BUSY_WORDS = (b"Exceeded MaxStartups", b"Not allowed at this time")
"""What OpenSSH says instead of its greeting when it takes no more, since its versions 8.5 and 9.8; before, it said nothing."""


def _handshake_error(where: dict, problem: Exception, version: str, heard: bytes, timeout_s: float) -> SealiftError:
    if isinstance(problem, paramiko.ssh_exception.IncompatiblePeer):
        return NO_COMMON(reason=str(problem), **where)
    text = str(problem)
    if not version.startswith("SSH-"):
        if heard.startswith(_BUSY_WORDS):
            return BUSY(reason=heard.splitlines()[0].decode("ascii", "backslashreplace"), **where)
        if heard:
            return NOT_SSH(**where)
        if "timed out" in text or isinstance(problem, TimeoutError):
            return TIMEOUT(timeout_s=round(timeout_s), stage="waiting for the greeting", **where)
        return LOST(stage=BEFORE_GREETING, **where)
    if isinstance(problem, EOFError | OSError) or text == "Negotiation failed.":
        return LOST(stage="agreeing on keys", **where)
    return PROTOCOL(stage="agreeing on keys", reason=text or type(problem).__name__, **where)


def close_link(link: paramiko.Transport) -> None:
    """End a connection at once: the shutdown wakes paramiko's reading thread, its own close takes 100 ms."""
    link.active, was_active = False, link.active
    with contextlib.suppress(OSError, EOFError):
        link.sock.shutdown(socket.SHUT_RDWR)
    link.active = was_active
    link.close()


def judge_host_key(target: Target, link: paramiko.Transport) -> None:
    """Compare the key that the host has shown with those that are trusted for it, itself or through an authority.

    Raises:
        WorldError: ``ssh.host-key-unknown``, ``ssh.host-key-changed``, ``ssh.host-certificate``.
    """
    offered = link.get_remote_server_key()
    if not target.host_keys:
        raise KEY_UNKNOWN(server=target.name, offered=fingerprint(offered.asbytes()), type=offered.get_name())
    vouching = hostcert.authorities(target.host_keys)
    pins = [key_blob(line) for line in target.host_keys if not line.startswith(AUTHORITY)]
    if offered.asbytes() in pins:
        return
    if vouching:
        _judge_certificate(target, offered, vouching)
    elif offered.asbytes() not in pins:
        raise KEY_CHANGED(server=target.name, expected=", ".join(map(fingerprint, pins)),
                          offered=fingerprint(offered.asbytes()), type=offered.get_name())


def _judge_certificate(target: Target, offered: paramiko.PKey, vouching: list[str]) -> None:
    mark, blob = fingerprint(offered.asbytes()), offered.public_blob
    if blob is None:
        raise KEY_UNKNOWN(server=target.name, offered=mark, type=offered.get_name())
    line = f"{blob.key_type} {base64.b64encode(blob.key_blob).decode()}"
    reason = hostcert.refusal(line, vouching, target.address)
    if reason:
        raise CERT_REFUSED(server=target.name, reason=reason, offered=mark)
