"""Pages of keys and values: ``npu-smi info -t/-l/-m``, ``hccn_tool``, version files of driver, firmware and CANN."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from console.facts.grammar import Page, number, pairs, shown, whole
from console.i18n import N_, Said

_DEVID = re.compile(r"\[dev(?:ice|id) (\d{1,4})\]\s?(.*)")
_PROCESS = re.compile(r"\s*(Process id): ?(\d{1,10})\s+(Process name): ?(.*?)\s+(Process memory\(MB\)): ?(\d{1,10})\s*")
_REMARKS = ("No process in device.", "Get pid name failed.")
_LEFT_OUT = re.compile(r"\s*\.{3,}\s*")  # a mark of documents for lines that are not shown
_AHEAD = re.compile(r"\s*(?:\[WARNING\]|DrvMngGetConsoleLogLevel failed)")  # complaints of the tool ahead of a page


def _blocks(page: Page) -> Iterator[list[tuple[int, str, str]]]:
    """Runs of (line, key, value) between blank lines; a key without text continues the value before it."""
    block: list[tuple[int, str, str]] = []
    started = False
    for index, line in page.numbered():
        if _LEFT_OUT.fullmatch(line) or (not started and _AHEAD.match(line)):
            continue
        started = True
        if not line.strip():
            if block:
                yield block
            block = []
            continue
        process = _PROCESS.fullmatch(line) if len(line) < 1000 else None
        if process:
            block += [(index, process[n], process[n + 1]) for n in (1, 3, 5)]
            continue
        if line.strip() in _REMARKS:
            continue
        key, mark, value = line.partition(":")
        if not mark:
            page.fail(index, N_("neither a key nor a value"))
        page.one_entry(index, value)
        block.append((index, key.strip(), value.strip()))
    if block:
        yield block


def parse_fields(page: Page) -> dict[str, Any]:
    """A page of ``key : value`` lines: ``fields``, or ``records`` where a key comes again.

    Raises:
        InputError: ``inventory.unreadable-output`` for a line that is neither.
    """
    parts: list[dict[str, list[str]]] = []
    latest: list[str] | None = None
    newest = ""
    for block in _blocks(page):
        record: dict[str, list[str]] = {}
        for index, key, value in block:
            if key == "":
                if latest is None:
                    page.fail(index, N_("a value without a key"))
                latest.append(value)
                continue
            if key in record:
                parts.append(record)
                record = {}
            latest = record[newest := key] = [value]
        if record:
            parts.append(record)
    if not page.ended and parts:
        # What stands at the end of a page that was not ended may be part of a value.
        del parts[-1][newest]
        parts = [record for record in parts if record]
    records = [{key: "\n".join(values) for key, values in record.items()} for record in parts]
    if not records or set().union(*records) <= {"NPU ID", "Chip Count"}:
        page.empty()
    keys = [key for record in records for key in record]
    if len(set(keys)) == len(keys):
        merged = {key: value for record in records for key, value in record.items()}
        return {"fields": merged} | _meaning(page, [merged])
    return {"records": records} | _meaning(page, records)


def _meaning(page: Page, records: list[dict[str, str]]) -> dict[str, Any]:
    """What the keys say in words of the common schema; the first of several values."""
    def first(*names: str) -> str | None:
        return next((shown(r[name]) for r in records for name in names if shown(r.get(name))), None)

    found: dict[str, Any] = {
        "npu_id": whole(first("NPU ID")), "bus_id": first("PCIe Bus Info"),
        "name": next((r["Chip Name"] for r in records if (shown(r.get("Chip Name")) or "mcu").lower() != "mcu"), None),
        "driver_version": first("Software Version", "Driver Version"), "firmware_version": first("Firmware Version"),
        "hbm_total_mib": number(first("HBM Capacity(MB)")), "ddr_total_mib": number(first("DDR Capacity(MB)")),
        "temperature_c": number(first("Temperature(C)", "Temperature (C)", "NPU Temperature (C)",
                                      "NPU Temperature(C)")),
        "power_w": number(first("NPU Real-time Power(W)", "Power Dissipation(W)", "Real-time Power(W)", "Power(W)")),
        "health": first("Health Status", "Health")}
    found = {key: value for key, value in found.items() if value is not None}
    if isinstance(found.get("power_w"), int):
        found["power_w"] = float(found["power_w"])
    codes = [r["Error Code"] for r in records if "Error Code" in r]
    if codes:
        found["error_codes"] = [word for text in codes for word in re.split(r"[\s,]+", text) if shown(word)]
    return found


def parse_list(page: Page) -> dict[str, Any]:
    """``npu-smi info -l``."""
    page.whole()
    devices: list[dict[str, Any]] = []
    total = None
    for block in _blocks(page):
        for index, key, value in block:
            if key in ("Total Count", "Card Count"):
                total = whole(value)
            elif key in ("NPU ID", "Card ID"):
                devices.append({"index": whole(value)})
                if devices[-1]["index"] is None:
                    page.fail(index, N_("the number of the card is not a number"))
            elif devices:
                into = {"Chip Count": "chip_count", "Product Name": "product_name", "Serial Number": "serial"}.get(key)
                if into:
                    devices[-1][into] = whole(value) if into == "chip_count" else shown(value)
            else:
                page.fail(index, N_("a value ahead of the first card"))
    if total is None and not devices:
        page.empty()
    if total is not None and total != len(devices):
        page.fail(len(page.lines) - 1,
                  Said(N_("{total} cards are announced and {count} listed"), total=total, count=len(devices)))
    return {"device_count": len(devices), "devices": devices}


_MAP = {"NPU ID": "index", "Card ID": "index", "Slot ID": "slot_id", "Chip ID": "chip", "Device ID": "chip",
        "Chip Logic ID": "logic_id", "Chip Phy-ID": "phy_id", "Chip Physical ID": "phy_id", "Chip Name": "name"}


def parse_map(page: Page) -> dict[str, Any]:
    """``npu-smi info -m``."""
    rows = [(index, re.split(r"\s{2,}|\t", line.strip())) for index, line in page.numbered() if line.strip()]
    if not rows or "Chip Name" not in rows[0][1]:
        page.empty()
    titles, devices, mcu = rows[0][1], [], []
    for index, cells in rows[1:]:
        if len(cells) != len(titles):
            page.fail(index, N_("the row does not fit its header"))
        row: dict[str, Any] = {}
        for title, cell in zip(titles, cells, strict=True):
            key = _MAP.get(title)
            if key:
                row[key] = cell if key == "name" else whole(cell)
                if key != "name" and row[key] is None and shown(cell) is not None:
                    page.fail(index, Said(N_("{text} is not a number"), text=title))
        (mcu if str(row.get("name")).lower() == "mcu" else devices).append(row)
    if not devices and not mcu:
        page.empty()
    if titles[-1] != "Chip Name" or rows[-1][1][-1] not in {cells[-1] for _, cells in rows[1:-1]}:
        # A name that another row ends with, too, is whole even if the page is not ended.
        page.whole()
    return {"device_count": len(devices), "devices": devices, "mcu_rows": mcu}


# --- hccn_tool ---------------------------------------------------------------------------------------------------


def parse_hccn(page: Page, option: str) -> dict[str, Any]:
    """``hccn_tool -i N -<option> -g``."""
    page.whole()
    if option == "lldp":
        return _lldp(page)
    if option in ("link_stat", "hw_stats", "route", "ping", "hccs_ping"):
        reader = {"link_stat": _link_stat, "hw_stats": _hw_stats, "route": _route}.get(option, _ping)
        return reader(page)
    calls = [n for n, line in page.numbered() if re.search(r"hccn_tool\s.*-i\s+\S+.*-ip\b", line[:300])]
    if option == "ip" and (calls or sum(line.startswith("ipaddr:") for line in page.lines) > 1):
        return _addresses(page)
    return _hccn_fields(page)


def _hccn_fields(page: Page) -> dict[str, Any]:
    """Keys and values; headings (nothing behind the colon) and ``[devid N]`` marks are left out.

    A line without a colon that is indented more than the key above it goes on with its value, as ethtool writes lists.
    """
    devices, lines = set(), []
    above: int | None = None
    for index, line in page.numbered():
        mark = _DEVID.match(line.strip()) if len(line) < 2000 else None
        if mark:
            devices.add(int(mark[1]))
        text = mark[2] if mark else line
        if _LEFT_OUT.fullmatch(text):
            above = None
            continue
        indent = len(text) - len(text.lstrip())
        key, colon, value = text.partition(":")
        if not text.strip() or (colon and not value.strip() and not key.endswith(" ")):
            lines.append("")
            above = None
        elif colon:
            lines.append(text)
            above = indent
        elif above is not None and indent > above:
            lines.append(f": {text.strip()}")
        else:
            page.fail(index, N_("neither a key nor a value"))
    inner = Page("\n".join(lines) + "\n", page.tool)
    if not any(lines):
        page.empty()
    found = parse_fields(inner)
    return found | ({"device": devices.pop()} if len(devices) == 1 else {})


def _addresses(page: Page) -> dict[str, Any]:
    devices: list[dict[str, Any]] = []
    named = None
    for index, line in page.numbered():
        call = re.search(r"hccn_tool\s.*?-i\s+(\S+)|^[=\s]*NPU[_ ]?(\d{1,3})[:=\s]*$", line[:300])
        key, mark, value = line.partition(":")
        if call:
            named = whole(call[1] or call[2])
        elif key.strip() in ("ipaddr", "ipaddr6"):
            devices.append({"index": len(devices) if named is None else named, "ip": value.strip()})
            named = None
        elif key.strip() in ("netmask", "prefix") and devices:
            devices[-1]["netmask"] = value.strip()
        elif line.strip():
            page.fail(index, N_("this is not an address"))
    if not devices or named is not None or any("netmask" not in device for device in devices):
        page.fail(len(page.lines) - 1, N_("an address is not complete"))
    return {"device_count": len(devices), "devices": devices}


def _devid_lines(page: Page) -> tuple[int, list[tuple[int, str]]]:
    found, devices = [], set()
    for index, line in page.numbered():
        mark = _DEVID.match(line.strip()) if len(line) < 2000 else None
        if mark:
            devices.add(int(mark[1]))
            found.append((index, mark[2]))
        elif line.strip():
            page.fail(index, N_("a line without the number of the device"))
    if len(devices) != 1:
        page.empty()
    return devices.pop(), found


def _link_stat(page: Page) -> dict[str, Any]:
    device, lines = _devid_lines(page)
    said = {key: value for key, value in pairs(text for _, text in lines) if key.startswith("link up count")}
    changes = [m[1] for _, text in lines if (m := re.search(r"\b(LINK (?:UP|DOWN))\s*$", text))]
    count = whole(said.get("link up count"))
    if count is None:
        page.empty()
    return {"device": device, "link_up_count": count, "changes": changes}


def _hw_stats(page: Page) -> dict[str, Any]:
    device, lines = _devid_lines(page)
    fields: dict[str, Any] = {}
    for index, text in lines:
        key, mark, value = text.partition(":")
        count = number(value)
        if not mark or count is None:
            page.fail(index, N_("this is not a counter"))
        fields[key.strip()] = count
    return {"device": device, "fields": fields}


def _lldp(page: Page) -> dict[str, Any]:
    """What the switch at the other end tells of itself: titles that end with TLV, and what is indented below each."""
    fields: dict[str, list[str]] = {}
    title = None
    for index, line in page.numbered():
        if re.fullmatch(r"\S.{0,80} TLV", line):
            title = line
            if title in fields:
                page.fail(index, N_("the title is there twice"))
            fields[title] = []
        elif line.strip() and (title is None or not line[0].isspace()):
            page.fail(index, N_("neither a key nor a value"))
        elif line.strip():
            fields[title].append(line.strip())
    if not fields:
        page.empty()
    return {"fields": {key: "\n".join(values) for key, values in fields.items()}}


def _route(page: Page) -> dict[str, Any]:
    start = next((n for n, line in page.numbered() if line.split()[:2] == ["Destination", "Gateway"]), None)
    if start is None:
        page.empty()
    width, routes = len(page.lines[start].split()), []
    for index, line in page.numbered(start + 1):
        cells = line.split()
        if cells and len(cells) != width:
            page.fail(index, N_("the route does not fit the header"))
        if cells:
            routes.append(cells)
    return {"routes": routes}


def _ping(page: Page) -> dict[str, Any]:
    head = re.search(r"^\s*device (\d{1,4}) PING", page.text, re.MULTILINE)
    totals = re.search(r"(\d{1,9}) packets? transmitted, (\d{1,9}) (?:packets? )?received, ([\d.]{1,9})% packet loss",
                       page.text)
    if not totals:
        page.empty()
    found = {"transmitted": int(totals[1]), "received": int(totals[2]), "loss_percent": float(totals[3])}
    return ({"device": int(head[1])} if head else {}) | found


# --- version files -----------------------------------------------------------------------------------------------


def parse_info_file(page: Page, path: str = "") -> dict[str, Any]:
    """``version.info`` of driver and firmware, ``ascend_install.info``, and the install file of CANN."""
    fields: dict[str, str] = {}
    for index, line in page.numbered():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if index == len(page.lines) - 1 and not page.ended:
            # What stands at the end of a page that was not ended may be part of a value.
            break
        key, mark, value = text.partition("=" if "=" in text else ":")
        if not mark or not re.fullmatch(r"[\w.\-]{1,100}", key.strip()) or "=" in value:
            page.fail(index, N_("neither a key nor a value"))
        fields[key.strip()] = value.strip()
    if not fields:
        page.whole()
        page.empty()
    return {"fields": fields} | _versions(fields, path)


_RUNNING = re.compile(r"\[[\w.\-]{1,60}:([\w.\-]{1,60})\]")


def _versions(fields: dict[str, str], path: str) -> dict[str, Any]:
    if "package_name" in fields and "version" in fields:
        return {"cann_package": fields["package_name"], "cann_version": fields["version"]}
    if "Driver_Install_Path_Param" in fields:
        return {"driver_path": fields["Driver_Install_Path_Param"]}
    running = _RUNNING.fullmatch(fields.get("toolkit_running_version", fields.get("runtime_running_version", "")))
    # The version of a part of CANN is not that of the whole, which the folder is named after.
    toolkit = running[1] if running else fields.get("version_dir", "").removeprefix("cann-") or None
    version = fields.get("Version", fields.get("version"))
    if toolkit is not None or version is None:
        return {} if toolkit is None else {"cann_version": toolkit}
    is_firmware = "/firmware/" in path or "compatible_version_drv" in fields or (
        "firmware_version" in fields and "/driver/" not in path)
    if "toolkit" in path or "cann" in path.lower():
        return {"cann_version": version}
    return {"firmware_version" if is_firmware else "driver_version": version}


def parse_tool_version(page: Page) -> dict[str, Any]:
    """``npu-smi -v``."""
    page.whole()
    for _, line in page.numbered():
        match = re.fullmatch(r"npu-smi(?: version)?\s*:?\s*v?(\w[\w.\-]{0,40})", line.strip(), re.IGNORECASE)
        if match:
            return {"tool_version": match[1]}
    page.empty()
