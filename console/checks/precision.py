"""Whether the devices compute natively in the precision of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check("device.precision", title=N_("Precision of the weights"), applies=lambda site: bool(site.plan.precision and site.plan.accelerator),
       source="the catalog's entry of the chip, with its own source and grade")
def device_precision(facts: Mapping[str, Any], site: Site) -> Verdict:
    wanted, names = site.plan.precision, sorted({d.name for d in site.devices if d.name})
    chips = {d.name: d.pci_id for d in site.devices if d.name}
    entries = [(name, site.catalog.accelerator(name, chips[name]) if site.catalog else None) for name in names]
    for name, entry in entries:
        told = {"name": name, "precision": wanted}
        support = (entry or {}).get("precision", {}).get(wanted)
        if support is None:
            return Verdict("unknown", N_("It is not known whether {name} computes in {precision}."), told, N_("Ask the vendor, or try it on one device."))
        if support == "no":
            return Verdict("fail", N_("{name} cannot run {precision} weights."), told, N_("Take an edition of the model in a precision that the chip computes in."))
        if support != "native":
            return Verdict("warn", N_("{name} runs {precision} weights only by converting them ({support})."), told | {"support": str(support)},
                           N_("Expect lower speed, or take another edition of the model."))
        if entry.get("status") != "documented":
            return Verdict("unknown", N_("That {name} computes in {precision} is reported, not documented."), told, N_("Try it on one device and record the result."))
    if not entries:
        return Verdict("unknown", N_("No device tells its name."), remedy=N_("Take the inventory again."))
    return Verdict("pass", N_("{name} computes natively in {precision}."), {"name": ", ".join(names), "precision": wanted})
