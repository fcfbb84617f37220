"""``nvidia-smi dmon`` and ``pmon``: readings by column, under a heading of names and one of units.

Columns as in the manual page of nvidia-smi; which are there depends on ``-s`` and the driver, so they go by their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from console.facts.grammar import Page, number, shown, whole
from console.i18n import N_, Said

_READINGS = {"pwr": "power_w", "gtemp": "temperature_c", "temp": "temperature_c"}


def _rows(page: Page, needed: str) -> Iterator[tuple[int, dict[str, str], dict[str, str]]]:
    """(line, cell by column, unit by column); headings come again after some rows."""
    names: list[str] = []
    units: dict[str, str] = {}
    for index, line in page.numbered():
        words = line.split()
        if not words:
            continue
        if words[0] == "#" or words[0] in ("#gpu", "#Idx", "#Date"):
            heads = line.replace("#", " ", 1).split()
            if heads[0].lower() in ("gpu", "date", "time"):
                names, units = [name.lower() for name in heads], {}
            elif names and len(heads) == len(names):
                units = dict(zip(names, heads, strict=True))
            else:
                page.fail(index, N_("the units do not fit the heading"))
            continue
        if not {"gpu", needed} <= set(names) or not units:
            page.fail(index, N_("there is no heading for the row"))
        # The command of pmon comes last and may hold blanks.
        cells = line.split(None, len(names) - 1)
        if len(cells) != len(names) or (names[-1] not in ("command", "name") and len(words) != len(names)):
            page.fail(index, N_("the row does not fit its heading"))
        yield index, dict(zip(names, cells, strict=True)), units


def parse_dmon(page: Page) -> dict[str, Any]:
    """``nvidia-smi dmon``: the newest readings of each device."""
    page.whole()
    devices: dict[int, dict[str, Any]] = {}
    for index, row, units in _rows(page, "gpu"):
        place = whole(row["gpu"])
        if place is None:
            page.fail(index, N_("the row does not begin with a device"))
        device: dict[str, Any] = {"index": place}
        for column, key in _READINGS.items():
            if column in row:
                device[key] = _reading(page, index, row[column], units[column], "W" if key == "power_w" else "C")
        if "fb" in row:
            device["memory_used_mib"] = _reading(page, index, row["fb"], units["fb"], "MB")
        devices[place] = device
    if not devices:
        page.empty()
    return {"device_count": len(devices), "devices": [devices[place] for place in sorted(devices)]}


def _reading(page: Page, index: int, text: str, unit: str, wanted: str) -> int | float | None:
    value = number(text)
    if (value is None and shown(text) is not None) or unit.rstrip("iB") != wanted.rstrip("iB"):
        page.fail(index, Said(N_("{text} is not a number of {unit}"), text=repr(text[:40]), unit=wanted))
    return value


def parse_pmon(page: Page) -> dict[str, Any]:
    """``nvidia-smi pmon``: the processes, each once, as of the newest sample."""
    page.whole()
    found: dict[tuple[int, int], dict[str, Any]] = {}
    seen: set[int] = set()
    for index, row, units in _rows(page, "pid"):
        place, pid = whole(row["gpu"]), whole(row["pid"])
        if place is None or (pid is None and shown(row["pid"]) is not None):
            page.fail(index, N_("the row does not name a device and a process"))
        seen.add(place)
        if pid is not None:
            name = row.get("command", row.get("name", ""))
            process = {"gpu": place, "pid": pid, "type": shown(row.get("type")), "name": shown(name.strip())}
            if "fb" in row:
                process["used_mib"] = _reading(page, index, row["fb"], units["fb"], "MB")
            found[place, pid] = process
    if not seen:
        page.empty()
    return {"processes": list(found.values())}
