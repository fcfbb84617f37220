"""One reason of a fit, and the words in which it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from console.catalog.reading import Entry
from console.errors import shown
from console.i18n import N_, tr

TEXTS = {
    "weights.too-large": N_("The weights take {weights} on each device, and {usable} of {memory} are usable."),
    "cache.too-large": N_("With {tokens} tokens and {requests} requests at once, {missing} are missing on each device."),
    "memory.fits": N_("{free} remain free on each device, even when the framework takes much for itself."),
    "memory.tight": N_("It fits only while the framework takes no more than {overhead} for itself on each device; measure it before relying on it."),
    "context.beyond-limit": N_("{tokens} tokens are asked for, and the model's limit is {limit}."),
    "context.assumed": N_("No context length was given; {tokens} tokens are assumed."),
    "precision.native": N_("{device} computes natively in what {precision} weights need."),
    "precision.emulated": N_("{device} runs {precision} weights through conversion or weight-only kernels, not natively; expect lower speed."),
    "precision.float16": N_("{device} has no BF16; the weights have to be run as float16 (--dtype float16)."),
    "precision.unsupported": N_("{device} cannot run {precision} weights. Take an edition in {remedy}."),
    "precision.unknown": N_("Whether {device} runs {precision} weights is not known. Try it on one device and record the result."),
    "precision.assumed": N_("The precision of the weights was not given; {precision} is assumed."),
    "framework.supported": N_("{framework} runs this architecture ({architecture})."),
    "framework.version": N_("{framework} runs this architecture ({architecture}) from version {version}."),
    "framework.unsupported": N_("{framework} does not run this architecture ({architecture}) on {device}."),
    "framework.other-vendor": N_("{framework} does not run on {device}."),
    "framework.unknown": N_("Whether {framework} runs this architecture ({architecture}) on {device} is not known. Look into the release notes of the version at hand, or try it."),
    "driver.unknown": N_("The driver is not part of this question: images for CUDA {cuda} need at least {driver}. `sealift ready` compares it."),
    "stack.unknown": N_("Driver and toolkit are not part of this question; `sealift ready` compares them with each other."),
    "architecture.unknown": N_("The architecture {architecture} is not known, so its cache cannot be worked out."),
    "architecture.missing": N_("The configuration does not say: {fields}."),
    "architecture.assumed": N_("The configuration does not say {fields}; an estimate stands in for it."),
    "accelerator.assumed": N_("{name} is sold in several forms; {device} is taken. The others: {others}."),
    "accelerator.memory-label": N_("What the driver reports for {device} is not known; its label of {label} GB is counted as decimal bytes."),
    "accelerator.grade": N_("What is known of {device} is {grade}, not documented by its maker."),
    "layout.impossible": N_("No layout of {count} devices divides the model's {heads} attention heads and {experts} experts as asked."),
    "layout.nodes": N_("More than one server works on one model; the network between them decides the speed."),
    "weights.source": N_("The weights of {model} in {precision} are counted as {bytes}."),
    "weights.unknown": N_("The size of the weights is not known: give it with --weights-bytes."),
    "memory.below-floor": N_("The published recipe asks for {floor} GB in all, and these devices have {have} GB."),
    "cache.planned": N_("The cache of this model is planned at twice its floor and 1 GiB a request until it is measured on the site."),
    "cache.replicated": N_("Tensor parallelism does not split this model's cache: each device of a group holds all of it."),
    "memory.unified": N_("The memory is shared with the processor, which needs some of it."),
}
"""Marked text by the code of a reason."""


@dataclass(frozen=True)
class Reason:
    """Why a verdict is what it is: a stable code, its fields, whose statement it rests on, and how sure that is."""

    code: str
    params: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    confidence: str = "high"

    @classmethod
    def of(cls, code: str, entry: Entry, **params: Any) -> Reason:
        """A reason that rests on an entry of the catalog."""
        confidence = entry.confidence if entry.grade in ("documented", "derived") else min(entry.confidence, "medium", key=_rank)
        return cls(code, params, entry.source, confidence)

    def message(self, lang: str = "en") -> str:
        """In the reader's language."""
        return tr(TEXTS[self.code], lang, **{key: shown(value) for key, value in self.params.items()})

    def as_dict(self, lang: str = "en") -> dict[str, Any]:
        """The JSON form; ``text`` and ``params`` let another front end render it again."""
        return {"code": self.code, "message": self.message(lang), "source": self.source, "confidence": self.confidence,
                "text": TEXTS[self.code], "params": self.params}


def _rank(confidence: str) -> int:
    return ("low", "medium", "high").index(confidence)
