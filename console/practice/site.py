"""The practice site: simulated servers that are added, trusted and used like any other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from console.errors import InputError, code
from console.i18n import N_
from console.practice.host import HOSTS, USER, HostProcess, PracticeHost, key_file
from console.practice.server import parse_fault
from console.servers.keys import HostKey
from console.servers.record import ServerRecord

if TYPE_CHECKING:
    from console.engine import Engine

UNKNOWN = code("practice.unknown-server", InputError, N_("There is no practice server {server}."),
               N_("They are called {known}."))


class PracticeSite:
    """Starts, breaks, resets and stops the practice servers of a workspace."""

    def __init__(self, engine: Engine):
        self._engine, self.folder = engine, Path(engine.workspace) / "practice"
        self._process, self._inside = HostProcess(self.folder), None

    def up(self, *, in_process: bool = False) -> list[ServerRecord]:
        """Start the servers if they do not run, and have them in the book with their keys trusted.

        They run in a process of their own, which outlives this one; with ``in_process`` they run here and end with
        :meth:`down` or this process.
        """
        key_file(self.folder)
        if not self.running():
            if in_process:
                self._inside = PracticeHost(self.folder)
                self._inside.start()
            else:
                self._process.start()
        ports = self._host().ports()
        return [self._known(host.name, host.labels, ports[host.name]) for host in HOSTS]

    def running(self) -> bool:
        """Whether the servers are up."""
        return self._inside is not None or self._process.running()

    def down(self) -> None:
        """Stop the servers. Their folders and their entries in the book stay."""
        self.close()
        self._process.stop()

    def close(self) -> None:
        """Stop servers that run in this process; those in a process of their own go on."""
        if self._inside is not None:
            self._inside.stop()
            self._inside = None

    def reset(self) -> None:
        """Empty the servers' homes and end their faults; servers that ran run again. Host keys stay."""
        ran, inside = self.running(), self._inside is not None
        self.down()
        for host in HOSTS:
            for part in ("home", "tmp"):
                shutil.rmtree(self.folder / host.name / part, ignore_errors=True)
        if ran:
            self.up(in_process=inside)

    def fault(self, name: str, fault: str) -> None:
        """Bring about a fault, such as ``cut-after=4MiB``; ``none`` ends all. See ``console.practice.server``.

        Raises:
            InputError: no such server or fault.
            WorldError: ``practice.not-running``.
        """
        if name not in {h.name for h in HOSTS}:
            raise UNKNOWN(server=name, known=", ".join(h.name for h in HOSTS))
        if fault != "none":
            parse_fault(fault)
        self._host().fault(name, fault)

    def _host(self) -> PracticeHost | HostProcess:
        return self._inside or self._process

    def _known(self, name: str, labels: tuple[str, ...], port: int) -> ServerRecord:
        """The entry of a practice server, brought up to date, its key trusted."""
        book = self._engine.servers
        present = {r.name: r for r in book.list()}.get(name)
        if present is None:
            book.add(ServerRecord(name, "127.0.0.1", port, USER, str(key_file(self.folder)), "key", labels=labels,
                                  group="practice"))
        elif present.port != port:
            book.update(replace(present, port=port))
        if present is None or not present.host_keys:
            public = (self.folder / name / "host_key.pub").read_text(encoding="ascii")
            book.trust(name, HostKey(" ".join(public.split()[:2])).fingerprint, own=True)
        return book.get(name)
