"""Network interfaces with speed and addresses, and RDMA ports (InfiniBand and RoCE)."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import Fact
from console.facts.grammar import clean, whole

_LINKS_SCRIPT = r"""for d in /sys/class/net/*; do [ -e "$d" ] || continue
printf '%s|%s|%s|%s|%s|%s|%s\n' "${d##*/}" "$(cat "$d/operstate" 2>/dev/null)" "$(cat "$d/speed" 2>/dev/null)" \
"$(cat "$d/duplex" 2>/dev/null)" "$(cat "$d/mtu" 2>/dev/null)" "$(cat "$d/address" 2>/dev/null)" \
"$(readlink "$d/device/driver" 2>/dev/null)"; done"""

_RDMA_SCRIPT = r"""for p in /sys/class/infiniband/*/ports/*; do [ -d "$p" ] || continue; d=${p%/ports/*}
printf '%s|%s|%s|%s|%s|%s\n' "${d##*/}" "${p##*/}" "$(cat "$p/state")" "$(cat "$p/phys_state")" "$(cat "$p/rate")" \
"$(cat "$p/link_layer")"; done"""


def _links(text: str) -> list[dict[str, Any]]:
    found = []
    for line in clean(text).splitlines():
        cells = line.split("|")
        if len(cells) == 7:
            speed = whole(cells[2])
            found.append({"name": cells[0], "state": cells[1] or None, "mac": cells[5] or None, "mtu": whole(cells[4]),
                          "speed_mbit_per_s": speed if speed and speed > 0 else None, "duplex": cells[3] or None,
                          "driver": cells[6].rsplit("/", 1)[-1] or None})
    return found


def _addresses(text: str) -> list[dict[str, Any]]:
    """Lines of ``ip -o addr``."""
    found = []
    for line in clean(text).splitlines():
        match = re.match(r"\d+:\s+(\S+)\s+(inet6?)\s+([0-9a-fA-F.:]+)/(\d+)(?:.*? scope (\S+))?", line[:1000])
        if match:
            found.append({"name": match[1].split("@")[0], "family": match[2], "address": match[3],
                          "prefix": int(match[4]), "scope": match[5]})
    return found


def _rdma(text: str) -> list[dict[str, Any]]:
    found = []
    for line in clean(text).splitlines():
        cells = line.split("|")
        if len(cells) == 6:
            rate = re.match(r"\s*([\d.]{1,10}) Gb/sec", cells[4])
            state, physical = (cell.partition(": ")[2] or cell or None for cell in cells[2:4])
            found.append({"device": cells[0], "port": whole(cells[1]), "state": state, "physical_state": physical,
                          "rate_gbit_per_s": float(rate[1]) if rate else None, "link_layer": cells[5] or None})
    return found


FACTS = [
    Fact("network.links", ("sh", "-c", _LINKS_SCRIPT), 10, _links),
    Fact("network.addresses", ("ip", "-o", "addr"), 5, _addresses),
    Fact("network.rdma", ("sh", "-c", _RDMA_SCRIPT), 5, _rdma),
]
