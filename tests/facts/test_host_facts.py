"""Facts of a host, from recordings, and asked of this machine."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from console import facts
from console.errors import InputError
from console.facts.fact import QUIET

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
    both = BY_ID["disk.free"].parse((HOST / "disk.free.txt").read_text() + "\n" + (HOST / "disk.inodes.txt").read_text())
    assert both == read("disk.free")
    busybox = ("Filesystem           1024-blocks    Used Available Capacity Mounted on\n/dev/vda 1000 400 600 40% /\n\n"
               "Filesystem              Inodes      Used Available Use% Mounted on\n/dev/vda 77 7 70 9% /\n")
    [space], [inodes] = BY_ID["disk.free"].parse(busybox), BY_ID["disk.inodes"].parse(busybox)
    assert (space["size_bytes"], space["free_bytes"]) == (1024000, 614400) and (inodes["inodes"], inodes["inodes_free"]) == (77, 70)
    gnu = ("Filesystem              1K-blocks     Used    Avail   Inodes  IUsed    IFree Mounted on\n"
           "/dev/my disk           264212084 23521720 82869192 16777216 425419 16351797 /\nfuse 4 - 4 - - - /mnt/a b\n")
    assert BY_ID["disk.free"].parse(gnu) == [
        {"source": "/dev/my disk", "size_bytes": 264212084 << 10, "used_bytes": 23521720 << 10, "free_bytes": 82869192 << 10, "mount": "/"},
        {"source": "fuse", "size_bytes": 4096, "used_bytes": None, "free_bytes": 4096, "mount": "/mnt/a b"}]
    assert [(e["inodes"], e["inodes_free"], e["mount"]) for e in BY_ID["disk.inodes"].parse(gnu)] == [
        (16777216, 16351797, "/"), (None, None, "/mnt/a b")]
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
    tables = parsed("network.routes-tables", "2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0\\       valid_lft forever\n"
                    "default via 10.1.0.1 dev eth1 table 101 \n10.1.0.0/24 dev eth1 table roce scope link \n"
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
    pages = parsed("memory.hugepages", "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages:16\n"
                   "/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages:10\n/sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages:16\n"
                   "/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages:0\n")  # fmt: skip
    assert pages == [{"size_kib": 1048576, "node": None, "total": 16, "free": 10}, {"size_kib": 1048576, "node": 1, "total": 16, "free": None}]
    dmi = "/sys/class/dmi/id"
    assert parsed("os.machine", f"{dmi}/sys_vendor:Huawei\n{dmi}/product_name:Atlas 800T A2\n{dmi}/bios_version:3.15\n{dmi}/board_name:\n"
                  "/proc/device-tree/model:other\x00\n") == {
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
    found = parsed("frameworks.found", "package|vllm-0.10.0.dist-info|/opt/x/bin/python3\npackage|vllm-0.9.dist-info|/opt/x/bin/python3\n"
                   "package|Torch_NPU-2.5.1-py3.11.egg-info|/usr/bin/python3\npackage|vllmlike-1.0.dist-info|/usr/bin/python3\nprogram|ollama|\n")  # fmt: skip
    assert found == [{"kind": "python", "name": "vllm", "version": "0.10.0", "where": "/opt/x/bin/python3"},
                     {"kind": "python", "name": "torch-npu", "version": "2.5.1", "where": "/usr/bin/python3"},
                     {"kind": "program", "name": "ollama", "version": None, "where": None}]


def test_firmware_of_network_adapters() -> None:
    port, own = "/sys/class/infiniband/mlx5_0/ports/1", "/sys/class/infiniband/mlx5_0"
    assert parsed("network.rdma", f"{port}/state:4: ACTIVE\n{port}/phys_state:5: LinkUp\n{port}/rate:400 Gb/sec (4X NDR)\n{port}/link_layer:Ethernet\n"
                  f"{own}/fw_ver:28.43.2026\n{own}/hca_type:MT4129\n")[0] == {
        "device": "mlx5_0", "port": 1, "state": "ACTIVE", "physical_state": "LinkUp", "rate_gbit_per_s": 400.0, "link_layer": "Ethernet",
        "firmware_version": "28.43.2026", "type": "MT4129"}


@pytest.mark.parametrize(("said", "kind"), [
    ("Container: docker\nArchitecture: x86_64\nHypervisor vendor: KVM\n", "docker"), ("Architecture: x86_64\nHypervisor vendor: KVM\n", "kvm"),
    ("Architecture: x86_64\nHypervisor vendor: Microsoft\n", "microsoft"), ("Architecture: x86_64\nHypervisor vendor: Unheard-of\n", "vm-other"),
    ("Architecture: x86_64\nFlags: fpu hypervisor lahf_lm\n", "vm-other"), ("Architecture: x86_64\nFlags: fpu lahf_lm\n", "none"),
    ("Held by: none\nArchitecture: aarch64\nFlags: fp asimd\n", "none"), ("Held by: qemu\nArchitecture: aarch64\n", "qemu"),
    ("Architecture: aarch64\nFlags: fp asimd\n", None), ("Hypervisor: xen\nArchitecture: x86_64\n", "xen")])  # fmt: skip
def test_what_holds_the_server(said: str, kind: str | None) -> None:
    assert parsed("os.virtualization", said) == kind
    assert parsed("os.arch", said) == said.partition("Architecture: ")[2].split()[0]


def test_block_devices_and_what_they_lie_on() -> None:
    def lines(name: str, **said) -> str:
        return "".join(f"/sys/class/block/{name}/{key.replace('__', '/')}:{value}\n" for key, value in said.items())

    found = parsed("disk.blocks", lines("sda", size=2048, queue__rotational=1, device__model="ST4000  ", device__type=0) + lines("sda1", size=1024, partition=1)
                   + lines("nvme0n1", size=4096, queue__rotational=0, device__model="SAMSUNG") + lines("nvme0n1p12", size=8, partition=12)
                   + lines("dm-0", size=512, dm__uuid="LVM-abc", slaves__sda1__size=1024) + lines("md0", size=16, md__level="raid1", slaves__sdb__size=2)
                   + lines("sr0", size=2, device__type=5) + lines("loop0", size=0) + lines("loop1", size=8) + lines("ram0", size=8)
                   + lines("cciss!c0d0", size=8) + lines("cciss!c0d0p1", size=4, partition=1))  # fmt: skip
    assert [(d["name"], d["type"], d["size_bytes"], d["parent"]) for d in found] == [
        ("sda", "disk", 1 << 20, None), ("sda1", "part", 1 << 19, "sda"), ("nvme0n1", "disk", 2 << 20, None), ("nvme0n1p12", "part", 4096, "nvme0n1"),
        ("dm-0", "lvm", 1 << 18, "sda1"), ("md0", "raid1", 8192, "sdb"), ("sr0", "rom", 1024, None), ("loop1", "loop", 4096, None),
        ("cciss/c0d0", "disk", 4096, None), ("cciss/c0d0p1", "part", 2048, "cciss/c0d0")]  # fmt: skip
    assert [(d["model"], d["rotational"]) for d in found[:4]] == [("ST4000", True), (None, True), ("SAMSUNG", False), (None, False)]


def test_listening_sockets_with_their_state_and_without() -> None:
    rows = "0      128    127.0.0.53%lo:53      0.0.0.0:*\n0      4096   [::]:22   [::]:*\n"
    wanted = [{"address": "127.0.0.53", "port": 53, "everywhere": False}, {"address": "::", "port": 22, "everywhere": True}]
    assert parsed("net.listening", "Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n" + rows) == wanted
    stated = "State  Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n"
    assert parsed("net.listening", stated + "".join(f"LISTEN {row}\n" for row in rows.splitlines())) == wanted
    for wrong in (stated + rows, stated + rows.replace("0 ", "ESTAB 0 ")):
        with pytest.raises(InputError, match="not a listening socket"):
            parsed("net.listening", wrong)


def test_listening_sockets_of_the_kernels_tables() -> None:
    rows = ("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
            "   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
            "   1: 0502000A:0016 0602000A:D431 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
            "   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1\n"
            "   1: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1\n")
    assert parsed("net.listening", rows) == [
        {"address": "127.0.0.1", "port": 3306, "everywhere": False}, {"address": "::", "port": 22, "everywhere": True},
        {"address": "::ffff:127.0.0.1", "port": 8080, "everywhere": False}]  # fmt: skip


def test_a_client_without_its_daemon_is_told_apart() -> None:
    assert parsed("containers.engines", "docker||no daemon\npodman|podman version 5.0.3\n") == [
        {"name": "docker", "version": None, "daemon": False}, {"name": "podman", "version": "5.0.3", "daemon": True}]


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
@pytest.mark.parametrize(("there", "hung", "version", "daemon"), [(True, "", "28.1.0", True), (False, "", None, False), (True, "docker", None, True)])
def test_docker_is_asked_only_where_a_daemon_may_answer(tmp_path, there: bool, hung: str, version: str | None, daemon: bool) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho called >>{tmp_path}/log\necho Docker version 28.1.0, build abc\n")
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text("{}") if there else None
    done = subprocess.run(BY_ID["containers.engines"].argv, capture_output=True, text=True,
                          env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "hung": hung})  # fmt: skip
    if Path("/var/run/docker.sock").exists() or Path("/run/docker.sock").exists():
        pytest.skip("this machine has a daemon of its own")
    found = [entry for entry in parsed("containers.engines", done.stdout) if entry["name"] == "docker"]
    assert found == [{"name": "docker", "version": version, "daemon": daemon}] and (tmp_path / "log").exists() is bool(version)


def test_groups_of_a_directory_may_have_blanks() -> None:
    found = parsed("sudo.rights", "id=uid=1200(ada) gid=1200(domain users) groups=1200(domain users),27(sudo),4000 context=unconfined_u:unconfined_r\nsudo=absent\n")
    assert (found["user"], found["groups"], found["sudo"]) == ("ada", ["domain users", "sudo", "4000"], "absent")
    assert parsed("sudo.rights", "id=uid=0(root) gid=0(root)\nsudo=absent\n")["groups"] == ["root"]
    with pytest.raises(InputError):
        parsed("sudo.rights", "sudo=absent\n")


def test_scripts_leave_the_shell_as_it_was() -> None:
    """They are run by the shell of the whole inventory: what ends that one, or leads it elsewhere, would cost every other fact."""
    from console.servers.gather import known_facts

    scripts = {fact.id: re.sub(r"'[^']*'", "", fact.argv[2]) for fact in known_facts() if fact.inline}
    assert scripts and not {id for id, text in scripts.items() if re.search(r"(?:^|[;{]|then|else|do|&&|\|\|)\s*(?:exit|exec|cd|set -[a-z])\b", text, re.MULTILINE)}


def test_quiet_scripts_tell_their_beginning_ahead_of_what_takes_time() -> None:
    """Else what hangs in one would be taken for another fact's fault."""
    from console.servers.gather import known_facts

    takes_time = re.compile(r"\$limit|\$\((?!exit)|\b(?:cat|grep|sed|ls|date|lscpu) ")
    for fact in known_facts():
        if fact.quiet:
            script = fact.argv[2].removeprefix(QUIET[0]).removesuffix(QUIET[1])
            first = takes_time.search(re.sub(r"(?m)^#.*", "", script))
            assert first is None or "$flush" in script[: first.start()] or "command -v" in script[first.start() : first.start() + 20], fact.id


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
def test_packages_are_found_where_each_interpreter_looks(tmp_path) -> None:
    version = ".".join(map(str, sys.version_info[:2]))
    for name, base, packages in (("venv", sys.base_prefix, ("vllm-0.9.1.dist-info", "other-1.dist-info")), ("alone", "", ("Torch-2.5.1.egg-info",))):
        place = tmp_path / "home" / name
        folder = place / "lib" / f"python{version}" / "site-packages"
        folder.mkdir(parents=True)
        for package in packages:
            (folder / package).mkdir()
        (place / "bin").mkdir()
        (place / "bin" / "python3").write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
        (place / "bin" / "python3").chmod(0o755)
        if base:
            (place / "pyvenv.cfg").write_text(f"home = {base}/bin\nversion = {version}\n")
    done = subprocess.run(BY_ID["python.versions"].argv, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home")})
    found = {(e["where"] or "").removeprefix(f"{tmp_path}/home/"): (e["name"], e["version"]) for e in BY_ID["frameworks.found"].parse(done.stdout)}
    assert (found["venv/bin/python3"], found["alone/bin/python3"]) == (("vllm", "0.9.1"), ("torch", "2.5.1")), done
    versions = {e["path"]: e for e in BY_ID["python.versions"].parse(done.stdout)}
    own = versions[f"{tmp_path}/home/venv/bin/python3"]
    assert own["version"].startswith(version) and own["venv"] is (importlib.util.find_spec("ensurepip") is not None)


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
    if shutil.which(fact.needs or fact.argv[0]) is None:
        pytest.skip(f"{fact.argv[0]} is not there")
    done = subprocess.run(fact.argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    if done.stdout.strip():
        try:
            fact.parse(done.stdout)
        except InputError as problem:
            assert fact.id == "containers.docker", problem


@pytest.mark.parametrize(("does", "asked"), [("exec sleep 30", ["show"]), ("exit 1", ["show", "status"]), ("echo NTPSynchronized=yes", ["show"])])
def test_a_time_service_that_hangs_is_asked_once_and_one_too_old_for_the_question_in_other_words(tmp_path, does: str, asked: list[str]) -> None:
    (tmp_path / "timedatectl").write_text(f"#!/bin/sh\n[ $1 = timesync-status ] || echo $1 >>{tmp_path}/log\n{does}\n")
    (tmp_path / "timedatectl").chmod(0o755)
    shell, option, script = BY_ID["time.sync"].argv
    done = subprocess.run([shell, option, script.replace("/run/systemd/system", str(tmp_path))], capture_output=True, text=True,
                          env={"PATH": f"{tmp_path}:/usr/bin:/bin", "limit": "timeout 0.2"})  # fmt: skip
    assert (tmp_path / "log").read_text().split() == asked
    found = BY_ID["time.sync"].parse(done.stdout)
    assert found["synchronized"] is (True if "yes" in does else None) and found["epoch_s"]


_XIDS = "".join(f"4,{n},{n}000001,-;NVRM: Xid (PCI:0000:9b:00): {n}, pid=1\n SUBSYSTEM=pci Xid (PCI:0000:00:00): 1\n" for n in range(1, 500))


@pytest.mark.parametrize(("records", "ends", "printed", "wanted", "code"), [
    ("6,1,0,-;Linux\n4,2,3000042,-;NVRM: Xid (PCI:0000:9b:00): 79, name=a;b\n", "Resource temporarily unavailable", "no",
     "[    3.000042] NVRM: Xid (PCI:0000:9b:00): 79, name=a;b\n", 0),
    (_XIDS, "Resource temporarily unavailable", "no", "".join(f"[{n:5}.000001] NVRM: Xid (PCI:0000:9b:00): {n}, pid=1\n" for n in range(100, 500)), 0),
    ("4,2,3000042,-;NVRM: Xid (PCI:0000:9b:00): 79\n", "Broken pipe", "[    9.1] Out of memory: Killed", "[    9.1] Out of memory: Killed\n", 0),
    ("", "Operation not permitted", "[    9.1] amdgpu: GPU reset begin!", "[    9.1] amdgpu: GPU reset begin!\n", 0),
    ("", "No such file or directory", None, "", 1),
    ("6,1,0,-;Linux\n", "Resource temporarily unavailable", "amdgpu: GPU reset begin!", "", 0),
    ("", "Resource temporarily unavailable", "[    9.1] amdgpu: GPU reset begin!", "[    9.1] amdgpu: GPU reset begin!\n", 0),
    ("", "Resource temporarily unavailable", None, "", 1),
    ("a terminal\n", "Resource temporarily unavailable", "no", "", 1),
], ids=["read", "the newest", "overwritten", "not allowed", "not even dmesg", "nothing bad", "no record", "no record and no dmesg", "no records of a kernel"])
@pytest.mark.parametrize("shell", ["sh", "bash", "busybox"])
def test_the_kernel_log_is_read_from_its_records_or_else_from_dmesg(tmp_path, shell, records, ends, printed, wanted, code) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    (tmp_path / "records").write_text(records)
    counted = f"0+{len(records.splitlines())} records in"
    (tmp_path / "dd").write_text(f"#!/bin/sh\necho \"dd: error reading '/dev/kmsg': {ends}\" >&2\ncat {tmp_path}/records\necho {counted} >&2\nexit 1\n")
    (tmp_path / "dmesg").write_text(f"#!/bin/sh\necho '{printed}'\n" if printed else "#!/bin/sh\nexit 1\n")
    for name in ("dd", "dmesg"):
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([*(("busybox", "sh") if shell == "busybox" else (shell,)), "-c", BY_ID["kernel.log"].argv[2]], capture_output=True, text=True,
                          env={"PATH": f"{tmp_path}:/usr/bin:/bin"})  # fmt: skip
    assert (done.stdout, done.returncode) == (wanted, code)
