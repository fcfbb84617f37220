"""Whether MIG has cut the devices up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check("nvidia.mig", title=N_("Devices are whole"), vendor="nvidia", source="derived: tensor parallelism needs whole devices")
def nvidia_mig(facts: Mapping[str, Any], site: Site) -> Verdict:
    cut = [str(d.index) for d in site.devices if d.partitioned]
    if cut:
        return Verdict(
            "fail",
            N_("Devices {devices} are cut up by MIG."),
            {"devices": ", ".join(cut)},
            N_("Switch MIG off on them (nvidia-smi -mig 0), which needs a reset."),
        )
    if any(d.partitioned is None for d in site.devices if d.health != "fail"):
        return Verdict("unknown", N_("A device does not tell whether MIG is on."), remedy=N_("Run nvidia-smi -q on the server."))
    return Verdict("pass", N_("MIG is off on all devices."))
