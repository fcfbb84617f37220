"""Logging in: by the agent, a key file with or without a certificate, a password."""

from __future__ import annotations

import base64
import binascii
import contextlib
import threading
from functools import lru_cache
from pathlib import Path

import paramiko

from console.errors import SealiftError
from console.secrets import Secret
from console.transport.problems import (
    AUTH_FAILED,
    IDENTITY_LOCKED,
    IDENTITY_MALFORMED,
    IDENTITY_MISSING,
    IDENTITY_PASSPHRASE,
    LOST,
    NO_AGENT_KEY,
    PASSWORD_NEEDED,
    TIMEOUT,
)
from console.transport.publickey import key_blob
from console.transport.target import Login, Target


def load_identity(target: Target, login: Login) -> paramiko.PKey:
    """The private key of ``target``, with its OpenSSH certificate (``<file>-cert.pub``) when there is one."""
    path = Path(target.identity_file or "").expanduser()
    secret = login.passphrase.reveal().encode() if login.passphrase else None
    try:
        with _READING:
            return _identity(str(path), _versions(path), login.passphrase)
    except OSError as problem:
        raise IDENTITY_MISSING(path=str(path), server=target.name, reason=problem.strerror or "?") from None
    except paramiko.PasswordRequiredException:
        raise IDENTITY_LOCKED(path=str(path), server=target.name) from None
    except Exception as problem:  # cryptography and paramiko raise a dozen kinds for a key they cannot read
        raise _identity_error(path, target, secret, problem) from None


_READING = threading.Lock()
"""One at a time: what the first has read, the others find."""


@lru_cache(maxsize=8)
def _identity(path: str, versions: tuple[tuple[int, ...], ...], passphrase: Secret | None) -> paramiko.PKey:
    """The key of a file in these ``versions``. To read it anew for each server of a fleet takes long, above all where a passphrase
    protects it, which is meant to: its key derivation is slow by design."""
    return paramiko.PKey.from_path(Path(path), passphrase.reveal().encode() if passphrase else None)


def forget_identities() -> None:
    """Drop the keys that were read, as on lock or log-out."""
    _identity.cache_clear()


def _versions(path: Path) -> tuple[tuple[int, ...], ...]:
    """What tells whether a key file or its certificate is another than before."""
    found = [path.stat()]
    with contextlib.suppress(OSError):
        found.append(path.with_name(path.name + "-cert.pub").stat())
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in found)


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


def authenticate(target: Target, login: Login, link: paramiko.Transport, timeout_s: float) -> None:
    """Log in by the ways that the target's entry and the secrets allow, one after the other.

    Raises:
        WorldError: ``ssh.auth-failed``, ``ssh.timeout``, ``ssh.connection-lost``.
        InputError: a secret is missing or wrong, or the key file is: ``ssh.password-needed``, ``ssh.identity-…``.
    """
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
