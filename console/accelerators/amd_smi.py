"""``amd-smi`` 23 to 27 as text, JSON and CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from console.accelerators.nvidia_query import Node
from console.facts.grammar import Page, drop_none, mib, number, shown, strict_json, version, whole
from console.i18n import N_, Said


def _tree(page: Page) -> Node:
    """Entries by indentation, ``KEY: value``."""
    root = Node("", None, 0)
    stack: list[tuple[int, Node]] = [(-1, root)]
    base: int | None = None
    for index, line in page.numbered():
        text = line.strip()
        if not text:
            continue
        indent = len(line) - len(line.lstrip())
        base = indent if base is None else base
        if (indent - base) % 4:
            page.fail(index, N_("the line is not indented as the others are"))
        key, mark, value = text.partition(":")
        page.one_entry(index, value)
        node = Node(key.strip(), (value.strip() or None) if mark else None, index)
        while stack[-1][0] >= indent:
            stack.pop()
        stack[-1][1].children.append(node)
        stack.append((indent, node))
    return root


class _Entry:
    """One GPU's answer: the same look-ups over text and JSON."""

    def __init__(self, page: Page, index: int, source: Node | dict[str, Any]):
        self.page, self.index, self._source = page, index, source

    def text(self, *path: str) -> str | None:
        """The value as printed; ``{"value": 3, "unit": "W"}`` as ``3 W``."""
        if isinstance(self._source, Node):
            node = self._source.get(*path)
            return shown(node.value) if node is not None else None
        here: Any = self._source
        for step in path:
            here = here.get(step) if isinstance(here, dict) else None
        if isinstance(here, dict) and "value" in here:
            here = None if shown(str(here["value"])) is None else f"{here['value']} {here.get('unit', '')}"
        return None if here is None or isinstance(here, dict | list) else shown(str(here))

    def amount(self, unit: str, *path: str) -> int | float | None:
        """A number of ``unit`` (a pattern); sizes come as MiB."""
        return amount(self.page, self._line(path), self.text(*path), unit)

    def size(self, *path: str) -> int | None:
        """A size in bytes."""
        text = self.text(*path)
        if text is None:
            return None
        value, unit = self.amount("[KMGT]?B", *path), text.split(" ")[-1]
        return round((value or 0) * 1024 ** " KMGT".index(unit[:-1] or " "))

    def count(self, *path: str) -> int | None:
        """A whole number."""
        text = self.text(*path)
        if text is not None and whole(text) is None:
            self.page.fail(self._line(path), N_("not a whole number"))
        return whole(text)

    def bus(self, *path: str) -> str | None:
        """A bus id, whole."""
        text = self.text(*path)
        if text is not None and not BUS_ID.fullmatch(text):
            self.page.fail(self._line(path), N_("this is not a bus id"))
        return text

    def below(self, *path: str) -> dict[str, str]:
        """The values of a section by their names in lower case."""
        if isinstance(self._source, Node):
            node = self._source.get(*path)
            return {c.name.lower(): c.value for c in node.children if shown(c.value)} if node is not None else {}
        here: Any = self._source
        for step in path:
            here = here.get(step) if isinstance(here, dict) else None
        return {k.lower(): str(v) for k, v in here.items() if shown(str(v))} if isinstance(here, dict) else {}

    def _line(self, path: tuple[str, ...]) -> int:
        node = self._source.get(*path) if isinstance(self._source, Node) else None
        return node.line if node is not None else 0


SIZE = r"[KMGT]i?B|B"


BUS_ID = re.compile(r"[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]")


def amount(page: Page, line: int, text: str | None, unit: str) -> int | float | None:
    """The number of ``12 W``; ``unit`` is a pattern, and sizes (``SIZE``) come as MiB."""
    if shown(text) is None:
        return None
    match = re.fullmatch(rf"(-?\d{{1,18}}(?:\.\d{{1,6}})?) ?({unit})", text)
    if not match:
        page.fail(line, Said(N_("{text} is not a reading"), text=repr(text[:40])))
    value = number(match[1])
    return mib(value, match[2]) if unit == SIZE else value


def _is_shorter(last: Node, first: Node) -> bool:
    """Whether sections, or keys of the section that the page ends in, are printed for the first GPU only."""
    if not {node.name for node in first.children} <= {node.name for node in last.children}:
        return True
    end = last.children[-1] if last.children else last
    same = first.get(end.name)
    return same is not None and end.value is None and not {node.name for node in same.children} <= {node.name for node in end.children}


def _entries(page: Page, as_json: bool) -> Iterator[_Entry]:
    if not as_json:
        page.whole()
        nodes = _tree(page).all("GPU")
        for node in nodes:
            if whole(node.value) is None:
                page.fail(node.line, N_("the GPU has no number"))
        if len(nodes) > 1 and _is_shorter(nodes[-1], nodes[0]):
            page.fail(len(page.lines) - 1, N_("the last device is cut off"))
        yield from (_Entry(page, int(node.value or 0), node) for node in nodes)
        return
    value = strict_json(page.text, page)
    value = value.get("gpu_data", value.get("gpus")) if isinstance(value, dict) else value
    if not isinstance(value, list):
        page.fail(0, N_("the JSON is not a list of GPUs"))
    for entry in value:
        if not isinstance(entry, dict) or not isinstance(entry.get("gpu"), int):
            if isinstance(entry, dict) and "cpu" in entry:
                continue
            page.fail(0, N_("an entry of the JSON has no number of a GPU"))
        yield _Entry(page, entry["gpu"], entry)


def _devices(page: Page, as_json: bool, read: Any) -> tuple[list[dict[str, Any]], list[_Entry]]:
    entries = list(_entries(page, as_json))
    if not entries:
        page.empty()
    return [drop_none({"index": entry.index} | read(entry)) for entry in entries], entries


def parse_list(page: Page, as_json: bool) -> dict[str, Any]:
    """``amd-smi list``."""
    devices, _ = _devices(page, as_json, lambda e: {
        "bus_id": e.bus("bdf"), "uuid": e.text("uuid"), "kfd_id": e.count("kfd_id"), "node_id": e.count("node_id"),
        "partition_id": e.count("partition_id")})
    return {"device_count": len(devices), "devices": devices}


def _static(entry: _Entry) -> dict[str, Any]:
    partition: dict[str, Any] = {k: v for k, v in entry.below("partition").items() if "partition" in k}
    partition = {name: text if whole(text) is None else whole(text) for name, text in partition.items()}
    return {"name": entry.text("asic", "market_name") or entry.text("board", "product_name"),
            "device_id": entry.text("asic", "device_id"), "gfx_version": entry.text("asic", "target_graphics_version"),
            "bus_id": entry.bus("bus", "bdf"), "memory_total_mib": entry.amount(SIZE, "vram", "size"),
            "vram_type": entry.text("vram", "type"), "partition": partition or None}


def numa_nodes(page: Page) -> dict[int, int]:
    """The NUMA node of each device of ``amd-smi static --json`` that tells one."""
    told = {entry.index: entry.count("numa", "node") for entry in _entries(page, True)}
    return {index: node for index, node in told.items() if node is not None}


def parse_static(page: Page, as_json: bool) -> dict[str, Any]:
    """``amd-smi static``."""
    devices, entries = _devices(page, as_json, _static)
    driver = next((word for e in entries if (word := version(e.text("driver", "version")))), None)
    return drop_none({"device_count": len(devices), "devices": devices, "driver_version": driver})


def _metric(entry: _Entry) -> dict[str, Any]:
    celsius = r"[°\ufffd]?C"
    edge, junction = entry.amount(celsius, "temperature", "edge"), entry.amount(celsius, "temperature", "hotspot")
    power = next((watts for name in ("socket_power", "current_socket_power", "average_socket_power")
                  if (watts := entry.amount("W", "power", name)) is not None), None)
    return {"power_w": power,
            "temperature_c": junction if edge is None else edge,
            "temperature_sensor": "edge" if edge is not None else "junction" if junction is not None else None,
            "memory_temperature_c": entry.amount(celsius, "temperature", "mem"),
            "gpu_percent": entry.amount("%", "usage", "gfx_activity"),
            "memory_total_mib": entry.amount(SIZE, "mem_usage", "total_vram"),
            "memory_used_mib": entry.amount(SIZE, "mem_usage", "used_vram")}


def parse_metric(page: Page, as_json: bool) -> dict[str, Any]:
    """``amd-smi metric``."""
    devices, _ = _devices(page, as_json, _metric)
    return {"device_count": len(devices), "devices": devices}


def ecc_counts(page: Page) -> dict[int, dict[str, int]]:
    """The error counts of ``amd-smi metric --json`` by device; empty for devices that tell none."""
    names = {"total_correctable_count": "correctable_total", "total_uncorrectable_count": "uncorrectable_total",
             "total_deferred_count": "deferred_total"}
    return {entry.index: drop_none({ours: entry.count("ecc", theirs) for theirs, ours in names.items()})
            for entry in _entries(page, True)}


# --- monitor, version, process -----------------------------------------------------------------------------------

_CELSIUS = r"[°\ufffd]?C"
_MONITOR = {"POWER": ("power_w", "W"), "GPU_TEMP": ("temperature_c", _CELSIUS), "GPU_T": ("temperature_c", _CELSIUS),
            "MEM_TEMP": ("memory_temperature_c", _CELSIUS), "MEM_T": ("memory_temperature_c", _CELSIUS),
            "GFX_UTIL": ("gpu_percent", "%"), "GFX%": ("gpu_percent", "%"), "VRAM_USED": ("memory_used_mib", SIZE),
            "VRAM_TOTAL": ("memory_total_mib", SIZE)}
_READING = re.compile(r"N/A|[\d./\-]+(?: ?(?:[°\ufffd]?C|%|[KMG]?Hz|[KMGT]i?B(?:/s)?|W|m?V))?|\S+")


def parse_monitor(page: Page) -> dict[str, Any]:
    """``amd-smi monitor``, with ``amd-smi version`` ahead or without."""
    start = next((n for n, line in page.numbered() if line.split()[:1] == ["GPU"] or line.split()[:2] == ["TIMESTAMP", "GPU"]),
                 None)
    if start is None:
        page.empty()
    if not page.ended:
        page.fail(len(page.lines) - 1, N_("the page is cut off"))
    titles, devices = page.lines[start].split(), []
    for index, line in page.numbered(start + 1):
        line = re.sub(r"(?<=\d)/ +(?=\d)", "/", line)
        cells = re.split(r"\s{2,}", line.strip())
        cells = cells if len(cells) == len(titles) else _READING.findall(line)
        if not line.strip() or set(line.strip()) == {"."}:  # documents mark so that rows are left out
            break
        row = dict(zip(titles, cells, strict=False))
        if len(cells) != len(titles) or whole(row["GPU"]) is None:
            page.fail(index, N_("the row does not fit its header"))
        devices.append(_monitored(page, index, row))
    if not devices:
        page.empty()
    unique = {device["index"]: device for device in reversed(devices)}
    devices = [unique[index] for index in sorted(unique)]
    versions = parse_version(page) if "AMDSMI Tool" in page.text else {}
    return versions | {"device_count": len(devices), "devices": devices}


def _monitored(page: Page, index: int, cells: dict[str, str]) -> dict[str, Any]:
    device: dict[str, Any] = {"index": whole(cells["GPU"])}
    for title, (key, unit) in _MONITOR.items():
        if title in cells:
            device[key] = amount(page, index, cells[title], unit)
    usage = re.fullmatch(r"([\d.]+)/([\d.]+) ?([KMGT]i?B)", cells.get("VRAM_USAGE", ""))
    if usage:
        device["memory_used_mib"] = mib(number(usage[1]), usage[3])
        device["memory_total_mib"] = mib(number(usage[2]), usage[3])
    return drop_none(device)


_CSV = {"gpu": "index", "power_usage": "power_w", "socket_power": "power_w", "hotspot_temperature": "temperature_c",
        "memory_temperature": "memory_temperature_c", "gfx": "gpu_percent", "gfx_activity": "gpu_percent",
        "vram_used": "memory_used_mib", "vram_total": "memory_total_mib", "gpu_bdf": "bus_id", "bdf": "bus_id",
        "gpu_uuid": "uuid", "uuid": "uuid", "kfd_id": "kfd_id", "node_id": "node_id", "partition_id": "partition_id",
        "market_name": "name", "device_id": "device_id", "target_graphics_version": "gfx_version",
        "size": "memory_total_mib"}
_TEXTS = ("bus_id", "uuid", "name", "device_id", "gfx_version")
_READINGS = {"power_w": "W", "temperature_c": _CELSIUS, "memory_temperature_c": _CELSIUS, "gpu_percent": "%",
             "memory_used_mib": SIZE, "memory_total_mib": SIZE}


def _csv(page: Page) -> Iterator[tuple[int, dict[str, str]]]:
    page.whole()
    rows = [(n, line) for n, line in page.numbered() if line.strip()]
    titles = [cell.strip() for cell in rows[0][1].split(",")] if rows else []
    if "gpu" not in titles or len(set(titles)) != len(titles):
        page.empty()
    for index, line in rows[1:]:
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(titles):
            page.fail(index, N_("the row does not have as many fields as the heading"))
        yield index, dict(zip(titles, cells, strict=True))


def parse_csv(page: Page) -> dict[str, Any]:
    """``amd-smi list|static|metric|monitor --csv``; sizes are MB there."""
    devices = []
    for index, row in _csv(page):
        device: dict[str, Any] = {}
        for title, key in _CSV.items():
            if title in row and device.get(key) is None:
                text = shown(row[title])
                device[key] = text if key in _TEXTS else number((text or "").split(" ")[0])
                if text is not None and device[key] is None:
                    page.fail(index, Said(N_("{text} is not a number"), text=title))
        devices.append(drop_none(device))
    if not devices:
        page.empty()
    return {"device_count": len(devices), "devices": devices}


def parse_monitor_json(page: Page) -> dict[str, Any]:
    """``amd-smi monitor --json``."""
    def read(entry: _Entry) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, key in _CSV.items():
            if key in _READINGS and found.get(key) is None:
                found[key] = entry.amount(_READINGS[key], name)
        return found

    devices, _ = _devices(page, True, read)
    unique = {device["index"]: device for device in reversed(devices)}
    return {"device_count": len(unique), "devices": [unique[index] for index in sorted(unique)]}


_VERSION = {"tool_version": ("amdsmi tool", "version"), "library_version": ("amdsmi library version", "amdsmi_library_version"),
            "rocm_version": ("rocm version", "rocm_version"), "driver_version": ("amdgpu version", "amdgpu_version")}


def _versions(said: dict[str, str | None]) -> dict[str, Any]:
    return drop_none({ours: next((shown(said[name]) for name in names if name in said), None) for ours, names in _VERSION.items()})


def parse_version_fields(page: Page, as_json: bool) -> dict[str, Any]:
    """``amd-smi version --json`` and ``--csv``."""
    if as_json:
        value = strict_json(page.text, page)
        entries = value if isinstance(value, list) else [value]
    else:
        page.whole()
        rows = [line.split(",") for _, line in page.numbered() if line.strip()]
        entries = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    if len(entries) != 1 or not isinstance(entries[0], dict):
        page.fail(0, N_("this is not the version of one tool"))
    found = _versions({str(key).lower(): str(text) for key, text in entries[0].items() if not isinstance(text, dict | list)})
    return found if "tool_version" in found else page.empty()


def parse_version(page: Page) -> dict[str, Any]:
    """``amd-smi version``."""
    line = next((line for _, line in page.numbered() if "AMDSMI Tool:" in line), None)
    if line is None:
        page.empty()
    parts = line.split("|")
    if page.lines[-1] == line and not page.ended:
        # What stands at the end of a page that was not ended may be part of a version.
        parts.pop()
    found = _versions({key.strip().lower(): shown(value) for key, _, value in (part.partition(":") for part in parts)})
    return found if found else page.whole() or page.empty()


def parse_processes(page: Page, as_json: bool, as_csv: bool) -> dict[str, Any]:
    """``amd-smi process``."""
    if as_csv:
        rows = list(_csv(page))
        if not rows:
            page.empty()
        found = [{"gpu": whole(row["gpu"]), "pid": whole(row.get("pid")), "name": shown(row.get("name")),
                  "vram_bytes": whole(row.get("vram_mem"))} for _, row in rows if shown(row.get("pid"))]
        return {"device_count": len({row["gpu"] for _, row in rows}), "processes": found}
    entries = list(_entries(page, as_json))
    if not entries:
        page.empty()
    found = [process for entry in entries for process in _running(page, entry, as_json)]
    return {"device_count": len(entries), "processes": found}


def _running(page: Page, entry: _Entry, as_json: bool) -> Iterator[dict[str, Any]]:
    source = entry._source
    if as_json:
        listed = source.get("process_list", []) if isinstance(source, dict) else []
        infos: list[Any] = [item.get("process_info") for item in listed if isinstance(item, dict)]
        infos = [info for info in infos if isinstance(info, dict)]
    else:
        infos = [node for node in source.all("PROCESS_INFO") if node.children] if isinstance(source, Node) else []
    for info in infos:
        inner = _Entry(page, entry.index, info)
        yield {"gpu": entry.index, "pid": inner.count("pid"), "name": inner.text("name"),
               "vram_bytes": inner.size("memory_usage", "vram_mem")}


# --- topology ----------------------------------------------------------------------------------------------------


def parse_topology(page: Page) -> dict[str, Any]:
    """``amd-smi topology`` as text."""
    wanted = {"WEIGHT TABLE": "weights", "HOPS TABLE": "hops", "LINK TYPE TABLE": "links"}
    topology: dict[str, Any] = {}
    kind, names = None, []
    for index, line in page.numbered():
        words = line.split()
        title = line.strip().rstrip(":")
        if line.strip().endswith("TABLE:") or not words:
            kind, names = wanted.get(title), []
        elif kind and not names:
            names = words
            topology[kind] = {}
        elif kind:
            if len(words) != len(names) + 1 or words[0] not in names:
                page.fail(index, N_("the row of the matrix does not fit its header"))
            cells = [word if kind == "links" else number(word) for word in words[1:]]
            topology[kind][words[0]] = dict(zip(names, cells, strict=True))
    if not topology:
        page.empty()
    devices = list(next(iter(topology.values())))
    return {"device_count": len(devices), "topology": {"devices": devices} | topology}


def topology_entries(page: Page) -> list[dict[str, Any]]:
    """The GPUs of ``amd-smi topology --json``, each with ``gpu``, ``bdf`` and its ``links``."""
    value = strict_json(page.text, page)
    entries = value.get("topology", value.get("gpu_data")) if isinstance(value, dict) else value
    if not isinstance(entries, list) or not all(
            isinstance(e, dict) and isinstance(e.get("gpu"), int) and isinstance(e.get("links"), list)
            and all(isinstance(link, dict) for link in e["links"]) for e in entries):
        page.fail(0, N_("the JSON is not a list of GPUs and their links"))
    return entries


def parse_topology_json(page: Page) -> dict[str, Any]:
    """``amd-smi topology --json``."""
    entries = topology_entries(page)
    if not entries:
        page.empty()
    devices = [str(entry.get("bdf")) for entry in entries]
    wanted = {"links": "link_type", "weights": "weight", "hops": "num_hops"}
    topology: dict[str, Any] = {ours: {} for ours, theirs in wanted.items() if any(theirs in link for e in entries for link in e["links"])}
    for name, entry in zip(devices, entries, strict=True):
        peers = [str(link.get("bdf")) for link in entry["links"]]
        if sorted(peers) != sorted(devices):
            page.fail(0, Said(N_("the links of {name} do not lead to every device"), name=name[:40]))
        for ours, row in topology.items():
            cells = [link.get(wanted[ours]) for link in entry["links"]]
            said = [shown(str(cell)) if ours == "links" else number(str(cell)) for cell in cells]
            row[name] = dict(zip(peers, said, strict=True))
    return {"device_count": len(devices), "topology": {"devices": devices} | topology}
