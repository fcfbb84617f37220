"""Whether ROCm is new enough for the devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.catalog.versions import Version, version
from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "amd.rocm",
    title=N_("ROCm and the devices"),
    needs=("amd.rocm-version",),
    vendor="amd",
    source="vLLM installation on ROCm, 2026 (documented)",
    blocking=False,
)
def amd_rocm(facts: Mapping[str, Any], site: Site) -> Verdict:
    found = version(facts["amd.rocm-version"])
    families = {entry["family"] for d in site.devices if (entry := site.entry_of(d)) is not None}
    floors = [e for e in site.catalog.all("stacks") if e.get("type") == "rocm-floor" and families & set(e["families"])]
    if found is None or not floors:
        return Verdict("unknown", N_("What ROCm these devices need is not known."), remedy=N_("Compare with the release notes of ROCm."))
    floor = max(floors, key=lambda e: Version(e["rocm"]))
    told = {"version": found.text, "floor": floor["rocm"]}
    if found < Version(floor["rocm"]):
        return Verdict(
            "warn",
            N_("ROCm {version} is older than {floor}, which these devices need. Serving images carry a ROCm of their own."),
            told,
            N_("Use images with ROCm {floor} or newer, and a kernel driver that goes with it."),
        )
    return Verdict("pass", N_("ROCm {version} is new enough for these devices."), told, basis=(floor,))
