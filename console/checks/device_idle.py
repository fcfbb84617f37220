"""Whether somebody else already uses the devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console import units
from console.checks.check import Site, Verdict, check
from console.i18n import N_

RESERVED_BYTES = 500 << 20
ASCEND_RESERVED_BYTES = 4 << 30
"""What an idle Ascend chip shows as used HBM: the driver's own share, 2.7 to 3.5 GiB in recorded outputs."""


@check(
    "device.idle",
    title=N_("Devices are free"),
    applies=lambda site: bool(site.devices),
    source="idle memory use (facebookresearch/gcm, 2025-12-25), with room for what newer drivers keep for themselves",
)
def device_idle(facts: Mapping[str, Any], site: Site) -> Verdict:
    busy = [
        d
        for d in site.devices
        if d.processes or (d.memory_used_bytes or 0) > (ASCEND_RESERVED_BYTES if d.vendor == "ascend" else RESERVED_BYTES)
    ]
    if busy:
        worst = max(busy, key=lambda d: d.memory_used_bytes or 0)
        return Verdict(
            "fail",
            N_("Devices {devices} are in use; device {worst} holds {used}."),
            {"devices": ", ".join(str(d.index) for d in busy), "worst": worst.index, "used": units.size(worst.memory_used_bytes)},
            N_("Stop what runs there, or choose other devices."),
        )
    if any(d.memory_used_bytes is None for d in site.devices if d.health != "fail"):
        return Verdict("unknown", N_("The memory use of a device is not told."), remedy=N_("Look with the vendor's tool."))
    return Verdict("pass", N_("Nothing runs on the {count} devices."), {"count": len(site.devices)})
