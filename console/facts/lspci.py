"""Accelerators on the PCI bus, also those without a driver: ``lspci``."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import Fact
from console.facts.grammar import Page, clean
from console.i18n import N_

VENDORS = {"10de": "nvidia", "1002": "amd", "19e5": "ascend"}
_VENDOR_NAMES = (("nvidia", "NVIDIA"), ("amd", "Advanced Micro Devices"), ("amd", "AMD/ATI"), ("ascend", "Huawei"))
_CLASSES = {"0300": "VGA compatible controller", "0302": "3D controller", "0380": "Display controller",
            "1200": "Processing accelerators"}
_BUS = r"(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]"
_LINE = re.compile(rf"({_BUS}) ([^\[:]{{1,80}}?)(?: \[([0-9a-f]{{4}})\])?: (.*)")
_NUMERIC = re.compile(rf"({_BUS}) (?:Class )?([0-9a-f]{{4}}): ([0-9a-f]{{4}}):([0-9a-f]{{4}})(?: \(.*\))?")
_IDS = re.compile(r" ?\[([0-9a-f]{4}):([0-9a-f]{4})\]")


def parse_lspci(page: Page) -> tuple[dict[str, Any], str]:
    """The accelerators of a listing, and the vendor of the first (``host`` where there is none).

    Raises:
        InputError: ``inventory.unreadable-output`` for a line that is no function of a PCI device.
    """
    devices, vendors, count = [], [], 0
    for index, line in page.numbered():
        if not line.strip() or line[:1].isspace() or line == "--":  # grep parts the groups of a search so
            continue
        device = _function(page, index, line)
        count += 1
        if index == len(page.lines) - 1 and line[-1] not in ")]":
            page.whole()
        if device and device[0]:
            devices.append(device[1])
            vendors.append(device[0])
    if not count:
        page.empty()
    found = {"pci_function_count": count, "device_count": len(devices), "devices": devices}
    return found, vendors[0] if vendors else "host"


def _function(page: Page, index: int, line: str) -> tuple[str | None, dict[str, Any]] | None:
    """(vendor, device) of an accelerator, None for any other function."""
    line = line[:1000]
    plain = _NUMERIC.fullmatch(line)
    if plain:
        name = f"Device [{plain[3]}:{plain[4]}]"
        return (VENDORS.get(plain[3]), {"bus_id": plain[1], "pci_class": _CLASSES[plain[2]], "name": name,
                                        "vendor_id": plain[3], "device_id": plain[4]}) if plain[2] in _CLASSES else None
    match = _LINE.fullmatch(line)
    if not match:
        page.fail(index, N_("this is not a PCI function"))
    is_wanted = match[3] in _CLASSES if match[3] else match[2].strip() in _CLASSES.values()
    if not is_wanted:
        return None
    name = re.sub(r"(?: \((?:rev [0-9a-f]{1,4}|prog-if [^)]{1,60})\))+$", "", match[4])
    ids = _IDS.search(name)
    bare = re.search(r"\bDevice ([0-9a-f]{4})$", name)
    vendor = VENDORS.get(ids[1]) if ids else next((v for v, text in _VENDOR_NAMES if text in name), None)
    if vendor == "ascend" and "accelerator" not in match[2]:
        # Huawei's server management chip is a VGA controller of the same vendor, and no accelerator.
        return None
    return vendor, {"bus_id": match[1], "pci_class": match[2].strip(), "name": _IDS.sub("", name).strip(),
                    "vendor_id": ids[1] if ids else None, "device_id": ids[2] if ids else bare[1] if bare else None}


def _accelerators(text: str) -> list[dict[str, Any]]:
    page = Page(clean(text), "lspci -Dnn")
    found, _ = parse_lspci(page)
    return [device | {"vendor": VENDORS.get(device["vendor_id"])} for device in found["devices"]]


_STORAGE = {"0104": "raid", "0106": "sata", "0107": "sas", "0108": "nvme"}
_STORAGE_LINE = re.compile(rf"({_BUS}) [^\[:]{{1,80}}? \[(0104|0106|0107|0108)\]: (.{{1,500}})")


def _controllers(text: str) -> list[dict[str, Any]]:
    """The controllers of disks, RAID controllers among them: ``bus_id``, ``kind`` (raid, sata, sas, nvme), ``name``."""
    matches = (_STORAGE_LINE.match(line) for line in clean(text).splitlines())
    return [{"bus_id": m[1], "kind": _STORAGE[m[2]], "name": re.sub(r"(?: \((?:rev [0-9a-f]{1,4}|prog-if [^)]{1,60})\))+$", "", _IDS.sub("", m[3])).strip()}
            for m in matches if m]


_ASKED = Fact("lspci.accelerators", ("lspci", "-Dnn"), 15, _accelerators)
FACTS = [_ASKED, Fact("disk.controllers", _ASKED.argv, _ASKED.timeout_s, _controllers, of=_ASKED.id)]
