"""What changed on a server between two inventories: a device gone, a driver changed, errors grown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from console.accelerators.device import HEALTH_WORDS, Device
from console.errors import shown
from console.facts.os import BOOT
from console.i18n import N_, into, tr
from console.servers.plain import plain

if TYPE_CHECKING:
    from console.servers.inventory import InventoryRecord

_DEVICE_TEXTS = {
    "driver_version": N_("{subject}: the driver changed from {before} to {after}."),
    "firmware_version": N_("{subject}: the firmware changed from {before} to {after}."),
    "health": N_("{subject}: the health changed from {before} to {after}."),
    "memory_total_bytes": N_("{subject}: the memory changed from {before} to {after} bytes."),
}
_FACTS = ("os.release", "os.kernel", "os.arch", "python.versions", "containers.engines", "frameworks.found",
          "init.system", "cpu.info", "sudo.rights", "os.machine", "network.routes", "network.routes6", "disk.controllers")
"""Facts whose value is worth a word when it changes; the others change by themselves."""

_LISTED: dict[str, tuple[str, tuple[str, ...], Callable[[dict], Any]]] = {
    # What has no driver is made and unmade by containers all day; what is no disk is a partition or a mounted file.
    "network.links": ("name", ("speed_mbit_per_s", "state"), lambda link: link.get("driver")),
    "network.rdma": ("device", ("state", "rate_gbit_per_s", "firmware_version"), lambda port: True),
    "disk.blocks": ("name", ("size_bytes",), lambda block: block.get("type") == "disk"),
    "disk.raid": ("name", ("state", "active"), lambda array: True)}
"""Facts that are lists of things: by what a thing is known, which of its values are worth a word, and which things are."""

_FEWEST_KIB = 1 << 20
"""A total of memory that moves by less is the same memory: the kernel takes a little more or less for itself."""

RESTARTED = N_("The server was started anew.")
MEMORY = N_("The memory changed from {before} to {after} KiB.")
ECC_GROWN = N_("{subject}: memory errors (ECC) have grown: {after}.")
LINKS = N_("{subject}: its links to other devices changed.")
NVLINK_DOWN = N_("{subject}: {after} links (NVLink) work, before it were {before}.")
PART_GONE = N_("{subject} is no longer there.")
PART_NEW = N_("{subject} is there now.")
PART_CHANGED = N_("{subject} changed from {before} to {after}.")
GONE = N_("{subject} is gone.")
NEW = N_("{subject} is new.")
FACT_CHANGED = N_("The fact {subject} changed.")
FACT_LOST = N_("The fact {subject} could be read before and cannot now: {after}.")


@dataclass(frozen=True)
class Difference:
    """One change; ``text`` is marked English with the fields ``subject``, ``before`` and ``after``."""

    kind: str
    subject: str
    before: Any
    after: Any
    text: str

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def words(self, lang: str = "en", brief: Callable[[Any], str] = str) -> str:
        """The change in the reader's language. ``brief``: a value in one line."""
        def told(value: Any) -> str:
            word = HEALTH_WORDS.get(value) if self.kind == "device-health" else None
            return tr(word, lang) if word else shown("–" if value is None else into(value, lang) if isinstance(value, str) else brief(value), 400)

        return tr(self.text, lang, subject=shown(self.subject), before=told(self.before), after=told(self.after))


def differences(old: InventoryRecord, new: InventoryRecord) -> list[Difference]:
    """What changed from ``old`` to ``new``; nothing when either did not reach the server."""
    if not (old.reached and new.reached):
        return []
    return [*_devices(old.devices, new.devices), *_nvlinks(old, new), *_facts(old, new), *_parts(old, new)]


def _devices(old: tuple[Device, ...], new: tuple[Device, ...]) -> Iterator[Difference]:
    before, after = ({_identity(d): d for d in devices} for devices in (old, new))
    alike: dict[tuple, list[Device]] = {}
    for key, device in before.items():
        if key not in after:
            yield Difference("device-gone", _called(device), _called(device), None, GONE)
    for key, device in after.items():
        if key not in before:
            yield Difference("device-new", _called(device), None, _called(device), NEW)
            continue
        for name, text in _DEVICE_TEXTS.items():
            was, now = (plain(getattr(d, name, None)) for d in (before[key], device))
            if was is not None and now is not None and was != now:
                alike.setdefault((f"device-{name.split('_')[0]}", was, now, text, device.vendor), []).append(device)
        yield from _errors_and_links(before[key], device)
    # What changed in the same way on several devices, as a new driver does, is one change.
    for (kind, was, now, text, _vendor), devices in alike.items():
        yield Difference(kind, _all_called(devices), was, now, text)


def _errors_and_links(old: Device, new: Device) -> Iterator[Difference]:
    """Counts of errors that have grown; those that went down were reset, which is no news."""
    was, now = old.ecc or {}, new.ecc or {}
    grown = {name: (was.get(name) or 0, count) for name, count in now.items() if name in was and (count or 0) > (was[name] or 0)}
    if grown:
        told = ", ".join(f"{name.replace('_', ' ')} {int(a)} → {int(b)}" for name, (a, b) in grown.items())
        yield Difference("device-ecc", _called(new), {n: a for n, (a, _) in grown.items()}, told, ECC_GROWN)
    if old.links and new.links and plain(old.links) != plain(new.links):
        yield Difference("device-links", _called(new), plain(old.links), plain(new.links), LINKS)


def _value(record: InventoryRecord, name: str) -> Any:
    fact = record.facts.get(name)
    return fact.value if fact is not None and fact.state == "value" else None


def _nvlinks(old: InventoryRecord, new: InventoryRecord) -> Iterator[Difference]:
    before, after = ({d["index"]: sum("/s" in link for link in d["nvlinks"]) for d in _value(r, "nvidia.nvlink") or ()} for r in (old, new))
    for device in new.devices:
        was, now = (found.get(device.index) for found in (before, after))
        if device.vendor == "nvidia" and was is not None and now is not None and now < was:
            yield Difference("device-nvlink", _called(device), was, now, NVLINK_DOWN)


def _parts(old: InventoryRecord, new: InventoryRecord) -> Iterator[Difference]:
    """Memory, disks and links of the server itself."""
    was, now = _value(old, BOOT), _value(new, BOOT)
    if was and now and was != now:
        yield Difference("restarted", new.server, was, now, RESTARTED)
    was, now = ((_value(r, "memory.info") or {}).get("mem_total_kib") for r in (old, new))
    if was and now and abs(was - now) >= _FEWEST_KIB:
        yield Difference("memory", new.server, was, now, MEMORY)
    for fact, (key, watched, wanted) in _LISTED.items():
        if all(fact in r.facts and r.facts[fact].state in ("value", "empty") for r in (old, new)):
            before, after = ({str(entry.get(key)): entry for entry in _value(r, fact) or () if wanted(entry)} for r in (old, new))
            yield from _listed(fact, watched, before, after)


def _listed(fact: str, watched: tuple[str, ...], before: dict[str, dict], after: dict[str, dict]) -> Iterator[Difference]:
    kind = fact.replace(".", "-")
    for name in sorted(before.keys() | after.keys()):
        subject = f"{fact} {name}"
        if name not in after:
            yield Difference(f"{kind}-gone", subject, name, None, PART_GONE)
        elif name not in before:
            yield Difference(f"{kind}-new", subject, None, name, PART_NEW)
        else:
            for field in watched:
                was, now = before[name].get(field), after[name].get(field)
                if was is not None and was != now:
                    yield Difference(f"{kind}-changed", f"{subject} {field}", was, now, PART_CHANGED)


def _identity(device: Device) -> tuple:
    """What stays the same when a device is counted again: its own number first, its place else."""
    return device.vendor, device.uuid or device.serial or device.bus_id or device.index


def _called(device: Device) -> str:
    return f"{device.vendor} {device.index} ({device.name})"


def _all_called(devices: list[Device]) -> str:
    """``nvidia 0-3, 6 (NVIDIA H200)``."""
    runs: list[list[int]] = []
    for index in sorted(device.index for device in devices):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    numbers = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"{devices[0].vendor} {numbers} ({', '.join(dict.fromkeys(str(device.name) for device in devices))})"


def _facts(old: InventoryRecord, new: InventoryRecord) -> Iterator[Difference]:
    for name, now in new.facts.items():
        lost = now.state in ("unreadable", "absent")
        was = old.facts.get(name) if lost or name in _FACTS else None
        if was is None:
            continue
        if was.state == "value" and lost:
            yield Difference("fact-lost", name, was.state, now.reason or now.state, FACT_LOST)
        elif name in _FACTS and {was.state, now.state} <= {"value", "empty"} and plain(was.value) != plain(now.value):
            yield Difference("fact-changed", name, plain(was.value), plain(now.value), FACT_CHANGED)

