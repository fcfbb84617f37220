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


def parsed(name: str, text: str):
    return BY_ID[name].parse(text)


def test_offsets_of_every_time_service() -> None:
    near = parsed("time.sync", "now=1795770338.841\nup=500.25\nconsole=1795770330.5\nconsole_up=499.25\nNTP=yes\nNTPSynchronized=yes\n"
                  "timesync.Server: 10.0.0.1 (ntp.lab)\ntimesync.Stratum: 2\ntimesync.Offset: -1min 2.5s\n")  # fmt: skip
    assert near["console_offset_s"] == 7.3 and near["epoch_s"] == 1795770338.841
    assert (near["offset_s"], near["stratum"], near["source"]) == (-62.5, 2, "10.0.0.1 (ntp.lab)")
    assert parsed("time.sync", "now=1\ntimesync.Offset: +812us\n")["offset_s"] == 0.000812
    assert parsed("time.sync", "now=1\nntpq=offset=-0.125, stratum=3, refid=10.0.0.2 \n")["offset_s"] == -0.000125
    bare = parsed("time.sync", "now=1\nup=\nconsole=2\nconsole_up=\nntpq= \n")
    assert "console_offset_s" not in bare and "offset_s" not in bare


def test_routes_of_both_families_and_of_other_tables() -> None:
    six = parsed("network.routes6", "".join(line + "\n" for line in (
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000002 00000000 00000003     eth0",
        "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0",
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo")))
    assert [(r["destination"], r["prefix"], r["gateway"], r["default"]) for r in six] == [("::", 0, "fe80::1", True), ("fd00::", 64, "::", False)]
    assert parsed("network.routes6", "") == []
    with pytest.raises(InputError):
        parsed("network.routes6", "zz 00\n")
    tables = parsed("network.routes-tables", "default via 10.1.0.1 dev eth1 table 101 \n10.1.0.0/24 dev eth1 table roce scope link \n"
                    "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.5 \nlocal 10.0.0.5 dev eth0 table local proto kernel \n"
                    "default table 102 \n\tnexthop via 10.2.0.1 dev eth2 weight 1 \nunreachable default table 103 metric 1 \n")  # fmt: skip
    assert [(r["table"], r["destination"], r["prefix"], r["gateway"], r["default"]) for r in tables] == [
        ("101", "0.0.0.0", 0, "10.1.0.1", True), ("roce", "10.1.0.0", 24, None, False), ("102", "0.0.0.0", 0, None, True)]


STORE = """store=/data/sealift
folder=/data
there=no
writable=yes

Filesystem     1024-blocks      Used Available Capacity Mounted on
/dev/nvme0n1p1  14985691136 123456 14985567680       1% /data

Filesystem        Inodes IUsed      IFree IUse% Mounted on
/dev/nvme0n1p1 749312000    12  749311988    1% /data
"""


def test_where_models_go() -> None:
    found = parsed("disk.store", STORE)
    assert (found["store"], found["folder"], found["there"], found["writable"], found["mount"]) == ("/data/sealift", "/data", False, True, "/data")
    assert (found["free_bytes"], found["inodes_free"]) == (14985567680 * 1024, 749311988)
    assert parsed("disk.store", STORE.rpartition("\n\n")[0] + "\n")["inodes"] is None
    with pytest.raises(InputError):
        parsed("disk.store", "store=/data\n\n")


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
@pytest.mark.parametrize(("store", "there"), [("~/models/sealift", False), ("{home}/link/models", True), ("/no/such/place", False)])
def test_where_models_go_is_asked_through_links_and_missing_folders(tmp_path, store: str, there: bool) -> None:
    (tmp_path / "disk" / "models").mkdir(parents=True)
    (tmp_path / "link").symlink_to("disk")
    done = subprocess.run(BY_ID["disk.store"].argv, capture_output=True, text=True, env={
        "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SEALIFT_STORE": store.format(home=tmp_path)})
    found = parsed("disk.store", done.stdout)
    assert found["there"] is there and found["store"] == store.format(home=tmp_path).replace("~", str(tmp_path))
    assert found["folder"] == (str(tmp_path / "disk" / "models") if there else "/" if store.startswith("/") else str(tmp_path))


def test_huge_pages_machine_and_controllers() -> None:
    pages = parsed("memory.hugepages", "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages=16\n"
                   "/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages=10\n/sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages=16\n"
                   "/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages=0\n")  # fmt: skip
    assert pages == [{"size_kib": 1048576, "node": None, "total": 16, "free": 10}, {"size_kib": 1048576, "node": 1, "total": 16, "free": None}]
    assert parsed("os.machine", "sys_vendor=Huawei\nproduct_name=Atlas 800T A2\nbios_version=3.15\nboard_name=\nmodel=other\n") == {
        "maker": "Huawei", "product": "Atlas 800T A2", "firmware_version": "3.15"}
    disks = BY_ID["disk.controllers"].parse(
        "0000:03:00.0 RAID bus controller [0104]: Broadcom / LSI MegaRAID 12GSAS/PCIe Secure SAS39xx [1000:10e2] (rev 01)\n"
        "0000:5a:00.0 3D controller [0302]: NVIDIA Corporation GH100 [10de:2330] (rev a1)\n"
        "0000:e3:00.0 Non-Volatile memory controller [0108]: Samsung PM9A3 [144d:a80a] (prog-if 02 [NVM Express])\n")  # fmt: skip
    assert [(d["kind"], d["name"]) for d in disks] == [("raid", "Broadcom / LSI MegaRAID 12GSAS/PCIe Secure SAS39xx"), ("nvme", "Samsung PM9A3")]


def test_what_sudo_allows() -> None:
    told = "Matching Defaults entries for ops on s1:\n    env_reset, secure_path=/usr/sbin\\:/usr/bin\n\nUser ops may run the following commands on s1:\n"
    assert parsed("sudo.allowed", told + "    (ALL : ALL) ALL\n")["everything"] is True
    some = parsed("sudo.allowed", told + "    (root) NOPASSWD: /usr/bin/systemctl restart vllm\n")
    assert some == {"everything": False, "rules": ["(root) NOPASSWD: /usr/bin/systemctl restart vllm"]}
    assert parsed("sudo.allowed", "(root) ALL\n")["everything"] is True
    with pytest.raises(InputError):
        parsed("sudo.allowed", "User ops is not allowed to run sudo on s1.\n")


def test_images_of_serving_frameworks() -> None:
    text = "docker|vllm/vllm-openai:v0.10.0\ndocker|postgres:16\ndocker|<none>:<none>\nrunning|vllm/vllm-openai:v0.10.0|r1\npodman|quay.io/ascend/vllm-ascend:v0.9\n"
    assert [image["name"] for image in parsed("containers.images", text)] == ["vllm/vllm-openai:v0.10.0", "postgres:16", "quay.io/ascend/vllm-ascend:v0.9"]
    found = BY_ID["frameworks.images"].parse(text)
    assert [(image["engine"], image["containers"]) for image in found] == [("docker", ["r1"]), ("podman", [])]
    assert parsed("frameworks.found", "python|vllm|0.10.0|/opt/x/bin/python3\nprogram|ollama|\n")[0] == {
        "kind": "python", "name": "vllm", "version": "0.10.0", "where": "/opt/x/bin/python3"}


def test_firmware_of_network_adapters() -> None:
    assert parsed("network.rdma", "mlx5_0|1|4: ACTIVE|5: LinkUp|400 Gb/sec (4X NDR)|Ethernet|28.43.2026|MT4129\n")[0] == {
        "device": "mlx5_0", "port": 1, "state": "ACTIVE", "physical_state": "LinkUp", "rate_gbit_per_s": 400.0, "link_layer": "Ethernet",
        "firmware_version": "28.43.2026", "type": "MT4129"}


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
