"""Whether the model fits the devices of this server, with the context and the requests asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console import units
from console.catalog.reading import Entry
from console.checks.check import Site, Verdict, check
from console.checks.plans import group
from console.i18n import N_

VERDICTS = {"fits": "pass", "tight": "warn", "does-not-fit": "fail", "unsupported": "fail", "unknown": "unknown"}


@check(
    "model.fit",
    title=N_("The model fits the devices"),
    applies=lambda site: site.plan.ask is not None and bool(site.devices),
    source="memory arithmetic over the catalog's entries, each with its own source",
)
def model_fit(facts: Mapping[str, Any], site: Site) -> Verdict:
    assert site.plan.ask is not None
    chosen = group(site)
    if chosen is None:
        return Verdict(
            "unknown",
            N_("The catalog knows no device of this server that is in order, so the fit cannot be worked out."),
            remedy=N_("Look at the health of the devices; bring in a catalog that knows them."),
        )
    name, count, least = chosen
    found = site.plan.ask(name, count, least)
    told = {"count": count, "name": name, "code": found.reasons[0].code if found.reasons else "–",
            "why": [r.as_dict() for r in found.reasons[:2]], "free": units.size(found.per_device.get("free_bytes"))}
    remedy = N_("`sealift fit` shows the numbers and the least devices with which it would fit.")
    texts = {
        "fits": N_("It fits {count} × {name}; {free} remain free on each device."),
        "tight": N_("It fits {count} × {name} only tightly: {why}"),
        "does-not-fit": N_("It does not fit {count} × {name}: {why}"),
        "unsupported": N_("It does not run on {count} × {name}: {why}"),
        "unknown": N_("Whether it runs on {count} × {name} is not known: {why}"),
    }
    return Verdict(VERDICTS[found.verdict], texts[found.verdict], told, "" if found.verdict == "fits" else remedy, _basis(site, name))


def _basis(site: Site, name: str) -> tuple[Entry, ...]:
    entry = site.catalog.find("devices", name)
    return (entry,) if entry else ()
