"""What a readiness check is: a pure function of facts. It judges and runs nothing.

The runner, not the author of a check, turns a fact that is not there into *unknown*; so the same facts give the same
verdict on a live site, on a recording, and on an auditor's desk years later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Protocol

from console.i18n import N_

VerdictWord = Literal["pass", "info", "warn", "fail", "unknown"]
ORDER: tuple[VerdictWord, ...] = ("fail", "unknown", "warn", "info", "pass")

ABSENT = N_("{tool} is not on the server, so this could not be measured.")
UNREADABLE = N_("The server's answer could not be read: {reason}")
NOT_ASKED = N_("The server was not asked about this yet.")
ASK_AGAIN = N_("Take the inventory again; the evidence shows what the server answered.")


class Answer(Protocol):
    """A fact as the inventory holds it: ``console.servers.results.FactResult``."""

    id: str
    state: str
    value: Any
    reason: str | None


@dataclass(frozen=True)
class Verdict:
    """What a check found. ``reason`` and ``remedy`` are marked text whose fields ``params`` fill."""

    verdict: VerdictWord
    reason: str
    params: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""


@dataclass(frozen=True)
class Plan:
    """What is to run, as far as it is known. Sizes are bytes on one server.

    Attributes:
        store: folder for weights on the server. weights_bytes: what must be copied there.
        precision: of the weights, such as ``fp8``. arch: processor architectures that the playbook's packages fit.
        accelerator: vendor that the playbook needs, or None. devices: how many at least.
        python: whether it needs Python on the server. engine: ``container`` when it needs a container engine. port: where it listens.
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


@dataclass(frozen=True)
class Site:
    """What a check may look at besides facts: the devices read from them, the plan, and sourced data on chips."""

    devices: tuple[Any, ...]
    plan: Plan
    catalog: Any = None


@dataclass(frozen=True)
class Check:
    """One check. ``needs`` are facts without which it cannot judge; ``vendor`` limits it to servers with such devices.

    Attributes:
        empty_is_value: whether an answer that lists nothing can be judged.
        source: whose practice or documentation the threshold follows.
    """

    id: str
    title: str
    needs: tuple[str, ...]
    judge: Callable[[Mapping[str, Any], Site], Verdict]
    vendor: str | None = None
    empty_is_value: bool = False
    source: str = ""
    applies: Callable[[Site], bool] = lambda site: True


_CHECKS: dict[str, Check] = {}


def check(id: str, *, title: str, needs: tuple[str, ...] = (), vendor: str | None = None, empty_is_value: bool = False, source: str = "",
          applies: Callable[[Site], bool] = lambda site: True) -> Callable:
    """Register a check; ids are unique."""

    def register(judge: Callable[[Mapping[str, Any], Site], Verdict]) -> Callable[[Mapping[str, Any], Site], Verdict]:
        if id in _CHECKS:
            raise ValueError(f"check {id!r} is declared twice")
        _CHECKS[id] = Check(id, title, needs, judge, vendor, empty_is_value, source, applies)
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
            return Verdict("unknown", ABSENT, {"tool": answer.reason or id}, ASK_AGAIN)
        if answer.state == "unreadable":
            return Verdict("unknown", UNREADABLE, {"reason": answer.reason or id}, ASK_AGAIN)
        if answer.state == "empty" and not item.empty_is_value:
            return Verdict("unknown", N_("The server answered nothing about this."), remedy=ASK_AGAIN)
    return item.judge({id: facts[id].value for id in item.needs}, site)
