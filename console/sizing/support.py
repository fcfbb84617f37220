"""Whether a device runs weights of a precision, and whether a framework runs an architecture on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from console.catalog.catalog import Catalog
from console.catalog.reading import Entry
from console.sizing.architecture import Architecture
from console.sizing.reason import Reason

Answer = Literal["yes", "no", "unknown"]
_NEEDS = {"bf16": "bf16", "fp16": "fp16", "fp8": "fp8", "mxfp8": "fp8", "w8a8": "int8", "w4a8": "int8", "fp4": "fp4",
          "nvfp4": "fp4"}
_REMEDIES = {"ascend": "W8A8, W4A8 or BF16", "nvidia": "BF16, W8A8 or INT4", "amd": "FP8 or BF16"}


@dataclass(frozen=True)
class Ruling:
    """An answer with its reasons."""

    answer: Answer
    reasons: tuple[Reason, ...] = ()


def precision(device: Entry, name: str, model: Architecture | None, verified_on: tuple[str, ...] = ()) -> Ruling:
    """Whether weights of a canonical precision run on a device.

    Block FP8 of mixtures of experts with latent attention (the DeepSeek V3 family) counts as not runnable where FP8 is only
    emulated: the frameworks' fused kernels for it need the hardware.
    """
    told = {"device": device.name, "precision": name.upper()}
    remedy = _REMEDIES[device.vendor or "nvidia"] if name != "nvfp4" or device.vendor != "nvidia" else "FP8, BF16 or INT4"
    if device["precision"]["bf16"] == "none":
        remedy = "FP16, INT8 or INT4"
    if name == "fp32":
        return Ruling("yes")
    need = _NEEDS.get(name)
    if need is None:
        return _weight_only(device, told)
    if name == "nvfp4" and device.vendor != "nvidia":
        return Ruling("no", (Reason.of("precision.unsupported", device, **told, remedy=remedy),))
    level = device["precision"][need]
    if name == "bf16" and level == "none" and device["precision"]["fp16"] == "native":
        return Ruling("yes", (Reason.of("precision.float16", device, device=device.name),))
    if level == "none" and device.name in verified_on:
        return Ruling("yes", (Reason.of("precision.emulated", device, **told),))
    is_block_moe = model is not None and model.experts is not None and model.attention in ("mla", "dsa", "csa", "csa2")
    if level == "none" or (level == "emulated" and need == "fp8" and is_block_moe):
        return Ruling("no", (Reason.of("precision.unsupported", device, **told, remedy=remedy),))
    kind = "precision.native" if level == "native" else "precision.emulated"
    return Ruling("yes", (Reason.of(kind, device, **told),))


def _weight_only(device: Entry, told: dict[str, str]) -> Ruling:
    """INT4 and W8A16: unpacked into FP16 or BF16 on the way; kernels for that are NVIDIA's and AMD's."""
    if device.vendor == "ascend":
        return Ruling("unknown", (Reason.of("precision.unknown", device, **told),))
    return Ruling("yes", (Reason.of("precision.emulated", device, **told),))


def framework(catalog: Catalog, wanted: Entry | None, device: Entry, model: Architecture, precision_name: str) -> Ruling:
    """Whether the framework, or with None any that runs on the device's vendor, runs the architecture there."""
    if wanted is not None:
        return _one(catalog, wanted, device, model, precision_name)
    candidates = [e for e in catalog.all("serving", "entries") if device.vendor in e["vendors"]]
    rulings = [_one(catalog, entry, device, model, precision_name) for entry in candidates]
    for answer in ("yes", "no"):
        of_kind = [r for r in rulings if r.answer == answer]
        if answer == "yes" and of_kind:
            best = max(of_kind, key=lambda r: ("low", "medium", "high").index(r.reasons[0].confidence))
            return Ruling("yes", best.reasons)
        if answer == "no" and of_kind and any(r.reasons[0].code == "framework.unsupported" for r in of_kind):
            return of_kind[0]
    return Ruling("unknown", rulings[0].reasons if rulings else ())


def _one(catalog: Catalog, wanted: Entry, device: Entry, model: Architecture, precision_name: str) -> Ruling:
    told = {"framework": wanted["title"], "device": device.name, "architecture": model.type}
    if device.vendor not in wanted["vendors"]:
        return Ruling("no", (Reason.of("framework.other-vendor", wanted, framework=wanted["title"], device=device.name),))
    for rule in catalog.all("serving", "support"):
        if not _fits(rule, wanted, device, model, precision_name):
            continue
        if rule["verdict"] == "yes":
            lowest = rule.get("min_version")
            kind = "framework.version" if lowest else "framework.supported"
            more = {"version": lowest} if lowest else {}
            return Ruling("yes", (Reason.of(kind, rule, **{k: told[k] for k in ("framework", "architecture")}, **more),))
        return Ruling("no", (Reason.of("framework.unsupported", rule, **told),))
    return Ruling("unknown", (Reason("framework.unknown", told, wanted.source, "low"),))


def _fits(rule: Entry, wanted: Entry, device: Entry, model: Architecture, precision_name: str) -> bool:
    return (rule["framework"] in ("any", wanted.name)
            and (model.type in rule["architectures"] or "any" in rule["architectures"])
            and (not rule.get("families") or device["family"] in rule["families"])
            and (not rule.get("devices") or device.name in rule["devices"])
            and (not rule.get("precisions") or precision_name in rule["precisions"])
            and (not rule.get("hidden_size") or rule["hidden_size"] == model.hidden))
