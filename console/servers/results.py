"""From the evidence of one command to one of four answers: a value, empty, absent, unreadable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from console.errors import SealiftError, remade
from console.facts.fact import Fact
from console.i18n import N_, Said

State = Literal["value", "empty", "absent", "unreadable"]
_TIMED_OUT = (124, 137, 143)
_NOT_RUN = {
    "needs-root": N_("it needs root here, and the server is set to have no sudo"),
    "no-sudo-password": N_("it needs root here, and the sudo password was not given"),
    "not-run": N_("the inventory ended before it"),
    "hung-before": N_("its program did not end when it was asked something else, and was not asked again")}
"""Why a command was not run, where the evidence itself does not say."""


@dataclass(frozen=True)
class FactResult:
    """What is known of one fact. ``value`` is set in state ``value`` only; ``reason`` says why not.

    ``evidence`` holds ``argv``, ``exit_code``, ``stdout``, ``stderr``, ``duration_s``, ``truncated`` and
    ``outcome`` (``ran``, ``absent``, ``hung``, ``needs-root``, ``no-sudo-password``, ``not-run``, ``hung-before``);
    where root was refused also ``refused``, as ``SealiftError.kept`` gives it.
    """

    id: str
    state: State
    value: Any = None
    evidence: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


class Answers(Mapping[str, FactResult]):
    """The answers of one server by fact id, each read from its evidence when it is first wanted: to see what changed since the last
    time, few of the last time's are.

    Args:
        asked: by fact id, the fact and its evidence.
    """

    def __init__(self, asked: dict[str, tuple[Fact, dict[str, Any]]]):
        self._asked, self._read = asked, dict[str, FactResult]()

    def __getitem__(self, name: str) -> FactResult:
        known = self._read.get(name)
        if known is None:
            known = self._read[name] = judge(*self._asked[name])
        return known

    def __contains__(self, name: object) -> bool:
        return name in self._asked

    def __iter__(self) -> Iterator[str]:
        return iter(self._asked)

    def __len__(self) -> int:
        return len(self._asked)


LONGEST_SHARED_CHARS = 16 << 10
"""Answers longer than this are read for each server anew, so that what is kept of all is bounded."""


def judge(fact: Fact, evidence: dict[str, Any]) -> FactResult:
    """Parse the evidence. Nothing stands in for an answer that is missing: what cannot be read is said to be so.

    The servers of a fleet say the same word for word about most things, and what was read once is not read again: values of
    different servers may be one object, which nobody changes.
    """
    get = evidence.get
    said, complaint, code, outcome = get("stdout"), get("stderr"), get("exit_code"), get("outcome")
    told = type(said) is str and len(said) <= LONGEST_SHARED_CHARS and type(complaint) is str
    if told and (code is None or type(code) is int) and code not in _TIMED_OUT and outcome in ("ran", "absent"):
        state, value, reason = _same_answer(fact, said, complaint[:LONGEST_SHARED_CHARS], code, bool(evidence["truncated"]), outcome)
    else:
        state, value, reason = _answer(fact, evidence)
    return FactResult(fact.id, state, value, evidence, reason)


@lru_cache(maxsize=2048)
def _same_answer(fact: Fact, stdout: str, stderr: str, exit_code: int | None, truncated: bool, outcome: str) -> tuple[State, Any, str | None]:
    return _answer(fact, {"stdout": stdout, "stderr": stderr, "exit_code": exit_code, "truncated": truncated, "outcome": outcome})


def _answer(fact: Fact, seen: dict[str, Any]) -> tuple[State, Any, str | None]:
    tool, outcome, exit_code = fact.asked, seen.get("outcome", "ran"), seen["exit_code"]
    if outcome == "absent" or (exit_code == 127 and not seen["stdout"].strip()):
        return "absent", None, Said(N_("{tool} is not there"), tool=tool)
    if outcome in _NOT_RUN:
        return "unreadable", None, _refusal(seen) or Said(_NOT_RUN[outcome])
    if outcome == "hung" or (exit_code in _TIMED_OUT and (seen["duration_s"] or 0) >= fact.timeout_s - 1):
        return "unreadable", None, Said(N_("{tool} did not end within {timeout_s} s"), tool=tool, timeout_s=f"{fact.timeout_s:g}")
    if seen["truncated"]:
        return "unreadable", None, Said(N_("the output of {tool} is too long"), tool=tool)
    if exit_code not in (0, None) and not seen["stdout"].strip():
        said = seen["stderr"].strip().splitlines()
        if said:
            return "unreadable", None, Said(N_("{tool} ended with {exit_code}: {said}"), tool=tool, exit_code=exit_code, said=said[0][:300])
        return "unreadable", None, Said(N_("{tool} ended with {exit_code}"), tool=tool, exit_code=exit_code)
    return _parsed(fact, seen)


def _refusal(seen: dict[str, Any]) -> str | None:
    """Why root was refused; evidence of before this was kept as an error holds it as English text."""
    problem = remade(seen["refused"]) if seen.get("refused") else None
    return problem.said() if problem else seen["stderr"] or None


def _parsed(fact: Fact, seen: dict[str, Any]) -> tuple[State, Any, str | None]:
    try:
        value = fact.parse(seen["stdout"])
    except SealiftError as problem:
        return "unreadable", None, problem.said()
    except Exception as problem:  # a parser that meets a layout nobody foresaw must not cost the server its inventory
        return "unreadable", None, f"{type(problem).__name__}: {problem}"[:300]
    if value is None or (hasattr(value, "__len__") and len(value) == 0):
        return "empty", None, None
    return "value", value, None
