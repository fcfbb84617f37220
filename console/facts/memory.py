"""Main memory, swap and huge pages."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import file_fact, files_fact, lines_of
from console.facts.grammar import Page, clean, whole
from console.i18n import N_

_LINE = re.compile(r"([\w()]{1,60}):\s+(\d{1,18})(?: (kB))?")
_KEYS = {"MemTotal": "mem_total_kib", "MemAvailable": "mem_available_kib", "SwapTotal": "swap_total_kib",
         "HugePages_Total": "hugepages_total"}
_MORE = {"MemFree": "mem_free_kib", "SwapFree": "swap_free_kib", "HugePages_Free": "hugepages_free",
         "Hugepagesize": "hugepage_size_kib", "Shmem": "shmem_kib"}


def meminfo_env(page: Page, more: bool = False) -> dict[str, Any]:
    """``/proc/meminfo`` in KiB.

    Raises:
        InputError: ``inventory.unreadable-output``.
    """
    found: dict[str, Any] = {}
    names = _KEYS | _MORE if more else _KEYS
    for index, line in page.numbered():
        match = _LINE.fullmatch(line) or _LINE.fullmatch(line.strip())
        if match is None and not line.strip():
            continue
        name = names.get(match[1]) if match else None
        if match is None or (name is not None and name.endswith("kib") and not match[3]):
            page.fail(index, N_("this is not a line of /proc/meminfo"))
        if name is not None:
            found[name] = int(match[2])
    if "mem_total_kib" not in found:
        page.empty()
    if not page.lines[-1].endswith("kB"):
        page.whole()
    return found


def _info(text: str) -> dict[str, Any]:
    return meminfo_env(Page(clean(text), "/proc/meminfo"), more=True)


_HUGE = re.compile(r"/sys/(?:kernel/mm|devices/system/node/node(\d+))/hugepages/hugepages-(\d+)kB/(nr|free)_hugepages")


def _hugepages(text: str) -> list[dict[str, Any]]:
    """Huge pages by size, and by NUMA node where a node has some: ``size_kib``, ``node`` (None: all), ``total``, ``free``."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for path, count in lines_of(clean(text)):
        match = _HUGE.fullmatch(path)
        if match and whole(count) is not None:
            node, size = match[1] and int(match[1]), int(match[2])
            entry = found.setdefault((size, -1 if node is None else node), {"size_kib": size, "node": node, "total": None, "free": None})
            entry["total" if match[3] == "nr" else "free"] = int(count)
    return [entry for _key, entry in sorted(found.items()) if entry["node"] is None or entry["total"]]


FACTS = [
    file_fact("memory.info", "/proc/meminfo", _info),
    files_fact("memory.hugepages", tuple(
        f"{place}/hugepages/hugepages-*kB/{name}" for place in ("/sys/kernel/mm", "/sys/devices/system/node/node[0-9]*")
        for name in ("nr_hugepages", "free_hugepages")), _hugepages, tool="/sys/kernel/mm/hugepages"),
]
