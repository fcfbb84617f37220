"""Network interfaces with speed and addresses, and RDMA ports (InfiniBand and RoCE)."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import files_fact, lines_of, shell_fact
from console.facts.grammar import clean, whole

_LINK = re.compile(r"/sys/class/net/([^/]{1,64})/(operstate|speed|duplex|mtu|address|device/uevent)")
_RDMA = re.compile(r"/sys/class/infiniband/([^/]{1,64})/(?:ports/(\d{1,4})/)?(state|phys_state|rate|link_layer|fw_ver|hca_type)")


def _links(text: str) -> list[dict[str, Any]]:
    said: dict[str, dict[str, str]] = {}
    for path, value in lines_of(clean(text)):
        match = _LINK.fullmatch(path)
        if not match:
            continue
        link = said.setdefault(match[1], {})
        if match[2] != "device/uevent":
            link[match[2]] = value
        elif value.startswith("DRIVER="):
            link["driver"] = value[7:]
    found = []
    for name, link in sorted(said.items()):
        speed = whole(link.get("speed"))
        found.append({"name": name, "state": link.get("operstate") or None, "mac": link.get("address") or None, "mtu": whole(link.get("mtu")),
                      "speed_mbit_per_s": speed if speed and speed > 0 else None, "duplex": link.get("duplex") or None,
                      "driver": link.get("driver") or None})
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
    ports: dict[tuple[str, int], dict[str, str]] = {}
    adapters: dict[str, dict[str, str]] = {}
    for path, value in lines_of(clean(text)):
        if match := _RDMA.fullmatch(path):
            place = ports.setdefault((match[1], int(match[2])), {}) if match[2] else adapters.setdefault(match[1], {})
            place[match[3]] = value
    found = []
    for (device, port), said in sorted(ports.items()):
        rate = re.match(r"\s*([\d.]{1,10}) Gb/sec", said.get("rate", ""))
        state, physical = (cell.partition(": ")[2] or cell or None for cell in (said.get("state", ""), said.get("phys_state", "")))
        own = adapters.get(device, {})
        found.append({"device": device, "port": port, "state": state, "physical_state": physical,
                      "rate_gbit_per_s": float(rate[1]) if rate else None, "link_layer": said.get("link_layer") or None,
                      "firmware_version": own.get("fw_ver") or None, "type": own.get("hca_type") or None})
    return found


# One start of ip says both, with routes of IPv4 only, for that is what the network of all addresses is of; where it cannot, as
# in busybox, two do.
_IP_SCRIPT = r"""said=$(ip -o -batch - 2>/dev/null <<'E'
address show
route show table all root 0.0.0.0/0
E
) && [ -n "$said" ] && printf '%s\n' "$said" || { ip -o addr; ip -4 route show table all; }"""
ADDRESSES = shell_fact("network.addresses", _IP_SCRIPT, 5, _addresses, needs="ip")
"""The fact in whose output the routes of all tables stand too."""

FACTS = [
    files_fact("network.links", tuple(f"/sys/class/net/*/{name}" for name in ("operstate", "speed", "duplex", "mtu", "address", "device/uevent")),
               _links, tool="/sys/class/net"),
    ADDRESSES,
    files_fact("network.rdma", (*(f"/sys/class/infiniband/*/ports/*/{name}" for name in ("state", "phys_state", "rate", "link_layer")),
                                *(f"/sys/class/infiniband/*/{name}" for name in ("fw_ver", "hca_type"))), _rdma, tool="/sys/class/infiniband"),
]
