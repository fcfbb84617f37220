"""Whether the driver's branch is still supported, by the server's own clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from console.catalog.versions import version
from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "nvidia.branch",
    title=N_("Support of the driver's branch"),
    needs=("nvidia.query", "time.sync"),
    vendor="nvidia",
    source="NVIDIA supported drivers, edition 615, 2026-09 (documented)",
    blocking=False,
)
def nvidia_branch(facts: Mapping[str, Any], site: Site) -> Verdict:
    found, now = version(facts["nvidia.query"].get("driver_version")), facts["time.sync"].get("epoch_s")
    entry = next((e for e in site.catalog.all("stacks") if found and e.get("type") == "driver-branch" and e["branch"] == found.major), None)
    told = {"branch": found.major if found else "–"}
    if entry is None or now is None:
        return Verdict(
            "unknown",
            N_("The catalog does not tell how long driver branch {branch} is supported."),
            told,
            N_("Look into NVIDIA's list of supported drivers on the connected side."),
        )
    told |= {"ends": entry["ends"], "kind": entry["kind"]}
    if datetime.fromtimestamp(now, UTC).strftime("%Y-%m") > entry["ends"]:
        return Verdict(
            "warn", N_("Support of driver branch {branch} ended in {ends}."), told, N_("Plan for branch 580 (long-term support)."), (entry,)
        )
    return Verdict("pass", N_("Driver branch {branch} ({kind}) is supported until {ends}."), told, basis=(entry,))
