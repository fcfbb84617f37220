"""Whether the devices reach each other over NVLink."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "nvidia.links",
    title=N_("Links between the devices"),
    needs=("nvidia.topology",),
    vendor="nvidia",
    applies=lambda site: len(site.devices) > 1,
    source="stas00/ml-engineering, 2026-08-22 (reported)",
)
def nvidia_links(facts: Mapping[str, Any], site: Site) -> Verdict:
    links = facts["nvidia.topology"]["topology"]["links"]
    gpus = [name for name in links if name.startswith("GPU")]
    kinds = {links[a].get(b, "?") for a in gpus for b in gpus if a != b}
    if kinds and all(k.startswith("NV") for k in kinds):
        return Verdict("pass", N_("All pairs of devices are linked by NVLink ({kinds})."), {"kinds": ", ".join(sorted(kinds))})
    return Verdict(
        "warn",
        N_("Some pairs of devices are linked over the bus only ({kinds})."),
        {"kinds": ", ".join(sorted(kinds))},
        N_("Keep tensor parallelism within devices that NVLink joins; on boards without it expect lower speed."),
    )
