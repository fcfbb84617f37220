"""What the window knows of servers: state, devices and how they are joined, for pictures and lists. No Qt, no engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from console import units
from console.i18n import N_
from ui.models.topology import UNTOLD, Topology, topology_of

SERVER_STATES = {
    "keychanged": ("fail", N_("Host key changed")), "untrusted": ("warn", N_("Key not confirmed")),
    "unreachable": ("fail", N_("Not reached")), "fail": ("fail", N_("Device failed")),
    "warning": ("warn", N_("Needs attention")), "unknown": ("unknown", N_("Health unknown")),
    "ok": ("ok", N_("Healthy")), "bare": ("muted", N_("No devices")), "unasked": ("muted", N_("Not asked yet")),
    "reading": ("muted", N_("Reading…"))}
"""Tone and word of each state of a server, what needs a person first."""

NEEDS_A_PERSON = frozenset({"keychanged", "untrusted", "unreachable", "fail", "warning"})
"""The states in which something is to be done."""

HEALTH = {"ok": ("ok", N_("Healthy")), "warning": ("warn", N_("Warning")), "fail": ("fail", N_("Failed")),
          "unknown": ("unknown", N_("Unknown"))}
"""Tone and word of a device's health."""

KEY_CHANGED = "ssh.host-key-changed"
"""The code with which a server was refused because it shows another key than the one that is pinned."""

GROUPINGS = (("", N_("Not grouped")), ("group", N_("By group")), ("label", N_("By label")), ("state", N_("By state")),
             ("device", N_("By device")))
"""What servers can be put together by."""

DeviceKey = tuple[str, int]
"""Vendor and index: what a device is called within its server."""


@dataclass(frozen=True, eq=False)
class ServerView:
    """A server with its last inventory, and what follows from both.

    Attributes:
        record: its entry in the book.
        inventory: the newest answer, or None.
        known: the newest answer that held devices and facts: ``inventory`` itself when it reached the server.
        changes: what ``known`` found changed since the answer before it.
        read: whether its inventory was looked up at all.
    """

    record: Any
    inventory: Any = None
    known: Any = None
    changes: tuple[Any, ...] = ()
    read: bool = True

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def devices(self) -> tuple[Any, ...]:
        """Its devices, as far as they are known."""
        return self.known.devices if self.known is not None else ()

    @property
    def outdated(self) -> bool:
        """Whether the devices are those of an earlier answer, because the last try did not reach the server."""
        return self.known is not None and self.inventory is not self.known

    @cached_property
    def state(self) -> str:
        """One of the keys of ``SERVER_STATES``."""
        if not self.record.host_keys:
            return "untrusted"
        if self.inventory is None:
            return "unasked" if self.read else "reading"
        if not self.inventory.reached:
            return "keychanged" if (self.inventory.error or {}).get("code") == KEY_CHANGED else "unreachable"
        healths = {device.health for device in self.devices}
        return next((health for health in ("fail", "warning", "unknown") if health in healths),
                    "ok" if self.devices else "bare")

    @cached_property
    def topology(self) -> Topology:
        """How its devices are joined."""
        return topology_of(self.devices, self.known.facts if self.known is not None else {}) if self.devices else UNTOLD

    @cached_property
    def summary(self) -> str:
        """``"8 × NVIDIA H200"``."""
        return device_summary(self.devices)

    @cached_property
    def memory_bytes(self) -> int | None:
        """The memory of all its devices."""
        known = [d.memory_total_bytes for d in self.devices if d.memory_total_bytes is not None]
        return sum(known) if known else None

    @cached_property
    def memory_used_bytes(self) -> int | None:
        """How much of it is used, where all devices tell."""
        known = [d.memory_used_bytes for d in self.devices]
        return sum(known) if known and None not in known else None

    @cached_property
    def text(self) -> str:
        """All words by which it can be found, in lower case."""
        record = self.record
        words = [record.name, record.address, str(record.port), record.user, record.group, *record.labels, self.summary,
                 self.state, *(d.uuid or "" for d in self.devices), *(d.serial or "" for d in self.devices),
                 *(d.driver_version or "" for d in self.devices[:1]), self.fact("os.release"), self.fact("os.kernel")]
        return " ".join(words).casefold()

    def fact(self, name: str) -> str:
        """The value of a fact in one short line; empty when it is not known."""
        found = self.known.facts.get(name) if self.known is not None else None
        if found is None or found.state != "value":
            return ""
        value = found.value
        if isinstance(value, Mapping):
            value = value.get("os_pretty_name") or value.get("name") or ""
        return str(value)

    def device(self, key: DeviceKey | None) -> Any:
        """The device of a key, or None."""
        return next((d for d in self.devices if key_of(d) == key), None)


def key_of(device: Any) -> DeviceKey:
    """What a device is called within its server."""
    return device.vendor, device.index


def device_summary(devices: Iterable[Any]) -> str:
    """``"8 × NVIDIA H200"``."""
    names: dict[str, int] = {}
    for device in devices:
        name = device.name or device.model or device.vendor
        names[name] = names.get(name, 0) + 1
    return ", ".join(f"{count} × {name}" for name, count in names.items())


def filled(device: Any) -> float | None:
    """How full a device's memory is, from 0 to 1; None when it does not tell."""
    used, total = device.memory_used_bytes, device.memory_total_bytes
    return min(1.0, max(0.0, used / total)) if used is not None and total else None


_TERM = re.compile(r"(group|label|state|device|address):(.*)", re.DOTALL)
_WORDS = re.compile(r'(?:[^\s":]+:)?"[^"]*"?|\S+')
_AS_COMMANDED = {"keychanged": "key-changed", "unasked": "never-asked"}
"""The names of states that the command line spells otherwise; both are understood."""


def wanted(view: ServerView, text: str) -> bool:
    """Whether every word of ``text`` fits: plain words anywhere, ``group:``, ``label:``, ``state:``, ``device:`` and
    ``address:`` in what they name. Quotation marks hold words together, as in ``group:"hall 1"``."""
    for word in _WORDS.findall(text.casefold()):
        word = word.replace('"', "")
        term = _TERM.fullmatch(word)
        if term is None:
            if word not in view.text:
                return False
            continue
        places = {"group": (view.record.group,), "label": view.record.labels, "state": (view.state, _AS_COMMANDED.get(view.state, "")),
                  "device": (view.summary,), "address": (view.record.address,)}[term[1]]
        if not any(term[2] in place.casefold() for place in places):
            return False
    return True


CHANGED = "changed"
"""The class of servers on which the last inventory found something changed."""


def counts(views: Iterable[ServerView]) -> dict[str, int]:
    """How many servers are in each state that occurs, in the order of ``SERVER_STATES``, then how many changed."""
    found = dict.fromkeys((*SERVER_STATES, CHANGED), 0)
    for view in views:
        found[view.state] += 1
        found[CHANGED] += bool(view.changes)
    return {state: count for state, count in found.items() if count}


def in_class(view: ServerView, name: str) -> bool:
    """Whether a server is in a class of ``counts``; the empty name takes all."""
    return not name or (bool(view.changes) if name == CHANGED else view.state == name)


@dataclass(frozen=True)
class Section:
    """Servers that are shown together. An empty title: no heading."""

    title: str
    views: tuple[ServerView, ...] = field(default=(), compare=False)


def sections(views: Iterable[ServerView], by: str, say: Callable[..., str]) -> list[Section]:
    """``views`` put together by one of ``GROUPINGS``; by label a server stands under each of its labels' first."""
    if not by:
        return [Section("", tuple(views))]
    order = {say(word): place for place, (_tone, word) in enumerate(SERVER_STATES.values())}
    found: dict[str, list[ServerView]] = {}
    for view in views:
        title = {"group": view.record.group, "label": next(iter(view.record.labels), ""),
                 "state": say(SERVER_STATES[view.state][1]), "device": view.summary}[by]
        found.setdefault(title or say(_WITHOUT[by]), []).append(view)
    last = say(_WITHOUT[by])
    return [Section(title, tuple(found[title])) for title in
            sorted(found, key=lambda title: (title == last, order.get(title, 0) if by == "state" else 0, title.casefold()))]


_WITHOUT = {"group": N_("Without a group"), "label": N_("Without a label"), "state": N_("Without a state"),
            "device": N_("Without devices")}


def device_lines(device: Any, say: Callable[..., str]) -> list[str]:
    """What a person wants to know of a device at a glance, a line each."""
    lines = [say(HEALTH[device.health][1]) + (f": {device.health_raw}" if device.health_raw else "")]
    if device.memory_total_bytes:
        lines.append(say(N_("Memory {used} of {total}"), used=units.size(device.memory_used_bytes),
                         total=units.size(device.memory_total_bytes)))
    figures = [f"{device.temperature_c:g} °C" if device.temperature_c is not None else "",
               f"{device.power_w:g} W" if device.power_w is not None else "",
               say(N_("busy {percent} %"), percent=f"{device.utilization_percent:g}")
               if device.utilization_percent is not None else ""]
    if any(figures):
        lines.append(" · ".join(figure for figure in figures if figure))
    if device.links and device.links.get("peers"):
        kinds = sorted({str(kind) for kind in device.links["peers"].values()})
        lines.append(say(N_("Links: {kinds}"), kinds=", ".join(kinds)))
    if device.bus_id:
        lines.append(f"PCIe {device.bus_id}" + (f" · NUMA {device.numa_node}" if device.numa_node is not None else ""))
    if device.processes:
        lines.append(say(N_("Processes: {count}"), count=len(device.processes)))
    return lines


CHANGE_TONES = {"device-gone": "fail", "device-ecc": "fail", "fact-lost": "warn", "device-health": "warn",
                "device-nvlink": "fail", "memory": "warn", "device-links": "warn", "disk-raid-changed": "warn"}
"""The tone of a kind of change; what ends in -gone is a warning, the others are news."""


def change_tone(kind: str) -> str:
    """The tone of a change."""
    return CHANGE_TONES.get(kind, "warn" if kind.endswith("-gone") else "info")
