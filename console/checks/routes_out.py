"""Whether the server has a way out of the facility: offline by proof."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_

_SHARED = ipaddress.ip_network("100.64.0.0/10")
"""Addresses that are shared behind carriers' gateways; many a site uses them as its own."""


def _destination(route: Mapping[str, Any]) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(f"{route['destination']}/{route.get('mask') or route.get('prefix', 0)}", strict=False)


def _leads_out(route: Mapping[str, Any]) -> bool:
    """Whether a route goes to everything, or by a gateway to addresses that are nobody's own. Half of everything is such a
    route too, as some tunnels set two of them in place of a default route."""
    target = _destination(route)
    if route.get("default"):
        return True
    own = target.is_private or target.is_multicast or target.is_link_local or (target.version == 4 and target.subnet_of(_SHARED))
    return _gateway(route) is not None and not own


def _gateway(route: Mapping[str, Any]) -> str | None:
    gateway = route.get("gateway")
    return None if gateway in (None, "0.0.0.0", "::") else gateway


def _out(*answers: Iterable[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    return [route for routes in answers for route in routes or () if _leads_out(route)]


@check(
    "net.routes-out",
    title=N_("No route out"),
    needs=("network.routes", "network.routes6", "network.routes-tables"),
    empty_is_value=True,
    source="derived: the kernel's routing tables for IPv4 and IPv6; nothing is sent",
)
def routes_out(facts: Mapping[str, Any], site: Site) -> Verdict:
    found = _out(facts["network.routes"], facts["network.routes6"], facts["network.routes-tables"])
    if not found:
        return Verdict("pass", N_("The server knows no route out of its own networks."))
    first = next((route for route in found if route.get("default")), found[0])
    told = {"gateway": _gateway(first) or "–", "interface": str(first.get("interface") or "–"), "destination": str(_destination(first))}
    text = (N_("There is a default route by {gateway} on {interface}.") if first.get("default")
            else N_("There is a route to {destination} by {gateway} on {interface}, which is outside of private networks."))
    return Verdict("warn", text, told, N_("Show that this gateway leads nowhere outside, or remove the route."))
