"""Whether all Ascend devices agree on encryption between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "ascend.tls",
    title=N_("Encryption between the Ascend devices"),
    needs=("ascend.network",),
    vendor="ascend",
    source="vLLM Ascend multi-node guide, 2026-08-22 (documented): a mixed setting ends in timeouts",
    blocking=False,
)
def ascend_tls(facts: Mapping[str, Any], site: Site) -> Verdict:
    switches = {port.get("tls") for port in facts["ascend.network"].values()}
    if None in switches:
        return Verdict("unknown", N_("Not every device tells its setting."), remedy=N_("Run hccn_tool -i N -tls -g for each device."))
    if len(switches) > 1:
        return Verdict(
            "fail",
            N_("Encryption is on for some devices and off for others."),
            remedy=N_("Set it alike on all devices of all servers of a group with hccn_tool."),
        )
    return Verdict("pass", N_("All devices have the same setting."))
