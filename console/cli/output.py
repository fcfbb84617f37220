"""What a running job tells, on standard error: a bar on a terminal, one JSON object a line, or nothing."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from console import units
from console.errors import retold, shown
from console.events import Event, JobState, Note, Phase, Progress, ServerResult
from console.i18n import tr

REDRAW_S = 0.1
RATE_S = 20.0
"""The rate shown is that of so long."""


class ProgressPrinter:
    """A listener for the event bus; safe from any thread.

    Args:
        now: a clock in seconds that only goes forward.
    """

    def __init__(self, form: str, lang: str, now: Callable[[], float] = time.monotonic):
        self._form, self._lang, self._now, self._lock = form, lang, now, threading.Lock()
        self._terminal = form == "bar" and sys.stderr is not None and sys.stderr.isatty()
        self._drawn_at, self._width = 0.0, 0
        self._progress: dict[str | None, Progress] = {}
        self._moved, self._marks = 0, deque[tuple[float, int]]()

    def __call__(self, event: Event) -> None:
        if event.job is None:
            return
        with self._lock:
            if self._form == "json":
                self._line(json.dumps({"event": type(event).__name__} | _plain(event), ensure_ascii=False, default=str))
            elif self._form == "bar":
                self._show(event)

    def finish(self) -> None:
        """Clear the bar."""
        with self._lock:
            self._wipe()

    def _show(self, event: Event) -> None:
        where = f"{event.server}: " if getattr(event, "server", None) else ""
        if isinstance(event, Note):
            self._line(where + tr(event.text, self._lang, **{k: shown(v) for k, v in event.params.items()}))
        elif isinstance(event, ServerResult):
            self._line(f"{where}{tr(event.outcome, self._lang)}")
        elif isinstance(event, Phase) and self._terminal:
            self._line(where + tr(event.name, self._lang))
        elif isinstance(event, Progress) and self._terminal:
            before = self._progress.get(event.server)
            if before is not None and before.done < event.done:
                # What was found there at first did not come, and is no part of the rate.
                self._moved += event.done - before.done
            self._progress[event.server] = event
            if self._now() - self._drawn_at > REDRAW_S:
                self._draw()
        elif isinstance(event, JobState) and event.state == "cancelling":
            self._line("…")

    def _draw(self) -> None:
        self._drawn_at = self._now()
        done, total = sum(p.done for p in self._progress.values()), sum(p.total or 0 for p in self._progress.values())
        unit = next(iter(self._progress.values())).unit
        text = f"{done} / {total} {unit}"
        if unit == "bytes":
            text = f"{units.size(done)} / {units.size(total)}  {units.rate(self._rate())}"
            # The slowest server's; not known while one of them is not.
            waits = [p.left_s for p in self._progress.values() if p.done < (p.total or 0)]
            if waits and None not in waits:
                text += f"  {units.duration(max(waits))}"
        share = min(1.0, done / total) if total else 0.0
        bar = "█" * int(24 * share) + "░" * (24 - int(24 * share))
        self._wipe()
        line = f"{bar} {share:4.0%}  {text}"
        self._width = len(line)
        sys.stderr.write("\r" + line)
        sys.stderr.flush()

    def _rate(self) -> float:
        """What came a second lately."""
        self._marks.append((self._drawn_at, self._moved))
        while self._drawn_at - self._marks[0][0] > RATE_S:
            self._marks.popleft()
        (then, low), (now, high) = self._marks[0], self._marks[-1]
        return (high - low) / (now - then) if now > then else 0.0

    def _wipe(self) -> None:
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0

    def _line(self, text: str) -> None:
        self._wipe()
        print(text, file=sys.stderr, flush=True)


def _plain(event: Event) -> dict[str, object]:
    fields = {f.name: getattr(event, f.name) for f in dataclasses.fields(event)}
    return {k: sorted(v) if isinstance(v, frozenset) else v for k, v in fields.items()}


def table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    """Rows under a head, columns aligned by display width."""
    lines = [list(map(str, head)), *(list(map(str, row)) for row in rows)]
    widths = [max(_width(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell + " " * (w - _width(cell)) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _width(text: str) -> int:
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


class Encoded(str):
    """A row of a result that is JSON already."""


def errors_told(data: dict[str, Any], lang: str) -> dict[str, Any]:
    """A result whose kept errors, its own and those of its rows, are in the reader's language."""
    def told(row: Any) -> Any:
        return row | {"error": retold(row["error"], lang)} if isinstance(row, dict) and isinstance(row.get("error"), dict) else row

    return {name: [told(row) for row in value] if isinstance(value, list) else told(value) for name, value in told(data).items()}
