"""Whether the devices of a server are of one kind, with one driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "device.alike",
    title=N_("Devices are of one kind"),
    applies=lambda site: len(site.devices) > 1,
    source="derived: a tensor-parallel group takes the smallest memory and the lowest driver of its members",
)
def device_alike(facts: Mapping[str, Any], site: Site) -> Verdict:
    names, drivers = sorted({d.name or "?" for d in site.devices}), sorted({d.driver_version or "?" for d in site.devices})
    if len(names) > 1:
        return Verdict(
            "warn", N_("The devices are of several kinds: {names}."), {"names": ", ".join(names)}, N_("Plan with devices of one kind only.")
        )
    if len(drivers) > 1:
        return Verdict(
            "warn",
            N_("The devices tell several driver versions: {drivers}."),
            {"drivers": ", ".join(drivers)},
            N_("Restart the server, so that one driver is loaded."),
        )
    return Verdict("pass", N_("{count} devices of the kind {name}."), {"count": len(site.devices), "name": names[0]})
