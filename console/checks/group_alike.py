"""Whether the servers of a group are alike: a model that spans them runs at the pace and with the memory of the least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


def _kinds(devices: Iterable[Any]) -> tuple[Any, ...]:
    """What has to be equal: names, count, drivers, firmware."""
    listed = tuple(devices)
    return (tuple(sorted({d.name or "?" for d in listed})), len(listed), tuple(sorted({d.driver_version or "?" for d in listed})),
            tuple(sorted({d.firmware_version or "?" for d in listed})))


@check(
    "group.alike",
    title=N_("Servers of the group are alike"),
    applies=lambda site: site.plan.servers > 1 and bool(site.devices),
    source="derived: one driver, one firmware and one kind of device in a group",
)
def group_alike(facts: Mapping[str, Any], site: Site) -> Verdict:
    if len(site.peers) + 1 < site.plan.servers:
        return Verdict(
            "fail",
            N_("{wanted} servers are to work on one model, and {count} were chosen."),
            {"wanted": site.plan.servers, "count": len(site.peers) + 1},
            N_("Choose as many servers as are to work together."),
        )
    own = _kinds(site.devices)
    other = next((name for name, devices in sorted(site.peers.items()) if _kinds(devices) != own), None)
    if other is not None:
        theirs = _kinds(site.peers[other])
        what = next(word for word, a, b in zip(("devices", "count", "driver", "firmware"), own, theirs, strict=True) if a != b)
        return Verdict(
            "fail" if what in ("devices", "count") else "warn",
            N_("{other} differs from this server: {what}."),
            {"other": other, "what": what},
            N_("Bring all servers of the group to the same devices, driver and firmware."),
        )
    return Verdict("pass", N_("The {count} servers have the same devices, driver and firmware."), {"count": len(site.peers) + 1})
