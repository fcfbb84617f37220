"""Huawei Ascend: facts from ``npu-smi``, ``hccn_tool`` and the version files, and device records with their health."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from console.accelerators import ascend_pages, ascend_table
from console.accelerators.device import Device, Health, Vendor, value_of
from console.accelerators.models import by_chip
from console.accelerators.toolerrors import raise_tool_error, tool_error
from console.accelerators.topology import parse_topology
from console.errors import SealiftError
from console.facts.fact import ENDS, Fact, file_fact, quiet_fact
from console.facts.grammar import Page, clean, shown, whole
from console.i18n import N_

_PAGES = """for i in $(npu-smi info -l | head -c 65536 | sed -n 's/.*NPU ID *: *//p'); do for t in board ecc health; do
printf '@@ %s %s\\n' "$i" "$t"; npu-smi info -t "$t" -i "$i"; printf '\\n'; done; done; exit 0"""

_NETWORK = """for i in $(npu-smi info -m 2>/dev/null | head -c 65536 | awk 'NR > 1 && $3 ~ /^[0-9]+$/ { print $3 }'); do
for t in ip link net_health tls; do printf '@@ %s %s\\n' "$i" "$t"; hccn_tool -i "$i" "-$t" -g; printf '\\n'; done; done
exit 0"""

_CANN = ENDS + """m= found=
for d in /usr/local/Ascend/ascend-toolkit/latest /usr/local/Ascend/cann /usr/local/Ascend/nnrt/latest; do
[ -d "$d" ] || continue; $flush; m=${m:-$(uname -m)}
for f in "$d/$m-linux/ascend_toolkit_install.info" "$d/ascend_toolkit_install.info" \\
"$d/$m-linux/ascend_cann_install.info"; do [ -z "$found" ] && [ -r "$f" ] && cat "$f" 2>/dev/null && found=1; done; done; [ -n "$found" ] || ends 127"""

_NODES = """for f in /dev/davinci* /dev/devmm_svm /dev/hisi_hdc; do [ ! -e "$f" ] || break; done
[ ! -e "$f" ] || $flush; [ ! -e "$f" ] || ls -l /dev/davinci* /dev/devmm_svm /dev/hisi_hdc 2>/dev/null; :"""

_HEALTH: dict[str, Health] = {"OK": "ok", "WARNING": "warning", "ALARM": "fail", "CRITICAL": "fail"}


def _page(text: str, tool: str) -> Page:
    found = tool_error(text)
    if found:
        raise_tool_error(found, tool)
    return Page(clean(text, tool), tool)


def parse_devices(text: str) -> dict[str, Any]:
    """``npu-smi info``.

    Raises:
        SealiftError: the named error of the tool, or ``inventory.unreadable-output``, also for a table cut off.
    """
    page = _page(text, "npu-smi info")
    found = ascend_table.parse_table(page)
    if found.get("truncated"):
        page.fail(len(page.lines) - 1, N_("the table is cut off"))
    return found


def _chunks(text: str) -> dict[tuple[int, str], str]:
    """Pages by (number, kind), as the scripts above mark them."""
    found: dict[tuple[int, str], str] = {}
    for part in re.split(r"^@@ ", clean(text), flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        words = head.split()
        number = whole(words[0]) if len(words) == 2 else None
        if number is not None:
            found[number, words[1]] = body
    return found


def parse_pages(text: str) -> dict[int, dict[str, Any]]:
    """Board, ECC and health by card. What a card does not support is left out; what cannot be read is, too."""
    cards: dict[int, dict[str, Any]] = {}
    for (card, kind), body in _chunks(text).items():
        entry = cards.setdefault(card, {})
        if tool_error(body) or not body.strip():
            continue
        try:
            found = ascend_pages.parse_fields(Page(body, f"npu-smi info -t {kind} -i {card}"))
        except SealiftError:
            entry.setdefault("unreadable", []).append(kind)
            continue
        entry[kind] = found.get("fields") or found.get("records")
        if kind == "health":
            entry |= {"health": found.get("health"), "error_codes": found.get("error_codes", [])}
    return cards


def parse_network(text: str) -> dict[int, dict[str, Any]]:
    """By device: address, mask, link, health of the network, and whether TLS is on; None: not told."""
    found: dict[int, dict[str, Any]] = {}
    for (device, kind), body in _chunks(text).items():
        entry = found.setdefault(device, {"ip": None, "netmask": None, "link": None, "net_health": None, "tls": None})
        tls = re.search(r"tls switch\[(\d)\]", body)
        if kind == "tls" and tls:
            entry["tls"] = tls[1] == "1"
        for line in body.splitlines():
            key, _, value = line.partition(":")
            into = {"ipaddr": "ip", "netmask": "netmask", "link status": "link", "net health status": "net_health"}
            if key.strip() in into:
                entry[into[key.strip()]] = shown(value)
    return found


def _map(text: str) -> list[dict[str, Any]]:
    return ascend_pages.parse_map(_page(text, "npu-smi info -m"))["devices"]


def _topology(text: str) -> dict[str, Any]:
    return parse_topology(_page(text, "npu-smi info -t topo"))


def _versions(path: str) -> Any:
    def parse(text: str) -> dict[str, Any]:
        if not text.strip():
            return {}
        return ascend_pages.parse_info_file(Page(clean(text if text.endswith("\n") else text + "\n"), path), path)

    return parse


def _nodes(text: str) -> list[dict[str, Any]]:
    """Device files with mode, owner and group."""
    rows = (line.split() for line in clean(text).splitlines())
    return [{"path": row[-1], "mode": row[0], "owner": row[2], "group": row[3]} for row in rows if len(row) >= 9]


def health_of(text: str | None) -> Health:
    """The Health column in our words; what is not known stays unknown."""
    return _HEALTH.get((text or "").upper(), "unknown")


def _devices(facts: Mapping[str, Any]) -> tuple[Device, ...]:
    asked = value_of(facts, "ascend.devices") or {}
    logic = {(row.get("index"), row.get("chip")): row.get("logic_id", row.get("phy_id"))
             for row in value_of(facts, "ascend.map") or ()}
    pages = value_of(facts, "ascend.pages") or {}
    firmware = (value_of(facts, "ascend.firmware") or {}).get("firmware_version")
    topology = (value_of(facts, "ascend.topology") or {}).get("topology", {})
    found = []
    for order, entry in enumerate(asked.get("devices", ())):
        index = logic.get((entry["index"], entry.get("chip")))
        index = next((n for n in (index, entry.get("phy_id"), order) if n is not None), order)
        running = tuple(p for p in asked.get("processes", ())
                        if p.get("npu") == entry["index"] and p.get("chip") in (None, entry.get("chip")))
        found.append(_device(entry, index, asked, pages.get(entry["index"]) or {}, firmware, topology,
                             running if "processes" in asked else None))
    return tuple(found)


def _device(entry: dict[str, Any], index: int, asked: dict[str, Any], page: dict[str, Any], firmware: str | None,
            topology: dict[str, Any], processes: tuple[dict[str, Any], ...] | None) -> Device:
    name = f"NPU{index}"
    peers = {int(other[3:]): kind for other, kind in topology.get("links", {}).get(name, {}).items()
             if other.startswith("NPU") and other[3:].isdigit() and other != name}
    codes = page.get("error_codes") or []
    board = page.get("board") if isinstance(page.get("board"), dict) else {}
    return Device(
        "ascend", index, entry.get("name"), by_chip(entry.get("name")),
        memory_total_bytes=_bytes(entry.get("memory_total_mib")),
        memory_used_bytes=_bytes(entry.get("memory_used_mib")), health=health_of(entry.get("health")),
        health_raw=" ".join([entry.get("health") or "", *codes]).strip() or None,
        temperature_c=entry.get("temperature_c"), power_w=entry.get("power_w"),
        utilization_percent=entry.get("utilization_percent"), bus_id=entry.get("bus_id"),
        serial=shown(board.get("Serial Number")), driver_version=asked.get("driver_version"),
        firmware_version=shown(board.get("Firmware Version")) or firmware, ecc=_ecc(page.get("ecc")),
        links=_links(peers),
        card=entry["index"], chip=entry.get("chip"), processes=processes)



def _links(peers: dict[int, str]) -> dict[str, Any] | None:
    if not peers:
        return None
    return {"kind": "hccs" if any("HCCS" in kind for kind in peers.values()) else "pcie", "peers": peers}


def _ecc(page: Any) -> dict[str, int] | None:
    """Counts of a card's ECC page, by our names, summed over its memories and chips."""
    records = page if isinstance(page, list) else [page] if isinstance(page, dict) else []
    found: dict[str, int] = {}
    for record in records:
        for key, text in record.items():
            count, words = whole(text), key.lower().replace("-", " ")
            if count is None or "bit" not in words:
                continue
            bit = "single_bit" if "single bit" in words else "double_bit"
            kind = "_isolated_pages" if "isolated" in words else "_aggregate" if "aggregate" in words else ""
            found[bit + kind] = found.get(bit + kind, 0) + count
    return found or None


def _bytes(mib: float | None) -> int | None:
    return None if mib is None else round(mib * 1048576)


_ROOT = "/usr/local/Ascend"
FACTS = (
    Fact("ascend.devices", ("npu-smi", "info"), 30, parse_devices),
    Fact("ascend.map", ("npu-smi", "info", "-m"), 20, _map),
    Fact("ascend.topology", ("npu-smi", "info", "-t", "topo"), 30, _topology),
    Fact("ascend.pages", ("sh", "-c", _PAGES), 90, parse_pages, needs="npu-smi"),
    Fact("ascend.network", ("sh", "-c", _NETWORK), 90, parse_network, needs="hccn_tool"),
    file_fact("ascend.driver", f"{_ROOT}/driver/version.info", _versions(f"{_ROOT}/driver/version.info")),
    file_fact("ascend.firmware", f"{_ROOT}/firmware/version.info", _versions(f"{_ROOT}/firmware/version.info")),
    quiet_fact("ascend.cann", _CANN, 5, _versions("ascend_toolkit_install.info"), tool="CANN"),
    quiet_fact("ascend.nodes", _NODES, 5, _nodes, tool="/dev/davinci*"),
)

VENDOR = Vendor("ascend", N_("Huawei Ascend"), 0x19E5, FACTS, _devices)
