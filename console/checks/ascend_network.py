"""Whether each Ascend device has an address and a link on the device network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "ascend.network",
    title=N_("Network of the Ascend devices"),
    needs=("ascend.network",),
    vendor="ascend",
    source="vllm-ascend multi-node guide, 2026-08-22 (documented): every device an own address, link UP, health Success",
)
def ascend_network(facts: Mapping[str, Any], site: Site) -> Verdict:
    ports = facts["ascend.network"]
    down = sorted(n for n, p in ports.items() if p.get("link") not in (None, "UP"))
    addresses = [p.get("ip") for p in ports.values()]
    if down:
        return Verdict(
            "warn",
            N_("The link of devices {devices} is down, which rules out serving over several servers."),
            {"devices": ", ".join(map(str, down))},
            N_("Check cables and switch ports of these devices."),
        )
    if None in addresses or len(set(addresses)) != len(addresses):
        return Verdict(
            "warn",
            N_("Not every device has an address of its own."),
            remedy=N_("Set the addresses with hccn_tool before serving over several servers."),
        )
    return Verdict("pass", N_("All {count} devices have an address, and their links are up."), {"count": len(ports)})
