"""Whether the weights fit where they are to lie, with room for staging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console import units
from console.checks.check import Site, Verdict, check
from console.i18n import N_

SPARE = 1.1
WARN_USED, FAIL_USED = 0.80, 0.85


@check(
    "disk.space",
    title=N_("Room for the weights"),
    needs=("disk.store",),
    source="free space 1.1 times the need; used space over 80 % warns and over 85 % fails (facebookresearch/gcm, 2025-12-25)",
)
def disk_space(facts: Mapping[str, Any], site: Site) -> Verdict:
    mount = facts["disk.store"]
    if not mount["writable"]:
        return Verdict(
            "fail",
            N_("This login may not write to {folder}, where the weights are to lie."),
            {"folder": mount["folder"]},
            N_("Give the folder to the login account, or set the server's store to one of its own."),
        )
    told = {"free": units.size(mount["free_bytes"]), "mount": mount["mount"]}
    need = site.plan.weights_bytes
    if need is None:
        return Verdict("info", N_("{free} free on {mount}; no release was named, so the need is not known."), told)
    told["need"] = units.size(need)
    if mount["free_bytes"] < need * SPARE:
        return Verdict(
            "fail",
            N_("{free} free on {mount}; the weights need {need} and a tenth more."),
            told,
            N_("Free space there, or set the server's store to a larger disk."),
        )
    used = (mount["used_bytes"] + need) / max(1, mount["size_bytes"])
    told["used"] = f"{used:.0%}"
    if used > FAIL_USED:
        return Verdict(
            "fail", N_("{mount} would be {used} full after the copy."), told, N_("Free space there, or set the store to a larger disk.")
        )
    if used > WARN_USED:
        return Verdict("warn", N_("{mount} would be {used} full after the copy."), told, N_("Plan for more space before the next update."))
    return Verdict("pass", N_("{free} free on {mount}; the weights need {need}."), told)
