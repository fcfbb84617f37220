"""Finds what registers itself: commands, checks, vendors, facts, steps. The frozen build asks it too."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

import console


def modules(package: str) -> list[ModuleType]:
    """The modules of ``package``, imported, by name. Names with a leading underscore are left out."""
    parent = importlib.import_module(package)
    names = sorted(info.name for info in pkgutil.iter_modules(parent.__path__) if not info.name.startswith("_"))
    return [importlib.import_module(f"{package}.{name}") for name in names]


@cache
def all_modules() -> tuple[str, ...]:
    """Names of all modules of the engine, for the frozen build and for tests that walk them."""
    found = pkgutil.walk_packages(console.__path__, "console.")
    return tuple(sorted(info.name for info in found if not info.name.endswith("__main__")))
