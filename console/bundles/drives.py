"""Where bundles may be: removable drives that are mounted, drives that are plugged in and cannot be read, and folders
that the operator chose. Every place has a state by name, a word for people and a next step."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from console.bundles import layout
from console.i18n import N_

_NOT_MEDIA = ("/", "/boot", "/home", "/usr", "/var", "/tmp", "/snap", "/etc", "/opt", "/nix")
_REMOVABLE_ROOTS = ("/media", "/run/media", "/mnt", "/Volumes")
_LOCKED = ("crypto_LUKS", "BitLocker")
SYSTEM, UDEV = Path("/sys/class/block"), Path("/run/udev/data")
CLOCK_S = 2.0
"""What the times of FAT are counted in."""
FULL_BYTES = 1 << 20
"""A drive with less room than this takes not even a record."""

NONE_HERE = N_("No drive is plugged in, or none that this computer sees. Plug one in, or name its folder.")
STATES = {
    "ready": (N_("Ready"), ""),
    "read-only": (N_("Write-protected"), N_("Bundles can be brought in from it. Nothing can be written to it.")),
    "full": (N_("Full"), N_("Bundles can be brought in from it. Make room before anything is written to it.")),
    "unfinished": (N_("Not written to its end"),
                   N_("The writing of a bundle was cut off, or the drive was pulled before it was safely removed. Have "
                      "the bundle written again.")),
    "written": (N_("Not yet safely removed"),
                N_("A bundle was written to it since it was plugged in. Remove it safely in the file manager before it is pulled.")),
    "locked": (N_("Locked"), N_("It is encrypted. Unlock it in the file manager; it then appears by itself.")),
    "not-mounted": (N_("Not mounted"), N_("Open it in the file manager; it then appears by itself.")),
    "unreadable": (N_("Unreadable"),
                   N_("No file system is found on it that this computer can read, or the right to read it is missing.")),
    "gone": (N_("Removed"), N_("It stopped answering. Plug it in again; nothing is copied twice."))}
"""Word and next step of each state."""


@dataclass(frozen=True)
class Place:
    """A folder to look into, or a drive that cannot be looked into yet.

    Attributes:
        path: the mount point or folder; for a drive that is not mounted, its device.
        drive: whether it is a drive, and not a folder that was chosen.
        state: ready, read-only, full, unfinished (a bundle on it was not written to its end), written (one was, and the drive
            was not safely removed since), locked, not-mounted, unreadable (no file system that this computer knows, or no
            right to read) or gone (it stopped answering).
        free_bytes, total_bytes: None where they could not be read.
    """

    path: Path
    label: str
    drive: bool
    free_bytes: int | None = None
    total_bytes: int | None = None
    file_system: str = ""
    state: str = "ready"

    @property
    def readable(self) -> bool:
        """Whether there is something to look into."""
        return self.state in ("ready", "written", "read-only", "full", "unfinished")

    @property
    def writable(self) -> bool:
        """Whether a bundle may be written to it."""
        return self.state in ("ready", "written", "unfinished")

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells that another drive, or the same in another state, is there now; its free room does not."""
        return str(self.path), self.state, self.file_system, str(self.total_bytes), str(_changed_at(self.path))


def drives(system: Path = SYSTEM, udev: Path = UDEV) -> list[Place]:
    """Removable drives: those mounted below the usual places or called removable by the system, then those that are
    plugged in but not mounted."""
    found: dict[str, Place] = {}
    devices = set()
    for part in psutil.disk_partitions(all=False):
        options = part.opts.split(",")
        device = Path(part.device).name
        devices.add(device)
        usual = any(part.mountpoint == root or part.mountpoint.startswith(root + "/") for root in _REMOVABLE_ROOTS)
        disc = "cdrom" in options and bool(part.fstype)
        held = (system / device).exists() and _removable(system / device)
        if ("removable" in options or usual or disc or held) and part.mountpoint not in _NOT_MEDIA:
            found[part.mountpoint] = place(Path(part.mountpoint), drive=True, file_system=part.fstype,
                                           read_only="ro" in options, plugged_at=_plugged_at(system / device, udev))
    return sorted(found.values(), key=lambda entry: str(entry.path)) + unmounted(devices, system, udev)


def place(path: Path, *, drive: bool = False, file_system: str = "", read_only: bool = False, plugged_at: float | None = None) -> Place:
    """A place that is mounted, with its room and its state; ``plugged_at`` in seconds of the system's clock, where it is known."""
    label = path.name or str(path)
    try:
        room = psutil.disk_usage(str(path))
        with os.scandir(path) as entries:
            next(entries, None)
    except PermissionError:
        return Place(path, label, drive, None, None, file_system, "unreadable")
    except OSError:
        return Place(path, label, drive, None, None, file_system, "gone")
    free, total = (room.free, room.total) if room.total else (None, None)  # some file systems tell neither, and say nought for both
    state = "read-only" if read_only else "full" if drive and free is not None and free < FULL_BYTES else "ready"
    if plugged_at is not None and not read_only and _sealed_at(path) > plugged_at + CLOCK_S:
        state = "written"
    if _unfinished(path):
        state = "unfinished"
    return Place(path, label, drive, free, total, file_system, state)


def _bundle_folders(path: Path) -> Path:
    return path if path.name == layout.BUNDLES else path / layout.BUNDLES


def _plugged_at(device: Path, udev: Path) -> float | None:
    """When a device of Linux was plugged in: udev writes down what it found then."""
    with contextlib.suppress(OSError):
        return (udev / f"b{(device / 'dev').read_text().strip()}").stat().st_mtime
    return None


def _sealed_at(path: Path) -> float:
    """When the last bundle on a drive was written to its end; 0 where there is none."""
    times = [0.0]
    with contextlib.suppress(OSError), os.scandir(_bundle_folders(path)) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                times.append(os.lstat(os.path.join(entry.path, layout.SEALED)).st_mtime)
    return max(times)


def _unfinished(path: Path) -> bool:
    """Whether a bundle lies there whose writing was cut off: its seal is written last."""
    with contextlib.suppress(OSError), os.scandir(_bundle_folders(path)) as entries:
        return any(layout.BUNDLE_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                   and not os.path.lexists(os.path.join(entry.path, layout.SEALED)) for entry in entries)
    return False


def _changed_at(path: Path) -> int:
    with contextlib.suppress(OSError):
        return _bundle_folders(path).stat().st_mtime_ns
    return 0


def unmounted(mounted: set[str], system: Path = SYSTEM, udev: Path = UDEV) -> list[Place]:
    """Removable block devices of Linux that are in no mount table, by what udev found on them; empty elsewhere."""
    found = []
    with contextlib.suppress(OSError):
        for device in sorted(system.iterdir()):
            size = _number(device / "size") * 512
            if device.name in mounted or not size or not _removable(device) or _has_parts(device) or _held(device):
                continue
            told = _udev(udev, device)
            kind, label = told.get("ID_FS_TYPE", ""), told.get("ID_FS_LABEL", "") or told.get("ID_MODEL", "")
            state = "locked" if kind in _LOCKED else "not-mounted" if kind else "unreadable"
            found.append(Place(Path("/dev") / device.name, label or device.name, True, None, size, kind, state))
    return found


def _removable(device: Path) -> bool:
    whole = device.resolve()
    return _number(device / "removable") == 1 or _number(whole.parent / "removable") == 1 or "/usb" in str(whole)


def _has_parts(device: Path) -> bool:
    """Whether it is a whole disk whose partitions are listed apart."""
    return any((child / "partition").exists() for child in device.iterdir())


def _held(device: Path) -> bool:
    """Whether something stands on it already, such as an unlocked container that is listed by its own name."""
    holders = device / "holders"
    return holders.is_dir() and any(holders.iterdir())


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _udev(udev: Path, device: Path) -> dict[str, str]:
    with contextlib.suppress(OSError):
        number = (device / "dev").read_text().strip()
        lines = (udev / f"b{number}").read_text(errors="replace").splitlines()
        return dict(line[2:].split("=", 1) for line in lines if line.startswith("E:") and "=" in line)
    return {}


def survey(chosen: Sequence[str]) -> list[Place]:
    """All drives, and the folders in ``chosen`` that lie on none of their roots."""
    known = drives()
    roots = {str(entry.path) for entry in known}
    return known + [place(Path(path)) for path in chosen if path not in roots]
