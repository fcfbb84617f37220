"""Automatic NUMA balancing, which disturbs serving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "host.numa-balancing",
    title=N_("NUMA balancing"),
    needs=("kernel.settings",),
    applies=lambda site: bool(site.devices),
    source="ROCm system optimisation, 2025; SGLang Ascend guide, 2026-06 (documented): off",
)
def numa_balancing(facts: Mapping[str, Any], site: Site) -> Verdict:
    value = facts["kernel.settings"].get("numa_balancing")
    if value is None:
        return Verdict("unknown", N_("The kernel does not tell the setting."), remedy=N_("Look at /proc/sys/kernel/numa_balancing."))
    if value != "0":
        return Verdict("warn", N_("The kernel moves memory between NUMA nodes by itself."), remedy=N_("Set kernel.numa_balancing to 0."))
    return Verdict("pass", N_("The kernel leaves memory where it was put."))
