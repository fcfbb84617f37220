"""One connection to each bastion, shared by all servers behind it while they are asked.

A connection for every server would be dropped by many a bastion (OpenSSH's MaxStartups), and would log in there, and be
noted there, as often as there are servers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from console.errors import InputError, SealiftError
from console.transport import ssh

Hop = tuple[ssh.Target, ssh.Login]


class Bastions:
    """The connections of one run; safe from several threads. ``opened`` is told of each, such as to close it on a cancel."""

    def __init__(self, opened: Callable[[ssh.SshTransport], object] = lambda _link: None):
        self._opened, self._lock = opened, threading.Lock()
        self._known: dict[tuple[str, ...], ssh.SshTransport | SealiftError] = {}
        self._locks: dict[tuple[str, ...], threading.Lock] = {}

    def through(self, jumps: Sequence[Hop], timeout_s: float) -> ssh.SshTransport | None:
        """The connection to the last of ``jumps``, over those before it; None where there are none.

        Raises:
            WorldError, InputError: with an ``ssh.…`` code. A bastion that could not be reached is not tried again for every
                server behind it; what somebody can put right by giving a secret is.
        """
        link = None
        for count in range(1, len(jumps) + 1):
            link = self._one(jumps[:count], link, timeout_s)
        return link

    def _one(self, way: Sequence[Hop], via: ssh.SshTransport | None, timeout_s: float) -> ssh.SshTransport:
        names = tuple(target.name for target, _login in way)
        with self._lock:
            lock = self._locks.setdefault(names, threading.Lock())
        with lock:
            known = self._known.get(names)
            if isinstance(known, SealiftError):
                raise known.kind(**known.params)
            if known is None or not known.alive:
                try:
                    known = ssh.connect(*way[-1], via=via, timeout_s=timeout_s)
                except SealiftError as problem:
                    if not isinstance(problem, InputError):
                        self._known[names] = problem
                    raise
                self._known[names] = known
                self._opened(known)
            return known

    def close(self) -> None:
        """Close them all, the farthest first."""
        with self._lock:
            links = [link for names, link in sorted(self._known.items(), key=lambda one: -len(one[0])) if isinstance(link, ssh.SshTransport)]
        for link in links:
            link.close()
