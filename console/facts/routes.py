"""Routes: where packets leave the server, and whether there is a way out at all."""

from __future__ import annotations

import socket
import struct
from typing import Any

from console.facts.fact import file_fact
from console.facts.grammar import Page, clean

_UP = 0x1


def _address(text: str) -> str:
    return socket.inet_ntoa(struct.pack("<L", int(text, 16)))


def _routes(text: str) -> list[dict[str, Any]]:
    """``/proc/net/route``: IPv4, addresses as hexadecimal words of the machine's byte order (little-endian)."""
    page, found = Page(clean(text), "/proc/net/route"), []
    for index, line in page.numbered(1):
        cells = line.split()
        if not cells:
            continue
        try:
            flags, metric = int(cells[3], 16), int(cells[6])
            route = {"interface": cells[0], "destination": _address(cells[1]), "gateway": _address(cells[2]),
                     "mask": _address(cells[7]), "metric": metric}
        except (ValueError, IndexError, struct.error):
            page.fail(index, "this is not a route")
        if flags & _UP:
            found.append(route | {"default": cells[1] == cells[7] == "00000000"})
    return found


FACTS = [file_fact("network.routes", "/proc/net/route", _routes)]
