"""What sizing needs to know of a model, taken from its own files, so that *will it run* is answered before a byte is copied."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from console.bundles import archives, packages
from console.bundles.headers import Tensor
from console.i18n import N_

MAX_CONFIG_BYTES = 256 << 10
MAX_INDEX_BYTES = 256 << 20
INDEX_ENDING = ".safetensors.index.json"


def summary(files: tuple[tuple[str, Path], ...], tensors: dict[str, list[Tensor]]) -> dict[str, Any]:
    """A model component's summary: ``config`` (text of config.json), ``weights_bytes``, ``parameters`` by dtype.

    Args:
        files: (path in the bundle, file). tensors: by path, of the weight files read.
    """
    found: dict[str, Any] = {}
    config = min((f for p, f in files if p.endswith("/config.json")), key=lambda f: len(f.parts), default=None)
    if config is not None and config.stat().st_size <= MAX_CONFIG_BYTES:
        # As text: a foreign document may hold floats and names that canonical JSON has no form for.
        found["config"] = config.read_text(encoding="utf-8", errors="replace")
    weights = [f for p, f in files if p.endswith((".safetensors", ".gguf", ".onnx", ".onnx_data"))]
    found["weights_bytes"] = sum(f.stat().st_size for f in weights)
    if tensors:
        sizes: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for listed in tensors.values():
            for tensor in listed:
                sizes[tensor.dtype.lower()] += tensor.end - tensor.start
                counts[tensor.dtype.lower()] += math.prod(tensor.shape)
        found["weights_bytes"] = sum(sizes.values())
        found["bytes_by_dtype"] = dict(sorted(sizes.items()))
        found["values_by_dtype"] = dict(sorted(counts.items()))
    return found


def installed_bytes(files: tuple[tuple[str, Path], ...]) -> int:
    """What a component takes once its packages are unpacked, as far as they tell of it themselves; else its files' sizes."""
    total = 0
    for _, file in files:
        size = file.stat().st_size
        package = packages.identify(file)
        if package is not None and package.installed_bytes is not None:
            total += package.installed_bytes
            continue
        with open(file, "rb") as source:
            head = source.read(512)
            source.seek(0)
            unpacked = archives.unpacked_bytes(head, size, source)
        total += size if unpacked is None else unpacked
    return total


def index_findings(files: Sequence[tuple[str, Path]], held: Mapping[str, Set[str]]) -> list[tuple[str, str, dict[str, str]]]:
    """(path, what is wrong, what stands in it) where ``*.safetensors.index.json`` and the shards disagree: missing, swapped, extra.

    Args:
        held: by path, the names of the tensors in each ``safetensors`` file.
    """
    found: list[tuple[str, str, dict[str, str]]] = []
    for path, file in files:
        if not path.endswith(INDEX_ENDING):
            continue
        folder = path.rpartition("/")[0]
        wanted = _weight_map(file)
        if wanted is None:
            found.append((path, N_("the index cannot be read"), {}))
            continue
        expected: dict[str, set[str]] = {}
        for tensor, shard in wanted.items():
            expected.setdefault(f"{folder}/{shard}", set()).add(tensor)
        shards = {p: names for p, names in held.items() if p.rpartition("/")[0] == folder}
        found += [(shard, N_("the index names this shard, and it is not there"), {}) for shard in sorted(expected.keys() - shards.keys())]
        found += [(shard, N_("the index does not name this shard"), {}) for shard in sorted(shards.keys() - expected.keys())]
        for shard in sorted(shards.keys() & expected.keys()):
            if odd := sorted(shards[shard] ^ expected[shard]):
                found.append((shard, N_("the shard does not hold what the index says: {tensor}"), {"tensor": odd[0][:120]}))
    return found


def _weight_map(file: Path) -> dict[str, str] | None:
    try:
        with open(file, "rb") as source:
            raw = source.read(MAX_INDEX_BYTES + 1)
        return {str(tensor): str(shard) for tensor, shard in json.loads(raw)["weight_map"].items()} if len(raw) <= MAX_INDEX_BYTES else None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
