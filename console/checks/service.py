"""``engine.readiness``: judges servers by their latest inventory, and keeps the verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from console.catalog.catalog import Catalog, load
from console.checks import plans
from console.checks.check import ORDER, Site, VerdictWord, judge_all
from console.errors import InputError, code, shown
from console.events import Changed
from console.i18n import N_, into, tr
from console.sizing.fit import Fit
from console.store import readiness as table

if TYPE_CHECKING:
    from console.accelerators.device import Device
    from console.engine import Engine

NO_INVENTORY = code(
    "readiness.no-inventory",
    InputError,
    N_("{server} was not inventoried yet, or did not answer when it was."),
    N_("Take the inventory first: sealift inventory {server}."),
)


@dataclass(frozen=True)
class CheckResult:
    """One check on one server. ``reason`` and ``remedy`` are marked text filled by ``params``; ``evidence`` are ids of facts."""

    server: str
    check: str
    title: str
    verdict: VerdictWord
    reason: str
    params: dict[str, Any]
    remedy: str
    evidence: tuple[str, ...]
    source: str
    blocking: bool = True

    def message(self, lang: str = "en") -> str:
        """The reason in the reader's language."""
        return tr(self.reason, lang, **self._filled(lang))

    def advice(self, lang: str = "en") -> str:
        """What to do, in the reader's language; empty when there is nothing to do."""
        return tr(self.remedy, lang, **self._filled(lang)) if self.remedy else ""

    def _filled(self, lang: str) -> dict[str, Any]:
        """The fields, with reasons of a fit rendered in the same language and hostile text made fit to show."""
        return {key: shown(" ".join(tr(r["text"], lang, **r["params"]) for r in value) if isinstance(value, list) else into(value, lang))
                for key, value in self.params.items()}

    def as_json(self, lang: str) -> dict[str, Any]:
        """As the command line prints it."""
        return {
            "check": self.check,
            "title": tr(self.title, lang),
            "verdict": self.verdict,
            "reason": self.message(lang),
            "remedy": self.advice(lang),
            "evidence": list(self.evidence),
            "source": self.source,
            "blocking": self.blocking,
        }


class ReadinessService:
    """Judges by stored facts; asks no server."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def run(
        self,
        names: Sequence[str],
        model: str | None = None,
        playbook: str | None = None,
        context_tokens: int | None = None,
        concurrency: int | None = None,
        servers: int = 1,
    ) -> list[CheckResult]:
        """Every check on every named server.

        Args:
            model: a release of the library whose weights are to run, or a model of the catalog. playbook: id of the recipe.
            context_tokens, concurrency: what the model is to be asked. servers: how many of them work on one model.

        Raises:
            InputError: ``readiness.no-inventory``, an unknown server, release, model or playbook. UsageError: ``fit.…``.
        """
        asked = {"model": model, "playbook": playbook, "context_tokens": context_tokens, "concurrency": concurrency, "servers": servers}
        wanted = plans.make(self._engine, self.catalog(), **asked)
        results: list[CheckResult] = []
        catalog, devices = self.catalog(), self._devices(names) if servers > 1 else {}
        obj = {"kind": "servers", "id": ",".join(names), "digest": None}
        self._engine.require("operator", "approver", "auditor", "admin")
        with self._engine.act("readiness.run", obj, {k: v for k, v in asked.items() if v is not None}) as told:
            for record in self._engine.servers.select(list(names)):
                inventory = self._engine.inventory.latest(record.name, reached=True)
                if inventory is None:
                    raise NO_INVENTORY(server=record.name)
                site = Site(inventory.devices, replace(wanted, store=record.store), catalog, {n: d for n, d in devices.items() if n != record.name})
                found = [
                    CheckResult(
                        record.name,
                        j.check.id,
                        j.check.title,
                        j.verdict.verdict,
                        j.verdict.reason,
                        j.verdict.params,
                        j.verdict.remedy,
                        j.evidence,
                        j.check.source,
                        j.check.blocking,
                    )
                    for j in judge_all(inventory.facts, site)
                ]
                table.put(self._engine.store, record.name, asked, [asdict(r) for r in found])
                results += found
            told["verdicts"] = {name: verdict([r for r in results if r.server == name]) for name in {r.server for r in results}}
        self._engine.events.publish(Changed(None, frozenset({"servers"})))
        return results

    def _devices(self, names: Sequence[str]) -> dict[str, tuple[Device, ...]]:
        taken = {r.name: self._engine.inventory.latest(r.name, reached=True) for r in self._engine.servers.select(list(names))}
        return {name: inventory.devices for name, inventory in taken.items() if inventory is not None}

    def catalog(self) -> Catalog:
        """The catalog in force: what ships, and what the site took in."""
        return load(self._engine.workspace / "catalog")

    def models(self) -> list[tuple[str, str]]:
        """(what to name it by, title) of the models that can be asked about: the library's first, then the catalog's."""
        releases = [(r.release_id, r.title) for r in self._engine.library.list() if any(c.type == "model" for c in r.components)]
        return releases + [(e.name, e.name.rpartition("/")[2]) for e in self.catalog().all("models", "entries")]

    def fit(self, name: str, model: str, context_tokens: int | None = None, concurrency: int | None = None, servers: int = 1) -> FitAnswer:
        """Whether a model fits a server's devices as its last inventory shows them.

        Raises:
            InputError: ``readiness.no-inventory``, an unknown server or model. UsageError: ``fit.…``.
        """
        record = self._engine.servers.get(name)
        inventory = self._engine.inventory.latest(record.name, reached=True)
        if inventory is None:
            raise NO_INVENTORY(server=record.name)
        wanted = plans.make(self._engine, self.catalog(), model, None, context_tokens, concurrency, servers)
        group = plans.group(Site(inventory.devices, wanted, self.catalog()))
        if group is None or wanted.ask is None:
            return FitAnswer(record.name, None, 0, None)
        accelerator, count, least = group
        return FitAnswer(record.name, accelerator, count, wanted.ask(accelerator, count, least))

    def latest(self) -> list[CheckResult]:
        """The newest verdicts of every server that was judged."""
        return [
            CheckResult(**item | {"evidence": tuple(item["evidence"])})
            for row in table.latest(self._engine.store).values()
            for item in row["results"]
        ]


@dataclass(frozen=True)
class FitAnswer:
    """How a model fits a server: its most common device and their count; ``fit`` is None when the catalog knows no device of it."""

    server: str
    accelerator: str | None
    count: int
    fit: Fit | None


def verdict(results: Sequence[CheckResult]) -> VerdictWord:
    """The worst of several verdicts. An unknown counts as a warning where a check does not block."""
    return min(("warn" if r.verdict == "unknown" and not r.blocking else r.verdict for r in results), key=ORDER.index, default="unknown")
