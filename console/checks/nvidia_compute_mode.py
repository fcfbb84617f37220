"""Whether several processes may use a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check("nvidia.compute-mode", title=N_("Devices can be shared"), needs=("nvidia.query",), vendor="nvidia", source="derived from the modes' meaning")
def nvidia_compute_mode(facts: Mapping[str, Any], site: Site) -> Verdict:
    modes = {d["index"]: d.get("compute_mode") for d in facts["nvidia.query"]["devices"]}
    odd = {index: mode for index, mode in modes.items() if mode not in ("Default", None)}
    if odd:
        index, mode = next(iter(odd.items()))
        return Verdict(
            "fail" if "Prohibited" in mode else "warn",
            N_("Device {device} is in compute mode {mode}."),
            {"device": index, "mode": mode},
            N_("Set it back with nvidia-smi -c DEFAULT."),
        )
    if None in modes.values():
        return Verdict("unknown", N_("A device does not tell its compute mode."), remedy=N_("Look with nvidia-smi -q."))
    return Verdict("pass", N_("All devices are in the compute mode Default."))
