"""The processors and their NUMA nodes, what kind of machine they make, and whether it is one of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from console.facts.fact import ENDS, Fact, files_fact, lines_of, quiet_fact
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


_BEGINNINGS = frozenset(name[:end] for names in _KEYS.values() for name in names for end in range(len(name) + 1))


def is_known(line: str) -> bool:
    """Whether the line begins as one that is read here."""
    return line.partition(":")[0].strip() in _BEGINNINGS


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


_NODE = re.compile(r"/sys/devices/system/node/node(\d{1,6})/(cpulist|meminfo|distance)")


def _numa(text: str) -> list[dict[str, Any]]:
    """Nodes with their CPUs, memory in KiB and distances."""
    nodes: dict[int, dict[str, Any]] = {}
    for path, line in lines_of(clean(text)):
        match = _NODE.fullmatch(path)
        if not match:
            continue
        node = nodes.setdefault(int(match[1]), {"node": int(match[1]), "cpus": "", "memory_kib": None, "distances": []})
        if match[2] == "cpulist":
            node["cpus"] = line if re.fullmatch(r"[\d,\-]*", line) else ""
        elif match[2] == "distance":
            node["distances"] = [int(word) for word in line.split() if word.isdigit()]
        elif total := re.search(r"MemTotal:\s+(\d{1,18}) kB", line[:200]):
            node["memory_kib"] = int(total[1])
    return [nodes[number] for number in sorted(nodes)]


# What holds the server is told by its own files, and by the processor, which lscpu asks; only where that has no answer of its
# own, as on Arm, systemd is asked, whose start costs more than all the rest.
_SCRIPT = ENDS + r"""$flush
if command -v lscpu >/dev/null 2>&1; then said=$(lscpu); code=$?
else said=$(printf 'Architecture: %s\nCPU(s): %s\n' "$(uname -m)" "$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc)"
sed -n 's/^model name[[:space:]]*: /Model name: /p; s/^flags[[:space:]]*: /Flags: /p' /proc/cpuinfo 2>/dev/null | head -n 2); code=0; fi
if [ -n "$said" ]; then kind=
if [ -e /.dockerenv ]; then kind=docker
elif [ -e /run/.containerenv ]; then kind=podman
elif [ -r /run/systemd/container ]; then read -r kind </run/systemd/container
elif [ -e /proc/vz ] && [ ! -e /proc/bc ]; then kind=openvz; fi
out=${kind:+"Container: $kind
"} kind=
if [ -r /sys/hypervisor/type ]; then read -r kind </sys/hypervisor/type; fi
out=$out${kind:+"Hypervisor: $kind
"} kind=
case $said in *x86_64*|*i?86*) ;; *)
command -v systemd-detect-virt >/dev/null 2>&1 && kind=$($limit systemd-detect-virt);; esac
out="$out${kind:+Held by: $kind
}$said
"; fi
[ "$code" = 0 ] || ends "$code"
"""

_HYPERVISORS = {"kvm": "kvm", "microsoft": "microsoft", "vmware": "vmware", "xen": "xen", "oracle": "oracle", "parallels": "parallels",
                "bochs": "bochs", "ibm": "powervm", "acrn": "acrn"}
"""What lscpu calls a hypervisor, and the word for it of systemd-detect-virt(1), which is used throughout."""


def _virtualization(text: str) -> str | None:
    """What the server runs in, by the words of systemd-detect-virt(1): ``none`` for a machine of its own; None where nothing
    tells."""
    said = _fields(clean(text).splitlines())
    vendor, kind = said.get("Hypervisor vendor", ""), said.get("Container") or said.get("Held by") or said.get("Hypervisor")
    if kind or not said.get("Architecture"):
        return kind or None
    if vendor:
        return _HYPERVISORS.get(vendor.split()[0].lower(), "vm-other")
    if "hypervisor" in said.get("Flags", "").split():
        return "vm-other"
    return "none" if "Flags" in said and said["Architecture"].startswith(("x86", "i")) else None


def _architecture(text: str) -> str | None:
    return shown(_fields(clean(text).splitlines()).get("Architecture"))


_ASKED = quiet_fact("cpu.info", _SCRIPT, 10, _info, tool="lscpu", needs="uname", lasting=True)
FACTS = [
    _ASKED,
    Fact("os.arch", _ASKED.argv, _ASKED.timeout_s, _architecture, of=_ASKED.id, tool=_ASKED.tool),
    Fact("os.virtualization", _ASKED.argv, _ASKED.timeout_s, _virtualization, of=_ASKED.id, tool=_ASKED.tool),
    files_fact("cpu.numa", tuple(f"/sys/devices/system/node/node[0-9]*/{name}" for name in ("cpulist", "meminfo", "distance")), _numa,
               tool="/sys/devices/system/node", lasting=True),
]
