"""``engine.readiness``: judges servers by their latest inventory, and keeps the verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from console.checks.check import ORDER, Plan, Site, VerdictWord, judge_all
from console.errors import InputError, code
from console.events import Changed
from console.i18n import N_, tr
from console.store import readiness as table

if TYPE_CHECKING:
    from console.engine import Engine

NO_INVENTORY = code("readiness.no-inventory", InputError, N_("{server} was not inventoried yet, or did not answer when it was."),
                    N_("Take the inventory first: sealift inventory {server}."))
NO_PLAYBOOK = code("readiness.unknown-playbook", InputError, N_("There is no playbook {playbook}."),
                   N_("`sealift deploy playbooks` names them."))


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

    def as_json(self, lang: str) -> dict[str, Any]:
        """As the command line prints it."""
        return {"check": self.check, "title": tr(self.title, lang), "verdict": self.verdict, "reason": tr(self.reason, lang, **self.params),
                "remedy": tr(self.remedy, lang, **self.params) if self.remedy else "", "evidence": list(self.evidence), "source": self.source}


class ReadinessService:
    """Judges by stored facts; asks no server."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def run(self, names: Sequence[str], model: str | None = None, playbook: str | None = None) -> list[CheckResult]:
        """Every check on every named server.

        Args:
            model: a release of the library whose weights are to run. playbook: id of the recipe that is to run it.

        Raises:
            InputError: ``readiness.no-inventory``, an unknown server, release or playbook.
        """
        asked = {"model": model, "playbook": playbook}
        results: list[CheckResult] = []
        obj = {"kind": "servers", "id": ",".join(names), "digest": None}
        with self._engine.act("readiness.run", obj, asked) as told:
            for record in self._engine.servers.select(list(names)):
                inventory = self._engine.inventory.latest(record.name, reached=True)
                if inventory is None:
                    raise NO_INVENTORY(server=record.name)
                site = Site(inventory.devices, self._plan(record.store, model, playbook), self._catalog())
                found = [CheckResult(record.name, j.check.id, j.check.title, j.verdict.verdict, j.verdict.reason, j.verdict.params,
                                     j.verdict.remedy, j.evidence, j.check.source) for j in judge_all(inventory.facts, site)]
                table.put(self._engine.store, record.name, asked, [asdict(r) for r in found])
                results += found
            told["verdicts"] = {name: verdict([r for r in results if r.server == name]) for name in {r.server for r in results}}
        self._engine.events.publish(Changed(None, frozenset({"servers"})))
        return results

    def latest(self) -> list[CheckResult]:
        """The newest verdicts of every server that was judged."""
        return [CheckResult(**item | {"evidence": tuple(item["evidence"])})
                for row in table.latest(self._engine.store).values() for item in row["results"]]

    def _plan(self, store: str, model: str | None, playbook: str | None) -> Plan:
        weights = precision = None
        if model:
            release = self._engine.library.get(model)
            weights = release.bytes
            summary = next((c.summary for c in release.components if c.type == "model"), {})
            sizes = summary.get("bytes_by_dtype") or {}
            largest = max(sizes, key=lambda d: sizes[d], default=None)
            precision = {"f8_e4m3": "fp8", "f8_e5m2": "fp8", "bf16": "bf16", "f16": "fp16", "i8": "int8", "f4": "fp4"}.get(largest or "")
        if playbook is None:
            return Plan(store, weights, precision)
        from console.deploy.playbook import built_in

        book = built_in().get(playbook)
        if book is None:
            raise NO_PLAYBOOK(playbook=playbook)
        needs, kinds = book.needs, {kind for kind, _ in book.steps}
        return Plan(store, weights, precision, tuple(needs.get("arch") or ()), needs.get("accelerator"), int(needs.get("devices") or 0),
                    "python-environment" in kinds, needs.get("engine"), book.service.get("port"))

    def _catalog(self) -> Any:
        from console.catalog.accelerators import accelerators

        return accelerators()


def verdict(results: Sequence[CheckResult]) -> VerdictWord:
    """The worst of several verdicts."""
    return min((r.verdict for r in results), key=ORDER.index, default="unknown")
