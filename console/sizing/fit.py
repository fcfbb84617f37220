"""Will it run: the verdict, the numbers behind it, and the reasons, from a model, a device and a count. Pure.

*fits*: the request still fits when the framework takes much for itself. *tight*: only when it takes less.
*does-not-fit*: not even then, or the context is longer than the model allows. *unsupported*: the device or framework cannot run it.
*unknown*: something needed is not known; it is never counted as a yes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from console import units
from console.catalog.catalog import Catalog, Named
from console.catalog.reading import Entry
from console.errors import UsageError, code
from console.i18n import N_
from console.sizing import support
from console.sizing.architecture import Architecture
from console.sizing.budget import CASES, Memory, memory, overhead, planned_cache
from console.sizing.kvcache import BYTES, bytes_per_token, request_bytes
from console.sizing.layouts import Layout, layouts
from console.sizing.reason import Reason
from console.sizing.weights import Weights

FitVerdict = Literal["fits", "tight", "does-not-fit", "unsupported", "unknown"]
GOOD: tuple[FitVerdict, ...] = ("fits", "tight")
_RANK = {"fits": 0, "tight": 1, "does-not-fit": 2}
MAX_DEVICES = 4096
_COUNTS = (1, 2, 4, *range(8, 65, 8), 96, 128, 192, 256, 384, 512)
UNLIMITED_TOKENS = 1 << 24
"""How far capacity is counted."""

BAD_VALUE = code("fit.bad-value", UsageError, N_("{option} cannot be {value}: {reason}."),
                 N_("Correct the value; `sealift fit --help` explains it."))


@dataclass(frozen=True)
class Question:
    """What is asked. ``count`` is devices a server.

    Attributes:
        weights: None when their size cannot be told. named: the look-up that gave ``device``.
        context: tokens of a request; None: a modest length is assumed. limit: the model's longest context.
        floor_gb: of the published recipe. verified_on: devices on which the model's publisher or recipe ran it.
        memory_bytes: what the driver of a real device reports.
    """

    model: Architecture
    weights: Weights | None
    device: Entry
    count: int
    nodes: int = 1
    framework: Entry | None = None
    context: int | None = None
    concurrency: int = 1
    fraction: float | None = None
    tp: int | None = None
    pp: int | None = None
    cache: str = "bf16"
    limit: int | None = None
    floor_gb: float | None = None
    verified_on: tuple[str, ...] = ()
    memory_bytes: int | None = None
    named: Named | None = None
    asked_name: str = ""
    precision_given: bool = True

    def __post_init__(self) -> None:
        rules = (
            ("--count", self.count, 1 <= self.count <= MAX_DEVICES, f"a number from 1 to {MAX_DEVICES}"),
            ("--nodes", self.nodes, self.nodes >= 1 and self.count * self.nodes <= MAX_DEVICES,
             f"at least 1, with at most {MAX_DEVICES} devices in all"),
            ("--context", self.context, self.context is None or 1 <= self.context <= 1_000_000_000, "a number above 0"),
            ("--concurrency", self.concurrency, 1 <= self.concurrency <= 1_000_000, "a number above 0"),
            ("--memory-fraction", self.fraction, self.fraction is None or 0.05 <= self.fraction <= 1, "a share from 0.05 to 1"),
            ("--tp", self.tp, self.tp is None or 1 <= self.tp <= self.count * self.nodes, "from 1 to the number of devices"),
            ("--pp", self.pp, self.pp is None or 1 <= self.pp <= self.count * self.nodes, "from 1 to the number of devices"),
            ("--cache-type", self.cache, self.cache in BYTES, "one of " + ", ".join(BYTES)))
        for option, value, good, reason in rules:
            if not good:
                raise BAD_VALUE(option=option, value=str(value), reason=reason)


@dataclass(frozen=True)
class Fit:
    """The answer. Bytes are for each device; tokens for the whole deployment."""

    verdict: FitVerdict
    per_device: dict[str, int | None] = field(default_factory=dict)
    kv_bytes_per_token: int | None = None
    kv_cache_tokens: int | None = None
    max_context_tokens: int | None = None
    max_concurrency: int | None = None
    layout: Layout | None = None
    minimum_count: int | None = None
    reasons: tuple[Reason, ...] = ()
    context_tokens: int | None = None
    concurrency: int = 1

    @property
    def good(self) -> bool:
        """Whether it fits, if only tightly."""
        return self.verdict in GOOD

    def as_dict(self, lang: str = "en") -> dict[str, Any]:
        """The JSON form of ``sealift fit``."""
        nothing = {"tp": None, "pp": None, "ep": None, "dp": None, "nodes": None}
        return {"verdict": self.verdict, "per_device": _all_keys(self.per_device), "kv_bytes_per_token": self.kv_bytes_per_token,
                "kv_cache_tokens": self.kv_cache_tokens, "max_context_tokens": self.max_context_tokens,
                "max_concurrency": self.max_concurrency, "layout": self.layout.as_dict() if self.layout else nothing,
                "minimum_count": self.minimum_count, "reasons": [r.as_dict(lang) for r in self.reasons],
                "context_tokens": self.context_tokens, "concurrency": self.concurrency}


PARTS = ("memory_bytes", "usable_bytes", "weights_bytes", "kv_cache_bytes", "overhead_bytes", "free_bytes")


def _all_keys(told: dict[str, int | None]) -> dict[str, int | None]:
    return {key: told.get(key) for key in PARTS}


@dataclass(frozen=True)
class _Sized:
    """One layout with its numbers; ``case`` is the one that the verdict rests on."""

    layout: Layout
    verdict: FitVerdict
    case: str
    usable: int
    weights: int
    cache: int
    overhead: int

    @property
    def free(self) -> int:
        return self.usable - self.weights - self.cache - self.overhead


def fit(catalog: Catalog, asked: Question) -> Fit:
    """Answer a question from the catalog."""
    return _Fitting(catalog, asked).answer()


class _Fitting:
    def __init__(self, catalog: Catalog, asked: Question):
        self.catalog, self.q, self.model = catalog, asked, asked.model
        rules = catalog.values
        self.fraction = asked.fraction or rules("rules", "memory-fraction")["values"]["default"]
        assumed = rules("rules", "assumed-context")["values"]["tokens"]
        self.limit = asked.limit or asked.model.context
        self.context = asked.context or (min(assumed, self.limit) if self.limit else assumed)
        self.memory: Memory = memory(catalog, asked.device, asked.memory_bytes)
        self.usable = int(self.memory.given * self.fraction)

    def answer(self) -> Fit:
        reasons, verdict = self._rulings()
        if not self.model.known or self.model.missing:
            return Fit("unsupported" if verdict == "unsupported" else "unknown", self._bare(),
                       reasons=(*self._unknown_model(), *reasons), context_tokens=self.context, concurrency=self.q.concurrency)
        if self.q.weights is None:
            return Fit("unsupported" if verdict == "unsupported" else "unknown", self._bare(), bytes_per_token(self.model, self.q.cache),
                       reasons=(Reason("weights.unknown", source="neither the catalog nor the question says it", confidence="low"), *reasons), context_tokens=self.context,
                       concurrency=self.q.concurrency)
        best = self._best(self.q.count, self.q.nodes)
        if best is None:
            told = {"count": self.q.count * self.q.nodes, "heads": self.model.heads,
                    "experts": self.model.experts.routed if self.model.experts else 0}
            return Fit("unsupported" if verdict == "unsupported" else "does-not-fit", self._bare(),
                       bytes_per_token(self.model, self.q.cache), 0, 0, 0, reasons=(Reason("layout.impossible", told, "the model's configuration or card"), *reasons),
                       context_tokens=self.context, concurrency=self.q.concurrency)
        return self._told(best, verdict, reasons)

    # -- hard rules -----------------------------------------------------------------------------------------------

    def _rulings(self) -> tuple[list[Reason], FitVerdict | None]:
        """Reasons of precision and framework, and the verdict when they decide it."""
        name = self.q.weights.precision if self.q.weights else (self.model.precision or "bf16")
        rulings = [support.precision(self.q.device, name, self.model, self.q.verified_on)]
        if self.model.known:
            rulings.append(support.framework(self.catalog, self.q.framework, self.q.device, self.model, name))
        reasons = [r for ruling in rulings for r in ruling.reasons]
        answers = [ruling.answer for ruling in rulings]
        return reasons, "unsupported" if "no" in answers else "unknown" if "unknown" in answers else None

    def _unknown_model(self) -> Iterable[Reason]:
        if not self.model.known:
            yield Reason("architecture.unknown", {"architecture": self.model.type or "–"}, "config.json", "low")
        if self.model.missing:
            yield Reason("architecture.missing", {"fields": ", ".join(self.model.missing)}, "config.json", "high")

    def _bare(self) -> dict[str, int | None]:
        return {"memory_bytes": self.memory.shown, "usable_bytes": self.usable,
                "weights_bytes": None, "kv_cache_bytes": None, "overhead_bytes": None, "free_bytes": None}

    # -- sizes ----------------------------------------------------------------------------------------------------

    def _best(self, count: int, nodes: int) -> _Sized | None:
        """The layout with the best verdict; among those the one that uses all devices and keeps groups within a server."""
        found = [self._sized(one, self.context) for one in layouts(self.model, count, nodes, self.q.tp, self.q.pp)]
        return min(found, key=lambda s: (_RANK[s.verdict], CASES.index(s.case), -s.free if s.verdict == "does-not-fit" else 0,
                                         -s.layout.devices, s.layout.tp > count, s.layout.pp, s.layout.dp, not s.layout.replicas),
                   default=None)

    def _sized(self, layout: Layout, context: int) -> _Sized:
        weights = self.q.weights
        assert weights is not None
        on_device = weights.on_device(layout.tp, layout.pp, layout.ep, self.model.layers)
        requests = -(-self.q.concurrency // layout.dp)
        floor = request_bytes(self.model, context, self.q.cache, layout.tp, layout.pp)
        taken = overhead(self.catalog, self.model, self.memory.given, layout.span, context)
        sized = None
        for case in CASES:
            cache = requests * planned_cache(self.catalog, self.model, floor, case)
            verdict: FitVerdict = "fits" if case == "high" else "tight"
            sized = _Sized(layout, verdict, case, self.usable, on_device, cache, taken[case])
            if sized.free >= 0:
                # A fit is shown with the takings one expects; that it holds in the worst case is the verdict.
                return sized if case != "high" else replace(sized, case="high", overhead=taken["expected"])
        assert sized is not None
        return replace(sized, verdict="does-not-fit")

    def _pool(self, sized: _Sized) -> int:
        return max(0, sized.usable - sized.weights - sized.overhead)

    def _holds(self, sized: _Sized, tokens: int, requests: int) -> bool:
        """Whether a device holds so many requests of so many tokens, in the case that the verdict rests on."""
        taken = overhead(self.catalog, self.model, self.memory.given, sized.layout.span, tokens)
        case = "expected" if sized.case == "high" else sized.case
        floor = request_bytes(self.model, tokens, self.q.cache, sized.layout.tp, sized.layout.pp)
        need = requests * planned_cache(self.catalog, self.model, floor, case)
        extra = taken[case] - overhead(self.catalog, self.model, self.memory.given, sized.layout.span, self.context)[case]
        return need + max(extra, -sized.overhead) <= self._pool(sized)

    def _longest(self, sized: _Sized, requests: int, most: int) -> int:
        """The longest context that so many requests can have, by halving; 0 when not even one token fits."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._holds(sized, middle, requests) else (low, middle - 1)
        return low

    def _most_requests(self, sized: _Sized) -> int:
        floor = request_bytes(self.model, self.context, self.q.cache, sized.layout.tp, sized.layout.pp)
        case = "expected" if sized.case == "high" else sized.case
        one = planned_cache(self.catalog, self.model, floor, case)
        return sized.layout.dp * (self._pool(sized) // max(1, one))

    def _minimum(self) -> int | None:
        """The least devices a server with which the answer would be good, at the same number of servers."""
        fixed = replace(self.q, tp=None, pp=None)
        other = _Fitting(self.catalog, fixed)
        for count in _COUNTS:
            if count * self.q.nodes > MAX_DEVICES:
                return None
            best = other._best(count, self.q.nodes)
            if best is not None and best.verdict in GOOD:
                return count
        return None

    # -- words ----------------------------------------------------------------------------------------------------

    def _told(self, best: _Sized, ruled: FitVerdict | None, rulings: list[Reason]) -> Fit:
        beyond = self.limit is not None and self.context > self.limit
        sized_verdict: FitVerdict = "does-not-fit" if beyond else best.verdict
        verdict: FitVerdict = sized_verdict
        if ruled == "unsupported" or (ruled == "unknown" and sized_verdict in GOOD):
            verdict = ruled
        requests = -(-self.q.concurrency // best.layout.dp)
        most = min(self.limit or UNLIMITED_TOKENS, UNLIMITED_TOKENS)
        fits_at_all = self._pool(best) > 0
        tokens = self._longest(best, 1, UNLIMITED_TOKENS) * best.layout.dp if fits_at_all else 0
        return Fit(
            verdict, {"memory_bytes": self.memory.shown, "usable_bytes": best.usable, "weights_bytes": best.weights,
                      "kv_cache_bytes": best.cache, "overhead_bytes": best.overhead, "free_bytes": best.free},
            bytes_per_token(self.model, self.q.cache), tokens, self._longest(best, requests, most) if fits_at_all else 0,
            0 if beyond else self._most_requests(best), best.layout, None if ruled == "unsupported" or beyond else self._minimum(),
            tuple(self._reasons(best, beyond, rulings)), self.context, self.q.concurrency)

    def _reasons(self, best: _Sized, beyond: bool, rulings: list[Reason]) -> Iterable[Reason]:
        weights = self.q.weights
        assert weights is not None
        bad = [r for r in rulings if r.code in ("precision.unsupported", "framework.unsupported", "framework.other-vendor")]
        yield from bad
        if beyond:
            yield Reason("context.beyond-limit", {"tokens": self.context, "limit": self.limit}, "the model's configuration or card", "high")
        yield self._memory_reason(best)
        yield from (r for r in rulings if r not in bad)
        yield Reason("weights.source", {"model": weights.label, "precision": weights.precision.upper(), "bytes": units.size(weights.total)},
                     weights.source, weights.confidence)
        yield from self._remarks(best)

    def _memory_reason(self, best: _Sized) -> Reason:
        rule = self.catalog.values("rules", "overhead-dense" if self.model.experts is None else
                                   "overhead-experts" if best.layout.span == 1 else "overhead-experts-nodes")
        if best.verdict == "does-not-fit":
            if best.weights > best.usable:
                return Reason("weights.too-large", {"weights": units.size(best.weights), "usable": units.size(best.usable),
                                                    "memory": units.size(self.memory.given)}, self.q.device.source, self.q.device.confidence)
            return Reason.of("cache.too-large", rule, tokens=self.context, requests=self.q.concurrency, missing=units.size(-best.free))
        if best.verdict == "tight":
            return Reason.of("memory.tight", rule, overhead=units.size(best.usable - best.weights - best.cache))
        taken = overhead(self.catalog, self.model, self.memory.given, best.layout.span, self.context)["high"]
        return Reason.of("memory.fits", rule, free=units.size(best.usable - best.weights - best.cache - taken))

    def _remarks(self, best: _Sized) -> Iterable[Reason]:
        device, model = self.q.device, self.model
        if self.q.named is not None and self.q.named.assumed:
            yield Reason.of("accelerator.assumed", device, name=self.q.asked_name, device=device.name, others=", ".join(self.q.named.assumed))
        if self.memory.is_label:
            yield Reason("accelerator.memory-label", {"device": device.name, "label": device["memory_gb"]}, device.source, "low")
        if device.grade in ("reported", "unknown"):
            yield Reason.of("accelerator.grade", device, device=device.name, grade=device.grade)
        if device.get("unified"):
            yield Reason.of("memory.unified", device)
        if self.q.context is None:
            yield Reason.of("context.assumed", self.catalog.values("rules", "assumed-context"), tokens=self.context)
        if not self.q.precision_given:
            yield Reason("precision.assumed", {"precision": (self.q.weights.precision if self.q.weights else "bf16").upper()}, "the model's published checkpoint", "low")
        if model.assumed:
            yield Reason("architecture.assumed", {"fields": ", ".join(model.assumed)}, "config.json", "low")
        if model.attention in ("csa", "csa2"):
            yield Reason.of("cache.planned", self.catalog.values("rules", "compressed-cache"))
        if model.attention != "gqa" and best.layout.tp > 1:
            yield Reason("cache.replicated", {}, "one latent for all heads", "high")
        have = self.q.count * self.q.nodes * device["memory_gb"]
        if self.q.floor_gb and have < self.q.floor_gb:
            yield Reason("memory.below-floor", {"floor": round(self.q.floor_gb), "have": round(have)}, "vLLM recipes (2026-08-21)", "medium")
        if best.layout.span > 1:
            yield Reason("layout.nodes", {}, "worked out from the layout", "high")
        yield self._stack()

    def _stack(self) -> Reason:
        newest = [e for e in self.catalog.all("stacks") if e.get("type") == "framework-cuda" and e.get("below") is None]
        wanted = self.q.framework.name if self.q.framework else "vllm"
        entry = next((e for e in newest if e["framework"] == wanted), None)
        if self.q.device.vendor != "nvidia" or entry is None:
            return Reason("stack.unknown", {}, "not part of the question", "high")
        floor = next(e for e in self.catalog.all("stacks") if e.get("type") == "cuda-floor" and e["cuda"] == entry["cuda"].split(".")[0])
        return Reason.of("driver.unknown", floor, cuda=entry["cuda"], driver=floor["driver"])
