"""Whether AMD devices are cut into compute partitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check("amd.partitions", title=N_("Devices are whole"), vendor="amd", source="derived: partitions give more devices with less memory each")
def amd_partitions(facts: Mapping[str, Any], site: Site) -> Verdict:
    cut = [str(d.index) for d in site.devices if d.partitioned]
    if cut:
        return Verdict(
            "warn",
            N_("Devices {devices} are cut into partitions."),
            {"devices": ", ".join(cut)},
            N_("Set them to SPX and NPS1 for a large model."),
        )
    if any(d.partitioned is None for d in site.devices):
        return Verdict(
            "unknown", N_("A device does not tell its partition mode."), remedy=N_("Run amd-smi static --partition on the server.")
        )
    return Verdict("pass", N_("No device is cut into partitions."))
