"""The table that ``nvidia-smi`` prints without arguments, drivers 3xx to 6xx, Linux and Windows.

Cells are found by what the table's own header says, values by their units.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from console.facts.grammar import Page, framed, measured, mib, shown, version, whole
from console.i18n import N_, Said

MAX_WIDTH, MAX_DEVICES = 1000, 2048
_RULE = re.compile(r"[|+][-=+|]{10,}[|+]?")
# Between the compute instances of one GPU instance the memory is one cell of several rows, and the rule has a gap.
_GAPPED = re.compile(r"\+[-+]{3,} +\+[-+]{3,}\+")
_MODES = frozenset({"On", "Off", "N/A", "ERR!", "WDDM", "TCC", "MCDM", "Disabled", "Enabled"})
_BUS = re.compile(r"[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]")
_MEMORY = re.compile(r"(?:[0-9]+%\s+)?([0-9]+|N/A|ERR!)\s?(MiB|MB)?\s*/\s*([0-9]+|N/A|ERR!)\s?(MiB|MB)?")
_SECTION = re.compile(r"\|\s*(?:(?:Compute )?processes|MIG devices):", re.IGNORECASE)
_PROCESS_FORMS = (("GPU", "GI", "CI", "PID", "Type"), ("GPU", "PID", "Type"), ("GPU", "PID"))
_NO_VALUE = frozenset({"N/A", "ERR!", "Not Supported", "Unknown Error", "-"})


@dataclass(frozen=True)
class _Row:
    """One line of a table: its place in the page and its cells."""

    index: int
    cells: tuple[str, ...]


def parse_table(page: Page) -> dict[str, Any]:
    """The whole page: versions, devices with their MIG instances, processes.

    Raises:
        InputError: ``inventory.unreadable-output`` for a layout that is not this table's, or a table cut off.
    """
    page = framed(page)
    start = next((n for n, line in page.numbered() if "NVIDIA-SMI" in line and line.lstrip().startswith("|")), None)
    if start is None:
        page.empty()
    found = _versions(page, start)
    header, groups, end = _table(page, start + 1)
    devices = [_device(page, header, group) for group in groups]
    if not devices:
        page.fail(end - 1, N_("the table has no device rows"))
    # The closing rule ends the table; people often leave out what the tool prints behind it.
    found |= {"device_count": len(devices), "devices": devices, "processes": []}
    _sections(page, end, found)
    return found


def _versions(page: Page, index: int) -> dict[str, Any]:
    line = page.lines[index]
    tool = re.search(r"NVIDIA-SMI\s+(\S+)", line)
    driver = re.search(r"(?:Driver|KMD) Version:\s*(\S+)", line)
    cuda = re.search(r"CUDA (?:UMD )?Version:\s*(\S+)", line)
    if not tool or not driver or not line.rstrip().endswith("|"):
        page.fail(index, N_("the line of versions is not complete"))
    return {"tool_version": tool[1], "driver_version": version(driver[1]), "cuda_version": version(cuda[1]) if cuda else None}


def _cells(page: Page, index: int) -> _Row:
    line = page.lines[index].strip()
    if len(line) > MAX_WIDTH:
        page.fail(index, N_("the row is too wide"))
    if not (line.startswith("|") and line.endswith("|") and len(line) > 2):
        page.fail(index, N_("the row is not closed"))
    return _Row(index, tuple(line[1:-1].split("|")))


def _table(page: Page, start: int) -> tuple[list[_Row], list[list[_Row]], int]:
    """Header rows, groups of rows between rules, and the index behind the table."""
    header: list[_Row] = []
    groups: list[list[_Row]] = []
    rows: list[_Row] = []
    in_body, closed, end = False, False, len(page.lines)
    for index, line in page.numbered(start):
        text = line.strip()
        if not text or (in_body and not rows and _SECTION.match(text)):
            end = index
            break
        if _RULE.fullmatch(text) or (in_body and _GAPPED.fullmatch(text)):
            closed = text[-1] in "|+" and " " not in text
            if not in_body and "=" in text:
                header, rows, in_body = rows, [], True
            elif in_body and rows:
                groups.append(rows)
                rows = []
        elif text.startswith("|"):
            rows.append(_cells(page, index))
        else:
            page.fail(index, N_("a line that belongs to no table"))
    if len(groups) > MAX_DEVICES:
        page.fail(start, N_("the table has too many devices"))
    if rows or not in_body or not closed:
        page.fail(end - 1, N_("the table is cut off"))
    return header, groups, end


def _find(page: Page, header: list[_Row], label: str, need: bool = True) -> tuple[int, int] | None:
    for line, row in enumerate(header):
        for column, text in enumerate(row.cells):
            if label in text:
                return line, column
    if need:
        page.fail(header[0].index if header else 0, Said(N_("the header names no {label}"), label=label))
    return None


def _device(page: Page, header: list[_Row], group: list[_Row]) -> dict[str, Any]:
    if len(group) != len(header) or any(len(g.cells) != len(h.cells) for g, h in zip(group, header, strict=True)):
        page.fail(group[0].index, N_("the rows do not have the header's form"))

    def at(label: str, need: bool = True) -> tuple[_Row, str, str]:
        place = _find(page, header, label, need)
        if place is None:
            return group[0], "", ""
        return group[place[0]], group[place[0]].cells[place[1]].strip(), header[place[0]].cells[place[1]]

    device = _name(page, *at("Name"))
    row, text, _ = at("Bus-Id")
    device["bus_id"] = _bus(page, row, text)
    row, text, title = at("Temp")
    device |= _sensors(page, row, text, title)
    row, text, _ = at("Memory-Usage")
    device |= _memory(page, row, text)
    device["health"] = "ERR!" if any("ERR!" in cell.split() for g in group for cell in g.cells) else None
    mode = shown(at("MIG M.", need=False)[1])
    if mode:
        device["mig"] = {"mode": mode.rstrip("*"), "instances": []}
    return device


def _name(page: Page, row: _Row, text: str, title: str) -> dict[str, Any]:
    words = text.split(None, 1)
    index = whole(words[0]) if words else None
    if index is None or len(words) < 2:
        page.fail(row.index, N_("no number and name of a device"))
    name = words[1].strip()
    if title.split("Name", 1)[1].strip():
        *first, mode = name.rsplit(None, 1)
        name = first[0] if first else ""
        if mode not in _MODES:
            page.fail(row.index, Said(N_("{mode} is not a mode of the device"), mode=repr(mode)))
    return {"index": index, "name": shown(name)}


def _bus(page: Page, row: _Row, text: str) -> str | None:
    first = text.split()[0] if text else ""
    if not _BUS.fullmatch(first) and first not in _NO_VALUE:
        page.fail(row.index, N_("no bus id"))
    return shown(first)


def _sensors(page: Page, row: _Row, text: str, title: str) -> dict[str, Any]:
    tokens = re.sub(r" +/ *(?=\S)| */ +(?=\S)", "/", text).split()
    labels = title.split()
    if len(tokens) != len(labels):
        page.fail(row.index, N_("the readings do not fit the header"))
    by_label = dict(zip(labels, tokens, strict=True))
    power = next((value for label, value in by_label.items() if label.startswith("Pwr")), None)
    if power is None or "Temp" not in by_label:
        page.fail(row.index, N_("the header names no temperature or no power"))
    return {"temperature_c": _reading(page, row, by_label["Temp"], "C"), "power_w": _reading(page, row, _usage(power), "W")}


def _usage(power: str) -> str:
    """The part before the slash of ``59W/500W``; "N/A" holds a slash of its own."""
    return power[:3] if power.startswith("N/A") else power.split("/")[0]


def _reading(page: Page, row: _Row, text: str, unit: str) -> int | None:
    if text in _NO_VALUE:
        return None
    value = whole(text[:-1]) if text.endswith(unit) else None
    if value is None:
        page.fail(row.index, Said(N_("{text} is not a number of {unit}"), text=repr(text), unit=unit))
    return value


def _memory(page: Page, row: _Row, text: str) -> dict[str, Any]:
    if text in _NO_VALUE or measured(text) is None:
        return {"memory_used_mib": None, "memory_total_mib": None}
    match = _MEMORY.fullmatch(text)
    if not match or any(match[n] not in _NO_VALUE and not match[n + 1] for n in (1, 3)):
        page.fail(row.index, N_("the use of memory is not readable"))
    return {"memory_used_mib": mib(whole(match[1]), match[2] or "MiB"),
            "memory_total_mib": mib(whole(match[3]), match[4] or "MiB")}


def _sections(page: Page, start: int, found: dict[str, Any]) -> None:
    """The tables behind the first: MIG devices and processes."""
    index = start
    while index < len(page.lines):
        text = page.lines[index].strip()
        if "MIG devices:" in text:
            header, groups, index = _table(page, index + 1)
            for group in groups:
                _instance(page, header, group, found["devices"])
        elif "processes:" in text.lower():
            found["processes"], index = _processes(page, index)
        elif text and not _RULE.fullmatch(text):
            page.fail(index, N_("a line that belongs to no table"))
        elif text and index == len(page.lines) - 1:
            page.fail(index, N_("the page is cut off"))
        else:
            index += 1


def _instance(page: Page, header: list[_Row], group: list[_Row], devices: list[dict[str, Any]]) -> None:
    first = group[0]
    if "No MIG devices" in "".join(first.cells):
        return
    place = _find(page, header, "Memory-Usage")
    if not header or header[0].cells[0].split() != ["GPU", "GI", "CI", "MIG"]:
        page.fail(first.index, N_("the header of the MIG devices is not known"))
    numbers = [whole(word) for word in first.cells[0].split()]
    # A second number in the first column is of another MIG device, whose rule got lost.
    if len(numbers) != 4 or None in numbers or len(first.cells) != len(header[0].cells) or any(row.cells[0].strip() for row in group[1:]):
        page.fail(first.index, N_("the row of a MIG device is not readable"))
    owner = next((d for d in devices if d["index"] == numbers[0] and "mig" in d), None)
    if owner is None:
        page.fail(first.index, N_("the MIG device belongs to no device of the table"))
    text = first.cells[place[1]].strip()
    memory = _memory(page, first, text) if text else {"memory_used_mib": None, "memory_total_mib": None}
    owner["mig"]["instances"].append({"index": numbers[3], "gi": numbers[1], "ci": numbers[2]} | memory)


def _processes(page: Page, start: int) -> tuple[list[dict[str, Any]], int]:
    header, groups, end = _process_rows(page, start)
    form = tuple(header.partition(" Process ")[0].split())
    if form not in _PROCESS_FORMS:
        page.fail(start, N_("the header of the processes is not known"))
    found = [_process(page, index, text, form) for index, text in groups]
    return [process for process in found if process], end


def _process_rows(page: Page, start: int) -> tuple[str, list[tuple[int, str]], int]:
    header, rows, in_body = "", [], False
    for index, line in page.numbered(start):
        text = line.strip()
        if _RULE.fullmatch(text):
            if in_body:
                if text[-1] not in "|+" or len(text) < len(page.lines[start].strip()):
                    page.fail(index, N_("the processes are cut off"))
                return header, rows, index + 1
            in_body = "=" in text
        elif text.startswith("|") and text.endswith("|") and len(text) <= MAX_WIDTH:
            inner = text[1:-1].strip()
            if in_body:
                rows.append((index, inner))
            elif inner.split()[:1] == ["GPU"]:
                header = inner
        else:
            page.fail(index, N_("the processes are cut off"))
    page.fail(len(page.lines) - 1, N_("the processes are cut off"))


def _process(page: Page, index: int, text: str, form: tuple[str, ...]) -> dict[str, Any] | None:
    if text.startswith("No running processes") or re.fullmatch(r"[0-9]+ +(?:C\+G +)?Not Supported", text):
        return None
    words = text.split(None, len(form))
    if len(words) < len(form):
        page.fail(index, N_("the row of a process is not complete"))
    said = dict(zip(form, words, strict=False))
    name, _, used = (words[len(form)] if len(words) > len(form) else "").rpartition(" ")
    gpu, pid, kind = whole(said["GPU"]), whole(said["PID"]), said.get("Type")
    amount = re.fullmatch(r"([0-9]+)(MiB|MB)", used)
    if gpu is None or pid is None or (kind is not None and not re.fullmatch(r"[A-Z](?:\+[A-Z])*", kind)) or not (
            amount or used in _NO_VALUE):
        page.fail(index, N_("the row of a process is not readable"))
    return {"gpu": gpu, "gi": whole(shown(said.get("GI"))), "ci": whole(shown(said.get("CI"))), "pid": pid, "type": kind,
            "name": name.strip() or None, "used_mib": mib(int(amount[1]), amount[2]) if amount else None}
