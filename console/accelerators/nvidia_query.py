"""``nvidia-smi -q`` as text and XML, its queries as CSV, ``-L``, ``nvlink``, ``--version``.

Field names as documented in ``nvidia-smi --help-query-gpu`` and nvsmi_device_v4 to v13.dtd (drivers 3xx to 6xx).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import Any
from xml.parsers import expat

from console.facts.grammar import Page, measured, mib, number, shown, titled, whole
from console.i18n import N_, Said

MAX_XML_DEPTH, MAX_XML_NODES = 32, 500_000


@dataclass
class Node:
    """One named entry: with a value, with entries of its own, or both. ``line`` counts from 0."""

    name: str
    value: str | None
    line: int
    children: list[Node] = field(default_factory=list)

    def all(self, *names: str) -> list[Node]:
        """Own entries of one of these names; case does not count."""
        wanted = {name.lower() for name in names}
        return [child for child in self.children if child.name.lower() in wanted]

    def get(self, *path: str | tuple[str, ...]) -> Node | None:
        """The first entry found by going down ``path``; a step may give several names, tried in order."""
        here: Node | None = self
        for step in path:
            names = (step,) if isinstance(step, str) else step
            here = next((hit for name in names for hit in here.all(name)[:1]), None) if here else None
        return here


_LEFT_OUT = re.compile(r"(?:\[?\.{3,}\]?|…|<snip>|\[snip\])", re.IGNORECASE)  # a mark of documents for lines that are not shown
_GAP = "..."


def _text_tree(page: Page) -> Node:
    """Entries by indentation: ``key : value`` lines, and headings without a value."""
    root = Node("", None, 0)
    stack: list[tuple[int, Node]] = [(-1, root)]
    base: int | None = None
    for index, line in page.numbered():
        text = line.strip()
        if not text or text.startswith("=="):
            continue
        indent = len(line) - len(line.lstrip())
        base = indent if base is None else base
        if (indent - base) % 4:
            page.fail(index, N_("the line is not indented as the others are"))
        key, mark, value = text.partition(" : ")
        if not mark and text.endswith(" :"):
            key, mark, value = text[:-2], ":", ""
        page.one_entry(index, value)
        node = Node(_GAP if _LEFT_OUT.fullmatch(text) else key.strip(), value.strip() if mark else None, index)
        while stack[-1][0] >= indent:
            stack.pop()
        stack[-1][1].children.append(node)
        stack.append((indent, node))
    return root


_PROCESS_NAME = re.compile(r"(?<=<process_name>)([^\n]*)(?=</process_name>)")
_BARE = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});)")


def _escaped(name: re.Match[str]) -> str:
    """The name of a process, which its user chose and the tool prints as it is; no name must hide the devices of a server."""
    return _BARE.sub("&amp;", name[1]).replace("<", "&lt;").replace(">", "&gt;")


def xml_log(page: Page) -> Node:
    """The log's root element; entities of one's own, deep nesting and huge documents are refused."""
    begin = page.text.find("<?xml")
    begin = begin if begin >= 0 else page.text.find("<nvidia_smi_log")
    if begin < 0:
        page.empty()
    ahead = page.text.count("\n", 0, begin)
    parser = expat.ParserCreate("utf-8")
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    root = Node("", None, 0)
    stack, texts, count = [root], [[]], 0

    def here() -> int:
        return ahead + parser.CurrentLineNumber - 1

    def opened(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > MAX_XML_NODES or len(stack) > MAX_XML_DEPTH:
            page.fail(here(), N_("the XML is too deep or too large"))
        node = Node(name, attributes.get("id"), here())
        stack[-1].children.append(node)
        stack.append(node)
        texts.append([])

    def closed(_name: str) -> None:
        node, text = stack.pop(), "".join(texts.pop()).strip()
        if not node.children and node.value is None:
            node.value = text

    def refused(*_declaration: Any) -> None:
        page.fail(here(), N_("the XML declares entities of its own"))

    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.CharacterDataHandler = lambda text: texts[-1].append(text)
    parser.EntityDeclHandler = refused
    parser.buffer_text = True
    try:
        parser.Parse(_PROCESS_NAME.sub(_escaped, page.text[begin:].strip()).encode("utf-8", "replace"), True)
    except expat.ExpatError as problem:
        page.fail(ahead + problem.lineno - 1, N_("this is not well-formed XML"))
    log = root.get("nvidia_smi_log")
    if log is None:
        page.fail(0, N_("this is not a log of nvidia-smi"))
    return log


def _amount(page: Page, node: Node | None, *units: str) -> int | float | None:
    """The number of ``12 MiB``; None where the tool shows none, or says why in words."""
    if node is None or measured(node.value) is None:
        return None
    amount, _, unit = node.value.partition(" ")
    value = number(amount)
    if value is None or unit.strip() not in units:
        page.fail(node.line, Said(N_("not a number of {unit}"), unit=units[0]))
    return value


def _count(page: Page, node: Node | None) -> int | None:
    if node is None or measured(node.value) is None:
        return None
    value = whole(node.value)
    if value is None:
        page.fail(node.line, N_("not a whole number"))
    return value


def _said(node: Node | None) -> str | None:
    return shown(node.value) if node is not None else None


def _titled(node: Node | None) -> str | None:
    return titled(node.value) if node is not None else None


# From driver 610 on the old names stay for a while, with a remark that they are going to be removed.
_DRIVER_NAMES = ("kmd version", "driver version")
_CUDA_NAMES = ("cuda umd version", "cuda version")


def _version(said: Mapping[str, str | None], names: Sequence[str]) -> str | None:
    """The first word of the first of the entries that holds a version; the newer name comes first."""
    words = ((said.get(name) or "").split(" ")[0] for name in names)
    return next((word for word in words if shown(word) is not None and word[0].isdigit()), None)


def _versions(log: Node) -> dict[str, Any]:
    said = {node.name.lower().replace("_", " "): node.value for node in reversed(log.children)}
    return {"driver_version": _version(said, _DRIVER_NAMES), "cuda_version": _version(said, _CUDA_NAMES)}


@dataclass(frozen=True)
class _Names:
    """Where the text and the XML keep the same things."""

    name: tuple[str, ...]
    uuid: tuple[str, ...]
    bus: tuple[str, ...]
    memory: tuple[str, ...]
    total: str
    used: str
    temperature: tuple[str, ...]
    power: tuple[str, ...]
    draws: tuple[str, ...]
    ecc: tuple[str, ...]
    mig_mode: tuple[str, ...]
    instance: tuple[str, str, str]
    instance_memory: tuple[str, ...]


_TEXT = _Names(("Product Name",), ("GPU UUID",), ("PCI", "Bus Id"), ("FB Memory Usage", "Memory Usage"), "Total", "Used",
               ("Temperature", ("GPU Current Temp", "Gpu")), ("GPU Power Readings", "Power Readings"),
               ("Power Draw", "Average Power Draw", "Instantaneous Power Draw"), ("Ecc Mode", "Current"),
               ("MIG Mode", "Current"), ("Index", "GPU Instance ID", "Compute Instance ID"),
               ("Shared FB Memory Usage", "FB Memory Usage"))
_XML = _Names(("product_name",), ("uuid",), ("pci", "pci_bus_id"), ("fb_memory_usage", "memory_usage"), "total", "used",
              ("temperature", "gpu_temp"), ("gpu_power_readings", "power_readings"),
              ("power_draw", "average_power_draw", "instant_power_draw"), ("ecc_mode", "current_ecc"),
              ("mig_mode", "current_mig"), ("index", "gpu_instance_id", "compute_instance_id"), ("fb_memory_usage",))


def _gpu(page: Page, gpu: Node, names: _Names, index: int, instances: Sequence[Node]) -> dict[str, Any]:
    power = gpu.get(names.power)
    draws = (_amount(page, power.get(draw), "W") for draw in names.draws) if power else ()
    memory = gpu.get(names.memory)
    device = {
        "index": index, "name": _said(gpu.get(*names.name)), "bus_id": gpu.value or _said(gpu.get(*names.bus)),
        "uuid": _said(gpu.get(*names.uuid)),
        "memory_total_mib": mib(_amount(page, memory.get(names.total), "MiB", "MB"), "MiB") if memory else None,
        "memory_used_mib": mib(_amount(page, memory.get(names.used), "MiB", "MB"), "MiB") if memory else None,
        "temperature_c": _amount(page, gpu.get(*names.temperature), "C"),
        "power_w": next((draw for draw in draws if draw is not None), None),
        "health": None, "ecc_mode": _said(gpu.get(*names.ecc))}
    mode = _said(gpu.get(*names.mig_mode))
    if mode:
        device["mig"] = {"mode": mode, "instances": [_mig(page, node, names) for node in instances]}
    return device


def _mig(page: Page, node: Node, names: _Names) -> dict[str, Any]:
    memory = node.get(names.instance_memory)
    found = {key: _count(page, node.get(name)) for key, name in zip(("index", "gi", "ci"), names.instance, strict=True)}
    if None in found.values() or memory is None:
        page.fail(node.line, N_("the MIG device is not complete"))
    uuid = _said(node.get(("uuid", "MIG UUID")))
    return found | ({"uuid": uuid} if uuid else {}) | {
        "memory_total_mib": _amount(page, memory.get(names.total), "MiB", "MB"),
        "memory_used_mib": _amount(page, memory.get(names.used), "MiB", "MB")}


def parse_xml(page: Page) -> dict[str, Any]:
    """``nvidia-smi -q -x``."""
    return read_log(page, xml_log(page))


def read_log(page: Page, log: Node) -> dict[str, Any]:
    """The common fields of a log that has been read."""
    found = _versions(log) | {"attached_gpus": _count(page, log.get("attached_gpus"))}
    devices, processes = [], []
    for index, gpu in enumerate(log.all("gpu")):
        holder = gpu.get("mig_devices")
        devices.append(_gpu(page, gpu, _XML, index, holder.all("mig_device") if holder else []))
        section = gpu.get(("processes", "compute_processes"))
        processes += [_xml_process(page, node, index) for node in (section.all("process_info") if section else [])]
    return found | {"device_count": len(devices), "devices": devices, "processes": processes}


def _xml_process(page: Page, node: Node, gpu: int) -> dict[str, Any]:
    return {"gpu": gpu, "pid": _count(page, node.get("pid")), "type": _said(node.get("type")),
            "name": _titled(node.get("process_name")), "used_mib": _amount(page, node.get("used_memory"), "MiB", "MB")}


_GPU_HEAD = re.compile(r"GPU [0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]")


def parse_query_text(page: Page, sections: str = "") -> dict[str, Any]:
    """``nvidia-smi -q``; ``sections`` is the argument of ``-d``, which leaves the others out."""
    # Excerpts leave the title out.
    if not any("NVSMI LOG" in line or line.startswith("Attached GPUs ") or _GPU_HEAD.fullmatch(line.rstrip()) for line in page.lines[:40]):
        page.empty()
    log = _text_tree(page)
    found = _versions(log) | {"attached_gpus": _count(page, log.get("Attached GPUs"))}
    headings = [node for node in log.children if node.value is None]
    # Ahead of the devices a heading may tell of the driver, such as "vGPU Driver Capability".
    gpus = list(dropwhile(lambda node: node.children and not re.search(r"\d", node.name), headings))
    while gpus and gpus[-1].name == _GAP:
        gpus.pop()  # lines left out at the end; between devices they would shift the places of the others
    for gpu in gpus:
        if not _GPU_HEAD.fullmatch(gpu.name):
            page.fail(gpu.line, N_("this is not the heading of a device"))
    if not gpus:
        page.empty()
    _apart(page, log, gpus)
    _complete(page, gpus, found["attached_gpus"], bool(sections))
    if sections:
        page.whole()
    make = _retired if "PAGE_RETIREMENT" in sections.upper() else _listed
    devices = [make(page, Node("gpu", gpu.name[4:], gpu.line, gpu.children), index) for index, gpu in enumerate(gpus)]
    found |= {"device_count": len(devices), "devices": [_partial(d) if sections else d for d in devices]}
    if not sections or "PIDS" in sections.upper():
        found["processes"] = [p for index, gpu in enumerate(gpus) for p in _text_processes(page, gpu, index)]
    return found


_ONCE = frozenset({"Product Name", "Product Brand", "GPU UUID", "Minor Number", "FB Memory Usage", "Retired Pages"})


def _apart(page: Page, log: Node, gpus: list[Node]) -> None:
    """Refuse devices of which two stand under one heading, or one under two."""
    astray = next((node for node in log.children if node.value is not None and node.children), None)
    if astray is not None:
        page.fail(astray.children[0].line, N_("the heading of a device is missing"))
    for gpu in gpus:
        once = [node for node in gpu.children if node.name in _ONCE]
        for place, node in enumerate(once):
            if any(node.name == other.name for other in once[:place]):
                page.fail(node.line, N_("the heading of a device is missing"))
    for place, gpu in enumerate(gpus):
        if any(gpu.name == other.name for other in gpus[:place]):
            page.fail(gpu.line, N_("the device is there twice"))


def _partial(device: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in device.items() if value is not None}


def _complete(page: Page, gpus: list[Node], attached: int | None, partial: bool) -> None:
    """Refuse a log that ends inside a device: a value that was cut would be a wrong value."""
    first, last = ({child.name for child in gpu.children} - {_GAP} for gpu in (gpus[0], gpus[-1]))
    has_processes = any("processes" in name.lower() for name in last)
    if len(gpus) > 1 and not first <= last:
        page.fail(len(page.lines) - 1, N_("the last device is cut off"))
    if not re.search(r" : \S", page.lines[-1]) or (attached or 0) > len(gpus):
        page.whole()
    # Fewer devices than are attached: the log was asked for some of them, or is an excerpt, whose lines are whole.
    if not partial and not has_processes and not page.ended:
        page.fail(len(page.lines) - 1, N_("the last device is cut off"))


def _listed(page: Page, gpu: Node, index: int) -> dict[str, Any]:
    return _gpu(page, gpu, _TEXT, index, gpu.all("MIG Device"))


def _retired(page: Page, gpu: Node, index: int) -> dict[str, Any]:
    pages = gpu.get("Retired Pages")
    if pages is None or len(pages.children) < 3:
        page.fail(gpu.line, N_("no section of retired pages, or a part of it"))
    return {"index": index, "bus_id": gpu.value,
            "retired_single_bit": _count(page, pages.get("Single Bit ECC")),
            "retired_double_bit": _count(page, pages.get("Double Bit ECC")),
            "pending_blacklist": _said(pages.get(("Pending Page Blacklist", "Pending")))}


_PROCESS_HEAD = ("GPU instance ID", "Compute instance ID")  # what stands ahead of the number of a process


def _text_processes(page: Page, gpu: Node, index: int) -> Iterator[dict[str, Any]]:
    section = gpu.get(("Processes", "Compute Processes"))
    last = section.children[-1] if section and section.children else section
    open_end = last and (last.name in _PROCESS_HEAD or last is section and last.value is None)
    if last and open_end and not any(line.strip() for line in page.lines[last.line + 1:]):
        page.fail(last.line, N_("the process is cut off"))
    for node in section.all("Process ID") if section else []:
        used = node.get("Used GPU Memory")
        if used is None:
            page.fail(node.line, N_("the process is cut off"))
        yield {"gpu": index, "pid": _count(page, node), "type": _said(node.get("Type")),
               "name": _titled(node.get("Name")), "used_mib": _amount(page, used, "MiB", "MB")}


# --- CSV ---------------------------------------------------------------------------------------------------------

_GPU_FIELDS = {
    "index": ("index",), "name": ("name", "gpu_name"), "bus_id": ("pci.bus_id", "gpu_bus_id"),
    "uuid": ("uuid", "gpu_uuid"), "memory_total_mib": ("memory.total",), "memory_used_mib": ("memory.used",),
    "temperature_c": ("temperature.gpu",), "power_w": ("power.draw", "power.draw.average", "power.draw.instant")}

_DRIVER = ("kmd_version", "driver_version")


def csv_rows(page: Page, fields: Sequence[str], header: bool) -> list[tuple[int, dict[str, tuple[str, str]]]]:
    """(line, {field: (value, unit of the heading)}) of each row.

    ``fields`` are those asked for, when known; ``header`` tells whether a heading is printed.
    """
    rows = [(index, line) for index, line in page.numbered() if line.strip()]
    if not rows:
        page.empty()
    heads = [(name, "") for name in fields]
    if header:
        heads = [_heading(page, rows[0][0], text) for text in rows[0][1].split(",")]
        rows = rows[1:]
    if not heads:
        page.fail(rows[0][0], N_("without a heading the fields have to be in the command line"))
    found = []
    for index, line in rows:
        values = _joined([text.strip() for text in line.split(",")], [name for name, _ in heads])
        if len(values) != len(heads):
            page.fail(index, N_("the row does not have as many fields as the heading"))
        found.append((index, {name: (value, unit) for (name, unit), value in zip(heads, values, strict=True)}))
    return found


def _joined(values: list[str], heads: Sequence[str]) -> list[str]:
    """The values with the commas of a process's name, the only field that may hold any, put back into it."""
    more = len(values) - len(heads)
    place = next((n for n, name in enumerate(heads) if name in ("process_name", "name")), None)
    if more <= 0 or place is None or "pid" not in heads:
        return values
    return [*values[:place], ", ".join(values[place : place + more + 1]), *values[place + more + 1 :]]


def _heading(page: Page, index: int, text: str) -> tuple[str, str]:
    match = re.fullmatch(r"\s*([A-Za-z][\w.]{0,120})(?: \[([^\]]{1,10})\])?\s*", text)
    if not match:
        page.fail(index, N_("this is not a heading of CSV"))
    return match[1], match[2] or ""


def parse_query_csv(page: Page, fields: Sequence[str], header: bool) -> dict[str, Any]:
    """``nvidia-smi --query-gpu=… --format=csv``."""
    devices, driver = [], None
    for order, (index, row) in enumerate(csv_rows(page, fields, header)):
        if not any(name in row for names in (*_GPU_FIELDS.values(), _DRIVER) for name in names):
            page.fail(index, N_("none of the known fields is there"))
        devices.append(_csv_device(page, index, row, order))
        driver = driver or _version({name: row[name][0] for name in _DRIVER if name in row}, _DRIVER)
    if not devices:
        page.fail(len(page.lines) - 1, N_("there is no row of a device"))
    _last_field(page, fields, header)
    return {"driver_version": driver, "device_count": len(devices), "devices": devices}


def _last_field(page: Page, fields: Sequence[str], header: bool) -> None:
    """Refuse a last line that was not ended when a value without unit stands there: it may be part of one."""
    name = page.lines[0].split(",")[-1].split(" [")[0].strip() if header else (fields or [""])[-1]
    used = {n for names in _GPU_FIELDS.values() for n in names} | {
        "driver_version", "kmd_version", "mig.mode.current", "pid", "process_name", "used_gpu_memory", "used_memory"}
    if name in used and not re.search(r" (?:MiB|MB|W|%)$", page.lines[-1].rstrip()):
        page.whole()


def _first(row: dict[str, tuple[str, str]], names: Sequence[str]) -> tuple[str, str]:
    return next(((row[n]) for n in names if n in row and shown(row[n][0]) is not None), ("", ""))


def _csv_device(page: Page, index: int, row: dict[str, tuple[str, str]], order: int) -> dict[str, Any]:
    device: dict[str, Any] = {}
    convert: dict[str, Callable[[str], Any]] = {"index": str, "name": str, "bus_id": str, "uuid": str}
    for key, names in _GPU_FIELDS.items():
        value, unit = _first(row, names)
        device[key] = (shown(value) if key in convert else _csv_amount(page, index, value, unit, key))
    listed = whole(device["index"])
    if device["index"] is not None and listed is None:
        page.fail(index, N_("the index is not a number"))
    device |= {"index": order if listed is None else listed, "health": None}
    mode = shown(_first(row, ("mig.mode.current",))[0])
    return device | ({"mig": {"mode": mode, "instances": []}} if mode else {})


_UNITS = {"memory_total_mib": ("MiB", "MB"), "memory_used_mib": ("MiB", "MB"), "temperature_c": ("C", ""),
          "power_w": ("W",), "used_mib": ("MiB", "MB")}


def _csv_amount(page: Page, index: int, text: str, unit: str, key: str) -> int | float | None:
    if measured(text) is None:
        return None
    amount, _, own = text.partition(" ")
    value, said = number(amount), own.strip() or unit
    if value is None or (said and said not in _UNITS[key]) or (unit and own.strip() not in ("", unit)):
        page.fail(index, Said(N_("{text} is not a number of {unit}"), text=repr(text), unit=_UNITS[key][0]))
    return value


def parse_apps_csv(page: Page, fields: Sequence[str], header: bool) -> dict[str, Any]:
    """``nvidia-smi --query-compute-apps=… --format=csv``."""
    if not page.text.strip() and not header:
        return {"processes": []}
    processes = []
    rows = csv_rows(page, fields, header)
    _last_field(page, fields, header)
    for index, row in rows:
        name, unit = _first(row, ("used_gpu_memory", "used_memory"))
        processes.append({
            "gpu_name": shown(_first(row, ("gpu_name",))[0]), "bus_id": shown(_first(row, ("gpu_bus_id",))[0]),
            "pid": whole(_first(row, ("pid",))[0]), "name": titled(next((row[n][0] for n in ("process_name", "name") if n in row), None)),
            "used_mib": _csv_amount(page, index, name, unit, "used_mib")})
    return {"processes": processes}


# --- lists -------------------------------------------------------------------------------------------------------

_GPU_LINE = re.compile(r"GPU ([0-9]{1,4}): (.{1,200}) \(UUID: ([\w\-/]{1,80})\)")
_MIG_LINE = re.compile(r"\s*MIG ([\w.+\-]{1,40})\s+Device\s+([0-9]{1,4}): \(UUID: ([\w\-/]{1,80})\)")
_LINK_LINE = re.compile(r"\s*Link ([0-9]{1,3}): (.{1,80})")
_LOST = re.compile(r"Unable to determine the device handle for gpu ?[0-9]{0,3}:? ?[0-9A-Fa-f:.]{7,20}: ", re.IGNORECASE)
_LINK_REMARK = re.compile(rf"\s*Link [0-9]+, |(?:NVML: )?Unable to retrieve NVLink|\s+NVSwitch|{_LOST.pattern}", re.IGNORECASE)


def _gpu_line(line: str) -> dict[str, Any] | None:
    match = _GPU_LINE.fullmatch(line.strip()) if len(line) < 500 else None
    if not match or "(UUID: " in match[2]:  # two entries on one line are none
        return None
    return {"index": int(match[1]), "name": match[2].strip(), "uuid": shown(match[3])}


def parse_list(page: Page) -> dict[str, Any]:
    """``nvidia-smi -L``."""
    devices: list[dict[str, Any]] = []
    for index, line in page.numbered():
        device, instance = _gpu_line(line), _MIG_LINE.fullmatch(line) if len(line) < 500 else None
        if device:
            devices.append(device)
        elif instance and devices:
            mig = devices[-1].setdefault("mig", {"mode": "Enabled", "instances": []})
            mig["instances"].append({"profile": instance[1], "index": int(instance[2]), "uuid": shown(instance[3])})
        elif line.strip() and not _LOST.match(line):
            page.fail(index, N_("this is not a line of the list"))
    if not devices:
        page.empty()
    return {"device_count": len(devices), "devices": devices}


def parse_nvlink(page: Page) -> dict[str, Any]:
    """``nvidia-smi nvlink --status``."""
    devices: list[dict[str, Any]] = []
    unsupported = False
    for index, line in page.numbered():
        device, link = _gpu_line(line), _LINK_LINE.fullmatch(line) if len(line) < 500 else None
        if device:
            devices.append(device | {"nvlinks": []})
        elif link and devices and int(link[1]) == len(devices[-1]["nvlinks"]):
            devices[-1]["nvlinks"].append(_speed(page, index, link[2].strip()))
        elif re.search(r"not supported|unsupported", line, re.IGNORECASE):
            unsupported = True
        elif line.strip() and not _LINK_REMARK.match(line):
            page.fail(index, N_("this is not a line of the list of links"))
    if not devices and not unsupported:
        page.empty()
    if not page.ended and not _gpu_line(page.lines[-1]) and not _LINK_LINE.fullmatch(page.lines[-1][:200]):
        page.whole()
    if len(devices) > 1 and not unsupported and 0 < len(devices[-1]["nvlinks"]) < len(devices[0]["nvlinks"]):
        page.fail(len(page.lines) - 1, N_("the links of the last device are cut off"))
    found = {"device_count": len(devices), "devices": devices}
    return found | ({"unsupported": True} if unsupported else {})


def _speed(page: Page, index: int, text: str) -> str:
    if not re.fullmatch(r"[0-9.]+ [KMGT]?B/s|<?inactive>?|N/A", text, re.IGNORECASE):
        page.fail(index, N_("this is not the speed of a link"))
    return text


def parse_version(page: Page) -> dict[str, Any]:
    """``nvidia-smi --version``."""
    said = {}
    for index, line in page.numbered():
        key, mark, value = line.partition(":")
        # What stands at the end of a page that was not ended may be part of a version.
        if mark and (page.ended or index < len(page.lines) - 1):
            page.one_entry(index, value)
            said[" ".join(key.lower().split())] = shown(value)
    if "nvidia-smi version" not in said:
        page.whole()
        page.empty()
    return {"tool_version": said["nvidia-smi version"], "driver_version": _version(said, _DRIVER_NAMES),
            "cuda_version": _version(said, _CUDA_NAMES), "nvml_version": said.get("nvml version")}


def parse_module_version(page: Page) -> dict[str, Any]:
    """``/proc/driver/nvidia/version``."""
    page.whole()
    for _, line in page.numbered():
        match = re.match(r"NVRM version:\s.{0,120}?\s([0-9]{2,4}(?:\.[0-9]{1,4}){1,3})\s", line + " ")
        if match:
            return {"driver_version": match[1]}
    page.empty()
