"""Keys that a push from server to server could not take away itself: the server lost power, the receiver was killed.

Each server that takes part is noted in the workspace before the first key is made, and forgotten once its receiver has ended
by itself, which takes away what it made. What stays noted is looked after the next time that anything connects to the server.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from console.errors import SealiftError
from console.push.connection import BOOTSTRAP, shipped
from console.store import pushkeys

if TYPE_CHECKING:
    from console.engine import Engine
    from console.transport.base import Transport

PYTHONS = ("/usr/bin/python3", "python3", "/usr/libexec/platform-python")
SWEEP_S = 20.0
SWEEP = "import json\nfrom console.push.remote import onward\nprint(json.dumps(onward.sweep()))"


class Leftovers:
    """Knows where keys may lie. Safe from several threads."""

    def __init__(self, engine: Engine):
        self._engine, self._lock, self._at_work = engine, threading.Lock(), set[str]()

    def expect(self, names: Iterable[str]) -> None:
        """A push is about to make keys on these servers, which nobody else is to take for left over until :meth:`settle`."""
        names = set(names)
        with self._lock:
            self._at_work |= names
        pushkeys.note(self._engine.store, names)

    def settle(self, names: Iterable[str], clean: Iterable[str]) -> None:
        """The push is over; the receivers on the ``clean`` ones ended by themselves."""
        with self._lock:
            self._at_work -= set(names)
        if clean := set(clean) & set(pushkeys.noted(self._engine.store)):
            pushkeys.forget(self._engine.store, clean)

    def where(self) -> list[str]:
        """Servers on which a key may lie that no push under way has made."""
        noted = pushkeys.noted(self._engine.store)
        with self._lock:
            return [name for name in noted if name not in self._at_work]

    def take_away(self, name: str, transport: Transport) -> None:
        """Take away what is left on a server that may hold something; what cannot be done now stays noted."""
        if name not in self.where():
            return
        with suppress(SealiftError):
            python = python_of(transport)
            if python is None:
                return
            source = shipped(SWEEP)
            done = transport.run((python, "-S", "-E", "-c", BOOTSTRAP, str(len(source))), stdin=source, timeout_s=SWEEP_S)
            swept = _swept(done.stdout) if done.exit_code == 0 else None
            if swept is None:
                return
            if swept["removed"]:
                obj = {"kind": "server", "id": name, "digest": None}
                self._engine.audit.append("push.keys-removed", obj=obj, detail={"removed": swept["removed"]})
            # A receiver that has not noticed yet that its console is gone takes its own away, or the next connection does.
            if not swept["held"]:
                pushkeys.forget(self._engine.store, [name])


def _swept(said: bytes) -> dict[str, int] | None:
    """What the server says that it removed, and what still lives; None where it says something else."""
    try:
        told = json.loads(said)
        good = isinstance(told, dict) and all(type(told.get(word)) is int and 0 <= told[word] < 1 << 31 for word in ("removed", "held"))
    except (ValueError, RecursionError):
        return None
    return told if good else None


def python_of(transport: Transport) -> str | None:
    """The interpreter that the receiver can run in, or None where there is none of version 3.6 or newer."""
    # Not what PATH finds first: a version manager's shim was measured to cost 0.2 to 0.4 s a start. But where PATH has no
    # python3 at all, the one in /usr/bin is not meant to be used either.
    script = (
        f'for p in {" ".join(PYTHONS)}; do command -v python3 >/dev/null || [ "$p" = {PYTHONS[-1]} ] || continue; '
        '"$p" -S -E -c "import sys,fcntl,zlib; sys.exit(sys.version_info < (3, 6))" 2>/dev/null && { echo "$p"; exit; }; done'
    )
    found = transport.run(("sh", "-c", script), timeout_s=60)
    name = found.stdout.decode("utf-8", "replace").strip()
    return name if name in PYTHONS else None
