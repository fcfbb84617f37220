"""From what an operator names (a release or model, a playbook) to the plan that checks judge against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from console.catalog.catalog import Catalog
from console.checks.check import Plan, Site
from console.errors import InputError, code
from console.i18n import N_
from console.sizing.architecture import parse_config
from console.sizing.ask import by_config, by_name, model_weights
from console.sizing.fit import Fit

if TYPE_CHECKING:
    from console.engine import Engine

NO_PLAYBOOK = code(
    "readiness.unknown-playbook", InputError, N_("There is no playbook {playbook}."), N_("`sealift deploy playbooks` names them.")
)
_DTYPES = {"f8_e4m3": "fp8", "f8_e5m2": "fp8", "bf16": "bf16", "f16": "fp16", "i8": "int8", "f4": "fp4"}
_FRAMEWORKS = {"vllm-nvidia": "vllm", "vllm-rocm": "vllm", "vllm-ascend": "vllm-ascend", "sglang-nvidia": "sglang",
               "mindie-ascend": "mindie", "onnx-smoke": "onnxruntime"}


def make(engine: Engine, catalog: Catalog, model: str | None = None, playbook: str | None = None, context_tokens: int | None = None,
         concurrency: int | None = None, servers: int = 1) -> Plan:
    """The plan for what was named; the store is each server's own and set later.

    Raises:
        InputError: an unknown playbook, or a model that is neither a release nor in the catalog.
    """
    told: dict[str, Any] = {"servers": servers}
    if playbook is not None:
        told |= _of_playbook(playbook)
    if model:
        more = {"context": context_tokens, "concurrency": concurrency or 1, "nodes": servers, "framework": told.get("framework")}
        told |= _of_model(engine, catalog, model, more)
    return Plan(**told)


def group(site: Site) -> tuple[str, int, int | None] | None:
    """Name, count and least memory of the devices that a model would run on: the most common kind; None when none is known."""
    usable = [(entry.name, d) for d in site.devices if d.health != "fail" and (entry := site.entry_of(d)) is not None]
    if not usable:
        return None
    name, count = Counter(name for name, _ in usable).most_common(1)[0]
    sizes = [d.memory_total_bytes for other, d in usable if other == name and d.memory_total_bytes]
    return name, count, min(sizes, default=None)


def _of_playbook(playbook: str) -> dict[str, Any]:
    from console.deploy.playbook import built_in

    book = built_in().get(playbook)
    if book is None:
        raise NO_PLAYBOOK(playbook=playbook)
    needs, kinds = book.needs, {kind for kind, _ in book.steps}
    return {"arch": tuple(needs.get("arch") or ()), "accelerator": needs.get("accelerator"), "devices": int(needs.get("devices") or 0),
            "python": "python-environment" in kinds, "engine": needs.get("engine"), "port": book.service.get("port"),
            "framework": _FRAMEWORKS.get(playbook)}


def _of_model(engine: Engine, catalog: Catalog, name: str, more: dict[str, Any]) -> dict[str, Any]:
    """Bytes and precision of a model, and how its fit is asked for."""
    try:
        release = engine.library.get(name)
    except InputError:
        weights = model_weights(catalog, name)
        return {"weights_bytes": weights.total, "precision": weights.precision, "ask": _by_name(catalog, name, more)}
    summary = next((c.summary for c in release.components if c.type == "model"), {})
    sizes = summary.get("bytes_by_dtype") or {}
    largest = max(sizes, key=lambda dtype: sizes[dtype], default=None)
    config, weights_bytes = summary.get("config"), summary.get("weights_bytes")
    # A model for the processor takes nothing of the devices.
    on_devices = more["framework"] != "onnxruntime" and isinstance(config, str) and isinstance(weights_bytes, int) and weights_bytes > 0
    return {"weights_bytes": release.bytes, "precision": _DTYPES.get(largest or ""),
            "ask": _by_config(catalog, config, weights_bytes, more) if on_devices else None}


def _by_name(catalog: Catalog, name: str, more: dict[str, Any]) -> Callable[[str, int, int | None], Fit]:
    return lambda device, count, memory: by_name(catalog, name, device, count, memory_bytes=memory, **more)


def _by_config(catalog: Catalog, config: str, weights_bytes: int, more: dict[str, Any]) -> Callable[[str, int, int | None], Fit]:
    return lambda device, count, memory: by_config(catalog, parse_config(config), device, count, weights_bytes=weights_bytes,
                                                   memory_bytes=memory, **more)
