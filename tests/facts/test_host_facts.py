"""Facts of a host, from recordings, and asked of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from console import facts
from console.errors import InputError

HOST = Path(__file__).resolve().parents[1] / "fixtures" / "servers" / "h200-x8"
ARM = HOST.parent / "ascend-910b3-x8"
BY_ID = {fact.id: fact for fact in facts.all_facts()}


def read(name: str, folder: Path = HOST):
    return BY_ID[name].parse((folder / f"{name}.txt").read_text(encoding="utf-8"))


def test_system_and_processors() -> None:
    assert read("os.release") == {"os_id": "ubuntu", "os_version_id": "22.04", "os_pretty_name": "Ubuntu 22.04.5 LTS",
                                  "os_id_like": ["debian"]}
    assert read("os.release", ARM)["os_id"] == "openEuler"
    assert read("cpu.info")["model_name"] == "Intel(R) Xeon(R) Platinum 8468"


def test_processors_in_chinese() -> None:
    assert read("cpu.info", ARM) == {"architecture": "aarch64", "cpu_count": 192, "sockets": 4, "cores_per_socket": 48,
                                     "threads_per_core": 1, "numa_nodes": 8, "model_name": "Kunpeng-920",
                                     "vendor_id": "HiSilicon"}


def test_memory_and_disks() -> None:
    assert read("memory.info")["mem_available_kib"] == 2090112344
    data = next(entry for entry in read("disk.free") if entry["mount"] == "/data")
    assert data["free_bytes"] == 13794024960 * 1024
    assert [entry["inodes_free"] for entry in read("disk.inodes")] == [58305112, 1499897044, None]
    assert read("disk.raid") == [{"name": "md0", "state": "active", "level": "raid1", "failed": False, "devices": 2,
                                  "active": 2}]


def test_network() -> None:
    up = next(link for link in read("network.links") if link["name"] == "ens1f0np0")
    assert (up["speed_mbit_per_s"], up["mtu"], up["driver"]) == (25000, 1500, "mlx5_core")
    assert read("network.links")[2]["speed_mbit_per_s"] is None
    assert read("network.rdma")[0]["rate_gbit_per_s"] == 400.0
    assert read("network.addresses")[1]["address"] == "192.0.2.11"
    route = read("network.routes")[0]
    assert (route["default"], route["gateway"], route["destination"]) == (True, "192.0.2.1", "0.0.0.0")
    assert [entry["port"] for entry in read("net.listening") if entry["everywhere"]] == [22, 22]


def test_time_limits_rights_and_containers() -> None:
    assert read("time.sync")["synchronized"] is True and read("time.sync")["offset_s"] == 0.000012318
    assert read("limits")["locked_memory_bytes"]["soft"] == "unlimited"
    assert read("sudo.rights")["sudo"] == "nopasswd"
    assert read("containers.docker")["runtimes"] == ["io.containerd.runc.v2", "nvidia", "runc"]
    log = read("kernel.log")
    assert log["xids"] == [{"bus_id": "0000:9b:00", "code": 94}] and log["counts"]["out_of_memory"] == 1


def test_unsynchronised_and_untold_differ() -> None:
    parse = BY_ID["time.sync"].parse
    assert parse("now=1\nNTPSynchronized=no\n")["synchronized"] is False
    assert parse("now=1\n")["synchronized"] is None


@pytest.mark.parametrize("name", ["cpu.info", "memory.info", "network.routes", "net.listening", "limits", "disk.free",
                                  "os.release"])
def test_unknown_layout_names_its_line(name: str) -> None:
    with pytest.raises(InputError) as problem:
        BY_ID[name].parse("header\nsomething else altogether\n")
    assert problem.value.params["line"] >= 1


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
@pytest.mark.parametrize("fact", [f for f in facts.all_facts() if not f.needs_root], ids=lambda f: f.id)
def test_this_machine_can_be_asked(fact) -> None:
    """Each command runs, and its parser reads whatever this machine says."""
    if shutil.which(fact.argv[0]) is None:
        pytest.skip(f"{fact.argv[0]} is not there")
    done = subprocess.run(fact.argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    if done.stdout.strip():
        try:
            fact.parse(done.stdout)
        except InputError as problem:
            assert fact.id == "containers.docker", problem
