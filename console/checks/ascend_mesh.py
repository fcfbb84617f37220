"""Whether the Ascend devices of a server are linked directly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "ascend.mesh",
    title=N_("Links between the Ascend devices"),
    needs=("ascend.topology",),
    vendor="ascend",
    applies=lambda site: len(site.devices) > 1,
    source="published outputs of npu-smi info -t topo (reported)",
    blocking=False,
)
def ascend_mesh(facts: Mapping[str, Any], site: Site) -> Verdict:
    links = facts["ascend.topology"]["topology"]["links"]
    npus = [name for name in links if name.startswith("NPU")]
    kinds = {links[a].get(b, "?") for a in npus for b in npus if a != b}
    told = {"kinds": ", ".join(sorted(kinds)) or "–"}
    if kinds and all(kind.startswith(("HCCS", "SIO", "UB")) for kind in kinds):
        return Verdict("pass", N_("All pairs of devices are linked directly ({kinds})."), told)
    return Verdict(
        "warn",
        N_("Some pairs of devices are linked over the bus only ({kinds})."),
        told,
        N_("In a server of two halves this is as built; keep tensor parallelism within a half. Else call the vendor."),
    )
