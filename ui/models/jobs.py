"""What the window knows of the jobs, folded together from their events. No Qt, no engine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from console.events import Event, JobState, Note, Phase, Progress, ServerResult

OVER = frozenset({"succeeded", "failed", "cancelled", "interrupted"})
"""The states that a job does not leave."""

NOTES_KEPT = 500
_SMOOTHING = 0.3


@dataclass
class Gauge:
    """How far something is, how fast, and how long it still takes."""

    done: int = 0
    total: int | None = None
    unit: str = ""
    rate_per_s: float | None = None
    told_left_s: float | None = None
    _at: float | None = None

    def move(self, event: Progress, now: float) -> None:
        """Take in newer progress, seen at ``now`` (monotonic seconds)."""
        if self._at is not None and event.unit == self.unit and event.done >= self.done and now > self._at:
            speed = (event.done - self.done) / (now - self._at)
            self.rate_per_s = speed if self.rate_per_s is None else (
                _SMOOTHING * speed + (1 - _SMOOTHING) * self.rate_per_s)
        elif event.unit != self.unit or event.done < self.done:
            self.rate_per_s = None
        self.done, self.total, self.unit, self._at = event.done, event.total, event.unit, now
        self.told_left_s = event.left_s

    @property
    def part(self) -> float | None:
        """From 0 to 1; None when the total is not known."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def left_s(self) -> float | None:
        """Seconds left: as the engine measured it, else at the present rate; None when that cannot be said."""
        if self.told_left_s is not None:
            return self.told_left_s
        if not self.total or not self.rate_per_s or self.done >= self.total:
            return None
        return (self.total - self.done) / self.rate_per_s


@dataclass
class ServerPart:
    """One server's part of a job."""

    phase: str = ""
    gauge: Gauge = field(default_factory=Gauge)
    outcome: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass
class JobView:
    """One job as the operator sees it."""

    id: str
    title: str = ""
    state: str = "queued"
    error: dict[str, Any] | None = None
    phase: str = ""
    gauge: Gauge = field(default_factory=Gauge)
    servers: dict[str, ServerPart] = field(default_factory=dict)
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=NOTES_KEPT))

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.state in OVER

    def overall(self) -> Gauge:
        """The job's own progress, or the sum over its servers where it only reports those."""
        parts = [part.gauge for part in self.servers.values() if part.gauge.total and part.gauge.unit == "bytes"]
        if self.gauge.total or not parts:
            return self.gauge
        rates = [gauge.rate_per_s for gauge in parts if gauge.rate_per_s]
        # The last server's end is the job's, as far as the engine could tell it of each that has not ended.
        left = [part.gauge.told_left_s for part in self.servers.values() if part.outcome is None and part.gauge in parts]
        return Gauge(sum(g.done for g in parts), sum(g.total or 0 for g in parts), "bytes",
                     sum(rates) if rates else None, max(left) if left and None not in left else None)


class JobBoard:
    """All jobs seen since the window opened, newest last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.jobs: dict[str, JobView] = {}
        self._clock = clock

    def take(self, events: Iterable[Event]) -> frozenset[str]:
        """Fold ``events`` in; returns the ids of the jobs that moved."""
        now, moved = self._clock(), set()
        for event in events:
            if event.job is not None:
                self._fold(self.jobs.setdefault(event.job, JobView(event.job)), event, now)
                moved.add(event.job)
        return frozenset(moved)

    def running(self) -> list[JobView]:
        """Jobs that have not ended."""
        return [job for job in self.jobs.values() if not job.over]

    def forget(self, job_id: str) -> None:
        """Take an ended job off the board."""
        if job_id in self.jobs and self.jobs[job_id].over:
            del self.jobs[job_id]

    @staticmethod
    def _fold(job: JobView, event: Event, now: float) -> None:
        server = getattr(event, "server", None)
        part = job.servers.setdefault(server, ServerPart()) if server else None
        match event:
            case JobState():
                job.state, job.error = event.state, event.error
                job.title = event.title or job.title
            case Phase():
                (part or job).phase = event.name
                if part is None:
                    job.gauge = Gauge()
                else:
                    part.outcome, part.gauge = None, Gauge()  # what ended was an earlier part, such as the push
            case Progress():
                (part or job).gauge.move(event, now)
            case Note():
                job.notes.append(event)
            case ServerResult():
                part.outcome, part.detail = event.outcome, dict(event.detail)
