"""What of a device's memory a serving framework may use, and what it takes for itself beside weights and cache.

Three cases, *low*, *expected*, *high* takings: context and communication buffers, activations, graphs, and for sparse
attention the indexer's logits. They are rules of thumb until something is measured, and say so.
"""

from __future__ import annotations

from dataclasses import dataclass

from console.catalog.catalog import Catalog
from console.catalog.reading import Entry
from console.sizing.architecture import Architecture
from console.sizing.kvcache import indexer_logits
from console.units import GIB, MIB

CASES = ("high", "expected", "low")
"""From the worst case to the best."""


@dataclass(frozen=True)
class Memory:
    """One device's memory in bytes: as the vendor's tool shows it, and as a framework is given it."""

    shown: int
    given: int
    is_label: bool


def memory(catalog: Catalog, device: Entry, measured_bytes: int | None = None) -> Memory:
    """The memory of a device; ``measured_bytes`` from the driver of a real one goes before the catalog."""
    share = catalog.values("rules", "framework-share")["values"][device.vendor]
    label = device["memory_mib"] is None and measured_bytes is None
    shown = measured_bytes or (int(device["memory_gb"] * 10**9) if label else device["memory_mib"] * MIB)
    given = int(shown * share)
    if device.get("framework_gib") and (measured_bytes is None or measured_bytes == (device["memory_mib"] or 0) * MIB):
        given = int(device["framework_gib"] * GIB)
    return Memory(shown, given, label)


def overhead(catalog: Catalog, model: Architecture, given: int, nodes: int, context: int) -> dict[str, int]:
    """Bytes by case that a framework takes on each device."""
    kind = "overhead-dense" if model.experts is None else "overhead-experts" if nodes == 1 else "overhead-experts-nodes"
    rule = catalog.values("rules", kind)["values"]
    share = min(1.0, max(rule["least_share"], given / (rule["reference_gib"] * GIB)))
    logits = catalog.values("rules", "indexer-logits")["values"]
    found = {}
    for case in CASES:
        parts = sum(rule[part][case] for part in ("context_buffers", "activations", "graphs"))
        if case == "low":
            extra = min(logits["low_limit_mib"] * MIB, indexer_logits(model, logits["expected_tokens"], context))
        else:
            extra = indexer_logits(model, logits[f"{case}_tokens"], context)
        found[case] = int(parts * share * GIB) + extra
    return found


def planned_cache(catalog: Catalog, model: Architecture, floor: int, case: str) -> int:
    """What to plan for a request's cache whose formula gives ``floor``: more for V4 and V4.1, whose formula is a floor."""
    if model.attention not in ("csa", "csa2") or case == "low":
        return floor
    rule = catalog.values("rules", "compressed-cache")["values"]
    return int(rule["factor"] * floor + rule["extra_gib"] * GIB)
