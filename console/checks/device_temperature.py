"""Temperatures at rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_

WARN_C = 84


@check(
    "device.temperature",
    title=N_("Temperature of the devices"),
    applies=lambda site: bool(site.devices),
    source="84 degrees and more (facebookresearch/gcm, 2025-12-25)",
)
def device_temperature(facts: Mapping[str, Any], site: Site) -> Verdict:
    told = [(d.temperature_c, d.index) for d in site.devices if d.temperature_c is not None]
    if not told:
        return Verdict("unknown", N_("No device tells its temperature."), remedy=N_("Look with the vendor's tool."))
    hottest, index = max(told)
    if hottest >= WARN_C:
        return Verdict(
            "warn",
            N_("Device {device} has {temperature} °C before it does anything."),
            {"device": index, "temperature": hottest},
            N_("Check fans, air flow and the room before loading it."),
        )
    return Verdict("pass", N_("The warmest device has {temperature} °C."), {"temperature": hottest})
