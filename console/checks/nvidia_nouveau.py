"""Whether the open-source driver that keeps NVIDIA's own away is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "nvidia.nouveau",
    title=N_("No other driver for the devices"),
    needs=("kernel.modules",),
    applies=lambda site: site.plan.accelerator == "nvidia" or any(d.vendor == "nvidia" for d in site.devices),
    source="derived: nouveau and NVIDIA's module exclude each other",
    blocking=False,
)
def nvidia_nouveau(facts: Mapping[str, Any], site: Site) -> Verdict:
    if "nouveau" in facts["kernel.modules"]:
        return Verdict(
            "fail",
            N_("The module nouveau is loaded."),
            remedy=N_("Put nouveau on the list of modules not to load, rebuild the initial RAM disk, and restart."),
        )
    return Verdict("pass", N_("The module nouveau is not loaded."))
