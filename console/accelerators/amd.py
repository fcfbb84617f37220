"""AMD Instinct: facts from ``amd-smi`` and ``rocm-smi``, and device records with their health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.accelerators import amd_smi, rocm_smi
from console.accelerators.device import Device, Health, Vendor, value_of
from console.accelerators.models import by_pci
from console.accelerators.toolerrors import raise_tool_error, tool_error
from console.facts.fact import Fact, file_fact
from console.facts.grammar import Page, clean, whole
from console.i18n import N_


def _page(text: str, tool: str) -> Page:
    found = tool_error(text)
    if found:
        raise_tool_error(found, tool)
    return Page(clean(text, tool), tool)


def parse_static(text: str) -> dict[str, Any]:
    """``amd-smi static --json``, with ``numa_node`` of each device."""
    page = _page(text, "amd-smi static --json")
    found, nodes = amd_smi.parse_static(page, True), amd_smi.numa_nodes(page)
    for device in found["devices"]:
        device["numa_node"] = nodes.get(device["index"])
    return found


def parse_metric(text: str) -> dict[str, Any]:
    """``amd-smi metric --json``, with ``ecc`` of each device."""
    page = _page(text, "amd-smi metric --json")
    found, counts = amd_smi.parse_metric(page, True), amd_smi.ecc_counts(page)
    for device in found["devices"]:
        device["ecc"] = counts.get(device["index"]) or {}
    return found


def parse_list(text: str) -> dict[str, Any]:
    """``amd-smi list --json``."""
    return amd_smi.parse_list(_page(text, "amd-smi list --json"), True)


def parse_topology(text: str) -> dict[int, dict[int, str]]:
    """``amd-smi topology --json``: types of link by device and peer."""
    entries = amd_smi.topology_entries(_page(text, "amd-smi topology --json"))
    return {entry["gpu"]: {link["gpu"]: str(link.get("link_type")) for link in entry["links"] if isinstance(link.get("gpu"), int)}
            for entry in entries}


def _rocm(text: str) -> dict[str, Any]:
    return rocm_smi.parse_json(_page(text, "rocm-smi -a --json"))


def _version(text: str) -> str | None:
    return clean(text).strip().splitlines()[0][:100] if clean(text).strip() else None


def health_of(ecc: Mapping[str, int] | None) -> tuple[Health, str | None]:
    """By the counts of RAS: uncorrectable is a failure, deferred a warning; no counts, no verdict."""
    if not ecc:
        return "unknown", None
    if ecc.get("uncorrectable_total"):
        return "fail", f"uncorrectable errors: {ecc['uncorrectable_total']}"
    if ecc.get("deferred_total"):
        return "warning", f"deferred errors: {ecc['deferred_total']}"
    return ("ok", None) if "uncorrectable_total" in ecc else ("unknown", None)


def _devices(facts: Mapping[str, Any]) -> tuple[Device, ...]:
    static = value_of(facts, "amd.devices") or value_of(facts, "amd.rocm") or {}
    metric, listed = ({d["index"]: d for d in (value_of(facts, name) or {}).get("devices", ())}
                      for name in ("amd.metric", "amd.list"))
    topology = value_of(facts, "amd.topology") or {}
    driver = static.get("driver_version") or value_of(facts, "amd.driver")
    entries = static.get("devices") or tuple(listed.values())
    # What several tools tell of a device is one record; the later ones fill, they do not overrule.
    joined = [listed.get(e["index"], {}) | metric.get(e["index"], {}) | {k: v for k, v in e.items() if v is not None}
              for e in entries]
    return tuple(_device(entry, driver, topology) for entry in joined)


def _device(entry: dict[str, Any], driver: str | None, topology: dict[int, dict[int, str]]) -> Device:
    ecc = entry.get("ecc") or None
    health, rests_on = health_of(ecc)
    partition = entry.get("partition") or {}
    mode = partition.get("compute_partition") or partition.get("accelerator_partition")
    peers = {peer: kind for peer, kind in topology.get(entry["index"], {}).items() if peer != entry["index"]}
    identity = entry.get("device_id") or ""
    pci_id = f"1002:{identity[2:].lower()}" if identity.startswith("0x") else None
    return Device(
        "amd", entry["index"], entry.get("name"), by_pci(pci_id),
        memory_total_bytes=_bytes(entry.get("memory_total_mib")),
        memory_used_bytes=_bytes(entry.get("memory_used_mib")), health=health, health_raw=rests_on,
        temperature_c=entry.get("temperature_c"), power_w=entry.get("power_w"),
        utilization_percent=entry.get("gpu_percent"), bus_id=entry.get("bus_id"), uuid=entry.get("uuid"),
        driver_version=driver, ecc=ecc, numa_node=whole(str(entry.get("numa_node"))),
        links={"kind": "xgmi" if "XGMI" in peers.values() else "pcie", "peers": peers} if peers else None,
        partitioned=None if mode is None else mode != "SPX", arch=entry.get("gfx_version"),
        pci_id=pci_id)


def _bytes(mib: float | None) -> int | None:
    return None if mib is None else round(mib * 1048576)


FACTS = (
    Fact("amd.devices", ("amd-smi", "static", "--json"), 60, parse_static),
    Fact("amd.metric", ("amd-smi", "metric", "--json"), 60, parse_metric),
    Fact("amd.list", ("amd-smi", "list", "--json"), 30, parse_list),
    Fact("amd.topology", ("amd-smi", "topology", "--json"), 30, parse_topology),
    Fact("amd.rocm", ("rocm-smi", "-a", "--json"), 60, _rocm),
    file_fact("amd.driver", "/sys/module/amdgpu/version", _version),
    file_fact("amd.rocm-version", "/opt/rocm/.info/version", _version),
)

VENDOR = Vendor("amd", N_("AMD"), 0x1002, FACTS, _devices)
