"""Asks servers in a process of its own, while the console's serves a window: a fleet keeps many threads at work, and the threads
of one process share the interpreter.

Lines in are JSON objects, each a server to be asked. Lines out are too; each names the number under which its server was asked
for. The end of the input ends the process at once, and with it every connection.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any, BinaryIO, NoReturn

from console.errors import SealiftError
from console.processes import LITTER
from console.servers.bastions import Bastions
from console.servers.gather import Known, gather, known_facts
from console.transport import ssh
from console.transport.target import heard

TURN_CHARS = 64 << 10
"""Evidence goes out in lines of about this length, so that whoever reads them is never long at one."""


def main() -> NoReturn:
    """Ask what standard input says until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt is for the console, which ends us
    gc.set_threshold(*LITTER)
    _Worker(sys.stdout.buffer).serve(sys.stdin.buffer)
    os._exit(0)  # threads that wait for servers are not waited for


class _Worker:
    def __init__(self, sink: BinaryIO):
        self._sink, self._saying, self._bastions = sink, threading.Lock(), Bastions()

    def serve(self, source: BinaryIO) -> None:
        known_facts()
        self._say(0, ready=True)
        for line in source:
            order = json.loads(line)
            threading.Thread(target=self._ask, args=(order,), daemon=True, name=f"ask-{order['number']}").start()

    def _ask(self, order: dict[str, Any]) -> None:
        number = order["number"]
        try:
            self._tell(number, order)
        except SealiftError as problem:
            self._say(number, error=problem.kept())
        except BaseException:  # the console raises it, with where it was
            self._say(number, bug=traceback.format_exc())

    def _tell(self, number: int, order: dict[str, Any]) -> None:
        *jumps, (target, login) = heard(order["way"])
        via = self._bastions.through(jumps, order["timeout_s"])
        link = ssh.connect(target, login, via=via, timeout_s=order["timeout_s"], heard=lambda: self._say(number, heard=True))
        try:
            self._say(number, logged_in=True)
            link.sudo_wrong = lambda: self._say(number, sudo_wrong=True)
            known = Known(order["start"], dict.fromkeys(order["known"]))
            found = gather(link, known_facts(), root=order["root"], known=known, store=order["store"])
        finally:
            link.close()
        part, size = {}, 0
        for fact, evidence in found.items():
            part[fact] = evidence
            size += len(evidence["stdout"]) + len(evidence["stderr"]) if evidence else 0
            if size > TURN_CHARS:
                self._say(number, evidence=part)
                part, size = {}, 0
        self._say(number, evidence=part, done=True)

    def _say(self, number: int, **told: Any) -> None:
        line = json.dumps({"number": number} | told).encode() + b"\n"
        with self._saying, suppress(OSError):  # nobody listens any more; our input ends as well
            self._sink.write(line)
            self._sink.flush()


if __name__ == "__main__":
    main()
