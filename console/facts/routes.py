"""Routes: where packets leave the server, and whether there is a way out at all; IPv4, IPv6, and the tables that rules choose."""

from __future__ import annotations

import re
import socket
import struct
from typing import Any

from console.facts.fact import Fact, file_fact, files_fact
from console.facts.grammar import Page, clean
from console.facts.network import ADDRESSES
from console.i18n import N_

_UP, _REJECT = 0x1, 0x200


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
            page.fail(index, N_("this is not a route"))
        if flags & _UP:
            found.append(route | {"default": cells[1] == cells[7] == "00000000"})
    return found


def _routes6(text: str) -> list[dict[str, Any]]:
    """``/proc/net/ipv6_route``: numbers in hexadecimal. Routes that refuse, and those of the loopback, are none."""
    page, found = Page(clean(text), "/proc/net/ipv6_route"), []
    for index, line in page.numbered():
        cells = line.removeprefix(f"{page.tool}:").split()
        if not cells:
            continue
        try:
            destination, gateway = (socket.inet_ntop(socket.AF_INET6, bytes.fromhex(cells[n])) for n in (0, 4))
            prefix, metric, flags, interface = int(cells[1], 16), int(cells[5], 16), int(cells[8], 16), cells[9]
        except (ValueError, IndexError):
            page.fail(index, N_("this is not a route"))
        if flags & _UP and not flags & _REJECT and interface != "lo":
            found.append({"interface": interface, "destination": destination, "gateway": gateway, "prefix": prefix, "metric": metric,
                          "default": prefix == 0})
    return found


_MAIN_TABLES = ("main", "local", "default", "254", "255", "253")


def _tables(text: str) -> list[dict[str, Any]]:
    """Rows of ``ip -4 route show table all``, behind those of ``ip -o addr`` or alone, in tables of the site's own making, to which rules may send packets."""
    page, found = Page(clean(text), "ip route"), []
    for index, line in page.numbered():
        words = line.split()
        if not words or re.fullmatch(r"\d+:", words[0]) or words[0] in ("unreachable", "blackhole", "prohibit", "throw", "local", "broadcast", "multicast", "anycast"):
            continue
        target = words[0] if words[0] != "unicast" else words[1] if len(words) > 1 else ""
        said = dict(zip(words[1:], words[2:], strict=False))
        if target != "default" and not re.fullmatch(r"[0-9.]{7,15}(?:/\d{1,2})?", target) and not line[:1].isspace():
            page.fail(index, N_("this is not a route"))
        if said.get("table", "main") not in _MAIN_TABLES and not line[:1].isspace():
            destination, _, prefix = target.partition("/")
            found.append({"table": said["table"], "interface": said.get("dev"), "destination": "0.0.0.0" if target == "default" else destination,
                          "gateway": said.get("via"), "prefix": 0 if target == "default" else int(prefix or 32), "default": target == "default"})
    return found



FACTS = [
    file_fact("network.routes", "/proc/net/route", _routes),
    # Without IPv6 there is no such file, and no way out by it: not one that is missing, but one that is empty.
    files_fact("network.routes6", ("/proc/net/ipv6_route",), _routes6, tool="/proc/net/ipv6_route"),
    Fact("network.routes-tables", ADDRESSES.argv, ADDRESSES.timeout_s, _tables, of=ADDRESSES.id, tool="ip route"),
]
