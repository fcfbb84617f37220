"""The table that ``amd-smi`` prints without arguments, from ROCm 7 on."""

from __future__ import annotations

import re
from typing import Any

from console.accelerators.amd_smi import SIZE, amount
from console.facts.grammar import Page, drop_none, framed, mib, number, shown, whole
from console.i18n import N_


def parse_table(page: Page) -> dict[str, Any]:
    """``amd-smi`` without arguments, from ROCm 7 on: two rows a device."""
    page = framed(page)
    start = next((n for n, line in page.numbered() if re.match(r"\s*\|\s*AMD-SMI\s", line)), None)
    if start is None:
        page.empty()
    found, first = _table_versions(page, start)
    devices, rows = [], []
    for index, line in page.numbered(first):
        text = line.strip()
        if re.fullmatch(r"[+|][-=+|]{10,}[+|]", text):
            if rows and "=" not in text:
                devices.append(_table_device(page, rows))
            rows = []
            if text.startswith("+"):
                end = index + 1
                break
        elif text.startswith("|") and text.endswith("|") and text.count("|") == 3:
            rows.append((index, text[1:-1].split("|")))
        else:
            page.fail(index, N_("the row does not have the header's form"))
    else:
        page.fail(len(page.lines) - 1, N_("the table is cut off"))
    if not devices:
        page.fail(start, N_("the table has no device rows"))
    processes = _table_processes(page, end)
    return found | {"device_count": len(devices), "devices": devices} | ({} if processes is None else {"processes": processes})


def _table_processes(page: Page, start: int) -> list[dict[str, Any]] | None:
    """The rows of the second table, None where there is none."""
    titles: list[str] = []
    processes: list[dict[str, Any]] | None = None
    for index, line in page.numbered(start):
        text = line.strip()
        if not text or re.fullmatch(r"[+|][-=+|]{10,}[+|]", text):
            processes = [] if "=" in text else processes
            continue
        if not (text.startswith("|") and text.endswith("|")):
            page.fail(index, N_("a line that belongs to no table"))
        cells = re.split(r"\s{2,}", text[1:-1].strip())
        if processes is None:
            titles = cells
        elif not cells[0].startswith("No running processes"):
            said = dict(zip(titles, cells, strict=False))
            if len(cells) != len(titles) or {"GPU", "PID"} - set(said) or None in (whole(said["GPU"]), whole(said["PID"])):
                page.fail(index, N_("the row of a process is not readable"))
            processes.append({"gpu": whole(said["GPU"]), "pid": whole(said["PID"]), "name": shown(said.get("Process Name")),
                              "used_mib": amount(page, index, said.get("VRAM_MEM"), SIZE)})
    if processes is not None and not re.fullmatch(r"\+[-=+]{10,}\+", page.lines[-1].strip() or "+----------+"):
        page.fail(len(page.lines) - 1, N_("the processes are cut off"))
    return processes


def _table_versions(page: Page, start: int) -> tuple[dict[str, Any], int]:
    first = next((n for n, line in page.numbered(start) if re.search(r"\|\s*BDF\s", line)), None)
    if first is None or "GPU-Name" not in page.lines[first] or "Mem-Usage" not in "".join(page.lines[first:first + 2]):
        page.fail(start, N_("the header is not known"))
    head = "\n".join(page.lines[start:first])
    found = {"tool_version": r"AMD-SMI\s+(\S+)", "driver_version": r"amdgpu version:\s*(\S+)",
             "rocm_version": r"ROCm version:\s*(\S+)"}
    matches = {key: re.search(pattern, head, re.IGNORECASE) for key, pattern in found.items()}
    return {key: shown(match[1]) for key, match in matches.items() if match}, first


def _table_device(page: Page, rows: list[tuple[int, list[str]]]) -> dict[str, Any]:
    if len(rows) != 2:
        page.fail(rows[0][0], N_("a device has other than two rows"))
    (line, upper), (below, lower) = rows
    name = re.fullmatch(r"\s*([0-9A-Fa-f:.]{7,16})\s+(\S.*?)\s*", upper[0][:200])
    usage = re.fullmatch(r"(N/A|[\d.]+ %)\s+(N/A|[\d.]+ [°\ufffd]?C)\s+(\S+)\s+(?:(N/A|[\d.]+)/\S+ W|N/A)", upper[1].strip())
    ids = lower[0].split()
    memory = re.fullmatch(r"(N/A|[\d.]+ %)\s+(N/A|[\d.]+ %)\s+(?:([\d.]+|N/A)/([\d.]+|N/A) ([KMGT]i?B)|N/A)", lower[1].strip())
    if not name or not usage or not memory or not ids or whole(ids[0]) is None:
        page.fail(below if name and usage else line, N_("the row of a device is not readable"))
    return drop_none({
        "index": whole(ids[0]), "name": shown(name[2]), "bus_id": name[1],
        "temperature_c": number(usage[2].split(" ")[0]), "power_w": number(usage[4]),
        "gpu_percent": number(memory[1].split(" ")[0]), "partitions": shown(ids[-1]) if len(ids) > 1 else None,
        "memory_used_mib": mib(number(memory[3]), memory[5] or "MB"), "memory_total_mib": mib(number(memory[4]), memory[5] or "MB")})
