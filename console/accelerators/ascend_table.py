"""The table of ``npu-smi info``, versions 20 to 26: one or more chips a card, with and without processes.

The header names the columns; a value belongs to the column of its order, and counts that do not agree are an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from console.facts.grammar import Page, framed, number, shown, whole
from console.i18n import N_, Said

_RULE = re.compile(r"[+|][-=+|]{3,}[+|]?")
_LABEL = re.compile(r"NPU Util\(%\)|NPU ID|NPU|Process id in container|Process id|Process name|Process memory\(MB\)"
                    r"|[A-Za-z][\w\-/.]*(?: ?\([^)\s]{1,12}\))?")
_PAIR = re.compile(r"(?:N/A|[\w.\-]+)\s*/\s*(?:N/A|[\w.\-]+)|\S+")
_NONE = r"(?:NA|N/A|-)"
_BUS = re.compile(r"[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]")

_KNOWN = {"NPU": "index", "NPU ID": "index", "Name": "name", "Health": "health", "Power(W)": "power_w",
          "Temp(C)": "temperature_c", "Hugepages-Usage(page)": "hugepages", "Chip": "chip", "Phy-ID": "phy_id",
          "Device": "phy_id", "Bus-Id": "bus_id", "AICore(%)": "utilization_percent",
          "NPU Util(%)": "utilization_percent", "Memory-Usage(MB)": "ddr", "HBM-Usage(MB)": "hbm"}


@dataclass(frozen=True)
class _Row:
    index: int
    cells: tuple[str, ...]


def parse_table(page: Page) -> dict[str, Any]:
    """Versions, devices, and processes where the page has such a section.

    Raises:
        InputError: ``inventory.unreadable-output``. A page cut between rows is given with ``truncated``.
    """
    page = framed(page)
    start = next((n for n, line in page.numbered() if re.match(r"\s*\|\s*npu-smi\s", line)), None)
    if start is None:
        page.empty()
    versions = re.match(r"\s*\|\s*npu-smi\s+(\S+)\s+Version:\s*(\S+)\s*\|\s*$", page.lines[start])
    if not versions:
        page.fail(start, N_("the line of versions is not complete"))
    header, body = _split(page, start + 1)
    devices, rest = _devices(page, header, body)
    if not devices:
        page.fail(len(page.lines) - 1, N_("the table has no device rows"))
    found: dict[str, Any] = {"tool_version": versions[1], "driver_version": shown(versions[2]),
                             "device_count": len(devices), "npu_count": len({d["index"] for d in devices}),
                             "devices": devices}
    found |= _processes(page, rest) if rest else {}
    if _is_cut(page, bool(rest)):
        found["truncated"] = True
    return found


def _split(page: Page, start: int) -> tuple[list[_Row], list[_Row | None]]:
    """The header's rows, and what follows: rows, and None for every rule."""
    header: list[_Row] = []
    body: list[_Row | None] = []
    rules = 0
    for index, line in page.numbered(start):
        text = line.strip()
        if not text:
            continue
        if _RULE.fullmatch(text) or (index == len(page.lines) - 1 and re.fullmatch(r"\+[-=+]*", text)):
            rules += 1
            body.append(None) if header and rules > 1 else None
            continue
        if not (text.startswith("|") and text.endswith("|") and len(text) > 2):
            page.fail(index, N_("the row is not closed"))
        if len(text) > 1000:
            page.fail(index, N_("the row is too wide"))
        row = _Row(index, tuple(text[1:-1].split("|")))
        (header if rules < 2 else body).append(row)
    if len(header) < 2 or rules < 2:
        page.fail(min(start, len(page.lines) - 1), N_("the header is not complete"))
    return header, body


def _labels(row: _Row) -> list[list[str]]:
    return [_LABEL.findall(cell) for cell in row.cells]


def _devices(page: Page, header: list[_Row], body: list[_Row | None]) -> tuple[list[dict[str, Any]], list[_Row | None]]:
    titles = [_labels(row) for row in header]
    flat = {label for row in titles for cell in row for label in cell}
    if not flat & {"NPU", "NPU ID"} or not {"Name", "Health", "Bus-Id"} <= flat:
        page.fail(header[0].index, N_("the header is not known"))
    devices: list[dict[str, Any]] = []
    group: list[_Row] = []
    for place, row in enumerate(body):
        if row is not None and "Process id" in "|".join(row.cells):
            _whole_group(page, group, row.index)
            return devices, body[place:]
        if row is None:
            if group and len(group) != len(header):
                page.fail(group[-1].index, N_("the rows of a device are not complete"))
            group = []
            continue
        group.append(row)
        if len(group) == len(header):
            devices.append(_device(page, titles, group))
        elif len(group) > len(header):
            page.fail(row.index, N_("a device has more rows than the header"))
    _whole_group(page, group if len(group) % len(header) else [], len(page.lines) - 1)
    return devices, []


def _whole_group(page: Page, group: list[_Row], index: int) -> None:
    if group:
        page.fail(index, N_("the rows of a device are not complete"))


def _device(page: Page, titles: list[list[list[str]]], group: list[_Row]) -> dict[str, Any]:
    raw: dict[str, str] = {}
    for labels, row in zip(titles, group, strict=True):
        if len(labels) != len(row.cells):
            page.fail(row.index, N_("the row does not have the header's cells"))
        for cell_labels, cell in zip(labels, row.cells, strict=True):
            raw |= _values(page, row, cell_labels, cell)
    return _typed(page, group[0], raw)


def _values(page: Page, row: _Row, labels: list[str], cell: str) -> dict[str, str]:
    """The words of a cell by the labels of the header's cell."""
    text = cell.strip()
    if not labels:
        if text:
            page.fail(row.index, N_("a value without a heading"))
        return {}
    if labels[-1] in ("Name", "Health"):
        words = text.split(None, len(labels) - 1) if len(labels) > 1 else [text]
    else:
        words = _PAIR.findall(text)
    if len(words) != len(labels):
        page.fail(row.index, N_("the values do not fit the header"))
    return {_KNOWN[label]: word for label, word in zip(labels, words, strict=True) if label in _KNOWN}


def _typed(page: Page, row: _Row, raw: dict[str, str]) -> dict[str, Any]:
    device: dict[str, Any] = {}
    for key in ("index", "chip", "phy_id", "temperature_c", "utilization_percent"):
        if key in raw:
            device[key] = _whole(page, row, raw[key])
    if device.get("index") is None or ("chip" in raw and device["chip"] is None):
        page.fail(row.index, N_("the device has no number"))
    device |= {"name": shown(raw["name"]), "health": shown(raw["health"]), "bus_id": _bus(page, row, raw["bus_id"])}
    if "power_w" in raw:
        value = number(raw["power_w"])
        if value is None and shown(raw["power_w"]) is not None:
            page.fail(row.index, N_("the power is not a number"))
        device["power_w"] = None if value is None else float(value)
    for key in ("hugepages", "ddr", "hbm"):
        if key in raw:
            used, total = _pair(page, row, raw[key])
            unit = "" if key == "hugepages" else "_mib"
            device |= {f"{key}_used{unit}": used, f"{key}_total{unit}": total}
    kind = "hbm" if (device.get("hbm_total_mib") or 0) > 0 or "ddr_total_mib" not in device else "ddr"
    return device | {f"memory_{what}_mib": device.get(f"{kind}_{what}_mib") for what in ("used", "total")}


def _whole(page: Page, row: _Row, text: str) -> int | None:
    value = whole(text)
    if value is None and shown(text) is not None:
        page.fail(row.index, Said(N_("{text} is not a number"), text=repr(text)))
    return value


def _bus(page: Page, row: _Row, text: str) -> str | None:
    if shown(text) is not None and not _BUS.fullmatch(text):
        page.fail(row.index, Said(N_("{text} is not a bus id"), text=repr(text)))
    return shown(text)


def _pair(page: Page, row: _Row, text: str) -> tuple[int | None, int | None]:
    match = re.fullmatch(rf"([0-9]+|{_NONE})\s*/\s*([0-9]+|{_NONE})", text)
    if not match:
        if shown(text) is None:
            return None, None
        page.fail(row.index, Said(N_("{text} is not used and total"), text=repr(text)))
    return whole(match[1]), whole(match[2])


_PROCESS = {"NPU": "npu", "NPU ID": "npu", "Chip": "chip", "Process id": "pid", "Process name": "name",
            "Process memory(MB)": "used_mib", "Process id in container": "pid_in_container"}


def _processes(page: Page, rest: list[_Row | None]) -> dict[str, Any]:
    header, *body = rest
    labels = _labels(header)
    if not any("Process id" in cell for cell in labels):
        page.fail(header.index, N_("the header of the processes is not known"))
    processes, without = [], []
    for row in body:
        if row is None:
            continue
        idle = re.search(r"No running process(?:es)? found in NPU (\d+)", "|".join(row.cells))
        if idle:
            without.append(int(idle[1]))
        else:
            processes.append(_process(page, row, labels))
    return {"processes": processes, "npus_without_processes": list(dict.fromkeys(without))}


def _process(page: Page, row: _Row, labels: list[list[str]]) -> dict[str, Any]:
    cells, more = list(row.cells), len(row.cells) - len(labels)
    named = next((place for place, titles in enumerate(labels) if titles == ["Process name"]), None)
    if more > 0 and named is not None:
        # A process may be called as its user likes; that must not hide the devices of a server.
        cells[named : named + more + 1] = ["|".join(cells[named : named + more + 1])]
    if len(cells) != len(labels):
        page.fail(row.index, N_("the row does not have the header's cells"))
    found: dict[str, Any] = {}
    for titles, cell in zip(labels, cells, strict=True):
        words = [cell.strip()] if len(titles) == 1 else cell.split()
        if len(words) != len(titles):
            page.fail(row.index, N_("the values do not fit the header"))
        found |= {_PROCESS[title]: word for title, word in zip(titles, words, strict=True) if title in _PROCESS}
    typed = {key: shown(word) if key == "name" else _whole(page, row, word) for key, word in found.items()}
    if typed.get("npu") is None or typed.get("pid") is None:
        page.fail(row.index, N_("the row of a process is not readable"))
    return typed


def _is_cut(page: Page, has_processes: bool) -> bool:
    """Whether the page ends without its closing rule."""
    filled = [line.strip() for line in page.lines if line.strip()]
    last = filled[-1]
    if _RULE.fullmatch(last) or re.fullmatch(r"\+[-=+]*", last):
        others = [len(line) for line in filled[:-1] if _RULE.fullmatch(line)]
        return len(last) < min(others) - 1 or last[-1] not in "+|"
    return not (has_processes and "No running process" in last)
