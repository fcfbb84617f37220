"""Whether Fabric Manager is of the driver's own version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "nvidia.fabric-manager",
    title=N_("Fabric Manager and driver"),
    needs=("nvidia.query", "nvidia.fabric-manager"),
    vendor="nvidia",
    applies=lambda site: any(d.vendor == "nvidia" and (d.links or {}).get("kind") == "nvlink" for d in site.devices),
    source="NVIDIA Fabric Manager user guide, 2025-05-06 (documented): both versions have to be equal",
    blocking=False,
)
def nvidia_fabric_manager(facts: Mapping[str, Any], site: Site) -> Verdict:
    driver, said = facts["nvidia.query"].get("driver_version"), facts["nvidia.fabric-manager"]
    found = re.search(r"\d+(?:\.\d+)+", said)
    told = {"driver": driver or "?", "manager": found[0] if found else said[:60]}
    if not driver or not found:
        return Verdict("unknown", N_("The versions of driver and Fabric Manager are not both told."), told, N_("Run nv-fabricmanager --version."))
    if found[0] != driver:
        return Verdict(
            "fail", N_("Fabric Manager is {manager}, the driver {driver}."), told, N_("Install the Fabric Manager of the driver's version.")
        )
    return Verdict("pass", N_("Fabric Manager and driver are both {driver}."), told)
