"""The real transport: SSH through paramiko, with pinned host keys and nothing accepted on trust.

One :class:`SshTransport` is one authenticated connection. Host keys are compared with the pins the caller
hands in; there is no path that learns a key by itself. Commands are quoted by ``base.command_line`` only.

What a hostile server may do is bounded: the size of its banner and of each packet before memory is taken for
it, the time for every stage of the handshake, the bytes kept of a command's output.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import os
import random
import secrets as random_tokens
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import paramiko

from console.errors import InputError, SealiftError, WorldError, code
from console.i18n import N_
from console.secrets import Secret
from console.transport import hostcert
from console.transport.base import Completed, command_line
from console.transport.packets import BATCH_BYTES, Bulk, Packets
from console.transport.publickey import AUTHORITY, HOST_KEY_TYPES, fingerprint, key_blob

# The transport turns what paramiko logs into errors with a code; its own lines would only repeat server text raw.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
SHORT_BYTES = 1024
"""What is received in one piece below this is a short message, to be acknowledged at once."""

BULK_BYTES = 64 << 10
"""From here on data goes in many packets at once."""

PACKET_SPARE_BYTES = 64
"""What paramiko leaves of a packet for its head and tail."""

DATA_REKEY_BYTES = 1 << 36
"""New keys after this many bytes on a data connection: what OpenSSH itself uses for AES."""

MAX_DROPPED_BYTES = 256 << 20
"""Output past its limit is read and dropped up to here, then the channel is closed."""

STDERR_TAIL_BYTES = 64 << 10
SUDO_S = 60.0
"""How long sudo may take to ask, judge and start; directories in the network behind it are slow at times."""

SUDO_BYTES = 1 << 20
"""What sudo and whatever runs before it may say before the command starts."""

BUSY_WAITS_S = (0.4, 0.9, 1.8)
"""Pauses, on average, before the next try at a server that takes no more log-ins at the moment. Many at once are quite
normal on a bastion; OpenSSH drops some as soon as ten are under way."""

KEEPALIVE_S = 8
DEAD_LINK_S = 25
"""An unanswered link is given up after about this long, where the system lets us say so."""

UNREACHABLE = code("ssh.unreachable", WorldError,
                   N_("{server} cannot be reached at {address}:{port}: {reason}."),
                   N_("Check that the server is on, its address and port, and the network and firewall between."),
                   retryable=True)
REFUSED = code("ssh.refused", WorldError,
               N_("{server} is there, but nothing accepts SSH at {address}:{port}."),
               N_("Check the port, and that the SSH service is running on the server."), retryable=True)
SYSTEM_WORDS = (N_("No route to host"), N_("Network is unreachable"), N_("Host is down"), N_("Name or service not known"),
                N_("No address associated with hostname"), N_("Temporary failure in name resolution"), N_("Permission denied"),
                N_("No such file or directory"))
"""Reasons in the system's own words; where they stand in a message, they are told in the reader's language."""
TIMEOUT = code("ssh.timeout", WorldError, N_("{server} did not answer within {timeout_s} s."),
               N_("The server or the network is overloaded or hangs. Try again; if it stays, look at the server."),
               retryable=True)
LOST = code("ssh.connection-lost", WorldError, N_("The connection to {server} was lost."),
            N_("Check the network and whether the server restarted, then try again."), retryable=True)
NOT_SSH = code("ssh.not-ssh", WorldError, N_("What answers at {address}:{port} for {server} does not speak SSH."),
               N_("Check the address and the port of the server."))
BUSY = code("ssh.too-many-logins", WorldError, N_("{server} takes no more log-ins at the moment: {reason}."),
            N_("Try again. If it stays, raise MaxStartups of the SSH service there, see whether it keeps this address out "
               "(PerSourcePenalties), or ask fewer servers at a time (setting inventory.threads)."), retryable=True)
NO_COMMON = code("ssh.no-common-algorithm", WorldError,
                 N_("{server} offers no encryption that Sealift accepts: {reason}."),
                 N_("Update the SSH service on the server; Sealift accepts AES-GCM and AES-CTR with SHA-2."))
PROTOCOL = code("ssh.protocol-error", WorldError, N_("{server} broke the SSH protocol: {reason}."),
                N_("If trying again does not help, something between here and the server alters the traffic, or the "
                   "SSH service on the server is faulty."), retryable=True)
KEY_CHANGED = code("ssh.host-key-changed", WorldError,
                   N_("The host key of {server} has changed. Trusted: {expected}. Offered now: {offered}."),
                   N_("Somebody may be in between, or the server was installed anew. Nothing was sent. Ask its "
                      "administrator for the fingerprint, compare, and trust the new key only if they are equal."))
KEY_UNKNOWN = code("ssh.host-key-unknown", WorldError,
                   N_("The host key of {server} is not trusted yet. Offered: {offered}."),
                   N_("Compare this fingerprint with the one that the server's administrator gives, then trust it: "
                      "sealift server trust {server} {offered}."))
AUTH_FAILED = code("ssh.auth-failed", WorldError,
                   N_("{server} did not accept {user} by {method}. It accepts: {accepted}."),
                   N_("Check the user, and the key or password, and that the server allows this way of logging in."))
CERT_REFUSED = code("ssh.host-certificate", WorldError,
                    N_("The host certificate of {server} is not accepted: {reason}. Key offered: {offered}."),
                    N_("Nothing was sent. Have the certificate of the server renewed by its authority, or compare the key's "
                       "fingerprint with the one that the server's administrator gives and trust the key itself."))
PASSWORD_NEEDED = code("ssh.password-needed", InputError, N_("A password is needed for {user} on {server}."),
                       N_("Give it when asked, or with --ssh-password-file."))
IDENTITY_MISSING = code("ssh.identity-missing", InputError,
                        N_("The key file {path} for {server} cannot be read: {reason}."),
                        N_("Correct the path of the key file in the server's entry."))
IDENTITY_LOCKED = code("ssh.identity-locked", InputError, N_("The key file {path} needs its passphrase."),
                       N_("Give the passphrase when asked, or with --identity-passphrase-file, or load the key into "
                          "an agent."))
IDENTITY_PASSPHRASE = code("ssh.identity-passphrase", InputError, N_("The passphrase of the key file {path} is wrong."),
                           N_("Give the right passphrase."))
IDENTITY_MALFORMED = code("ssh.identity-malformed", InputError, N_("{path} is not a private key that can be used."),
                          N_("Name an OpenSSH or PEM private key of the kind Ed25519, ECDSA or RSA."))
NO_AGENT_KEY = code("ssh.no-agent-key", InputError, N_("No SSH agent with a key was found for {server}."),
                    N_("Start an agent and add the key (ssh-add), or choose a key file or a password."))
SUDO_REFUSED = code("ssh.sudo-refused", WorldError, N_("{user} may not act as root on {server}: {reason}."),
                    N_("Check the sudo setting of the server, the sudo password, and the rights in sudoers."))
SUDO_PASSWORD_NEEDED = code("ssh.sudo-password-needed", InputError,
                            N_("The sudo password of {user} on {server} is needed."),
                            N_("Give it when asked, or with --sudo-password-file."))
PORT_REFUSED = code("ssh.forward-refused", WorldError,
                    N_("{server} did not open a connection to {host}:{port}: {reason}."),
                    N_("Check that something listens there, and that the SSH service allows TCP forwarding."),
                    retryable=True)
CHANNEL_REFUSED = code("ssh.channel-refused", WorldError, N_("{server} refused to run a command: {reason}."),
                       N_("Check that the account may run commands (no forced command, MaxSessions not used up)."),
                       retryable=True)


@dataclass(frozen=True)
class Target:
    """Where to connect, as whom, and which host keys are believed.

    ``host_keys`` are OpenSSH public keys, ``"ssh-ed25519 AAAA…"``, or with ``@cert-authority `` before it the key of an
    authority whose host certificates are believed. ``auth`` is ``agent``, ``key`` or
    ``password``; ``sudo`` is ``none``, ``nopasswd`` or ``password``.
    """

    name: str
    address: str
    port: int = 22
    user: str = "root"
    host_keys: tuple[str, ...] = ()
    auth: str = "agent"
    identity_file: str | None = None
    sudo: str = "none"


@dataclass(frozen=True)
class Login:
    """The secrets for one target; any may be missing."""

    password: Secret | None = None
    passphrase: Secret | None = None
    sudo_password: Secret | None = None


class _Through:
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
        _close_channel(self._channel)


class _PromptSocket(socket.socket):
    """Acknowledges short messages at once. Servers hold back a short packet until the one before it is acknowledged, for sshd
    turns Nagle's algorithm off for terminals only; a delayed acknowledgement then costs 40 ms for each command that is run.
    The kernel falls back to delaying by itself, so that it is asked anew each time."""

    def recv(self, count: int, flags: int = 0) -> bytes:
        data = super().recv(count, flags)
        if len(data) < SHORT_BYTES:
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


def _tuned_socket(target: Target, timeout_s: float) -> socket.socket:
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


def _blocking_socket(sock: socket.socket) -> None:
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


def _handshake(target: Target, sock: socket.socket | _Through, timeout_s: float, heard: Heard = None) -> paramiko.Transport:
    """Agree on keys with the peer; the host key is known afterwards, and not yet judged."""
    link = paramiko.Transport(sock, packetizer_class=Packets)
    link.packetizer.heard = heard
    # Longer than ours, so that it is always our own deadline that ends a stage, and its name is known.
    link.banner_timeout = link.handshake_timeout = 2 * timeout_s + 5
    link.auth_timeout = link.channel_timeout = timeout_s
    options = link.get_security_options()
    options.ciphers, options.digests = CIPHERS, MACS
    options.key_types = _key_types(target)
    where = {"server": target.name, "address": target.address, "port": target.port}
    try:
        link.start_client(timeout=timeout_s)
    except Exception as problem:  # paramiko hands on whatever its thread met in a hostile peer's bytes
        heard = link.packetizer.greeting
        _close_link(link)
        raise _handshake_error(where, problem, link.remote_version, heard, timeout_s) from None
    if not link.initial_kex_done:
        _close_link(link)
        raise TIMEOUT(timeout_s=round(timeout_s), stage="agreeing on keys", **where)
    return link


def _key_types(target: Target) -> tuple[str, ...]:
    """Types that are pinned first, so that a server with several keys shows the one that can be compared."""
    pinned = {line.split(" ")[0] for line in target.host_keys}
    wanted = [t for t in HOST_KEY_TYPES if t in pinned or (t.startswith("rsa-") and "ssh-rsa" in pinned)]
    certified = hostcert.ALGORITHMS if hostcert.authorities(target.host_keys) else ()
    return (*wanted, *certified, *(t for t in HOST_KEY_TYPES if t not in wanted))


_BEFORE_GREETING = "before the greeting"
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
        return LOST(stage=_BEFORE_GREETING, **where)
    if isinstance(problem, EOFError | OSError) or text == "Negotiation failed.":
        return LOST(stage="agreeing on keys", **where)
    return PROTOCOL(stage="agreeing on keys", reason=text or type(problem).__name__, **where)


def _close_link(link: paramiko.Transport) -> None:
    """End a connection at once: the shutdown wakes paramiko's reading thread, its own close takes 100 ms."""
    link.active, was_active = False, link.active
    with contextlib.suppress(OSError, EOFError):
        link.sock.shutdown(socket.SHUT_RDWR)
    link.active = was_active
    link.close()
    link.packetizer.complete_handshake()  # ends paramiko's handshake timer thread


def _judge_host_key(target: Target, link: paramiko.Transport) -> None:
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


def load_identity(target: Target, login: Login) -> paramiko.PKey:
    """The private key of ``target``, with its OpenSSH certificate (``<file>-cert.pub``) when there is one."""
    path = Path(target.identity_file or "").expanduser()
    secret = login.passphrase.reveal().encode() if login.passphrase else None
    try:
        return paramiko.PKey.from_path(path, secret)
    except OSError as problem:
        raise IDENTITY_MISSING(path=str(path), server=target.name, reason=problem.strerror or "?") from None
    except paramiko.PasswordRequiredException:
        raise IDENTITY_LOCKED(path=str(path), server=target.name) from None
    except Exception as problem:  # cryptography and paramiko raise a dozen kinds for a key they cannot read
        raise _identity_error(path, target, secret, problem) from None


def _identity_error(path: Path, target: Target, secret: bytes | None, problem: Exception) -> SealiftError:
    text = str(problem).lower()
    told_so = isinstance(problem, TypeError) or "password" in text or "passphrase" in text
    if secret is None and (told_so or "encrypted" in text):
        return IDENTITY_LOCKED(path=str(path), server=target.name)
    if secret is not None and _is_locked(path):
        return IDENTITY_PASSPHRASE(path=str(path), server=target.name)
    return IDENTITY_MALFORMED(path=str(path), server=target.name)


def _is_locked(path: Path) -> bool:
    """Whether a key file, as far as its text tells, is encrypted."""
    raw = path.read_bytes()
    if b"ENCRYPTED" in raw:
        return True
    body = b"".join(raw.split(b"-----")[2:3])
    with contextlib.suppress(binascii.Error, ValueError):
        inner = base64.b64decode(b"".join(body.split()))
        return inner.startswith(b"openssh-key-v1\0") and b"\0\0\0\x04none" not in inner[:64]
    return False


def _authenticate(target: Target, login: Login, link: paramiko.Transport, timeout_s: float) -> None:
    tried, accepted, left = [], set(), set()
    for method, attempt in _attempts(target, login, link):
        if left and method not in left and not (method == "password" and "keyboard-interactive" in left):
            continue
        tried.append(method)
        try:
            left = set(attempt())
        except paramiko.BadAuthenticationType as problem:
            accepted |= set(problem.allowed_types)
        except paramiko.AuthenticationException as problem:
            if "timeout" in str(problem).lower():
                raise TIMEOUT(server=target.name, timeout_s=round(timeout_s), stage="logging in") from None
            if not link.is_active():
                break
        except (paramiko.SSHException, EOFError, OSError):
            if not link.is_active():
                break
        else:
            if not left:
                return
            accepted |= left
    if not link.is_active() and len(tried) < 2:
        raise LOST(server=target.name, stage="logging in")
    if not accepted:
        # A refused key does not tell what would be accepted; asking to log in with nothing does.
        try:
            link.auth_none(target.user)
        except paramiko.BadAuthenticationType as problem:
            accepted = set(problem.allowed_types)
        except (paramiko.SSHException, EOFError, OSError):
            accepted = set()
    raise AUTH_FAILED(server=target.name, user=target.user, method=", ".join(dict.fromkeys(tried)) or target.auth,
                      accepted=", ".join(sorted(accepted)) or "?")


def _attempts(target: Target, login: Login, link: paramiko.Transport):
    """The ways to log in, in order, as (method, call); each call gives the methods still wanted after it."""
    user = target.user
    if target.auth == "agent":
        yield from (("publickey", lambda key=key: link.auth_publickey(user, key)) for key in _agent_keys(target))
    if target.auth == "key" or (target.auth == "agent" and login.passphrase and target.identity_file):
        key = load_identity(target, login)
        yield "publickey", lambda: link.auth_publickey(user, key)
    if login.password:
        yield "password", lambda: _password(link, user, login.password)
    elif target.auth == "password":
        raise PASSWORD_NEEDED(server=target.name, user=user)


def _agent_keys(target: Target) -> list[paramiko.AgentKey]:
    """The agent's keys; with a key file named, only the agent's copy of that key (as IdentitiesOnly does)."""
    try:
        keys = list(paramiko.Agent().get_keys())
    except (paramiko.SSHException, OSError):
        keys = []
    if target.identity_file:
        public = Path(target.identity_file + ".pub").expanduser()
        with contextlib.suppress(OSError, ValueError):
            wanted = key_blob(public.read_text(encoding="utf-8"))
            keys = [k for k in keys if k.asbytes() == wanted]
    if not keys:
        raise NO_AGENT_KEY(server=target.name)
    return keys


def _password(link: paramiko.Transport, user: str, password: Secret) -> list[str]:
    """Log in by password, or by keyboard-interactive where that is how the server asks for one."""
    try:
        return link.auth_password(user, password.reveal(), fallback=False)
    except paramiko.BadAuthenticationType as problem:
        if "keyboard-interactive" not in problem.allowed_types:
            raise
    # A question that echoes is not one for the password; it gets an empty answer, never the secret.
    return link.auth_interactive(user, lambda _title, _text, prompts: [
        "" if echo else password.reveal() for _prompt, echo in prompts])


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
        _judge_host_key(target, link)
        _authenticate(target, login, link, timeout_s)
    except BaseException:
        _close_link(link)
        raise
    _watch(link)
    if purpose == "data":
        link.packetizer.REKEY_BYTES = DATA_REKEY_BYTES
        if via is None:
            _blocking_socket(link.sock)
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
            closed_at_once = problem.code == LOST.code and problem.params.get("stage") == _BEFORE_GREETING
            if problem.code != BUSY.code and not closed_at_once:
                raise
        # Spread, or all that were refused together would come back together.
        time.sleep(wait_s * random.uniform(0.5, 1.5))
    return _link_once(target, via, timeout_s, heard)


def _link_once(target: Target, via: SshTransport | None, timeout_s: float, heard: Heard) -> paramiko.Transport:
    if via:
        sock: _Through | socket.socket = _Through(via.channel_to(target.address, target.port, timeout_s))
    else:
        sock = _tuned_socket(target, timeout_s)
    try:
        return _handshake(target, sock, timeout_s, heard)
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
        _close_link(link)
        return f"{key.get_name()} {key.get_base64()}"
    finally:
        if own:
            own.close()


class _Wake(threading.Event):
    """Set by either of a channel's two buffers. paramiko clears it too, which would lose a wake-up, so only
    :meth:`rearm` really does."""

    def clear(self) -> None:
        pass

    def rearm(self) -> None:
        super().clear()


class SshStream:
    """A running command; ``console.transport.base.Stream``. ``channel`` is open to the push's data path.

    One thread may read while another writes. Standard error is collected whenever standard output is read
    or the end awaited.
    """

    def __init__(self, transport: SshTransport, channel: paramiko.Channel):
        self.channel, self._transport = channel, transport
        self._wake, self._tail, self._tail_bytes = _Wake(), deque[bytes](), 0
        self._lock = threading.Lock()
        self.on_stderr: Callable[[bytes], None] = self._keep_tail
        self.patience_s: float | None = None
        for pipe in (channel.in_buffer, channel.in_stderr_buffer):
            pipe.set_event(self._wake)

    def write(self, data: bytes | memoryview) -> None:
        """Send all of ``data``; blocks while the command does not read."""
        view = memoryview(data).cast("B")
        self.channel.settimeout(self.patience_s)
        try:
            while view:
                sent = self.channel.send(view) if len(view) < BULK_BYTES else self._send_bulk(view[:BATCH_BYTES])
                if not sent:
                    raise EOFError
                view = view[sent:]
        except TimeoutError:
            raise self._transport.late(self.patience_s or 0, "sending") from None
        except (OSError, EOFError, paramiko.SSHException):
            raise self._transport.lost("sending") from None

    def _send_bulk(self, view: memoryview) -> int:
        """Send as much of ``view`` as the command takes now, in many packets at once; waits until it takes some."""
        channel, link = self.channel, self._transport.link
        with channel.lock:
            if channel.closed:
                raise EOFError
            size = channel._wait_for_send_window(len(view))
            while 0 < size < len(view) and channel.out_window_size > 0:
                size += channel._wait_for_send_window(len(view) - size)
        if size:
            # Not under the channel's lock: while keys are being changed the channel must still hear.
            link._send_user_message(Bulk(channel.remote_chanid, view[:size], channel.out_max_packet_size - PACKET_SPARE_BYTES))
        return size

    def close_stdin(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self.channel.shutdown_write()

    def read(self, limit: int, timeout_s: float | None = None) -> bytes:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            data = self._read_now(limit)
            if data is not None:
                return data
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise self._transport.late(timeout_s or 0, "waiting for output")
            self._wake.wait(left)

    def _read_now(self, limit: int) -> bytes | None:
        """What is there; ``b""`` at the end; None when nothing is there yet."""
        self._wake.rearm()
        # Taken before looking, so that bytes that arrive in between are still found below.
        ended = self.channel.closed or self.channel.eof_received
        self._drain_stderr()
        if self.channel.recv_ready():
            try:
                return self.channel.recv(limit)
            except (OSError, EOFError, paramiko.SSHException):
                raise self._transport.lost("receiving") from None
        if not ended:
            return None
        if not self.channel.eof_received and not self._transport.alive:
            raise self._transport.lost("receiving")
        return b""

    def _drain_stderr(self) -> None:
        with self._lock, contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while self.channel.recv_stderr_ready():
                self.on_stderr(self.channel.recv_stderr(64 << 10))

    def _keep_tail(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_bytes += len(data)
        while len(self._tail) > 1 and self._tail_bytes - len(self._tail[0]) >= STDERR_TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())

    def stderr_tail(self) -> bytes:
        self._drain_stderr()
        return b"".join(self._tail)[-STDERR_TAIL_BYTES:]

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit code. Raises ``ssh.timeout`` when ``timeout_s`` passes, ``ssh.connection-lost`` on a broken link."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.channel.status_event.is_set():
            self._drain_stderr()
            left = 0.2 if deadline is None else min(0.2, deadline - time.monotonic())
            if left <= 0:
                raise self._transport.late(timeout_s or 0, "waiting for a command to end")
            self.channel.status_event.wait(left)
        self._drain_stderr()
        if self.channel.exit_status < 0 and not self._transport.alive:
            raise self._transport.lost("waiting for a command to end")
        return self.channel.exit_status if self.channel.exit_status >= 0 else None

    def signal(self, name: str) -> None:
        """Ask the server to signal the command (RFC 4254, section 6.9); servers may ignore it."""
        message = paramiko.Message()
        message.add_byte(bytes([98]))  # SSH_MSG_CHANNEL_REQUEST
        message.add_int(self.channel.remote_chanid)
        message.add_string("signal")
        message.add_boolean(False)
        message.add_string(name)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._transport.link._send_user_message(message)

    def close(self) -> None:
        _close_channel(self.channel)


class _Capture:
    """Collects both streams of a command, each up to ``limit`` bytes, so that a noisy one takes nothing from the other."""

    def __init__(self, limit: int):
        self._limit, self.truncated, self.dropped = limit, False, 0
        self.stdout, self.stderr = bytearray(), bytearray()

    def add(self, where: bytearray, data: bytes) -> None:
        kept = data[: self._limit - len(where)]
        where += kept
        if len(kept) < len(data):
            self.truncated = True
            self.dropped += len(data) - len(kept)


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
        watchdog: threading.Timer | None = None
        try:
            channel = self.link.open_session(timeout=self._open_s)
            watchdog = threading.Timer(self._open_s, _close_channel, (channel,))
            watchdog.daemon = True
            watchdog.start()
            stream = SshStream(self, channel)
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
        finally:
            if watchdog:
                watchdog.cancel()

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60, max_output_bytes: int = 8 << 20,
            sudo: bool = False) -> Completed:
        started = time.monotonic()
        stream = self.open(argv, sudo=sudo)
        capture = _Capture(max_output_bytes)
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

    def _collect(self, stream: SshStream, capture: _Capture, deadline: float) -> tuple[int | None, bool]:
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
            stream._wake.rearm()
            ended = stream.channel.closed or stream.channel.eof_received
            stream._drain_stderr()
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
            elif not stream._wake.wait(max(0.0, deadline - time.monotonic())):
                raise self.late(SUDO_S, "waiting for sudo")
        rest = bytes(heard).partition(go.encode())[2]
        stream.on_stderr = stream._keep_tail
        if rest:
            stream._keep_tail(rest)

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
            return self.link.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout_s)
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
        _close_link(self.link)
        if self._via:
            self._via.close()


def _from_channel(channel: paramiko.Channel, sock: socket.socket) -> None:
    try:
        while data := channel.recv(64 << 10):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except (OSError, EOFError, paramiko.SSHException):
        _close_channel(channel)  # nobody takes the answer any more


def _to_channel(channel: paramiko.Channel, sock: socket.socket, back: threading.Thread) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        while data := sock.recv(64 << 10):
            channel.sendall(data)
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.shutdown_write()
    # The far end closes its half when it has answered; until then the other pump carries the answer.
    back.join()
    _close_channel(channel)
    sock.close()


def _close_channel(channel: paramiko.Channel) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()
