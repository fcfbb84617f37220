"""Whether the server has memory to load weights through, and does not swap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console import units
from console.checks.check import Site, Verdict, check
from console.i18n import N_

LOADER_BYTES = 8 << 30
"""What loading takes besides one shard: framework, tokenizer, buffers. Derived, to be calibrated on the site."""


@check("memory.host", title=N_("Memory of the server"), needs=("memory.info",), source="derived from the loaders' one shard at a time")
def memory_host(facts: Mapping[str, Any], site: Site) -> Verdict:
    info = facts["memory.info"]
    free, swap = info["mem_available_kib"] * 1024, (info["swap_total_kib"] - info["swap_free_kib"]) * 1024
    told = {"free": units.size(free), "swap": units.size(swap), "need": units.size(LOADER_BYTES)}
    if site.plan.accelerator and free < LOADER_BYTES:
        return Verdict(
            "fail",
            N_("{free} of memory are available; loading a model takes about {need}."),
            told,
            N_("Stop what uses the memory, or add memory."),
        )
    if swap:
        return Verdict(
            "warn",
            N_("{free} of memory are available, and {swap} are swapped out."),
            told,
            N_("Find what was swapped out; a serving engine that is swapped answers slowly."),
        )
    return Verdict("pass", N_("{free} of memory are available, and nothing is swapped out."), told)
