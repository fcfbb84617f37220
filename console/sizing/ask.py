"""From the words of an operator (names of model, device, framework) to a question that can be answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.catalog import catalog as names
from console.catalog.catalog import Catalog
from console.catalog.reading import Entry
from console.errors import InputError, UsageError, code
from console.i18n import N_
from console.sizing.architecture import Architecture, from_config
from console.sizing.fit import Fit, Question, fit
from console.sizing.weights import Weights, of_config, of_model

BAD_PRECISION = code("fit.unknown-precision", UsageError, N_("The precision {name} is not known."), N_("Known are: {known}."))

NO_ARCHITECTURE = code("catalog.no-architecture", InputError, N_("The catalog's entry {model} names the architecture {architecture}, which is not in it."),
                       N_("Bring in a catalog that holds both."))


def by_name(catalog: Catalog, model: str, accelerator: str, count: int, *, precision: str | None = None, framework: str | None = None,
            **more: Any) -> Fit:
    """Ask for a model of the catalog.

    Args:
        more: further fields of :class:`Question`.

    Raises:
        InputError: ``catalog.unknown-…``. UsageError: ``fit.…``.
    """
    entry, shape, weights = _known(catalog, model, precision)
    floor = (entry.get("floor_gb") or {}).get(weights.precision)
    return fit(catalog, _question(catalog, shape, weights, accelerator, count, framework, limit=entry["context"], floor_gb=floor,
                                  verified_on=tuple(entry.get("verified_on") or ()), **more))


def model_weights(catalog: Catalog, model: str, precision: str | None = None) -> Weights:
    """Bytes and precision of a model of the catalog.

    Raises:
        InputError: ``catalog.unknown-model``. UsageError: ``fit.unknown-precision``.
    """
    return _known(catalog, model, precision)[2]


def _known(catalog: Catalog, model: str, precision: str | None) -> tuple[Entry, Architecture, Weights]:
    found = catalog.model(model)
    declared = catalog.find("models", found.entry["architecture"], "architectures")
    if declared is None:
        raise NO_ARCHITECTURE(model=found.entry.name, architecture=found.entry["architecture"])
    shape = from_config({**declared["config"], "max_position_embeddings": found.entry["context"]})
    return found.entry, shape, of_model(catalog, found.entry, shape, canonical(precision) or found.precision)


def by_config(catalog: Catalog, config: Mapping[str, Any], accelerator: str, count: int, *, weights_bytes: int | None = None,
              precision: str | None = None, framework: str | None = None, **more: Any) -> Fit:
    """Ask for any model by its ``config.json``.

    Raises:
        InputError: ``sizing.bad-config``, ``catalog.unknown-…``. UsageError: ``fit.…``.
    """
    shape = from_config(config)
    wanted = canonical(precision)
    weights = of_config(catalog, shape, weights_bytes, wanted) if shape.known or weights_bytes is not None else None
    return fit(catalog, _question(catalog, shape, weights, accelerator, count, framework,
                                  precision_given=bool(wanted or shape.precision), **more))


def _question(catalog: Catalog, shape: Any, weights: Any, accelerator: str, count: int, framework: str | None, **more: Any) -> Question:
    memory = more.get("memory_bytes")
    device = catalog.device(accelerator, memory / 1048576 if memory else None)
    entry = catalog.framework(framework) if framework else None
    if entry is not None and entry.name == "vllm" and device.entry.vendor == "ascend":
        # On Ascend, what people call vLLM is its Ascend plug-in.
        entry = catalog.framework("vllm-ascend")
    return Question(shape, weights, device.entry, count, framework=entry, named=device, asked_name=accelerator, **more)


def canonical(precision: str | None) -> str | None:
    """The canonical name of a precision.

    Raises:
        UsageError: ``fit.unknown-precision``.
    """
    if precision is None:
        return None
    found = names.precision(precision)
    if found is None:
        raise BAD_PRECISION(name=precision[:60], known="bf16, fp16, fp8, int8, w8a8, w4a8, int4, fp4, nvfp4")
    return found
