"""Whether the devices have joined the NVSwitch fabric, where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "nvidia.fabric",
    title=N_("NVSwitch fabric"),
    needs=("nvidia.query",),
    vendor="nvidia",
    applies=lambda site: any(d.vendor == "nvidia" and (d.links or {}).get("kind") == "nvlink" for d in site.devices),
    source="NVIDIA Fabric Manager user guide, 2025-05-06 (documented); states: NVSentinel issue 883, 2026-02 (reported)",
)
def nvidia_fabric(facts: Mapping[str, Any], site: Site) -> Verdict:
    told = {(d.get("fabric_state"), d.get("fabric_status")) for d in facts["nvidia.query"]["devices"] if not d.get("lost")}
    states = {state for state, _ in told}
    if states <= {None, "N/A"}:
        return Verdict("info", N_("The devices tell of no fabric; pairs of NVLink need none."))
    if "In Progress" in states:
        return Verdict(
            "unknown", N_("The devices are joining the fabric right now."), remedy=N_("Wait some minutes and take the inventory again.")
        )
    bad = [f"{state}/{status}" for state, status in told if state != "Completed" or status not in (None, "N/A", "Success")]
    if bad:
        return Verdict(
            "fail",
            N_("The devices have not joined the fabric ({states})."),
            {"states": ", ".join(sorted(bad))},
            N_("Check that the service nvidia-fabricmanager runs and is of the driver's own version; without it CUDA ends with error 802."),
        )
    return Verdict("pass", N_("All devices have joined the fabric."))
