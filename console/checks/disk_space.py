"""Whether the weights fit where they are to lie, with room for staging."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from console import units
from console.checks.check import Site, Verdict, check
from console.i18n import N_

SPARE = 1.1
WARN_USED, FAIL_USED = 0.80, 0.85


def mount_of(path: str, mounts: Sequence[Mapping[str, Any]], home: str = "/home") -> Mapping[str, Any] | None:
    """The file system that holds ``path``; ``~`` stands for a folder below ``home``."""
    place = posixpath.join(home, path[2:]) if path.startswith("~/") else home if path == "~" else path
    fitting = [m for m in mounts if place == m["mount"] or place.startswith(m["mount"].rstrip("/") + "/")]
    return max(fitting, key=lambda m: len(m["mount"]), default=None)


def not_listed(store: str) -> Verdict:
    """The verdict where no listed file system holds the server's store."""
    return Verdict("unknown", N_("The file system of {store} is not in the server's list."), {"store": store},
                   N_("Set the server's store to a folder on a data disk."))  # fmt: skip


@check(
    "disk.space",
    title=N_("Room for the weights"),
    needs=("disk.free",),
    source="free space 1.1 times the need; used space over 80 % warns and over 85 % fails (facebookresearch/gcm, 2025-12-25)",
)
def disk_space(facts: Mapping[str, Any], site: Site) -> Verdict:
    mount = mount_of(site.plan.store, facts["disk.free"])
    if mount is None:
        return not_listed(site.plan.store)
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
