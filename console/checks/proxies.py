"""Whether the environment points programs at a proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "net.proxies",
    title=N_("No proxy set"),
    needs=("env.proxies",),
    empty_is_value=True,
    source="SGLang Ascend guide, 2026-06 (documented): proxies unset",
)
def proxies(facts: Mapping[str, Any], site: Site) -> Verdict:
    found = facts["env.proxies"] or {}
    if found:
        return Verdict(
            "warn",
            N_("The environment sets a proxy: {names}."),
            {"names": ", ".join(sorted(found))},
            N_("Unset it for the service, lest it looks for the outside."),
        )
    return Verdict("pass", N_("The environment sets no proxy."))
