"""Where to connect, as whom, with which secrets."""

from __future__ import annotations

from dataclasses import dataclass

from console.secrets import Secret


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
