"""Where bundles may be: removable drives, and folders that the operator chose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

_NOT_MEDIA = ("/", "/boot", "/home", "/usr", "/var", "/tmp", "/snap", "/etc", "/opt", "/nix")
_REMOVABLE_ROOTS = ("/media", "/run/media", "/mnt", "/Volumes")


@dataclass(frozen=True)
class Place:
    """A folder to look into. ``free_bytes`` and ``total_bytes`` are None where they could not be read."""

    path: Path
    label: str
    drive: bool
    free_bytes: int | None = None
    total_bytes: int | None = None


def drives() -> list[Place]:
    """Drives that may have been plugged in: mounted below the usual places, or called removable by the system."""
    found = {}
    for part in psutil.disk_partitions(all=False):
        options = part.opts.split(",")
        usual = any(part.mountpoint == root or part.mountpoint.startswith(root + "/") for root in _REMOVABLE_ROOTS)
        if ("removable" in options or usual) and part.mountpoint not in _NOT_MEDIA and "cdrom" not in options:
            found[part.mountpoint] = place(Path(part.mountpoint), drive=True)
    return sorted(found.values(), key=lambda entry: str(entry.path))


def place(path: Path, *, drive: bool = False) -> Place:
    """A place with its room."""
    try:
        room = psutil.disk_usage(str(path))
        return Place(path, path.name or str(path), drive, room.free, room.total)
    except OSError:
        return Place(path, path.name or str(path), drive)
