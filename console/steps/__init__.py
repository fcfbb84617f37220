"""The closed vocabulary of steps a playbook may name: one file a kind, found by looking."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from console.steps.base import Change, StepKind, Task
from console.steps.host import Host

__all__ = ["Change", "Host", "StepKind", "Task", "kinds"]


@cache
def kinds() -> dict[str, StepKind]:
    """Every kind of step, by its name in playbooks."""
    found: dict[str, StepKind] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        step = getattr(importlib.import_module(f"{__name__}.{module}"), "STEP", None)
        if step is not None and found.setdefault(step.kind, step) is not step:
            raise ValueError(f"two modules hold the step kind {step.kind}")
    return found
