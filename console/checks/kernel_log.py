"""Whether the kernel tells of broken hardware or of programs that ran out of memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "host.kernel-log",
    title=N_("Errors in the kernel log"),
    needs=("kernel.log",),
    empty_is_value=True,
    source="practice of facebookresearch/gcm, 2025-12-25 (reported)",
    blocking=False,
)
def kernel_log(facts: Mapping[str, Any], site: Site) -> Verdict:
    counts = (facts["kernel.log"] or {}).get("counts", {})
    hard = {name: counts[name] for name in ("machine_check", "aer_fatal", "amdgpu") if counts.get(name)}
    soft = {name: counts[name] for name in ("out_of_memory", "hung_task") if counts.get(name)}
    told = {"what": ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in (hard or soft).items())}
    if hard:
        return Verdict(
            "fail", N_("The kernel log tells of hardware errors ({what})."), told, N_("Have the hardware looked at before anything is deployed.")
        )
    if soft:
        return Verdict("warn", N_("The kernel log tells of trouble ({what})."), told, N_("Find out which program it was."))
    return Verdict("pass", N_("The kernel log tells of no hardware error."))
