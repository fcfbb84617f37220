"""Whether the IOMMU passes the devices' traffic through on bare metal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "host.iommu",
    title=N_("IOMMU"),
    needs=("kernel.settings",),
    vendor="amd",
    source="ROCm system validation, 2025-05-29 (documented): iommu=pt",
    blocking=False,
)
def iommu(facts: Mapping[str, Any], site: Site) -> Verdict:
    line = facts["kernel.settings"].get("cmdline")
    if line is None:
        return Verdict("unknown", N_("The kernel's command line is not told."), remedy=N_("Look at /proc/cmdline."))
    if any(word in line.split() for word in ("iommu=pt", "amd_iommu=off", "intel_iommu=off", "iommu=off")):
        return Verdict("pass", N_("The IOMMU lets the devices' traffic through."))
    return Verdict(
        "warn", N_("The kernel was started without iommu=pt."), remedy=N_("On bare metal add iommu=pt to the kernel's command line and restart.")
    )
