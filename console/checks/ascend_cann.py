"""Whether the server's CANN and driver go together. A serving image carries a CANN of its own, to be compared likewise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.catalog.versions import matches
from console.checks.check import Site, Verdict, check
from console.i18n import N_

COMPARE = N_("Compare the image's CANN with the driver in the vendor's compatibility table.")


@check(
    "ascend.cann",
    title=N_("CANN and driver"),
    needs=("ascend.cann",),
    vendor="ascend",
    source="CANN release notes 8.2 to 9.1.1, hiascend.com (documented)",
    blocking=False,
)
def ascend_cann(facts: Mapping[str, Any], site: Site) -> Verdict:
    cann = facts["ascend.cann"].get("cann_version")
    driver = next((d.driver_version for d in site.devices if d.driver_version), None)
    told = {"version": cann or "?", "driver": driver or "?"}
    if not cann or not driver:
        return Verdict("unknown", N_("The versions of CANN ({version}) and driver ({driver}) are not both told."), told, COMPARE)
    rows = [e for e in site.catalog.all("stacks") if e.get("type") == "cann-hdk" and matches(cann, e["cann"])]
    for row in rows:
        if any(matches(driver, pattern) for pattern in row["bad"]):
            return Verdict(
                "fail",
                N_("CANN {version} does not run on driver {driver}."),
                told,
                N_("Install the driver that the release notes of this CANN name, or an older CANN."),
                (row,),
            )
    for row in rows:
        if any(matches(driver, pattern) for pattern in row["good"]):
            return Verdict("pass", N_("CANN {version} and driver {driver} go together."), told, basis=(row,))
    return Verdict("unknown", N_("Whether CANN {version} and driver {driver} go together is in no table known here."), told, COMPARE)
