"""Whether the loaded driver module and the driver's libraries are one version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "nvidia.module",
    title=N_("Loaded driver and its libraries"),
    needs=("nvidia.query", "nvidia.module"),
    vendor="nvidia",
    source="operators' notes on driver/library mismatch, 2026 (reported)",
    blocking=False,
)
def nvidia_module(facts: Mapping[str, Any], site: Site) -> Verdict:
    library, module = facts["nvidia.query"].get("driver_version"), facts["nvidia.module"]
    told = {"module": module, "library": library or "?"}
    if not library:
        return Verdict("unknown", N_("nvidia-smi does not tell its driver."), told, N_("Run nvidia-smi on the server."))
    if module != library:
        return Verdict(
            "fail",
            N_("The module loaded is {module}, the libraries are {library}."),
            told,
            N_("Restart the server, or stop everything that uses the devices and reload the module."),
        )
    return Verdict("pass", N_("Module and libraries are both {module}."), told)
