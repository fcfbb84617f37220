"""The processors and their NUMA nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from console.facts.fact import Fact, over_files
from console.facts.grammar import Page, clean, shown, strict_json, whole

# The names in the order of preference; those that are not English are of util-linux's own translations: Chinese,
# German, French, Spanish, Japanese, Russian.
_KEYS: dict[str, tuple[str, ...]] = {
    "architecture": ("Architecture", "架构", "Architektur", "Arquitectura", "アーキテクチャ", "Архитектура"),
    "cpu_count": ("CPU(s)", "CPU", "Processeur(s)"),
    "sockets": ("Socket(s)", "座", "Sockel", "«Socket(s)»", "ソケット数", "Сокетов"),
    "cores_per_socket": ("Core(s) per socket", "每个座的核数", "Kern(e) pro Socket", "Cœur(s) par socket",
                         "Núcleo(s) por «socket»", "ソケットあたりのコア数", "Ядер на сокет"),
    "threads_per_core": ("Thread(s) per core", "每个核的线程数", "Thread(s) pro Kern", "Thread(s) par cœur",
                         "Hilo(s) de procesamiento por núcleo", "コアあたりのスレッド数", "Потоков на ядро"),
    "numa_nodes": ("NUMA node(s)", "NUMA 节点", "NUMA-Knoten", "Nœud(s) NUMA", "Modo(s) NUMA", "NUMA ノード数"),
    "model_name": ("Model name", "型号名称", "Modellname", "Nom de modèle", "Nombre del modelo", "モデル名", "Имя модели",
                   "BIOS Model name"),
    "vendor_id": ("Vendor ID", "厂商 ID", "Anbieterkennung", "Identifiant constructeur", "ID de fabricante",
                  "ベンダー ID", "ID прроизводителя"),
}
_COUNTS = ("cpu_count", "sockets", "cores_per_socket", "threads_per_core", "numa_nodes")


def _fields(lines: Iterable[str]) -> dict[str, str]:
    said: dict[str, str] = {}
    for line in lines:
        key, mark, value = line.partition(":") if ":" in line else line.partition("：")
        if mark:
            said.setdefault(key.strip(), value.strip())
    return said


def is_known(line: str) -> bool:
    """Whether the line begins as one that is read here."""
    return any(name.startswith(line.partition(":")[0].strip()) for names in _KEYS.values() for name in names)


def cpu_env(lines: Iterable[str]) -> dict[str, Any]:
    """The fields of ``lscpu`` that are known, among whatever else the lines hold; empty when there are none."""
    said = _fields(lines)
    if not set(_KEYS["architecture"]) & set(said):
        return {}
    found: dict[str, Any] = {}
    for key, names in _KEYS.items():
        text = next((shown(said[name]) for name in names if shown(said.get(name)) is not None), None)
        found[key] = whole(text) if key in _COUNTS else text
    return {key: value for key, value in found.items() if value is not None}


def parse_lscpu(page: Page) -> dict[str, Any]:
    """``lscpu`` as text or with ``-J``.

    Raises:
        InputError: ``inventory.unreadable-output``.
    """
    lines = _json_lines(page) if page.text.lstrip().startswith("{") else page.lines
    if page.lines is lines and page.lines and is_known(page.lines[-1]):
        page.whole()
    for index, line in enumerate(lines):
        if is_known(line):
            page.one_entry(index, line.partition(":")[2].strip())
    found = cpu_env(lines)
    if "architecture" not in found or "cpu_count" not in found:
        page.empty()
    return found


def _json_lines(page: Page) -> list[str]:
    def walk(entries: Any) -> Iterable[str]:
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                yield f"{str(entry.get('field', '')).rstrip(':')}: {entry.get('data')}"
                yield from walk(entry.get("children"))

    value = strict_json(page.text, page)
    return list(walk(value.get("lscpu"))) if isinstance(value, dict) else []


def _info(text: str) -> dict[str, Any]:
    return parse_lscpu(Page(clean(text), "lscpu"))


def _numa(text: str) -> list[dict[str, Any]]:
    """Nodes with their CPUs, memory in KiB and distances."""
    nodes = []
    for line in clean(text).splitlines():
        match = re.fullmatch(r"node(\d+)\|([\d,\-]*)\|(\d*)\|([\d ]*)", line.strip())
        if match:
            nodes.append({"node": int(match[1]), "cpus": match[2], "memory_kib": whole(match[3]),
                          "distances": [int(word) for word in match[4].split()]})
    return nodes


_NUMA_SCRIPT = over_files(
    r"""{ n = split(path, part, "/"); node = part[n - 1]; if (!(node in seen)) { seen[node]; names[++count] = node }
if (part[n] != "meminfo") said[node, part[n]] = value
else if (value ~ /MemTotal:/) { split(value, word, " "); said[node, "kib"] = word[4] } }
END { for (i = 1; i <= count; i++) { node = names[i]
print node "|" said[node, "cpulist"] "|" said[node, "kib"] "|" said[node, "distance"] } }""",
    *(f"/sys/devices/system/node/node[0-9]*/{name}" for name in ("cpulist", "meminfo", "distance")))

_SCRIPT = r"""if command -v lscpu >/dev/null 2>&1; then exec lscpu; fi
printf 'Architecture: %s\nCPU(s): %s\n' "$(uname -m)" "$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc)"
sed -n 's/^model name[[:space:]]*: /Model name: /p' /proc/cpuinfo 2>/dev/null | head -n 1
exit 0"""

FACTS = [
    Fact("cpu.info", ("sh", "-c", _SCRIPT), 10, _info, tool="lscpu", quick=True, lasting=True),
    Fact("cpu.numa", ("sh", "-c", _NUMA_SCRIPT), 5, _numa, needs="awk", quick=True, lasting=True),
]
