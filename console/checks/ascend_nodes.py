"""Whether the device files are there that a container with Ascend devices needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "ascend.nodes",
    title=N_("Device files of the Ascend devices"),
    needs=("ascend.nodes",),
    vendor="ascend",
    source="vLLM Ascend installation, 2026-08-22 (documented)",
    blocking=False,
)
def ascend_nodes(facts: Mapping[str, Any], site: Site) -> Verdict:
    paths = {entry["path"] for entry in facts["ascend.nodes"]}
    missing = [path for path in site.limit("davinci-nodes", "also") if path not in paths]
    nodes = sum(re.fullmatch(r"/dev/davinci\d+", path) is not None for path in paths)
    count = sum(d.vendor == "ascend" for d in site.devices)
    if missing:
        return Verdict(
            "fail",
            N_("The device files {files} are not there."),
            {"files": ", ".join(missing)},
            N_("Load the driver anew; without these files no container sees the devices."),
        )
    if nodes < count:
        return Verdict(
            "fail", N_("There are {nodes} device files for {count} devices."), {"nodes": nodes, "count": count}, N_("Load the driver anew.")
        )
    return Verdict("pass", N_("There are {nodes} device files for {count} devices, and the three common ones."), {"nodes": nodes, "count": count})
