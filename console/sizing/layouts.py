"""The ways in which a model may be spread over devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from console.sizing.architecture import Architecture


@dataclass(frozen=True)
class Layout:
    """Tensor, pipeline, expert and data parallel sizes.

    Attributes:
        replicas: whether ``dp`` copies of the whole model run side by side; else the attention is copied ``dp`` times and
            the experts are spread over all of them.
        servers: how many servers the devices used stand in.
    """

    tp: int
    pp: int
    ep: int
    dp: int
    replicas: bool
    servers: int

    @property
    def devices(self) -> int:
        """How many devices it uses."""
        return self.tp * self.pp * self.dp

    @property
    def span(self) -> int:
        """Over how many servers one copy of the model stands."""
        return -(-self.servers // self.dp) if self.replicas else self.servers

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"tp": self.tp, "pp": self.pp, "ep": self.ep, "dp": self.dp, "nodes": self.servers}


def layouts(model: Architecture, count: int, nodes: int, tp: int | None = None, pp: int | None = None) -> Iterator[Layout]:
    """Every layout that divides the model, on ``nodes`` servers of ``count`` devices; ``tp`` and ``pp`` may be fixed."""
    total = count * nodes
    for tensor in [tp] if tp else _sizes(total):
        if not _divides(model, tensor) or tensor > total:
            continue
        for stages in [pp] if pp else range(1, min(_most_stages(total, nodes), model.layers, total // tensor) + 1):
            if stages > model.layers or tensor * stages > total:
                continue
            copies = total // (tensor * stages)
            yield Layout(tensor, stages, tensor if model.experts else 1, copies, True, _servers(tensor * stages * copies, count))
            if model.experts and stages == 1 and copies > 1 and tensor <= count and model.experts.routed % (tensor * copies) == 0:
                yield Layout(tensor, 1, tensor * copies, copies, False, _servers(tensor * copies, count))


def _sizes(total: int) -> list[int]:
    powers = [1 << n for n in range(12) if 1 << n <= total]
    return sorted({*powers, *(n for n in (3, 5, 6, 7, 10, 12, 14, 20, 24) if n <= total)})


def _most_stages(total: int, nodes: int) -> int:
    """Pipelines are for groups larger than a server; inside one, tensor and expert parallelism serve better."""
    return max(nodes, -(-total // 8))


def _divides(model: Architecture, tp: int) -> bool:
    """Heads go evenly, KV heads are divided or repeated evenly, and sliced FP8 blocks stay whole."""
    if tp < 1 or model.heads % tp:
        return False
    if model.attention == "gqa" and model.kv_heads % tp and tp % model.kv_heads:
        return False
    if model.experts:
        # Experts are either spread whole or sliced; whole ones need no width.
        return model.experts.routed % tp == 0 or not model.experts.ffn or model.experts.ffn % tp == 0
    return not (model.block and model.dense_ffn) or model.dense_ffn % (tp * model.block) == 0


def _servers(devices: int, count: int) -> int:
    return -(-devices // count)
