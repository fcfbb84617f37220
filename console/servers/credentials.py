"""Secrets for logging in: in memory, for this session; in the system's keyring too where the site allows it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from console.secrets import Secret
from console.servers.keyring import Keyring
from console.transport.login import forget_identities
from console.transport.target import Login

Kind = Literal["password", "passphrase", "sudo_password"]
KINDS: tuple[Kind, ...] = ("password", "passphrase", "sudo_password")
EVERY = "*"


class Credentials:
    """Secrets by server; those set for every server serve where a server has none of its own.

    ``keyring`` gives the system's keyring when the site allows its use, else None. What was asked for goes there once a
    login with it has succeeded (:meth:`worked`), and away again when one has failed (:meth:`failed`).

    ``ask`` may be set by a front end: called with server and kind when a needed secret is missing, from the thread
    that connects; it gives the secret, which is then kept, or None.
    """

    def __init__(self, keyring: Callable[[], Keyring | None] = lambda: None) -> None:
        self._keyring, self._asked = keyring, set[tuple[str, Kind]]()
        self._secrets: dict[tuple[str, Kind], Secret] = {}
        self._refused: dict[tuple[str, Kind], Secret] = {}
        self._lock, self._one_question, self._declined = threading.Lock(), threading.Lock(), dict.fromkeys(KINDS, 0)
        self.ask: Callable[[str, Kind], Secret | None] | None = None

    def set(self, kind: Kind, secret: Secret | None, server: str = EVERY) -> None:
        """Keep a secret, or forget it with None."""
        with self._lock:
            if secret is None:
                self._secrets.pop((server, kind), None)
            else:
                self._secrets[server, kind] = secret

    def get(self, kind: Kind, server: str) -> Secret | None:
        """The secret for a server, without asking anybody."""
        with self._lock:
            known = self._secrets.get((server, kind)) or self._secrets.get((EVERY, kind))
            if known is not None and known is self._refused.get((server, kind)):
                known = None
        if known is None and (keyring := self._keyring()) is not None:
            known = keyring.get(server, kind)
            if known is not None:
                self.set(kind, known, server)
        return known

    def needed(self, kind: Kind, server: str) -> Secret | None:
        """The secret for a server; the front end is asked when there is none, one question at a time. Whoever waited while
        a question of the same kind was declined is not asked another."""
        declined, ask, known = self._declined[kind], self.ask, self.get(kind, server)
        if known is not None or ask is None:
            return known
        with self._one_question:
            known = self.get(kind, server)
            if known is None and declined == self._declined[kind]:
                known = ask(server, kind)
                if known is None:
                    self._declined[kind] += 1
                else:
                    self.set(kind, known, server)
                    with self._lock:
                        self._asked.add((server, kind))
        return known

    def worked(self, server: str) -> None:
        """A login succeeded: what was asked for it may be kept."""
        with self._lock:
            right = {(name, kind): self._secrets.get((name, kind)) for name, kind in self._asked if name == server}
            self._asked -= right.keys()
        keyring = self._keyring() if right else None
        for (name, kind), secret in right.items():
            if keyring is not None and secret is not None:
                keyring.keep(name, kind, secret)

    def failed(self, server: str, kind: Kind) -> None:
        """A secret was refused: it is asked for again next time, and not kept. One that is set for every server stays for
        the others."""
        with self._lock:
            known = self._secrets.pop((server, kind), None)
            self._asked.discard((server, kind))
            if known is None and (EVERY, kind) in self._secrets:
                self._refused[server, kind] = self._secrets[EVERY, kind]
        if known is not None and (keyring := self._keyring()) is not None:
            keyring.forget(server, kind)

    def login(self, server: str) -> Login:
        """What is known for a server."""
        return Login(*(self.get(kind, server) for kind in ("password", "passphrase", "sudo_password")))

    def forget(self) -> None:
        """Drop everything, as on lock or log-out."""
        with self._lock:
            self._secrets.clear()
            self._refused.clear()
            self._asked.clear()
        forget_identities()
