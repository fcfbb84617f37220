"""Whether the system is one that Ascend names for the devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_

NAMES = {"openEuler": "openeuler", "ubuntu": "ubuntu", "kylin": "kylin"}


@check(
    "ascend.os",
    title=N_("System and Ascend devices"),
    needs=("os.release",),
    vendor="ascend",
    source="tables of hardware and systems of MindSDK 7.3.0, hiascend.com, 2026 (documented)",
    blocking=False,
)
def ascend_os(facts: Mapping[str, Any], site: Site) -> Verdict:
    release = facts["os.release"]
    name, number = str(release.get("os_id") or "").lower(), str(release.get("os_version_id") or "")
    told = {"os": release.get("os_pretty_name") or f"{name} {number}"}
    families = {entry["family"] for d in site.devices if (entry := site.entry_of(d)) is not None}
    for row in site.catalog.all("stacks"):
        if row.get("type") != "ascend-os" or row["os"].lower() != name or not families or not families <= set(row["families"]):
            continue
        if any(number == one or number.startswith(f"{one}.") or number.upper().startswith(one.upper()) for one in row["versions"]):
            return Verdict("pass", N_("{os} is named for these devices."), told, basis=(row,))
    return Verdict(
        "unknown", N_("{os} is in no table known here for these devices."), told, N_("Ask the vendor's compatibility assistant on the connected side.")
    )
