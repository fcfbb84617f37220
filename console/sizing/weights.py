"""Bytes of a model's weights: as given, as published, or worked out; and what of them can be divided how."""

from __future__ import annotations

import math
from dataclasses import dataclass

from console.catalog.catalog import Catalog
from console.catalog.reading import Entry
from console.sizing import parameters
from console.sizing.architecture import Architecture

ENGRAM_BYTES = 203_000_000_000
"""V4.1-Flash's look-up tables with their scales (sqliteai/warp, 2026-09-15)."""


@dataclass(frozen=True)
class Weights:
    """What has to lie on the devices.

    Attributes:
        total: bytes of the whole model. expert_bytes: of its routed experts, which expert parallelism spreads.
        precision: canonical. source, confidence: whose figure it is. label: the model's name, for people.
    """

    total: int
    expert_bytes: int
    precision: str
    source: str
    confidence: str
    label: str

    def on_device(self, tp: int, pp: int, ep: int, layers: int) -> int:
        """Bytes on the fullest device: experts by ``ep``, the rest by ``tp``, both by the share of a stage's layers."""
        share = math.ceil(layers / pp) / layers
        return math.ceil((self.expert_bytes / ep + (self.total - self.expert_bytes) / tp) * share)


def of_model(catalog: Catalog, entry: Entry, model: Architecture, wanted: str | None) -> Weights:
    """Of a model in the catalog, in the published precision or in ``wanted``."""
    name = wanted or entry["precision"]
    published = name == entry["precision"]
    listed = (entry.get("bytes_by_precision") or {}).get(name)
    per = catalog.values("rules", "bytes-per-parameter")
    if published and entry["bytes"]:
        total, source, confidence = entry["bytes"], entry.source, entry.confidence if entry.get("exact") else "medium"
    elif listed:
        total, source, confidence = int(listed), entry.source, "medium"
    else:
        billions = entry["total_b"] + (entry.get("engram_b") or 0)
        total, source, confidence = int(billions * 1e9 * per["values"][name]), per.source, "medium"
    return Weights(total, _experts(catalog, model, name, total), name, source, confidence, entry.name)


def of_config(catalog: Catalog, model: Architecture, given_bytes: int | None, wanted: str | None) -> Weights | None:
    """Of a configuration: the bytes given, else parameters times their size; None where neither can be told."""
    name = wanted or model.precision or "bf16"
    if given_bytes is not None:
        return Weights(given_bytes, _experts(catalog, model, name, given_bytes), name, "given by the operator", "high", model.type)
    counted = parameters.count(model)
    if counted is None:
        return None
    per = catalog.values("rules", "bytes-per-parameter")
    sizes = per["values"]
    experts = parameters.routed(model)
    rest = counted.total - counted.routed
    # Where experts are FP4 the rest is FP8; embeddings and head stay in BF16 in every quantised checkpoint.
    rest_name = "fp8" if name == "fp4" else name
    quantised = max(0, rest - counted.embedding)
    total = experts * sizes[name] + quantised * sizes[rest_name] + counted.embedding * max(2.0, sizes[name] if name == "fp32" else 2.0)
    return Weights(math.ceil(total), _experts(catalog, model, name, math.ceil(total)), name, per.source, "medium", model.type)


def _experts(catalog: Catalog, model: Architecture, name: str, total: int) -> int:
    size = catalog.values("rules", "bytes-per-parameter")["values"][name]
    fixed = ENGRAM_BYTES if model.attention == "csa2" else 0
    counted = int(parameters.routed(model) * size)
    if counted == 0 and model.experts is not None:
        # The inner size of the experts is not told: of such models more than nine tenths are experts.
        counted = int(total * 0.9)
    return max(0, min(counted, total - fixed))
