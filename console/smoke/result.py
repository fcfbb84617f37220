"""What a smoke test found: a verdict with the evidence it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["pass", "fail", "unknown"]


@dataclass(frozen=True)
class Probe:
    """One thing that was tried. ``name`` is a stable word (``health``, ``models``, ``completion``, ``stream``…);
    ``asked`` and ``got`` are plain text as sent and received; ``reason`` is a marked text with ``params``."""

    name: str
    verdict: Verdict
    asked: str = ""
    got: str = ""
    seconds: float = 0.0
    reason: str = ""
    params: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON and the store."""
        return asdict(self)


@dataclass(frozen=True)
class SmokeResult:
    """One level of smoke inference on one place.

    Attributes:
        level: ``local`` (in the console), ``device`` (a computation on a server's devices) or ``service``.
        place: the server, or ``console``.
        verdict: fail when any probe failed; unknown when none failed and something could not be tried.
        answer: the model's answer to the first question, or None.
    """

    level: Literal["local", "device", "service"]
    place: str
    probes: tuple[Probe, ...]
    answer: str | None = None

    @property
    def verdict(self) -> Verdict:
        found = {probe.verdict for probe in self.probes}
        if "fail" in found:
            return "fail"
        return "unknown" if "unknown" in found or not found else "pass"

    def as_dict(self) -> dict[str, Any]:
        """For JSON and the store; ``name`` is the place."""
        return {"name": self.place, "level": self.level, "verdict": self.verdict, "answer": self.answer,
                "probes": [probe.as_dict() for probe in self.probes]}
