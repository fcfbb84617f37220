"""What PyTorch's and vLLM's ``collect_env`` print."""

from __future__ import annotations

import re
from typing import Any

from console.facts.cpu import cpu_env, is_known
from console.facts.grammar import Page, version
from console.i18n import N_

_KEYS = {"PyTorch version": "pytorch_version", "CUDA used to build PyTorch": "cuda_build",
         "ROCM used to build PyTorch": "rocm_build", "OS": "os", "Python version": "python_version",
         "Is CUDA available": "cuda_available", "Python platform": "kernel_platform",
         "vLLM Version": "vllm_version", "vLLM Ascend Version": "vllm_ascend_version"}
_NOTHING = ("", "No CUDA", "Could not collect", "N/A", "None")


def parse_collect_env(page: Page) -> tuple[dict[str, Any], str]:
    """The known lines, devices, driver and CANN version, with the table of npu-smi inside; and the vendor.

    Raises:
        InputError: ``inventory.unreadable-output``.
    """
    said: dict[str, str] = {}
    for index, line in enumerate(page.lines):
        line = line[:4000]
        key, mark, value = line.partition(":")
        if mark and _matters(line):
            page.one_entry(index, value.strip())
        # In the form with padded keys the vLLM section is about the container, as its other lines are.
        padded = key != key.rstrip()
        if mark and not (padded and key.startswith("vLLM")):
            said.setdefault(key.strip(), value.strip())
    if "PyTorch version" not in said:
        page.empty()
    if not any(line.startswith("Versions of relevant libraries") for line in page.lines):
        page.fail(len(page.lines) - 1, N_("the page is cut off"))
    if _matters(page.lines[-1]):
        page.whole()
    if page.lines[-1].startswith("GPU "):
        page.fail(len(page.lines) - 1, N_("the list of devices is cut off"))
    env: dict[str, Any] = {ours: said[theirs] for theirs, ours in _KEYS.items() if theirs in said}
    found: dict[str, Any] = {"env": env | cpu_env(_cpu_lines(page))}
    devices = _devices(page, said)
    if devices:
        found |= {"devices": devices, "device_count": len(devices)}
    if said.get("Nvidia driver version", "") not in _NOTHING:
        found["driver_version"] = version(said["Nvidia driver version"])
    found |= _ascend(page)
    return found, _vendor(page, found, said)


def _matters(line: str) -> bool:
    """Whether a value is read from such a line, so that it must not be cut."""
    start = line.partition(":")[0].strip()
    return is_known(line) or bool(re.match(r"[|+]|GPU \d|GPU models|version=|Nvidia driver", line)) or any(
        key.startswith(start) for key in _KEYS)


def _cpu_lines(page: Page) -> list[str]:
    start = next((n for n, line in enumerate(page.lines) if line.startswith("Architecture:")), None)
    if start is None:
        return []
    end = next((n for n in range(start, len(page.lines)) if not page.lines[n].strip()), len(page.lines))
    return page.lines[start:end]


def _devices(page: Page, said: dict[str, str]) -> list[dict[str, Any]]:
    first = said.get("GPU models and configuration", "")
    lines = [first, *(line.strip() for line in page.lines if re.match(r"GPU \d+: ", line))]
    matches = (re.fullmatch(r"GPU (\d{1,3}): ((?:(?!GPU \d{1,3}: ).){1,200})", line) for line in lines)
    found = [{"index": int(match[1]), "name": match[2].strip()} for match in matches if match]
    if not found and first not in _NOTHING and len(first) < 200:
        found = [{"index": 0, "name": first}]
    return found


def _ascend(page: Page) -> dict[str, Any]:
    from console.accelerators.ascend_table import parse_table

    found: dict[str, Any] = {}
    start = next((n for n, line in enumerate(page.lines) if re.match(r"\s*\|\s*npu-smi\s", line)), None)
    if start is not None:
        first = start - 1 if start and page.lines[start - 1].startswith("+") else start
        end = next((n for n in range(start, len(page.lines)) if not page.lines[n].strip()), len(page.lines))
        # The lines keep their numbers, so that an error names the line of the whole page.
        inner = Page("\n" * first + "\n".join(page.lines[first:end]) + "\n", page.tool)
        found["npu_smi"] = parse_table(inner)
    cann = next((n for n, line in enumerate(page.lines) if line.strip() == "CANN:"), None)
    if cann is not None:
        toolkit = next((line[8:].strip() for line in page.lines[cann:] if line.startswith("version=")), None)
        found |= {"cann_version": toolkit} if toolkit else {}
    return found


def _vendor(page: Page, found: dict[str, Any], said: dict[str, str]) -> str:
    rocm = said.get("ROCM used to build PyTorch", "")
    if "npu_smi" in found or re.search(r"^vLLM Ascend Version|torch[_-]npu==|ASCEND_TOOLKIT", page.text, re.MULTILINE):
        return "ascend"
    if rocm not in _NOTHING:
        return "amd"
    return "nvidia" if "driver_version" in found or "devices" in found else "host"
