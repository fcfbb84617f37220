"""Whether the NVIDIA driver can run what today's images are built with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from console.catalog.reading import Entry
from console.catalog.versions import Version, version
from console.checks.check import Site, Verdict, check
from console.i18n import N_


def numbers(version: str) -> tuple[int, ...]:
    """A version's fields as numbers, so that 580.9 is below 580.65."""
    return tuple(int(n) for n in re.findall(r"\d+", version))


def _of_type(site: Site, kind: str) -> list[Entry]:
    return [e for e in site.catalog.all("stacks") if e.get("type") == kind]


def _wanted(site: Site) -> Entry | None:
    """The newest image of the plan's framework."""
    return next((e for e in _of_type(site, "framework-cuda") if e["framework"] == site.plan.framework and e.get("below") is None), None)


@check(
    "nvidia.driver",
    title=N_("NVIDIA driver"),
    needs=("nvidia.query",),
    vendor="nvidia",
    source="NVIDIA CUDA minor version compatibility, edition 615, 2026-09-09 (documented); what images ask for is in the catalog",
)
def nvidia_driver(facts: Mapping[str, Any], site: Site) -> Verdict:
    found = version(facts["nvidia.query"].get("driver_version"))
    if found is None:
        return Verdict("unknown", N_("nvidia-smi does not tell its driver."), remedy=N_("Run nvidia-smi on the server."))
    floors = sorted(_of_type(site, "cuda-floor"), key=lambda e: Version(e["cuda"]))
    runs = [e for e in floors if found >= Version(e["driver"])]
    told = {"version": found.text, "cuda": f"{runs[-1]['cuda']}.x" if runs else "–", "newest": floors[-1]["driver"]}
    if not runs:
        return Verdict(
            "fail",
            N_("Driver {version} is older than any that current images run on."),
            told,
            N_("Install driver 580 (long-term support) or newer."),
        )
    image = _wanted(site)
    if image is not None:
        return _for_image(site, found, image, floors)
    if runs[-1] is not floors[-1]:
        return Verdict(
            "warn",
            N_("Driver {version} runs images built with CUDA {cuda}, not those with a newer one."),
            told,
            N_("Take an image for that CUDA, or install driver {newest} or newer."),
        )
    return Verdict("pass", N_("Driver {version} runs images built with CUDA up to {cuda}."), told, basis=(runs[-1],))


def _for_image(site: Site, found: Version, image: Entry, floors: list[Entry]) -> Verdict:
    floor = next(e for e in floors if Version(e["cuda"]).major == Version(image["cuda"]).major)
    paired = min((e for e in _of_type(site, "cuda-pair") if Version(e["cuda"]) >= Version(image["cuda"])), key=lambda e: Version(e["cuda"]))
    told = {"version": found.text, "cuda": image["cuda"], "framework": site.catalog.framework(image["framework"])["title"], "floor": floor["driver"], "paired": paired["driver"]}
    if found < Version(floor["driver"]):
        return Verdict(
            "fail",
            N_("Driver {version} is below {floor}, the least that images of {framework} for CUDA {cuda} run on."),
            told,
            N_("Install driver {floor} or newer, or take an image for an older CUDA."),
            (floor, image),
        )
    if found < Version(paired["driver"]):
        return Verdict(
            "warn",
            N_("Driver {version} runs images for CUDA {cuda} with limits; {paired} is the driver it came with."),
            told,
            N_("Code compiled on the server may not load; plan for driver {paired} or newer."),
            (paired,),
        )
    return Verdict("pass", N_("Driver {version} runs images of {framework} for CUDA {cuda}."), told, basis=(floor, image))
