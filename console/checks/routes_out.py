"""Whether the server has a way out of the facility: offline by proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "net.routes-out",
    title=N_("No route out"),
    needs=("network.routes",),
    empty_is_value=True,
    source="derived: the kernel's routing table; nothing is sent",
)
def routes_out(facts: Mapping[str, Any], site: Site) -> Verdict:
    default = [r for r in facts["network.routes"] or () if r.get("default")]
    if default:
        return Verdict(
            "warn",
            N_("There is a default route by {gateway} on {interface}."),
            {"gateway": str(default[0].get("gateway") or "–"), "interface": str(default[0].get("interface") or "–")},
            N_("Show that this gateway leads nowhere outside, or remove the route."),
        )
    return Verdict("pass", N_("The server knows no route out of its own networks."))
