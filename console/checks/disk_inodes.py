"""Whether the file system can still name new files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_

FEW = 10_000


@check(
    "disk.inodes",
    title=N_("Free inodes"),
    needs=("disk.store",),
    source="derived: a release holds at most 200,000 files, usually under 1,000",
)
def disk_inodes(facts: Mapping[str, Any], site: Site) -> Verdict:
    mount = facts["disk.store"]
    told = {"mount": mount["mount"], "free": mount["inodes_free"]}
    if not mount["inodes"]:
        return Verdict("pass", N_("{mount} makes inodes as they are needed."), told)
    if mount["inodes_free"] < FEW:
        return Verdict("fail", N_("Only {free} inodes are free on {mount}."), told, N_("Remove small files there, or use another disk."))
    return Verdict("pass", N_("{free} inodes are free on {mount}."), told)
