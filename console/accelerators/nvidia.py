"""NVIDIA: facts from ``nvidia-smi``, and device records with their health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.accelerators import nvidia_query
from console.accelerators.device import Device, Health, Vendor, value_of
from console.accelerators.models import by_pci
from console.accelerators.nvidia_query import Node
from console.accelerators.toolerrors import raise_tool_error, tool_error
from console.accelerators.topology import parse_topology
from console.facts.fact import Fact, file_fact
from console.facts.grammar import Page, clean, drop_none, number, shown, whole
from console.i18n import N_

# The lists of supported clocks are nine tenths of the log, and nobody asks for them. What a tool gone mad prints must not fill the
# server's memory on the way, so nothing is held in a variable but the exit code.
_QUERY = """exec 3>&1
code=$({ { nvidia-smi -q -x 2>&1 3>&- 4>&-; echo $? >&4; } | head -c 33554432 | sed '/<supported_clocks>/,/<\\/supported_clocks>/d' >&3; } 4>&1)
exit "${code:-1}\""""


def _page(text: str, tool: str) -> Page:
    found = tool_error(text)
    if found:
        raise_tool_error(found, tool)
    return Page(clean(text, tool), tool)


def parse_query(text: str) -> dict[str, Any]:
    """``nvidia-smi -q -x`` with what health is judged by.

    Raises:
        SealiftError: the named error of the tool, or ``inventory.unreadable-output``.
    """
    page = _page(text, "nvidia-smi -q -x")
    log = nvidia_query.xml_log(page)
    found = nvidia_query.read_log(page, log)
    for device, gpu in zip(found["devices"], log.all("gpu"), strict=True):
        device |= _details(gpu)
    return found


def _said(node: Node, *path: str | tuple[str, ...]) -> str | None:
    found = node.get(*path)
    return shown(found.value) if found is not None else None


def _details(gpu: Node) -> dict[str, Any]:
    pci = _said(gpu, "pci", "pci_device_id")
    utilization, limit = _said(gpu, "utilization", "gpu_util"), None
    power = gpu.get(("gpu_power_readings", "power_readings"))
    if power is not None:
        limit = _said(power, ("current_power_limit", "enforced_power_limit", "power_limit"))
    reasons = gpu.get(("clocks_event_reasons", "clocks_throttle_reasons"))
    active = [r.name.split("_reason_")[-1].removeprefix("clocks_") for r in (reasons.children if reasons else [])
              if r.value == "Active"]
    return {
        "serial": _said(gpu, "serial"), "vbios_version": _said(gpu, "vbios_version"),
        "architecture": _said(gpu, "product_architecture"), "compute_mode": _said(gpu, "compute_mode"),
        "persistence_mode": _said(gpu, "persistence_mode"), "recovery_action": _recovery(gpu),
        "pci_id": f"{pci[-4:]}:{pci[:4]}".lower() if pci and len(pci) == 8 else None,
        "utilization_percent": number((utilization or "").split(" ")[0]),
        "power_limit_w": number((limit or "").split(" ")[0]),
        "memory_temperature_c": number((_said(gpu, "temperature", "memory_temp") or "").split(" ")[0]),
        "fabric_state": _said(gpu, "fabric", "state"), "fabric_status": _said(gpu, "fabric", "status"),
        "slowdown_reasons": active, "ecc": _ecc(gpu), "lost": _is_lost(gpu)}


def _is_lost(node: Node) -> bool:
    return (node.value or "").strip("[]") == "GPU is lost" or any(map(_is_lost, node.children))


def _recovery(gpu: Node) -> str | None:
    """As printed; here the word None is an answer."""
    node = gpu.get("gpu_recovery_action")
    return node.value if node is not None and node.value not in ("", "N/A", None) else None


def _sum(section: Node | None, *words: str) -> int | None:
    """The sum of the counts whose names hold one of the words; None when none is told."""
    counts = [whole(node.value) for node in (section.children if section else [])
              if any(word in node.name for word in words) and "threshold" not in node.name]
    told = [count for count in counts if count is not None]
    return sum(told) if told else None


def _ecc(gpu: Node) -> dict[str, Any]:
    """Error counts of memory. Since Ampere by SRAM and DRAM, before it single and double bit totals."""
    found: dict[str, Any] = {}
    for period in ("volatile", "aggregate"):
        section = gpu.get("ecc_errors", period)
        single, double = _said_total(section, "single_bit"), _said_total(section, "double_bit")
        corrected, uncorrected = _sum(section, "_correctable"), _sum(section, "_uncorrectable")
        found[f"corrected_{period}"] = single if corrected is None else corrected
        found[f"uncorrected_{period}"] = double if uncorrected is None else uncorrected
    rows, pages = gpu.get("remapped_rows"), gpu.get("retired_pages")
    if rows is not None:
        found |= {"remapped_correctable": whole(_said(rows, "remapped_row_corr")),
                  "remapped_uncorrectable": whole(_said(rows, "remapped_row_unc")),
                  "remap_pending": _flag(_said(rows, "remapped_row_pending")),
                  "remap_failure": _flag(_said(rows, "remapped_row_failure"))}
    if pages is not None:
        found |= {"retired_double_bit": whole(_said(pages, "double_bit_retirement", "retired_count")),
                  "retire_pending": _flag(_said(pages, ("pending_blacklist", "pending_retirement")))}
    return drop_none(found)


def _said_total(section: Node | None, name: str) -> int | None:
    return whole(_said(section, name, "total")) if section is not None else None


def _flag(text: str | None) -> bool | None:
    return {"Yes": True, "No": False}.get(text or "")


def health_of(device: Mapping[str, Any]) -> tuple[Health, str | None]:
    """The verdict on one device of :func:`parse_query`, and what it rests on.

    After NVIDIA's memory error management guide for A100 and newer and its catalog of Xids (2026): what waits for a
    reset or was not corrected is a failure; what was repaired or slows the device is a warning.
    """
    ecc = device.get("ecc") or {}
    bad = [text for name, text in (("remap_pending", "row remap pending"), ("remap_failure", "row remap failed"),
                                   ("retire_pending", "page retirement pending")) if ecc.get(name)]
    if ecc.get("uncorrected_volatile"):
        bad.append(f"uncorrected ECC errors: {ecc['uncorrected_volatile']}")
    action = device.get("recovery_action")
    if action not in (None, "None"):
        bad.append(f"recovery action: {action}")
    if device.get("lost"):
        bad.append("GPU is lost")
    if bad:
        return "fail", "; ".join(bad)
    mild = [f"{name.replace('_', ' ')}: {ecc[name]}" for name in ("uncorrected_aggregate", "remapped_uncorrectable",
                                                                 "retired_double_bit") if ecc.get(name)]
    mild += [reason for reason in device.get("slowdown_reasons", ()) if reason.startswith("hw_")]
    if mild:
        return "warning", "; ".join(mild)
    return ("ok", None) if ecc or action == "None" else ("unknown", None)


def _devices(facts: Mapping[str, Any]) -> tuple[Device, ...]:
    asked = value_of(facts, "nvidia.query") or {}
    topology = (value_of(facts, "nvidia.topology") or {}).get("topology", {})
    return tuple(_device(entry, asked, topology) for entry in asked.get("devices", ()))


def _device(entry: dict[str, Any], asked: dict[str, Any], topology: dict[str, Any]) -> Device:
    health, rests_on = health_of(entry)
    name = f"GPU{entry['index']}"
    peers = {int(other[3:]): kind for other, kind in topology.get("links", {}).get(name, {}).items()
             if other.startswith("GPU") and other[3:].isdigit() and other != name}
    mig = entry.get("mig") or {}
    return Device(
        "nvidia", entry["index"], entry.get("name"), by_pci(entry.get("pci_id")),
        memory_total_bytes=_bytes(entry.get("memory_total_mib")),
        memory_used_bytes=_bytes(entry.get("memory_used_mib")), health=health, health_raw=rests_on,
        temperature_c=entry.get("temperature_c"), power_w=entry.get("power_w"),
        utilization_percent=entry.get("utilization_percent"), bus_id=entry.get("bus_id"), uuid=entry.get("uuid"),
        serial=entry.get("serial"), driver_version=asked.get("driver_version"),
        firmware_version=entry.get("vbios_version"),
        ecc=entry.get("ecc") or None, links=_links(peers), numa_node=whole(topology.get("numa_affinity", {}).get(name)),
        partitioned=mig["mode"].startswith("Enabled") if "mode" in mig else None,
        processes=tuple(p for p in asked.get("processes", ()) if p["gpu"] == entry["index"]),
        arch=entry.get("architecture"), pci_id=entry.get("pci_id"))


def _links(peers: dict[int, str]) -> dict[str, Any] | None:
    if not peers:
        return None
    return {"kind": "nvlink" if any(kind.startswith("NV") for kind in peers.values()) else "pcie", "peers": peers}


def _bytes(mib: float | None) -> int | None:
    return None if mib is None else round(mib * 1048576)


def _topology(text: str) -> dict[str, Any]:
    return parse_topology(_page(text, "nvidia-smi topo -m"))


def _nvlink(text: str) -> list[dict[str, Any]]:
    found = nvidia_query.parse_nvlink(_page(text, "nvidia-smi nvlink --status"))
    return [{"index": device["index"], "nvlinks": device["nvlinks"]} for device in found["devices"]]


def _fabric_manager(text: str) -> str | None:
    return clean(text).strip().splitlines()[-1][:200] if clean(text).strip() else None


FACTS = (
    Fact("nvidia.query", ("sh", "-c", _QUERY), 60, parse_query, needs="nvidia-smi"),
    Fact("nvidia.topology", ("nvidia-smi", "topo", "-m"), 30, _topology),
    Fact("nvidia.nvlink", ("nvidia-smi", "nvlink", "--status"), 30, _nvlink),
    file_fact("nvidia.module", "/sys/module/nvidia/version", lambda text: clean(text).strip() or None),
    Fact("nvidia.fabric-manager", ("nv-fabricmanager", "--version"), 10, _fabric_manager),
)

VENDOR = Vendor("nvidia", N_("NVIDIA"), 0x10DE, FACTS, _devices)
