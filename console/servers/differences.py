"""What changed on a server between two inventories: a device gone, a driver changed, errors grown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from console.accelerators.device import Device
from console.i18n import N_
from console.servers.plain import plain

if TYPE_CHECKING:
    from console.servers.inventory import InventoryRecord

_DEVICE_TEXTS = {
    "driver_version": N_("{subject}: the driver changed from {before} to {after}."),
    "firmware_version": N_("{subject}: the firmware changed from {before} to {after}."),
    "health": N_("{subject}: the health changed from {before} to {after}."),
    "memory_total_bytes": N_("{subject}: the memory changed from {before} to {after} bytes."),
    "ecc": N_("{subject}: the memory errors (ECC) changed from {before} to {after}."),
}
_FACTS = ("os.release", "os.kernel", "os.arch", "python.versions", "containers.engines", "frameworks.found",
          "init.system", "cpu.info", "sudo.rights")
"""Facts whose value is worth a word when it changes; the others change by themselves."""

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


def differences(old: InventoryRecord, new: InventoryRecord) -> list[Difference]:
    """What changed from ``old`` to ``new``; nothing when either did not reach the server."""
    if not (old.reached and new.reached):
        return []
    return [*_devices(old.devices, new.devices), *_facts(old, new)]


def _devices(old: tuple[Device, ...], new: tuple[Device, ...]) -> Iterator[Difference]:
    before, after = ({_identity(d): d for d in devices} for devices in (old, new))
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
                yield Difference(f"device-{name.split('_')[0]}", _called(device), was, now, text)


def _identity(device: Device) -> tuple:
    """What stays the same when a device is counted again: its own number first, its place else."""
    return device.vendor, device.uuid or device.serial or device.bus_id or device.index


def _called(device: Device) -> str:
    return f"{device.vendor} {device.index} ({device.name})"


def _facts(old: InventoryRecord, new: InventoryRecord) -> Iterator[Difference]:
    for name, now in new.facts.items():
        was = old.facts.get(name)
        if was is None:
            continue
        if was.state == "value" and now.state in ("unreadable", "absent"):
            yield Difference("fact-lost", name, was.state, now.reason or now.state, FACT_LOST)
        elif name in _FACTS and was.state == now.state == "value" and plain(was.value) != plain(now.value):
            yield Difference("fact-changed", name, plain(was.value), plain(now.value), FACT_CHANGED)

