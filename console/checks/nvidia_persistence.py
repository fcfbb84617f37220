"""Whether the driver keeps the devices initialised when nothing runs on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "nvidia.persistence",
    title=N_("Devices stay initialised"),
    needs=("nvidia.query",),
    vendor="nvidia",
    source="NVIDIA driver persistence, 2026-11-11 (documented)",
    blocking=False,
)
def nvidia_persistence(facts: Mapping[str, Any], site: Site) -> Verdict:
    modes = {d.get("persistence_mode") for d in facts["nvidia.query"]["devices"]}
    if modes == {"Enabled"}:
        return Verdict("pass", N_("Persistence mode is on."))
    if None in modes:
        return Verdict("unknown", N_("The devices do not tell whether they stay initialised."), remedy=N_("Look with nvidia-smi -q."))
    return Verdict(
        "warn", N_("Persistence mode is off, so that the first call waits and counters are lost."),
        remedy=N_("Enable the service nvidia-persistenced."),
    )
