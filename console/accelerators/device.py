"""The common record of one accelerator device, and what a vendor's module offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from console.facts.fact import Fact
from console.i18n import N_

Health = Literal["ok", "warning", "fail", "unknown"]
HEALTH_WORDS = {"ok": N_("Healthy"), "warning": N_("Warning"), "fail": N_("Failed"), "unknown": N_("Unknown")}
"""What people are told of a device's health."""


@dataclass(frozen=True)
class Device:
    """One accelerator device. None: the server did not tell.

    Attributes:
        index: the number the vendor's runtime uses for the device (not the card).
        name: as the tool prints it.
        model: the catalog's name for it, None when the printed name fits none.
        health_raw: what the verdict on health rests on, as printed.
        ecc: memory error counts by name, such as ``uncorrected_volatile``, ``remapped_uncorrectable``,
            ``remap_pending``.
        links: ``{"kind": "nvlink" | "hccs" | "xgmi" | …, "peers": {index: type}}`` from the topology.
        pci_id: ``vendor:device`` of the PCI function in lower case, such as ``10de:2335``.
        card: the card the device sits on, where a card carries several.
    """

    vendor: str
    index: int
    name: str | None
    model: str | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    health: Health = "unknown"
    health_raw: str | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    utilization_percent: float | None = None
    bus_id: str | None = None
    uuid: str | None = None
    serial: str | None = None
    driver_version: str | None = None
    firmware_version: str | None = None
    ecc: dict[str, Any] | None = None
    links: dict[str, Any] | None = None
    card: int | None = None
    chip: int | None = None
    numa_node: int | None = None
    partitioned: bool | None = None
    processes: tuple[dict[str, Any], ...] | None = None
    arch: str | None = None
    pci_id: str | None = None


@dataclass(frozen=True)
class Vendor:
    """A maker of accelerators: its facts, and how device records are made of them.

    ``devices`` takes the results of facts by id (each with ``state`` and ``value``) and never raises for facts that
    are missing; a device that no fact tells of is not made up.
    """

    id: str
    title: str
    pci_vendor: int
    facts: tuple[Fact, ...]
    devices: Callable[[Mapping[str, Any]], tuple[Device, ...]]


def value_of(facts: Mapping[str, Any], name: str) -> Any:
    """The value of a fact, None unless its state is ``value``."""
    result = facts.get(name)
    return result.value if result is not None and result.state == "value" else None
