"""Facts measurable on any server, one file a subject: each a command and a pure parser of its output."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from console.facts.fact import Fact


@cache
def all_facts() -> tuple[Fact, ...]:
    """Every fact of this folder's modules, in the order of their ids.

    Raises:
        ValueError: two facts have the same id.
    """
    found: dict[str, Fact] = {}
    for info in pkgutil.iter_modules(__path__):
        for fact in getattr(importlib.import_module(f"{__name__}.{info.name}"), "FACTS", ()):
            if found.setdefault(fact.id, fact) is not fact:
                raise ValueError(f"the fact {fact.id} is declared twice")
    return tuple(found[name] for name in sorted(found))
