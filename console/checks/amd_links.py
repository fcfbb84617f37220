"""Whether the AMD devices of a server are linked directly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "amd.links",
    title=N_("Links between the AMD devices"),
    needs=("amd.topology",),
    vendor="amd",
    applies=lambda site: len(site.devices) > 1,
    source="derived: boards of eight are linked all to all by XGMI",
)
def amd_links(facts: Mapping[str, Any], site: Site) -> Verdict:
    kinds = {kind for device, peers in facts["amd.topology"].items() for peer, kind in peers.items() if peer != device}
    told = {"kinds": ", ".join(sorted(kinds)) or "–"}
    if kinds == {"XGMI"}:
        return Verdict("pass", N_("All pairs of devices are linked by XGMI."))
    return Verdict(
        "warn",
        N_("Some pairs of devices are linked over the bus only ({kinds})."),
        told,
        N_("On a board of eight this is a fault; call the vendor. On single cards expect lower speed."),
    )
