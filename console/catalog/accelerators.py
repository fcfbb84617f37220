"""Sourced, graded data on accelerators: ``assets/catalog/accelerators.yaml``, read once and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from console.assets import asset
from console.errors import BugError, code
from console.i18n import N_

MALFORMED = code("catalog.malformed", BugError, N_("The catalog entry {entry} is malformed: {reason}."),
                 N_("Install this program again; if it stays, report it."))
STATUSES = ("documented", "reported", "derived", "unknown")
SUPPORT = ("native", "emulated", "limited", "no")


class Accelerators:
    """Look-up by the name that the vendor's tool prints, or by PCI id."""

    def __init__(self, document: Mapping[str, Any]):
        self.sources: Mapping[str, Any] = document["sources"]
        self.entries: tuple[Mapping[str, Any], ...] = tuple(_checked(e, self.sources) for e in document["accelerators"])

    def accelerator(self, name: str, pci_id: str | None = None) -> Mapping[str, Any] | None:
        """The entry of a device, or None when the catalog does not know it.

        Args:
            name: as printed, such as ``NVIDIA H100 80GB HBM3``. pci_id: ``10de:2330``; decides when it is known.
        """
        device = (pci_id or "").lower().partition(":")[2]
        if device:
            found = next((e for e in self.entries if device in e["pci"]), None)
            if found:
                return found
        # The longest of an entry's names that stands in the printed one as whole words: H100 NVL before H100.
        words = _words(name)
        best = max(((len(_words(alias)), len(alias), e) for e in self.entries for alias in (*e["names"], e["id"])
                    if _within(_words(alias), words)), key=lambda item: item[:2], default=None)
        return best[2] if best else None


@cache
def accelerators() -> Accelerators:
    """The catalog that ships with the program.

    Raises:
        BugError: ``catalog.malformed``.
    """
    return Accelerators(yaml.safe_load(asset("catalog/accelerators.yaml").read_text(encoding="utf-8")))


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9_]+", text.lower()))


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


def _checked(entry: Mapping[str, Any], sources: Mapping[str, Any]) -> Mapping[str, Any]:
    rules = ((entry.get("vendor") in ("nvidia", "ascend", "amd"), "vendor"), (entry.get("status") in STATUSES, "status"),
             (bool(entry.get("sources")) and all(s in sources for s in entry["sources"]), "sources"),
             (all(v in SUPPORT for v in entry.get("precision", {}).values()), "precision"))
    for good, field in rules:
        if not good:
            raise MALFORMED(entry=str(entry.get("id")), reason=field)
    return entry
