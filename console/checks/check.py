"""What a readiness check is: a pure function of facts. It judges and runs nothing.

The runner, not the author of a check, turns a fact that is not there into *unknown*; so the same facts give the same
verdict on a live site, on a recording, and on an auditor's desk years later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Protocol

from console.catalog.catalog import Catalog, built_in
from console.catalog.reading import Entry
from console.i18n import N_
from console.sizing.fit import Fit

VerdictWord = Literal["pass", "info", "warn", "fail", "unknown"]
ORDER: tuple[VerdictWord, ...] = ("fail", "unknown", "warn", "info", "pass")

ABSENT = N_("This could not be measured: {reason}.")
UNREADABLE = N_("The server's answer could not be read: {reason}")
NOT_ASKED = N_("The server was not asked about this yet.")
REPORTED = N_("This would pass by what is {grade} of {name} ({source}), but nothing documents it.")
TRY = N_("Try it on one device of this site and record the result.")
ASK_AGAIN = N_("Take the inventory again; the evidence shows what the server answered.")


class Answer(Protocol):
    """A fact as the inventory holds it: ``console.servers.results.FactResult``."""

    id: str
    state: str
    value: Any
    reason: str | None


@dataclass(frozen=True)
class Verdict:
    """What a check found. ``reason`` and ``remedy`` are marked text whose fields ``params`` fill.

    Attributes:
        basis: entries of the catalog on which the verdict rests. A pass that rests on one that is only reported, or unknown,
            is made unknown by the runner.
    """

    verdict: VerdictWord
    reason: str
    params: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""
    basis: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What is to run, as far as it is known. Sizes are bytes on one server.

    Attributes:
        store: folder for weights on the server. weights_bytes: what must be copied there.
        precision: of the weights, such as ``fp8``. arch: processor architectures that the playbook's packages fit.
        accelerator: vendor that the playbook needs, or None. devices: how many at least.
        python: whether it needs Python on the server. engine: ``container`` when it needs a container engine. port: where it listens.
        framework: catalog name of the serving framework, or None. ask: answers whether the model fits so many devices of a name
            and measured memory; None when no model was named. servers: how many work on one model.
    """

    store: str = "~/sealift"
    weights_bytes: int | None = None
    precision: str | None = None
    arch: tuple[str, ...] = ()
    accelerator: str | None = None
    devices: int = 0
    python: bool = False
    engine: str | None = None
    port: int | None = None
    framework: str | None = None
    ask: Callable[[str, int, int | None], Fit] | None = None
    servers: int = 1


@dataclass(frozen=True)
class Site:
    """What a check may look at besides facts: the devices read from them, the plan, the catalog, and the devices of the other
    servers asked about, by name."""

    devices: tuple[Any, ...]
    plan: Plan
    catalog: Catalog = field(default_factory=built_in)
    peers: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def limit(self, name: str, key: str) -> Any:
        """A value of a threshold of the catalog."""
        return self.catalog.values("thresholds", name)["values"][key]

    def entry_of(self, device: Any) -> Entry | None:
        """What the catalog says of a device."""
        mib = device.memory_total_bytes / 1048576 if device.memory_total_bytes else None
        found = self.catalog.device_or_none(device.model or device.name, mib, device.pci_id) or self.catalog.device_or_none(
            device.name, mib, device.pci_id)
        return found.entry if found and found.entry.vendor == device.vendor else None


@dataclass(frozen=True)
class Check:
    """One check. ``needs`` are facts without which it cannot judge; ``vendor`` limits it to servers with such devices.

    Attributes:
        empty_is_value: whether an answer that lists nothing can be judged.
        source: whose practice or documentation the threshold follows.
        blocking: whether a server is not ready while this check is unknown. What only root, or a tool that need not be there,
            can tell is not.
    """

    id: str
    title: str
    needs: tuple[str, ...]
    judge: Callable[[Mapping[str, Any], Site], Verdict]
    vendor: str | None = None
    empty_is_value: bool = False
    source: str = ""
    applies: Callable[[Site], bool] = lambda site: True
    blocking: bool = True


_CHECKS: dict[str, Check] = {}


def check(
    id: str,
    *,
    title: str,
    needs: tuple[str, ...] = (),
    vendor: str | None = None,
    empty_is_value: bool = False,
    source: str = "",
    applies: Callable[[Site], bool] = lambda site: True,
    blocking: bool = True,
) -> Callable:
    """Register a check; ids are unique."""

    def register(judge: Callable[[Mapping[str, Any], Site], Verdict]) -> Callable[[Mapping[str, Any], Site], Verdict]:
        if id in _CHECKS:
            raise ValueError(f"check {id!r} is declared twice")
        _CHECKS[id] = Check(id, title, needs, judge, vendor, empty_is_value, source, applies, blocking)
        return judge

    return register


@cache
def all_checks() -> tuple[Check, ...]:
    """Every check of the program, by id."""
    from console import registry

    registry.modules("console.checks")
    return tuple(_CHECKS[id] for id in sorted(_CHECKS))


@dataclass(frozen=True)
class Judged:
    """A check's verdict with the ids of the facts that it rests on."""

    check: Check
    verdict: Verdict
    evidence: tuple[str, ...]


def judge_all(facts: Mapping[str, Answer], site: Site, checks: tuple[Check, ...] | None = None) -> list[Judged]:
    """Every check that applies to this server, judged."""
    vendors = {device.vendor for device in site.devices}
    found = []
    for item in checks if checks is not None else all_checks():
        if (item.vendor is None or item.vendor in vendors) and item.applies(site):
            found.append(Judged(item, judge_one(item, facts, site), item.needs))
    return found


def judge_one(item: Check, facts: Mapping[str, Answer], site: Site) -> Verdict:
    """One check; unknown, with the reason, when a fact that it needs is not there."""
    for id in item.needs:
        answer = facts.get(id)
        if answer is None:
            return Verdict("unknown", NOT_ASKED, remedy=ASK_AGAIN)
        if answer.state == "absent":
            return Verdict("unknown", ABSENT, {"reason": answer.reason or id}, ASK_AGAIN)
        if answer.state == "unreadable":
            return Verdict("unknown", UNREADABLE, {"reason": answer.reason or id}, ASK_AGAIN)
        if answer.state == "empty" and not item.empty_is_value:
            return Verdict("unknown", N_("The server answered nothing about this."), remedy=ASK_AGAIN)
    return _graded(item.judge({id: facts[id].value for id in item.needs}, site))


def _graded(found: Verdict) -> Verdict:
    """A pass that rests on something nobody documented becomes unknown."""
    weak = next((e for e in found.basis if e.grade in ("reported", "unknown")), None)
    if found.verdict != "pass" or weak is None:
        return found
    return Verdict("unknown", REPORTED, {"name": weak.name, "grade": weak.grade, "source": weak.source}, TRY, found.basis)
