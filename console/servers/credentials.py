"""Secrets for logging in: in memory, for this session, and nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from console.secrets import Secret
from console.transport.ssh import Login

Kind = Literal["password", "passphrase", "sudo_password"]
EVERY = "*"


class Credentials:
    """Secrets by server; those set for every server serve where a server has none of its own.

    ``ask`` may be set by a front end: called with server and kind when a needed secret is missing, from the thread
    that connects; it gives the secret, which is then kept, or None.
    """

    def __init__(self) -> None:
        self._secrets: dict[tuple[str, Kind], Secret] = {}
        self._lock = threading.Lock()
        self.ask: Callable[[str, Kind], Secret | None] | None = None

    def set(self, kind: Kind, secret: Secret | None, server: str = EVERY) -> None:
        """Keep a secret, or forget it with None."""
        with self._lock:
            if secret is None:
                self._secrets.pop((server, kind), None)
            else:
                self._secrets[server, kind] = secret

    def get(self, kind: Kind, server: str) -> Secret | None:
        """The secret for a server, without asking."""
        with self._lock:
            return self._secrets.get((server, kind)) or self._secrets.get((EVERY, kind))

    def needed(self, kind: Kind, server: str) -> Secret | None:
        """The secret for a server; the front end is asked when there is none."""
        known = self.get(kind, server)
        if known is None and self.ask is not None:
            known = self.ask(server, kind)
            if known is not None:
                self.set(kind, known, server)
        return known

    def login(self, server: str) -> Login:
        """What is known for a server."""
        return Login(*(self.get(kind, server) for kind in ("password", "passphrase", "sudo_password")))

    def forget(self) -> None:
        """Drop everything, as on lock or log-out."""
        with self._lock:
            self._secrets.clear()
