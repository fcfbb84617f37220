"""Whether the server's software RAIDs are whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "disk.raid",
    title=N_("Disk arrays are whole"),
    needs=("disk.raid",),
    empty_is_value=True,
    source="derived: /proc/mdstat",
    blocking=False,
)
def raid(facts: Mapping[str, Any], site: Site) -> Verdict:
    arrays = facts["disk.raid"] or []
    bad = [a["name"] for a in arrays if a.get("failed") or a.get("active", 0) < a.get("devices", 0)]
    if bad:
        return Verdict(
            "warn", N_("The arrays {names} miss a disk."), {"names": ", ".join(bad)}, N_("Replace the disk before weights are stored there.")
        )
    if not arrays:
        return Verdict("info", N_("The server has no software RAID."))
    return Verdict("pass", N_("All {count} arrays are whole."), {"count": len(arrays)})
