"""Where to connect, as whom, with which secrets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

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


def told(way: Sequence[tuple[Target, Login]], *, sudo: bool = False) -> list[dict[str, Any]]:
    """A way to a server as JSON values, the secrets of its log-ins in clear, and with ``sudo`` that of its end for sudo: for the standard
    input of a process of our own, and nothing else."""
    needed = [(login.password, login.passphrase, login.sudo_password if sudo and number == len(way) else None)
              for number, (_target, login) in enumerate(way, 1)]
    return [{"target": asdict(target), "login": [secret and secret.reveal() for secret in secrets]}
            for (target, _login), secrets in zip(way, needed, strict=True)]


def heard(way: Iterable[dict[str, Any]]) -> list[tuple[Target, Login]]:
    """The way that :func:`told` gave."""
    return [(Target(**{k: tuple(v) if isinstance(v, list) else v for k, v in hop["target"].items()}),
             Login(*(Secret(text) if text else None for text in hop["login"]))) for hop in way]
