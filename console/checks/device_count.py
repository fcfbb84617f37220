"""Whether every accelerator on the bus is seen by its driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_

TOOLS = {"nvidia": "nvidia-smi", "ascend": "npu-smi", "amd": "amd-smi"}


@check(
    "device.count",
    title=N_("All devices are there"),
    needs=("lspci.accelerators",),
    empty_is_value=True,
    source="NVIDIA Xid 79 and the accelerators' PCI ids; a device on the bus that the driver does not show has no driver or fell off",
)
def device_count(facts: Mapping[str, Any], site: Site) -> Verdict:
    on_bus: dict[str, int] = {}
    for entry in facts["lspci.accelerators"] or ():
        if entry.get("vendor"):
            on_bus[entry["vendor"]] = on_bus.get(entry["vendor"], 0) + 1
    seen = {vendor: sum(d.vendor == vendor and d.health != "fail" for d in site.devices) for vendor in {d.vendor for d in site.devices}}
    wanted = site.plan.accelerator
    if wanted and not seen.get(wanted):
        return Verdict(
            "fail",
            N_("The playbook needs {vendor} devices, and none answers here."),
            {"vendor": wanted},
            N_("Choose a server with such devices, or install their driver."),
        )
    if wanted and seen[wanted] < site.plan.devices:
        return Verdict(
            "fail",
            N_("{count} of the {wanted} devices that the playbook needs answer."),
            {"count": seen[wanted], "wanted": site.plan.devices},
            N_("Choose another server, or a smaller layout."),
        )
    lost = {v: n for v, n in on_bus.items() if seen.get(v, 0) < n and v in TOOLS}
    if lost:
        vendor, count = next(iter(lost.items()))
        return Verdict(
            "fail",
            N_("{count} {vendor} devices are on the bus, and {seen} answer {tool}."),
            {"count": count, "vendor": vendor, "seen": seen.get(vendor, 0), "tool": TOOLS[vendor]},
            N_("Look at the kernel log for a device that fell off the bus, and at the driver."),
        )
    if not site.devices:
        return Verdict("info", N_("The server has no accelerator that Sealift knows."))
    return Verdict("pass", N_("All {count} devices on the bus answer their driver."), {"count": len(site.devices)})
