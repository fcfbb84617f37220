"""What sizing needs to know of a model, taken from its own files, so that *will it run* is answered before a byte is copied."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from console.bundles import archives, packages
from console.bundles.headers import Tensor

MAX_CONFIG_BYTES = 256 << 10


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


def index_findings(files: tuple[tuple[str, Path], ...], tensors: dict[str, list[Tensor]]) -> list[tuple[str, str]]:
    """(path, what is wrong) where ``*.safetensors.index.json`` and the shards disagree: missing, swapped, extra."""
    found: list[tuple[str, str]] = []
    for path, file in files:
        if not path.endswith(".safetensors.index.json"):
            continue
        folder = path.rpartition("/")[0]
        try:
            listed = json.loads(file.read_text(encoding="utf-8"))["weight_map"]
            wanted = {str(tensor): f"{folder}/{shard}" for tensor, shard in listed.items()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            found.append((path, "the index cannot be read"))
            continue
        shards = {p: {t.name for t in listed} for p, listed in tensors.items() if p.rpartition("/")[0] == folder}
        for shard in sorted(set(wanted.values()) - set(shards)):
            found.append((shard, "the index names this shard, and it is not there"))
        for shard in sorted(set(shards) - set(wanted.values())):
            found.append((shard, "the index does not name this shard"))
        for shard, names in sorted(shards.items()):
            expected = {t for t, s in wanted.items() if s == shard}
            if shard in wanted.values() and names != expected:
                odd = sorted(names ^ expected)[0]
                found.append((shard, f"the shard does not hold what the index says: {odd[:120]}"))
    return found
