"""Accelerators, one module a vendor; ``device`` is the common record."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from console.accelerators.device import Device, Vendor

__all__ = ["Device", "Vendor", "vendors"]


@cache
def vendors() -> tuple[Vendor, ...]:
    """Every vendor that a module of this folder declares as ``VENDOR``, by id."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found = [module.VENDOR for module in modules if isinstance(getattr(module, "VENDOR", None), Vendor)]
    return tuple(sorted(found, key=lambda vendor: vendor.id))
