"""Memory errors that the devices have counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_

FATAL = ("uncorrected_volatile", "double_bit", "remap_failure", "remap_pending", "uncorrectable")
CORRECTED_LIMIT = 50_000_000


@check(
    "device.memory-errors",
    title=N_("Memory errors of the devices"),
    applies=lambda site: bool(site.devices),
    source="uncorrected above 0 fails, corrected above 50,000,000 warns (facebookresearch/gcm, 2025-12-25); a pending or failed row remap fails "
    "(NVIDIA A100 memory error management); double-bit above 0 fails (npu-smi reference)",
)
def device_memory_errors(facts: Mapping[str, Any], site: Site) -> Verdict:
    silent = [str(d.index) for d in site.devices if not d.ecc]
    for device in site.devices:
        for name in FATAL:
            value = (device.ecc or {}).get(name)
            if value:
                return Verdict(
                    "fail",
                    N_("Device {device} reports {name}: {value}."),
                    {"device": device.index, "name": name, "value": str(value)},
                    N_("Reset the device; if it comes back, have it replaced."),
                )
    if silent:
        return Verdict(
            "unknown",
            N_("Devices {devices} tell no error counts."),
            {"devices": ", ".join(silent)},
            N_("Switch error correction on, or ask the vendor's tool for the counts."),
        )
    corrected = max((device.ecc.get("corrected_volatile") or device.ecc.get("single_bit") or 0) for device in site.devices)
    if corrected > CORRECTED_LIMIT:
        return Verdict(
            "warn",
            N_("A device has corrected {count} errors since its start."),
            {"count": corrected},
            N_("Watch it; a rising count precedes a failure."),
        )
    return Verdict("pass", N_("No uncorrected memory error on {count} devices."), {"count": len(site.devices)})
