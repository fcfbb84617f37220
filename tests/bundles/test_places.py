"""States of drives that Linux tells of: a drive on USB wherever it is mounted, and one that was written to and not safely removed."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from console.bundles import drives, layout

Part = namedtuple("Part", "device mountpoint fstype opts")


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """A drive of USB that says it is not removable, mounted in an unusual place; its mount point, the system's folders."""
    system, udev, mount = tmp_path / "block", tmp_path / "udev", tmp_path / "data"
    real = tmp_path / "devices" / "usb1" / "sdq" / "sdq1"
    for folder in (system, udev, mount, real):
        folder.mkdir(parents=True)
    (system / "sdq1").symlink_to(real)
    (real / "dev").write_text("65:1\n")
    (real / "size").write_text("2048\n")
    (udev / "b65:1").write_text("E:ID_FS_TYPE=vfat\n")
    os.utime(udev / "b65:1", (1_000_000, 1_000_000))
    options = ["rw"]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [Part("/dev/sdq1", str(mount), "vfat", ",".join(options))])
    return mount, system, udev, options


def state(linux) -> list[str]:
    _, system, udev, _ = linux
    return [place.state for place in drives.drives(system, udev)]


def seal(mount: Path, at: float) -> Path:
    folder = mount / layout.BUNDLES / ("0" * 32)
    folder.mkdir(parents=True)
    (folder / layout.SEALED).write_bytes(b"")
    os.utime(folder / layout.SEALED, (at, at))
    return folder


def test_a_drive_on_usb_is_found_wherever_it_is_mounted(linux):
    assert state(linux) == ["ready"]


def test_a_disk_that_is_built_in_is_not(linux, tmp_path, monkeypatch):
    _, system, _, _ = linux
    (system / "sdq1").unlink()
    (system / "sdq1").mkdir()
    assert state(linux) == []


@pytest.mark.parametrize(("sealed_at", "options", "expected"), [
    (1_000_100, "rw", "written"), (999_000, "rw", "ready"), (1_000_001, "rw", "ready"), (1_000_100, "ro", "read-only")])
def test_what_was_written_since_it_was_plugged_in_has_to_be_removed_safely(linux, sealed_at, options, expected):
    linux[3][:] = [options]
    seal(linux[0], sealed_at)
    assert state(linux) == [expected]
    found = drives.drives(linux[1], linux[2])[0]
    assert found.readable and found.writable == (options == "rw") and bool(drives.STATES[found.state][1]) == (expected != "ready")


def test_one_that_was_not_written_to_its_end_is_told_first(linux):
    (seal(linux[0], 1_000_100) / layout.SEALED).unlink()
    assert state(linux) == ["unfinished"]


def test_a_file_system_that_does_not_tell_its_room_is_not_full(linux, monkeypatch):
    monkeypatch.setattr(psutil, "disk_usage", lambda path: type("Room", (), {"free": 0, "total": 0})())
    found = drives.drives(linux[1], linux[2])[0]
    assert (found.state, found.free_bytes, found.total_bytes) == ("ready", None, None)
