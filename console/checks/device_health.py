"""Health of each device, as its vendor's tool tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "device.health",
    title=N_("Health of the devices"),
    applies=lambda site: bool(site.devices),
    source="npu-smi reference (hiascend.com, 2025-2026): Warning warns; Alarm, Critical and UNKNOWN fail; nvidia-smi ERR! and lost devices fail",
)
def device_health(facts: Mapping[str, Any], site: Site) -> Verdict:
    def listed(word: str) -> str:
        return ", ".join(str(d.index) for d in site.devices if d.health == word)

    if bad := listed("fail"):
        return Verdict(
            "fail",
            N_("Devices {devices} are out of order."),
            {"devices": bad},
            N_("Take these devices or this server out of the plan, and call the vendor with the evidence."),
        )
    if unsure := listed("unknown"):
        return Verdict(
            "unknown",
            N_("The health of devices {devices} is not told."),
            {"devices": unsure},
            N_("Look at the devices with the vendor's tool."),
        )
    if tired := listed("warning"):
        return Verdict(
            "warn",
            N_("Devices {devices} give a warning."),
            {"devices": tired},
            N_("Look up the warning with the vendor's tool before going on."),
        )
    return Verdict("pass", N_("All {count} devices are well."), {"count": len(site.devices)})
