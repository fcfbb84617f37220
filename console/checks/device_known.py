"""Whether the catalog knows the devices, and how well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "device.known",
    title=N_("Devices are known"),
    applies=lambda site: bool(site.devices),
    source="the catalog's entry of each device",
    blocking=False,
)
def device_known(facts: Mapping[str, Any], site: Site) -> Verdict:
    entries = {}
    for device in site.devices:
        entry = site.entry_of(device)
        if entry is None:
            return Verdict(
                "unknown",
                N_("The catalog does not know {name}."),
                {"name": device.name or device.pci_id or "–"},
                N_("Bring in a newer catalog, or look up its memory and precisions in the maker's data sheet."),
            )
        entries[entry.name] = entry
    names = ", ".join(sorted(entries))
    weak = next((e for e in entries.values() if e.grade in ("reported", "unknown")), None)
    if weak is not None:
        return Verdict(
            "info", N_("What is known of {name} is {grade}, not documented by its maker."), {"name": weak.name, "grade": weak.grade}
        )
    return Verdict("pass", N_("The catalog knows {names} from documents."), {"names": names}, basis=tuple(entries.values()))
