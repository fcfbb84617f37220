"""The system's keyring, where the site allows it and the platform offers one: secrets of servers outlive the session there.

The package ``keyring`` is no part of this program. Where it is not installed, or finds no keyring that keeps secrets
encrypted, nothing is kept and nothing fails.
"""

from __future__ import annotations

from typing import Any

from console.secrets import Secret

SERVICE = "sealift"
_UNSAFE = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt.file.PlaintextKeyring")
"""Backends that keep nothing, or keep it for everybody to read."""


class Keyring:
    """Secrets of one workspace in the system's keyring, by server and kind."""

    def __init__(self, backend: Any, workspace: str):
        self._backend, self._workspace = backend, workspace

    def get(self, server: str, kind: str) -> Secret | None:
        """The secret, None when there is none or the keyring stays locked."""
        try:
            text = self._backend.get_password(SERVICE, self._name(server, kind))
        except Exception:  # each backend raises kinds of its own; without the keyring the secret is asked for
            return None
        return Secret(text) if isinstance(text, str) and text else None

    def keep(self, server: str, kind: str, secret: Secret) -> bool:
        """Keep a secret; whether the keyring took it."""
        try:
            self._backend.set_password(SERVICE, self._name(server, kind), secret.reveal())
        except Exception:  # as above: then it is kept for the session only
            return False
        return True

    def forget(self, server: str, kind: str) -> None:
        """Take a secret out, if it is there."""
        try:
            self._backend.delete_password(SERVICE, self._name(server, kind))
        except Exception:  # as above: what is not there needs no taking out
            return

    def _name(self, server: str, kind: str) -> str:
        return f"{self._workspace}|{server}|{kind}"


def system_keyring(workspace: str) -> Keyring | None:
    """The keyring of this system for a workspace, None where there is none that can be trusted with a secret."""
    try:
        import keyring

        backend = keyring.get_keyring()
    except Exception:  # not installed, or its backends cannot start
        return None
    kind = f"{type(backend).__module__}.{type(backend).__qualname__}"
    return None if kind.startswith(_UNSAFE) else Keyring(backend, workspace)
