"""``rocm-smi`` (ROCm 3 to 7), and ``hy-smi`` with the same forms: JSON, CSV, ``GPU[n] : key: value``, tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from console.facts.grammar import Page, mib, number, shown, strict_json, version, whole
from console.i18n import N_, Said

_CARD = re.compile(r"(?:card|gpu|dcu|hcu)(\d{1,4})", re.IGNORECASE)
_LINE = re.compile(r"(?:GPU|DCU|HCU)\[(\d{1,4})\]\s*: ?(.*)")
_CELLS = re.compile(r"\s*\t\s*|\s{2,}")
_WORDS = re.compile(r"\S+(?: \S+)*")


def _keyed(values: dict[str, str]) -> dict[str, str]:
    return {" ".join(key.lower().rstrip(":").split()): value for key, value in values.items()}


def _first(said: dict[str, str], *names: str) -> str | None:
    return next((shown(said[name]) for name in names if shown(said.get(name)) is not None), None)


def _checked(page: Page, text: str | None, what: str) -> int | float | None:
    value = number(text)
    if text is not None and value is None:
        page.fail(0, Said(N_("{what} is not a number: {text}"), what=what, text=text[:40]))
    return value


def _memory(page: Page, said: dict[str, str], what: str) -> int | float | None:
    for unit in ("b", "kib", "kb", "mib", "mb", "gib"):
        text = _first(said, f"vram total {what}({unit})", f"vram total {what} ({unit})")
        if text is not None:
            return mib(_checked(page, text, "the memory"), unit)
    return None


def card(page: Page, index: int, values: dict[str, str]) -> dict[str, Any]:
    """One device of its printed keys, in the fields that JSON and ``-a`` give."""
    said = _keyed(values)
    edge = _first(said, "temperature (sensor edge) (c)")
    junction = _first(said, "temperature (sensor junction) (c)")
    temperature = edge if edge is not None else junction
    # ROCm 1 and 2 print one sensor without its place, and the units behind the values.
    old_temperature = _first(said, "temperature", "temperature (sensor #1)") if temperature is None else None
    old_power = _first(said, "average gpu power", "average graphics package power")
    model = _first(said, "card model")
    return {
        "index": index, "name": _first(said, "card series", "device name", "market name"),
        "device_id": _first(said, "device id", "gpu id") or (model if re.fullmatch("0x[0-9A-Fa-f]{1,8}", model or "") else None), "bus_id": _first(said, "pci bus"),
        "uuid": _first(said, "unique id"), "memory_total_mib": _memory(page, said, "memory"),
        "memory_used_mib": _memory(page, said, "used memory"),
        "temperature_c": _checked(page, temperature or re.sub(r" ?[cC]$", "", old_temperature or "") or None, "the temperature"),
        "temperature_sensor": None if temperature is None else "edge" if edge is not None else "junction",
        "power_w": _checked(page, _first(said, "average graphics package power (w)",
                                         "current socket graphics package power (w)", "socket power (w)",
                                         "average socket power (w)") or re.sub(r" ?W$", "", old_power or "") or None, "the power"),
        "health": None}


def parse_json(page: Page) -> dict[str, Any]:
    """``rocm-smi … --json``."""
    # Warnings may stand ahead of the document.
    value = strict_json(page.text, page)
    if not isinstance(value, dict):
        page.fail(0, N_("the JSON is not an object of cards"))
    devices, driver = [], None
    for key, entry in value.items():
        match = _CARD.fullmatch(key)
        if not isinstance(entry, dict) or not all(isinstance(v, str | int | float) for v in entry.values()):
            page.fail(0, Said(N_("the entry {key} is not an object of values"), key=key[:40]))
        texts = {name: str(v) for name, v in entry.items()}
        if match:
            devices.append(card(page, int(match[1]), texts))
        elif key == "system":
            driver = version(_first(_keyed(texts), "driver version"))
    if not devices:
        page.fail(0, N_("there is no card in the JSON"))
    return {"device_count": len(devices), "devices": devices, "driver_version": driver}


def parse_csv(page: Page) -> dict[str, Any]:
    """``rocm-smi … --csv``."""
    rows = [(n, line) for n, line in page.numbered() if line.strip() and "," in line]
    if not rows or rows[0][1].split(",")[0].strip() != "device":
        page.empty()
    titles, devices, driver = rows[0][1].split(","), [], None
    for index, line in rows[1:]:
        cells = line.split(",")
        match = _CARD.fullmatch(cells[0].strip())
        if len(cells) != len(titles):
            page.fail(index, N_("the row does not have as many fields as the heading"))
        if match:
            devices.append(card(page, int(match[1]), dict(zip(titles, cells, strict=True))))
        elif cells[0].strip() == "system":
            driver = version(_first(_keyed(dict(zip(titles, cells, strict=True))), "driver version"))
    if not devices:
        page.empty()
    return {"device_count": len(devices), "devices": devices, "driver_version": driver}


def _sections(page: Page) -> list[tuple[str, list[tuple[int, str]]]]:
    """(heading, lines) between the rules; refuses a page that ends within one."""
    sections: list[tuple[str, list[tuple[int, str]]]] = [("", [])]
    for index, line in page.numbered():
        text = line.strip()
        if re.match(r"={3,}", text):
            sections.append((text.strip("= "), []))
        elif text:
            if text.endswith("=" * 10):
                page.fail(index, N_("two entries stand on one line"))
            sections[-1][1].append((index, line))
    # The tool closes every section with a rule; an excerpt that has none at all holds whole lines of cards.
    if len(sections) < 2 and page.ended and sections[0][1] and all(_LINE.match(line.strip()[:4000]) for _, line in sections[0][1]):
        return sections
    if sections[-1][1] or len(sections) < 2:
        page.fail(len(page.lines) - 1, N_("the page is cut off"))
    return sections


def parse_pages(page: Page, everything: bool) -> dict[str, Any]:
    """Pages of ``GPU[n] : key: value``; ``everything`` for ``-a``, which is given in the fields of JSON only."""
    cards: dict[int, dict[str, str]] = {}
    driver, sections = None, _sections(page)
    listed: list[set[int]] = []
    for _title, lines in sections:
        here = set()
        for _index, line in lines:
            match = _LINE.match(line.strip()) if len(line) < 4000 else None
            if match and _LINE.search(match[2]):
                page.fail(_index, N_("two entries stand on one line"))
            key, mark, value = (match[2] if match else line).rpartition(": ") if match else line.partition(": ")
            if match:
                here.add(int(match[1]))
                _keep(cards.setdefault(int(match[1]), {}), match[2])
            elif mark and key.strip().lower() == "driver version":
                driver = version(value)
        if here:
            listed.append(here)
    if not cards and driver:
        return {"driver_version": driver}
    if not cards:
        page.empty()
    if listed[-1] != set(cards) and not any("End of" in title for title, _ in sections):
        page.fail(len(page.lines) - 1, N_("the page is cut off"))
    if len(sections) < 2 and len({frozenset(values) for values in cards.values()}) > 1:
        page.fail(len(page.lines) - 1, N_("the lines of a card are missing"))
    make = card if everything else _rich
    devices = [make(page, index, cards[index]) for index in sorted(cards)]
    return {"device_count": len(devices), "devices": devices, "driver_version": driver}


def _keep(said: dict[str, str], text: str) -> None:
    key, mark, value = text.partition(": ")
    if not mark:
        key, mark, value = text.partition(":")
    if mark and key.strip() and value.strip():
        said.setdefault(key.strip(), value.strip())


def _rich(page: Page, index: int, values: dict[str, str]) -> dict[str, Any]:
    said, device = _keyed(values), card(page, index, values)
    device |= {"guid": _first(said, "guid"), "gfx_version": _first(said, "gfx version"),
               "gpu_percent": _checked(page, _first(said, "gpu use (%)", "dcu use (%)"), "the use"),
               "vram_percent": _checked(page, _first(said, "gpu memory allocated (vram%)"), "the use of memory")}
    return {key: value for key, value in device.items() if value is not None}


def parse_processes(page: Page) -> dict[str, Any]:
    """``rocm-smi --showpids``; the memory is that of all devices of a process."""
    lines = [entry for title, entries in _sections(page) if "Processes" in title for entry in entries]
    wide = next((index for index, line in lines if len(line) > 1000), None)
    if wide is not None:
        page.fail(wide, N_("the row is too wide"))
    start = next((n for n, (_, line) in enumerate(lines) if line.split()[:1] == ["PID"]), None)
    if start is None:
        return {"processes": []} if any("No KFD PIDs" in line for _, line in lines) else page.empty()
    titles, processes = _CELLS.split(lines[start][1].strip()), []
    for index, line in lines[start + 1 :]:
        cells = _CELLS.split(line.strip())
        said = dict(zip(titles, cells, strict=False))
        pid, used = whole(said.get("PID")), whole(said.get("VRAM USED"))
        if len(cells) != len(titles) or pid is None or (used is None and shown(said.get("VRAM USED")) not in (None, "UNKNOWN")):
            page.fail(index, N_("the row of a process is not readable"))
        processes.append({"pid": pid, "name": shown(said.get("PROCESS NAME")), "used_mib": mib(used, "b")})
    return {"processes": processes}


# --- topology ----------------------------------------------------------------------------------------------------

_MATRICES = {"weight between": "weights", "hops between": "hops", "link type between": "links"}


def parse_topology(page: Page) -> dict[str, Any]:
    """``rocm-smi --showtopo`` and its parts."""
    topology: dict[str, Any] = {}
    warning = None
    for title, lines in _sections(page):
        kind = next((name for text, name in _MATRICES.items() if title.lower().startswith(text)), None)
        if kind:
            topology[kind] = _matrix(page, lines, kind != "links")
            topology.setdefault("devices", list(topology[kind]))
        for _, line in lines:
            warning = "low_power_state" if "low-power state" in line else warning
            _numa(page, line, topology)
    if not topology:
        page.empty()
    count = len(topology.get("devices") or topology.get("numa") or topology.get("numa_affinity") or ())
    return {"device_count": count, "topology": topology} | ({"warning": warning} if warning else {})


_PAIR = re.compile(r"\(Topology\) (Weight|Hops|Link type) between DRM devices (\d{1,4}) and (\d{1,4})")
_OWN = re.compile(r"\(Topology\) Numa (Node|Affinity)")


def parse_topology_json(page: Page) -> dict[str, Any]:
    """``rocm-smi --showtopo --json``: each pair of devices is named once, and holds both ways."""
    value = strict_json(page.text, page)
    if not isinstance(value, dict) or not all(isinstance(entry, dict) for entry in value.values()):
        page.fail(0, N_("the JSON is not an object of objects"))
    pairs: dict[str, dict[tuple[int, int], Any]] = {}
    own: dict[str, dict[str, str]] = {}
    cards: set[int] = set()
    for key, entry in value.items():
        match = _CARD.fullmatch(key)
        cards |= {int(match[1])} if match else set()
        for name, said in entry.items():
            pair, numa = _PAIR.fullmatch(name), _OWN.fullmatch(name)
            if pair:
                kind = _MATRICES[f"{pair[1].lower()} between"]
                pairs.setdefault(kind, {})[int(pair[2]), int(pair[3])] = said if kind == "links" else _checked(page, str(said), name)
            elif numa and match:
                own.setdefault("numa" if numa[1] == "Node" else "numa_affinity", {})[f"GPU{match[1]}"] = str(said)
    cards |= {place for found in pairs.values() for pair in found for place in pair}
    if not pairs and not own:
        page.empty()
    names = sorted(cards)
    topology: dict[str, Any] = {"devices": [f"GPU{n}" for n in names]} if pairs else {}
    for kind, found in pairs.items():
        if not all((a, b) in found or (b, a) in found for a in names for b in names if a < b):
            page.fail(0, Said(N_("pairs of devices are missing in the {kind}"), kind=kind))
        topology[kind] = {f"GPU{a}": {f"GPU{b}": found.get((a, b), found.get((b, a), "0" if kind == "links" else 0)) for b in names}
                          for a in names}  # fmt: skip
    return {"device_count": len(names), "topology": topology | own}


def _numa(page: Page, line: str, topology: dict[str, Any]) -> None:
    match = re.fullmatch(r"(?:GPU|DCU|HCU)\[(\d{1,4})\]\s*: \(Topology\) Numa (Node|Affinity): (-?\d{1,6})",
                         line.strip())
    if match:
        into = topology.setdefault("numa" if match[2] == "Node" else "numa_affinity", {})
        into[f"GPU{match[1]}"] = match[3]


def _matrix(page: Page, lines: list[tuple[int, str]], numbers: bool) -> dict[str, dict[str, Any]]:
    if not lines:
        page.fail(len(page.lines) - 1, N_("the matrix is empty"))
    names = lines[0][1].split()
    if len(names) > 512:
        page.fail(lines[0][0], N_("the devices of the header are not readable"))
    rows: dict[str, dict[str, Any]] = {}
    for index, line in lines[1:]:
        name, *cells = line.split()
        if len(cells) != len(names) or name not in names or name in rows:
            page.fail(index, N_("the row of the matrix does not fit its header"))
        values = [number(cell) if numbers else cell for cell in cells]
        if numbers and any(value is None and shown(cell) for value, cell in zip(values, cells, strict=True)):
            page.fail(index, N_("the matrix holds something that is not a number"))
        rows[name] = dict(zip(names, values, strict=True))
    if list(rows) != names:
        page.fail(lines[-1][0], N_("rows of the matrix are missing"))
    return rows


# --- tables ------------------------------------------------------------------------------------------------------


def _columns(page: Page, header: str, index: int, line: str) -> dict[str, str]:
    """Cells by title: by order where the counts agree, else by place, never across a word."""
    if len(header) > 1000 or len(line) > 1000:
        page.fail(index, N_("the row is too wide"))
    places = [(match.start(), match[0]) for match in _WORDS.finditer(header)]
    cells = _WORDS.findall(line)
    if len(cells) == len(places):
        return {title: cell for (_, title), cell in zip(places, cells, strict=True)}
    found = {}
    for (start, title), (end, _) in zip(places, [*places[1:], (len(line) + 1, "")], strict=True):
        if 0 < start < len(line) and line[start - 1] != " ":
            page.fail(index, N_("the row does not keep to the columns of the header"))
        found[title] = line[start:end].strip()
    if "" in found.values():
        page.fail(index, N_("the row does not fill the columns of the header"))
    return found


def _table_rows(page: Page, is_header: Callable[[list[str]], bool]) -> tuple[str, str, list[tuple[int, str]]]:
    """Header, the lines between it and its rule, and the rows up to the closing rule."""
    start = next((n for n, line in page.numbered() if is_header(line.split())), None)
    if start is None:
        page.empty()
    titles, rows, closed = "", [], False
    for index, line in page.numbered(start + 1):
        if re.match(r"={3,}", line.strip()):
            closed = bool(rows)
            if closed:
                break
        elif line.strip() and not rows and line[:1].isspace() and not line.split()[0].isdigit():
            titles += " " + line
        elif line.strip():
            rows.append((index, line))
    if not closed:
        page.fail(len(page.lines) - 1, N_("the table is cut off"))
    return page.lines[start].rstrip(), titles, rows


def parse_table(page: Page) -> dict[str, Any]:
    """The concise table of ``rocm-smi`` without arguments."""
    header, titles, rows = _table_rows(page, lambda words: bool(words) and words[0] in ("GPU", "Device", "DCU", "HCU")
                                       and any(word.startswith("Temp") for word in words))
    sensor = re.search(r"\((?:Die)?(Edge|Junction)\)", header + titles, re.IGNORECASE)
    devices: list[dict[str, Any]] = []
    for index, line in rows:
        if line.split()[0].isdigit() and not ("Name" in titles and line[:1].isspace()):
            devices.append(_concise(page, index, _columns(page, header, index, line), sensor and sensor[1].lower()))
        elif "Name" in titles and devices and devices[-1]["name"] is None:
            devices[-1]["name"] = shown(line)
        else:
            page.fail(index, N_("this is not the row of a device"))
    return {"device_count": len(devices), "devices": devices}


def _concise(page: Page, index: int, cells: dict[str, str], sensor: str | None) -> dict[str, Any]:
    def cell(*starts: str) -> str | None:
        return next((cells[title] for start in starts for title in cells if title.startswith(start)), None)

    temperature = _with_unit(page, index, cell("Temp"), r"(?:[°\ufffd]? ?[Cc])")
    device = {"index": whole(next(iter(cells.values()))), "name": None,
              "temperature_c": temperature, "temperature_sensor": sensor if temperature is not None else None,
              "power_w": _with_unit(page, index, cell("Power", "AvgPwr", "SocketPwr", "CurPwr"), "W"),
              "partitions": shown(cell("Partitions")), "vram_percent": _with_unit(page, index, cell("VRAM%"), "%"),
              "gpu_percent": _with_unit(page, index, cell("GPU%", "DCU%", "HCU%"), "%"),
              "memory_total_mib": None, "health": None}
    if cell("Node"):
        device["node"] = whole(cell("Node"))
    ids = cell("IDs", "[Model", "DID")
    if ids:
        words = re.findall(r"[\w.]+", ids)
        device["device_id"] = shown(words[0]) if words else None
        if cell("IDs") and len(words) > 1:
            device["guid"] = words[1]
    return device


def _with_unit(page: Page, index: int, text: str | None, unit: str) -> int | float | None:
    if shown(text) is None or text.lower() in ("unsupported", "unknown"):
        return None
    match = re.fullmatch(rf"(-?\d{{1,9}}(?:\.\d{{1,6}})?){unit}", text)
    if not match:
        page.fail(index, Said(N_("{text} is not a reading"), text=repr(text[:40])))
    return number(match[1])


_HARDWARE = {"GPU": "index", "DCU": "index", "NODE": "node", "DID": "device_id", "GUID": "guid",
             "GFX VER": "gfx_version", "BUS": "bus_id", "PARTITION ID": "partition_id"}


def parse_hardware(page: Page) -> dict[str, Any]:
    """``rocm-smi --showhw``."""
    header, _, rows = _table_rows(page, lambda words: words[:1] in (["GPU"], ["DCU"]) and "BUS" in words)
    devices = []
    for index, line in rows:
        cells = _columns(page, header, index, line)
        device: dict[str, Any] = {_HARDWARE[t]: shown(c) for t, c in cells.items() if t in _HARDWARE}
        for key in ("index", "node", "partition_id"):
            if device.get(key) is not None:
                device[key] = whole(device[key])
        if device.get("index") is None:
            page.fail(index, N_("the device has no number"))
        devices.append(device)
    buses = {device["bus_id"] for device in devices if device.get("bus_id")}
    return {"device_count": len(devices), "devices": devices, "physical_gpu_count": len(buses) or None}
