"""From what a device says of itself to the name that catalog and people use for it; None where that is not certain.

NVIDIA and AMD devices are told apart by their PCI ids (PCI ID database of 2026-08-22, NVIDIA's open kernel modules),
Ascend devices by the chip name of npu-smi, since all chips of a generation share one PCI id.
"""

from __future__ import annotations

import re

_BY_PCI = {
    "10de": {
        "1eb8": "T4", "2236": "A10", "20b7": "A30", "20b0": "A100 40GB", "20b1": "A100 40GB", "20f1": "A100 40GB",
        "20b2": "A100 80GB", "20b5": "A100 80GB", "2235": "A40", "2230": "RTX A6000", "27b8": "L4", "26ba": "L20",
        "26b5": "L40", "26b9": "L40S", "2684": "GeForce RTX 4090", "2685": "GeForce RTX 4090 D", "26b1": "RTX 6000 Ada",
        "2204": "GeForce RTX 3090", "2203": "GeForce RTX 3090 Ti", "2330": "H100 SXM5 80GB", "2331": "H100 PCIe 80GB",
        "2321": "H100 NVL 94GB", "2324": "H800 SXM", "2322": "H800 PCIe", "2329": "H20 96GB", "232c": "H20 141GB",
        "2335": "H200 SXM", "233b": "H200 NVL", "2901": "B200 SXM", "2909": "B200 SXM", "2941": "GB200",
        "3182": "B300 SXM6", "31c2": "GB300", "31c3": "GB300", "2bb1": "RTX PRO 6000 Blackwell",
        "2bb4": "RTX PRO 6000 Blackwell", "2bb5": "RTX PRO 6000 Blackwell", "2b85": "GeForce RTX 5090", "2e12": "GB10"},
    "1002": {
        "740f": "MI210", "740c": "MI250", "7408": "MI250X", "74a0": "MI300A", "74a1": "MI300X", "74a9": "MI300X",
        "74b5": "MI300X", "74a2": "MI308X", "74a5": "MI325X", "74b9": "MI325X", "75a0": "MI350X", "75a3": "MI355X"},
}
_ASCEND = re.compile(r"(?:Ascend ?)?(310B?\d?|310P\d?|910A|910 ?Pro ?[AB]|910B\d?(?:C|-\d)?|910_93\d\d|950\w*)",
                     re.IGNORECASE)


def by_pci(pci_id: str | None) -> str | None:
    """The model of a PCI function, ``vendor:device`` in lower case."""
    vendor, _, device = (pci_id or "").partition(":")
    return _BY_PCI.get(vendor, {}).get(device)


def by_chip(name: str | None) -> str | None:
    """The model of an Ascend chip name. The chips of A3 cards call themselves Ascend910, without more."""
    text = (name or "").strip()
    if text.lower() in ("ascend910", "ascend 910"):
        return "Ascend 910C"
    match = _ASCEND.fullmatch(text)
    return f"Ascend {match[1]}" if match else None
