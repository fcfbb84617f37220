"""``rocminfo`` of ROCm and of Hygon's DTK: the agents that are GPUs or DCUs."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from console.facts.grammar import Page, drop_none, mib, shown, whole
from console.i18n import N_


def parse_rocminfo(page: Page) -> dict[str, Any]:
    """``rocminfo``: the agents that are GPUs or DCUs."""
    runtime = re.search(r"^Runtime Version:\s*(\S+)", page.text, re.MULTILINE)
    starts = [n for n, line in page.numbered() if re.fullmatch(r"Agent \d{1,4}", line.strip())]
    if not starts:
        page.empty()
    if [page.lines[n].split()[1] for n in starts] != [str(n + 1) for n in range(len(starts))]:
        page.fail(starts[0], N_("an agent is missing"))
    blocks = [page.lines[a:b] for a, b in zip(starts, [*starts[1:], len(page.lines)], strict=True)]
    if "*** Done ***" not in page.text:
        page.fail(len(page.lines) - 1, N_("the last agent is cut off"))
    agents = [agent for agent in map(partial(_agent, page), starts, blocks) if agent]
    devices = [{"index": index} | agent for index, agent in enumerate(agents)]
    return {"device_count": len(devices), "devices": devices, "hsa_runtime_version": runtime[1] if runtime else None}


def _agent(page: Page, start: int, lines: list[str]) -> dict[str, Any] | None:
    if sum(line.strip().startswith("Device Type:") for line in lines) != 1:
        page.fail(start, N_("the agent does not tell its type"))
    said: dict[str, str] = {}
    memory, coarse = None, False
    for index, line in enumerate(lines, start):
        key, mark, value = line.strip().partition(":")
        if key == "ISA Info":
            break  # its names are those of code, not of the agent
        page.one_entry(index, value.strip())
        if mark:
            said.setdefault(key, value.strip())
        if key == "Segment":
            coarse = bool(re.search(r"GLOBAL.*FLAGS:.*\bCOARSE GRAINED", value))
        elif key == "Size" and coarse and memory is None:
            size = re.match(r"\s*(\d{1,18})\s*(?:\(0x[0-9a-fA-F]+\))?\s*KB", value)
            memory = mib(int(size[1]), "KB") if size else None
    if said.get("Device Type") not in ("GPU", "DCU"):
        return None
    units = re.match(r"\d{1,6}", said.get("Compute Unit", ""))
    return drop_none({"name": shown(said.get("Marketing Name")), "gfx_version": shown(said.get("Name")),
                      "uuid": shown(said.get("Uuid")), "node": whole(re.split(r"\(", said.get("Node", ""))[0]),
                      "compute_units": int(units[0]) if units else None, "memory_total_mib": memory})
