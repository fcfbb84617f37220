"""TCP ports that something listens on."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from console.facts.fact import shell_fact
from console.facts.grammar import Page, clean
from console.i18n import N_

_ASKED = "ss -tn state listening"

LISTENS = "0A"
"""The state of a socket that listens, in the kernel's tables (``TCP_LISTEN``, include/net/tcp_states.h)."""

# With -l, ss would ask for the closed as well, and the kernel go through its table of all connections for them. Of its tables as
# text, which are read where ss is missing, all rows are made to find these.
_SCRIPT = f"if command -v ss >/dev/null 2>&1; then {_ASKED}; else grep -hs ' {LISTENS} ' /proc/net/tcp /proc/net/tcp6; :; fi"


_ALL = frozenset(("*", "0.0.0.0", "::"))
_ROW = r"\d+\s+\d+\s+(\S{1,100}):(\d{1,5})\s+\S"
_ROWS = {"State": re.compile(rf"LISTEN\s+{_ROW}"), "Recv-Q": re.compile(_ROW)}
"""By the first word of the head: the state stands ahead unless only one was asked for."""


def _listening(text: str) -> list[dict[str, Any]]:
    """Rows of ``ss``, or those of :func:`listening`."""
    page, found = Page(clean(text), _ASKED), []
    row = _ROWS.get(page.text.partition(" ")[0])
    if row is None:
        return listening(text)
    for index, line in enumerate(page.lines[1:], 1):
        match = row.match(line)
        if match:
            bare, port = match.groups()
            bare = bare.strip("[]").partition("%")[0]
            found.append({"address": bare, "port": int(port), "everywhere": bare in _ALL})
        elif line.strip():
            page.fail(index, N_("this is not a listening socket"))
    return found


def listening(text: str) -> list[dict[str, Any]]:
    """Listening rows of ``/proc/net/tcp`` and ``/proc/net/tcp6``, whose addresses are hexadecimal words of the machine's byte
    order (little-endian).

    Raises:
        InputError: ``inventory.unreadable-output``.
    """
    page, found = Page(clean(text), "/proc/net/tcp"), []
    for index, line in page.numbered():
        cells = line.split()
        if not cells or cells[0] == "sl" or (len(cells) > 3 and cells[3] != LISTENS):
            continue
        try:
            words, mark, port = cells[1].partition(":")
            raw = b"".join(bytes.fromhex(words[n : n + 8])[::-1] for n in range(0, len(words), 8))
            address = ipaddress.ip_address(raw)
            mapped = address.ipv4_mapped if address.version == 6 else None
            if not mark or cells[3] != LISTENS:
                raise ValueError
            found.append({"address": f"::ffff:{mapped}" if mapped else str(address), "port": int(port, 16), "everywhere": address.is_unspecified})
        except (ValueError, IndexError):
            page.fail(index, N_("this is not a listening socket"))
    return found


FACTS = [shell_fact("net.listening", _SCRIPT, 10, _listening, tool=_ASKED)]
