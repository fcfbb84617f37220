"""Whether the NVIDIA driver can run what today's images are built with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_

FLOORS = (((13, 0), (580, 65, 6)), ((12, 0), (525, 60, 13)), ((11, 0), (450, 80, 2)))
"""CUDA family and the lowest Linux driver that runs it: docs.nvidia.com, CUDA minor version compatibility, 2026-09-09. Documented."""


def numbers(version: str) -> tuple[int, ...]:
    """A version's fields as numbers, so that 580.9 is below 580.65."""
    return tuple(int(n) for n in re.findall(r"\d+", version))


@check("nvidia.driver", title=N_("NVIDIA driver"), needs=("nvidia.query",), vendor="nvidia",
       source="NVIDIA CUDA minor version compatibility, edition 615, 2026-09-09 (documented)")
def nvidia_driver(facts: Mapping[str, Any], site: Site) -> Verdict:
    version = facts["nvidia.query"].get("driver_version")
    if not version:
        return Verdict("unknown", N_("nvidia-smi does not tell its driver."), remedy=N_("Run nvidia-smi on the server."))
    family = next((cuda for cuda, floor in FLOORS if numbers(version) >= floor), None)
    told = {"version": version, "cuda": f"{family[0]}.x" if family else "–"}
    if family is None:
        return Verdict("fail", N_("Driver {version} is older than any that current images run on."), told, N_("Install driver 580 (long-term support) or newer."))
    if family < (13, 0):
        return Verdict("warn", N_("Driver {version} runs images built with CUDA {cuda}, not those with CUDA 13."), told,
                       N_("Take a CUDA 12 image, or install driver 580.65.06 or newer."))
    return Verdict("pass", N_("Driver {version} runs images built with CUDA up to {cuda}."), told)
