"""Whether the devices compute natively in the precision of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.catalog.catalog import precision as canonical
from console.checks.check import Site, Verdict, check
from console.i18n import N_
from console.sizing.support import precision as ruling


@check(
    "device.precision",
    title=N_("Precision of the weights"),
    applies=lambda site: bool(site.plan.precision and site.devices and site.plan.accelerator is not None),
    source="the catalog's entry of the chip, with its own source and grade",
)
def device_precision(facts: Mapping[str, Any], site: Site) -> Verdict:
    wanted = canonical(site.plan.precision or "")
    entries, told = [], {"precision": str(site.plan.precision).upper()}
    for device in {d.name: d for d in site.devices if d.name}.values():
        entry = site.entry_of(device)
        if entry is None or wanted is None:
            return Verdict(
                "unknown",
                N_("It is not known whether {name} computes in {precision}."),
                told | {"name": device.name},
                N_("Ask the vendor, or try it on one device."),
            )
        found = ruling(entry, wanted, None)
        named = told | {"name": entry.name}
        if found.answer == "no":
            return Verdict(
                "fail",
                N_("{name} cannot run {precision} weights."),
                named,
                N_("Take an edition of the model in a precision that the chip computes in."),
                (entry,),
            )
        if found.reasons and found.reasons[0].code != "precision.native":
            return Verdict(
                "warn",
                N_("{name} runs {precision} weights only by converting them."),
                named,
                N_("Expect lower speed, or take another edition of the model."),
                (entry,),
            )
        entries.append(entry)
    if not entries:
        return Verdict("unknown", N_("No device tells its name."), remedy=N_("Take the inventory again."))
    names = ", ".join(sorted({e.name for e in entries}))
    return Verdict("pass", N_("{name} computes natively in {precision}."), told | {"name": names}, basis=tuple(entries))
