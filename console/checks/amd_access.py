"""Whether the account may open the AMD devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "amd.access",
    title=N_("Access to the AMD devices"),
    needs=("sudo.rights",),
    vendor="amd",
    source="ROCm system validation, 2025-05-29 (documented): groups video and render",
    blocking=False,
)
def amd_access(facts: Mapping[str, Any], site: Site) -> Verdict:
    rights = facts["sudo.rights"]
    missing = [group for group in site.limit("kfd", "groups") if group not in rights["groups"]]
    if rights["uid"] == 0 or not missing:
        return Verdict("pass", N_("The account may open the devices."))
    return Verdict(
        "warn",
        N_("The account {user} is not in the groups {groups}."),
        {"user": rights.get("user") or "?", "groups": ", ".join(missing)},
        N_("Add it to them, or run the service as an account that is."),
    )
