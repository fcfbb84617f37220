"""Runs work that needs no workspace, such as building or verifying a bundle, with the same reports and the same cancel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from console.errors import Cancelled
from console.events import Event, EventBus
from console.jobs.job import Context


def run_apart(work: Callable[[Context], Any], listener: Callable[[Event], None]) -> Any:
    """The result of ``work(ctx)``; an interrupt from the keyboard cancels it first.

    Raises:
        Cancelled, or what ``work`` raises.
    """
    bus = EventBus()
    bus.subscribe(listener)
    context = Context(bus, "apart")
    outcome: list[Any] = []

    def carry_out() -> None:
        try:
            outcome.append((work(context), None))
        except BaseException as problem:  # handed to the caller's thread below
            outcome.append((None, problem))

    thread = threading.Thread(target=carry_out, name="job-apart", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        context.cancel()
        thread.join()
        raise Cancelled from None
    result, problem = outcome[0]
    if problem is not None:
        raise problem
    return result
