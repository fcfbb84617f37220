"""Network interfaces with speed and addresses, and RDMA ports (InfiniBand and RoCE)."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import Fact, over_files
from console.facts.grammar import clean, whole

_LINKS_SCRIPT = over_files(
    r"""{ n = split(path, part, "/"); link = part[5]; if (!(link in seen)) { seen[link]; names[++count] = link }
if (part[n] != "uevent") said[link, part[n]] = value
else if (value ~ /^DRIVER=/) said[link, "driver"] = substr(value, 8) }
END { for (i = 1; i <= count; i++) { link = names[i]; print link "|" said[link, "operstate"] "|" said[link, "speed"] "|" \
said[link, "duplex"] "|" said[link, "mtu"] "|" said[link, "address"] "|" said[link, "driver"] } }""",
    *(f"/sys/class/net/*/{name}" for name in ("operstate", "speed", "duplex", "mtu", "address", "device/uevent")))

_RDMA_SCRIPT = over_files(
    r"""{ n = split(path, part, "/"); device = part[5]
if (n == 6) { own[device, part[n]] = value; next }
port = device "|" part[7]; said[port, part[n]] = value
if (!(port in seen)) { seen[port] = device; names[++count] = port } }
END { for (i = 1; i <= count; i++) { port = names[i]; print port "|" said[port, "state"] "|" said[port, "phys_state"] "|" \
said[port, "rate"] "|" said[port, "link_layer"] "|" own[seen[port], "fw_ver"] "|" own[seen[port], "hca_type"] } }""",
    *(f"/sys/class/infiniband/*/ports/*/{name}" for name in ("state", "phys_state", "rate", "link_layer")),
    *(f"/sys/class/infiniband/*/{name}" for name in ("fw_ver", "hca_type")))


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
    """Ports with their state, rate and ``link_layer`` (Ethernet: RoCE), and the firmware and type of their adapter."""
    found = []
    for line in clean(text).splitlines():
        cells = line.split("|")
        if len(cells) in (6, 8):
            rate = re.match(r"\s*([\d.]{1,10}) Gb/sec", cells[4])
            state, physical = (cell.partition(": ")[2] or cell or None for cell in cells[2:4])
            found.append({"device": cells[0], "port": whole(cells[1]), "state": state, "physical_state": physical,
                          "rate_gbit_per_s": float(rate[1]) if rate else None, "link_layer": cells[5] or None,
                          "firmware_version": cells[6] or None if cells[6:] else None, "type": cells[7] or None if cells[7:] else None})
    return found


FACTS = [
    Fact("network.links", ("sh", "-c", _LINKS_SCRIPT), 10, _links, needs="awk", quick=True),
    Fact("network.addresses", ("ip", "-o", "addr"), 5, _addresses, quick=True),
    Fact("network.rdma", ("sh", "-c", _RDMA_SCRIPT), 5, _rdma, needs="awk", quick=True),
]
