"""How the devices of a server are joined: NUMA nodes, PCIe switches, and fabrics of NVLink, HCCS or XGMI."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SWITCHED = ("PIX",)
"""Links that cross one PCIe switch at most, in the words of the vendors' matrices."""

_NVLINK = re.compile(r"NV(\d+)")


@dataclass(frozen=True)
class Part:
    """Devices, by their places in the server's list, with the network ports behind the same PCIe switch."""

    places: tuple[int, ...]
    switch: bool = False
    ports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """What hangs on one processor. ``label`` is the NUMA node's number, or the CPUs where only those are told, or empty."""

    label: str
    by_cpus: bool
    parts: tuple[Part, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """All devices of the node."""
        return tuple(place for part in self.parts for place in part.places)


@dataclass(frozen=True)
class Fabric:
    """Devices that reach each other without the processor.

    Attributes:
        kind: ``nvlink``, ``hccs`` or ``xgmi``.
        places: its devices.
        pairs: which are joined directly, each with the number of links (0: not told).
        whole: whether each is joined to each, by as many links.
        switched: whether it is known that switches join them.
    """

    kind: str
    places: tuple[int, ...]
    pairs: tuple[tuple[int, int, int], ...]
    whole: bool
    switched: bool

    @property
    def links(self) -> int:
        """Links between two devices, where all pairs have as many; else 0."""
        counts = {count for _one, _other, count in self.pairs}
        return counts.pop() if len(counts) == 1 else 0


@dataclass(frozen=True)
class Topology:
    """The devices of a server in the order in which they are drawn, and what joins them.

    ``told`` is False where no tool told of any link.
    """

    nodes: tuple[Node, ...]
    fabrics: tuple[Fabric, ...]
    told: bool


UNTOLD = Topology((), (), False)


def topology_of(devices: tuple[Any, ...], facts: Mapping[str, Any]) -> Topology:
    """The topology of ``devices``, from their links and from the facts of their vendor's tools."""
    matrix = _matrix(facts)
    links = _links(devices)
    by_cpus, homes = _homes(devices, matrix, facts)
    nodes = tuple(Node(home, by_cpus, _parts(places, devices, links, matrix))
                  for home, places in sorted(homes.items(), key=lambda item: (item[0] == "", _natural(item[0]))))
    return Topology(nodes, tuple(_fabrics(len(devices), links, _has_switches(facts))), any(d.links for d in devices))


def _natural(text: str) -> tuple[int, str]:
    first = re.match(r"\d+", text)
    return (int(first[0]) if first else 1 << 30, text)


def _matrix(facts: Mapping[str, Any]) -> dict[str, Any]:
    for name in ("nvidia.topology", "ascend.topology"):
        fact = facts.get(name)
        if fact is not None and fact.state == "value" and isinstance(fact.value, Mapping):
            return dict(fact.value.get("topology") or {})
    return {}


def _links(devices: tuple[Any, ...]) -> dict[tuple[int, int], str]:
    """The kind of link by pair of places, the smaller first. Peers are told by index within the vendor."""
    places = {(d.vendor, d.index): place for place, d in enumerate(devices)}
    found: dict[tuple[int, int], str] = {}
    for place, device in enumerate(devices):
        for index, kind in ((device.links or {}).get("peers") or {}).items():
            other = places.get((device.vendor, int(index)))
            if other is not None and other != place:
                found.setdefault((min(place, other), max(place, other)), str(kind).upper())
    return found


def _name(device: Any) -> str:
    return f"{'NPU' if device.vendor == 'ascend' else 'GPU'}{device.index}"


def _homes(devices: tuple[Any, ...], matrix: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[bool, dict[str, list[int]]]:
    """Places by NUMA node; by the CPUs near a device where no tool gives the node; all under "" where nothing is told."""
    cpus = matrix.get("cpu_affinity") or {}
    homes: dict[str, list[int]] = {}
    told = [str(d.numa_node) if d.numa_node is not None else "" for d in devices]
    by_cpus = not any(told) and bool(cpus)
    if by_cpus:
        nodes = _nodes_by_cpus(facts)
        near = [str(cpus.get(_name(d), "")) for d in devices]
        found = [nodes.get(_first_cpu(text)) for text in near]
        by_cpus = None in found or "" in near
        told = near if by_cpus else [str(node) for node in found]
    for place, home in enumerate(told):
        homes.setdefault(home, []).append(place)
    return by_cpus, homes


def _first_cpu(text: str) -> int:
    first = re.match(r"\d+", text)
    return int(first[0]) if first else -1


def _nodes_by_cpus(facts: Mapping[str, Any]) -> dict[int, int]:
    """The NUMA node of each CPU of the server itself."""
    fact = facts.get("cpu.numa")
    found: dict[int, int] = {}
    for node in (fact.value or ()) if fact is not None and fact.state == "value" else ():
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", str(node.get("cpus", ""))):
            for cpu in range(int(first), min(int(last or first), int(first) + 4096) + 1):
                found[cpu] = node["node"]
    return found


def _parts(places: list[int], devices: tuple[Any, ...], links: Mapping[tuple[int, int], str],
           matrix: Mapping[str, Any]) -> tuple[Part, ...]:
    """The devices of a node by the PCIe switch, or the card, that they share."""
    rows = matrix.get("links") or {}
    ports = {place: {other for other, kind in (rows.get(_name(devices[place])) or {}).items()
                     if kind in SWITCHED and not re.fullmatch(r"(?:GPU|NPU|DCU)\d+", other)} for place in places}

    def together(one: int, other: int) -> bool:
        card = devices[one].card
        return (links.get((one, other)) in SWITCHED or bool(ports[one] & ports[other])
                or (card is not None and devices[one].vendor == devices[other].vendor and card == devices[other].card))

    made = []
    for members in _components(places, together):
        shared = sorted(set().union(*(ports[place] for place in members)), key=_natural)
        made.append(Part(tuple(members), len(members) > 1 or bool(shared), tuple(shared)))
    return tuple(made)


def _components(places: Iterable[int], together) -> list[list[int]]:
    """Places that are together, directly or through others."""
    left, found = list(places), []
    while left:
        members, front = [], [left.pop(0)]
        while front:
            one = front.pop(0)
            members.append(one)
            near = [other for other in left if together(min(one, other), max(one, other))]
            left = [other for other in left if other not in near]
            front += near
        found.append(sorted(members))
    return found


def _fabric_link(kind: str) -> tuple[str, int] | None:
    """Kind of fabric and number of links of one entry of a matrix; None for PCIe and for what is not known."""
    lanes = _NVLINK.fullmatch(kind)
    if lanes:
        return "nvlink", int(lanes[1])
    if kind.startswith("HCCS") or kind == "SIO":
        return "hccs", 0
    return ("xgmi", 0) if kind == "XGMI" else None


def _fabrics(count: int, links: Mapping[tuple[int, int], str], switches: bool) -> Iterable[Fabric]:
    by_kind: dict[str, dict[tuple[int, int], int]] = {}
    for pair, kind in links.items():
        found = _fabric_link(kind)
        if found:
            by_kind.setdefault(found[0], {})[pair] = found[1]
    for kind, pairs in by_kind.items():
        for members in _components(range(count), lambda one, other, pairs=pairs: (one, other) in pairs):
            inside = tuple((a, b, n) for (a, b), n in sorted(pairs.items()) if a in members)
            if len(members) > 1:
                whole = len(inside) == len(members) * (len(members) - 1) // 2 and len({n for _a, _b, n in inside}) == 1
                by_switch = (kind == "nvlink" and switches) or any(links[a, b] == "HCCS_SW" for a, b, _n in inside)
                yield Fabric(kind, tuple(members), inside, whole, whole and by_switch)


def _has_switches(facts: Mapping[str, Any]) -> bool:
    """Whether NVIDIA's fabric manager or the devices tell of NVSwitch."""
    manager, query = facts.get("nvidia.fabric-manager"), facts.get("nvidia.query")
    if manager is not None and manager.state == "value":
        return True
    known = query.value if query is not None and query.state == "value" and isinstance(query.value, Mapping) else {}
    return any(entry.get("fabric_state") == "Completed" for entry in known.get("devices", ()))
