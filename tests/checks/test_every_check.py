"""Every check judges well, badly and not at all: by recorded servers, and by what was changed in them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from console import accelerators, facts
from console.catalog.catalog import Catalog, built_in
from console.checks.check import Plan, Site, Verdict, all_checks, judge_all, judge_one
from console.checks.plans import group
from console.i18n import N_
from console.sizing.ask import by_name

SERVERS = Path(__file__).resolve().parents[1] / "fixtures" / "servers"
PARSERS = {f.id: f for f in (*facts.all_facts(), *(f for v in accelerators.vendors() for f in v.facts))}
CHECKS = {item.id: item for item in all_checks()}


def answer(id: str, value: Any) -> SimpleNamespace:
    return SimpleNamespace(id=id, state="value" if value not in (None, [], {}) else "empty", value=value, reason=None)


HOST = {
    "os.arch": "x86_64", "os.release": {"os_id": "openEuler", "os_version_id": "22.03", "os_pretty_name": "openEuler 22.03 (LTS-SP4)", "os_id_like": []},
    "memory.info": {"mem_total_kib": 2 << 30, "mem_available_kib": 1 << 30, "swap_total_kib": 0, "swap_free_kib": 0},
    "disk.store": {"store": "/data/sealift", "there": False, "folder": "/data", "writable": True, "source": "/dev/sda", "mount": "/data",
                   "size_bytes": 8 << 40, "used_bytes": 1 << 40, "free_bytes": 7 << 40, "inodes": 10**9, "inodes_free": 10**9 - 10},
    "disk.raid": [{"name": "md0", "state": "active", "devices": 2, "active": 2, "failed": False}],
    "kernel.settings": {"numa_balancing": "0", "clocksource": "tsc", "cmdline": "ro iommu=pt"}, "kernel.modules": ["nvidia", "nvidia_uvm"],
    "kernel.log": {"xids": [], "xid_line_count": 0, "counts": {"machine_check": 0}}, "env.proxies": [], "network.routes": [], "network.routes6": [], "network.routes-tables": [],
    "limits": {"open_files": {"soft": 1024, "hard": 1048576}, "locked_memory_bytes": {"soft": "unlimited", "hard": "unlimited"}},
    "time.sync": {"synchronized": True, "epoch_s": 1795000000}, "net.listening": [{"address": "127.0.0.1", "port": 22, "everywhere": False}],
    "containers.engines": [{"name": "podman", "version": "5.0.0"}], "python.versions": [{"path": "/usr/bin/python3", "version": "3.11.2", "venv": True}],
    "init.system": {"init": "systemd", "services": {}}, "sudo.rights": {"uid": 1000, "user": "ops", "groups": ["video", "render"], "sudo": "nopasswd"},
    "nvidia.module": "580.95.05", "nvidia.fabric-manager": "Fabric Manager version is : 580.95.05", "amd.rocm-version": "7.0.2",
    "ascend.nodes": [{"path": p, "mode": "crw", "owner": "root", "group": "HwHiAiUser"} for p in
                     (*(f"/dev/davinci{n}" for n in range(8)), "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")]}


def recorded(name: str) -> dict[str, Any]:
    """The facts of a recorded server, with those of a well-kept host where the recording has none."""
    told = {file.stem: PARSERS[file.stem].parse(file.read_text(encoding="utf-8")) for file in (SERVERS / name).glob("*.txt")}
    own = {key: value for key, value in told.items() if key.split(".")[0] in ("nvidia", "ascend", "amd", "lspci")}
    return copy.deepcopy({key: value for key, value in HOST.items() if key not in own} | own)


def site_of(values: dict[str, Any], plan: Plan, **more: Any) -> Site:
    told = {key: answer(key, value) for key, value in values.items()}
    return Site(tuple(d for vendor in accelerators.vendors() for d in vendor.devices(told)), plan, **more)


def nvidia() -> dict[str, Any]:
    values = recorded("h200-x8")
    values["nvidia.query"]["driver_version"] = "580.95.05"
    for device in values["nvidia.query"]["devices"]:
        device |= {"compute_mode": "Default", "persistence_mode": "Enabled", "fabric_state": "Completed", "fabric_status": "Success", "slowdown_reasons": []}
    return values


def ascend() -> dict[str, Any]:
    values = recorded("ascend-910b3-x8")
    for number, port in enumerate(values["ascend.network"].values()):
        port |= {"ip": f"10.0.0.{number}", "link": "UP", "net_health": "Success", "tls": False}
    return values


def amd() -> dict[str, Any]:
    return recorded("mi325x-x8")


def smoke(values: dict[str, Any]) -> dict[str, Any]:
    return values


Change = Callable[[dict[str, Any]], Any]


def put(key: str, value: Any) -> Change:
    return lambda values: values.__setitem__(key, value)


def put_in(key: str, **fields: Any) -> Change:
    return lambda values: values[key].update(fields)


def each(**fields: Any) -> Change:
    return lambda values: [device.update(fields) for device in values["nvidia.query"]["devices"]]


def first(**fields: Any) -> Change:
    return lambda values: values["nvidia.query"]["devices"][0].update(fields)


def ports(**fields: Any) -> Change:
    return lambda values: next(iter(values["ascend.network"].values())).update(fields)


def amd_links(values: dict[str, Any]) -> None:
    values["amd.topology"][0][1] = "PCIE"


NO = Plan()
R1 = Plan(weights_bytes=688 * 10**9, precision="fp8", arch=("x86_64",), accelerator="nvidia", devices=8, engine="container", port=8000, framework="vllm",
          ask=lambda name, count, memory: by_name(built_in(), "DeepSeek-R1", name, count, memory_bytes=memory))
W8A8 = replace(R1, precision="int8", accelerator="ascend", framework="vllm-ascend",
               ask=lambda name, count, memory: by_name(built_in(), "DeepSeek-R1", name, count, precision="w8a8", nodes=2))
SMOKE = Plan(weights_bytes=10**7, arch=("x86_64",), python=True, port=18080)
PARTED = lambda site: replace(site, devices=tuple(replace(d, partitioned=d.index == 0) for d in site.devices))  # noqa: E731
BUSY = lambda site: replace(site, devices=tuple(replace(d, memory_used_bytes=40 << 30) for d in site.devices))  # noqa: E731
IDLE = lambda site: replace(site, devices=tuple(replace(d, memory_used_bytes=0, processes=(), partitioned=False, health="ok", temperature_c=40.0,  # noqa: E731
                                                        ecc=d.ecc or {"uncorrected_volatile": 0}) for d in site.devices))
HOT = lambda site: replace(site, devices=tuple(replace(d, temperature_c=99.0) for d in site.devices))  # noqa: E731
SICK = lambda site: replace(site, devices=tuple(replace(d, health="fail") for d in site.devices))  # noqa: E731
WORN = lambda site: replace(site, devices=tuple(replace(d, ecc={"uncorrected_volatile": 2}) for d in site.devices))  # noqa: E731
MIXED = lambda site: replace(site, devices=(replace(site.devices[0], name="NVIDIA H100 80GB HBM3"), *site.devices[1:]))  # noqa: E731
PEERS = lambda site: replace(site, plan=replace(site.plan, servers=2), peers={"b": site.devices})  # noqa: E731
ODD_PEERS = lambda site: replace(site, plan=replace(site.plan, servers=2), peers={"b": site.devices[:4]})  # noqa: E731

# id: (server, plan, change that makes it bad, verdict then, what else the site needs when good, and when bad)
CASES: dict[str, tuple] = {
    "amd.access": (amd, NO, put_in("sudo.rights", groups=["ops"]), "warn"),
    "amd.links": (amd, NO, amd_links, "warn"),
    "amd.partitions": (amd, NO, None, "warn", IDLE, PARTED),
    "amd.rocm": (amd, NO, put("amd.rocm-version", "6.0.0"), "warn"),
    "ascend.cann": (ascend, NO, lambda v: (v["ascend.cann"].update(cann_version="9.1.0"), v["ascend.devices"].update(driver_version="25.0.RC1")), "fail"),
    "ascend.firmware": (ascend, NO, put_in("ascend.firmware", firmware_version="1.0.0"), "fail"),
    "ascend.mesh": (ascend, NO, lambda v: v["ascend.topology"]["topology"]["links"]["NPU0"].update(NPU1="PIX"), "warn"),
    "ascend.network": (ascend, NO, ports(link="DOWN"), "warn"),
    "ascend.nodes": (ascend, NO, put("ascend.nodes", [{"path": "/dev/davinci0"}]), "fail"),
    "ascend.os": (ascend, NO, put_in("os.release", os_id="debian"), "unknown"),
    "ascend.tls": (ascend, NO, ports(tls=True), "fail"),
    "device.alike": (nvidia, NO, None, "warn", IDLE, MIXED),
    "device.count": (nvidia, R1, lambda v: v["nvidia.query"]["devices"].pop(), "fail"),
    "device.health": (nvidia, NO, None, "fail", IDLE, SICK),
    "device.idle": (nvidia, NO, None, "fail", IDLE, BUSY),
    "device.known": (nvidia, NO, lambda v: [d.update(name="NVIDIA Z1", pci_id=None) for d in v["nvidia.query"]["devices"]], "unknown"),
    "device.memory-errors": (nvidia, NO, None, "fail", IDLE, WORN),
    "device.precision": (nvidia, R1, lambda v: [d.update(name="NVIDIA A100-SXM4-80GB", pci_id=None, memory_total_mib=81920) for d in v["nvidia.query"]["devices"]], "warn"),
    "device.temperature": (nvidia, NO, None, "warn", IDLE, HOT),
    "disk.inodes": (nvidia, R1, put_in("disk.store", inodes_free=5), "fail"),
    "disk.raid": (nvidia, NO, lambda v: v["disk.raid"][0].update(active=1), "warn"),
    "disk.space": (nvidia, R1, put_in("disk.store", free_bytes=10**9), "fail"),
    "group.alike": (nvidia, R1, None, "fail", PEERS, ODD_PEERS),
    "host.architecture": (nvidia, SMOKE, put("os.arch", "riscv64"), "fail"),
    "host.clock-source": (nvidia, NO, put_in("kernel.settings", clocksource="hpet"), "warn"),
    "host.container-engine": (nvidia, R1, put("containers.engines", []), "fail"),
    "host.iommu": (amd, NO, put_in("kernel.settings", cmdline="ro"), "warn"),
    "host.kernel-log": (nvidia, NO, put_in("kernel.log", counts={"machine_check": 3}), "fail"),
    "host.limits": (nvidia, R1, put_in("limits", open_files={"soft": 1024, "hard": 1024}), "warn"),
    "host.numa-balancing": (nvidia, NO, put_in("kernel.settings", numa_balancing="1"), "warn"),
    "host.python": (nvidia, SMOKE, put("python.versions", []), "fail"),
    "host.service-manager": (nvidia, SMOKE, put_in("init.system", init="tini"), "info"),
    "host.time-sync": (nvidia, NO, put_in("time.sync", synchronized=False), "warn"),
    "memory.host": (nvidia, R1, put_in("memory.info", mem_available_kib=1 << 20), "fail"),
    "model.fit": (nvidia, R1, lambda v: v["nvidia.query"].update(devices=v["nvidia.query"]["devices"][:4]), "fail"),
    "net.port": (nvidia, R1, put("net.listening", [{"address": "0.0.0.0", "port": 8000, "everywhere": True}]), "info"),
    "net.proxies": (nvidia, NO, put("env.proxies", ["https_proxy"]), "warn"),
    "net.routes-out": (nvidia, NO, put("network.routes", [{"default": True, "destination": "0.0.0.0", "mask": "0.0.0.0", "gateway": "10.0.0.1", "interface": "eth0"}]), "warn"),
    "nvidia.branch": (nvidia, NO, put_in("nvidia.query", driver_version="570.133.20"), "warn"),
    "nvidia.compute-mode": (nvidia, NO, first(compute_mode="Prohibited"), "fail"),
    "nvidia.driver": (nvidia, R1, put_in("nvidia.query", driver_version="570.133.20"), "fail"),
    "nvidia.fabric": (nvidia, NO, each(fabric_state="Not Started"), "fail"),
    "nvidia.fabric-manager": (nvidia, NO, put("nvidia.fabric-manager", "Fabric Manager version is : 570.10.01"), "fail"),
    "nvidia.links": (nvidia, NO, lambda v: v["nvidia.topology"]["topology"]["links"]["GPU0"].update(GPU1="SYS"), "warn"),
    "nvidia.mig": (nvidia, NO, None, "fail", IDLE, PARTED),
    "nvidia.module": (nvidia, NO, put("nvidia.module", "570.00"), "fail"),
    "nvidia.nouveau": (nvidia, NO, put("kernel.modules", ["nouveau"]), "fail"),
    "nvidia.persistence": (nvidia, NO, each(persistence_mode="Disabled"), "warn"),
    "nvidia.throttle": (nvidia, NO, first(slowdown_reasons=["hw_thermal_slowdown"]), "fail"),
    "nvidia.xid": (nvidia, NO, put_in("kernel.log", xids=[{"bus_id": "0000:01:00", "code": 79}]), "fail"),
}


def judged(id: str, bad: bool) -> Verdict:
    server, plan, change, _, *more = CASES[id]
    values = server()
    if bad and change is not None:
        change(values)
    site = site_of(values, plan)
    if more:
        site = more[bad](site)
    assert CHECKS[id].applies(site), "the case does not reach the check"
    return judge_one(CHECKS[id], {key: answer(key, value) for key, value in values.items()}, site)


def test_every_check_has_cases_a_title_a_source_and_facts_that_exist() -> None:
    assert set(CASES) == set(CHECKS) and len(CHECKS) >= 45
    for item in CHECKS.values():
        assert item.title and item.source and set(item.needs) <= set(PARSERS), item.id


@pytest.mark.parametrize("id", sorted(CASES))
def test_good(id: str) -> None:
    found = judged(id, False)
    assert found.verdict == "pass", (found.reason, found.params)


@pytest.mark.parametrize("id", sorted(CASES))
def test_bad(id: str) -> None:
    found = judged(id, True)
    assert found.verdict == CASES[id][3], (found.reason, found.params)
    assert found.remedy or found.verdict == "info"


@pytest.mark.parametrize("id", sorted(CASES))
def test_missing_facts_are_unknown_never_a_pass(id: str) -> None:
    server, plan, _, _, *more = CASES[id]
    values = server()
    site = site_of(values, plan)
    site = more[0](site) if more else site
    told = {key: answer(key, value) for key, value in values.items()}
    for need in CHECKS[id].needs:
        for state in ("absent", "unreadable", None):
            changed = dict(told)
            if state is None:
                del changed[need]
            else:
                changed[need] = SimpleNamespace(id=need, state=state, value=None, reason="because")
            found = judge_one(CHECKS[id], changed, site)
            assert found.verdict == "unknown" and found.reason, need
    if not CHECKS[id].needs:
        blank = replace(site, devices=tuple(replace(d, name=None, model=None, pci_id=None, health="unknown", ecc=None, temperature_c=None, memory_used_bytes=None,
                                                    partitioned=None) for d in site.devices))
        assert judge_one(CHECKS[id], {}, blank).verdict in ("unknown", "fail") or id in ("device.alike", "group.alike")


def route(destination: str, gateway: str | None = "10.0.0.1", prefix: int = 0, **more: Any) -> dict[str, Any]:
    return {"destination": destination, "gateway": gateway, "prefix": prefix, "interface": "eth0", "default": prefix == 0} | more


@pytest.mark.parametrize(("fact", "found", "verdict"), [
    ("network.routes6", route("::", "fd00::1"), "warn"), ("network.routes6", route("::", "::"), "warn"), ("network.routes6", route("2001:db8::", "fe80::1", 32), "pass"),
    ("network.routes6", route("2a00::", "fe80::1", 16), "warn"), ("network.routes6", route("fd00::", "::", 64), "pass"),
    ("network.routes-tables", route("0.0.0.0", "10.1.0.1"), "warn"), ("network.routes-tables", route("10.1.0.0", None, 24), "pass"),
    ("network.routes", route("0.0.0.0", mask="128.0.0.0", prefix=1), "warn"), ("network.routes", route("10.0.0.0", mask="255.0.0.0", prefix=8), "pass"),
    ("network.routes", route("100.64.0.0", mask="255.192.0.0", prefix=10), "pass"), ("network.routes", route("8.8.0.0", mask="255.255.0.0", prefix=16), "warn"),
    ("network.routes", route("8.8.0.0", "0.0.0.0", mask="255.255.0.0", prefix=16), "pass")])  # fmt: skip
def test_every_kind_of_way_out(fact: str, found: dict[str, Any], verdict: str) -> None:
    values = nvidia() | {fact: [found]}
    judged_so = judge_one(CHECKS["net.routes-out"], {key: answer(key, value) for key, value in values.items()}, site_of(values, NO))
    assert judged_so.verdict == verdict, judged_so


@pytest.mark.parametrize(("engines", "verdict"), [
    ([{"name": "docker", "version": None, "daemon": False}], "fail"), ([{"name": "nvidia-ctk", "version": "1.17"}], "fail"),
    ([{"name": "docker", "version": None, "daemon": False}, {"name": "podman", "version": "5.0", "daemon": True}], "pass"),
    ([{"name": "docker", "version": "28.0", "daemon": True}], "pass")])  # fmt: skip
def test_a_client_without_a_daemon_and_a_toolkit_are_no_engine(engines: list[dict[str, Any]], verdict: str) -> None:
    values = nvidia() | {"containers.engines": engines}
    told = {key: answer(key, value) for key, value in values.items()}
    assert judge_one(CHECKS["host.container-engine"], told, site_of(values, R1)).verdict == verdict


def test_a_clock_far_from_the_consoles_and_a_store_that_cannot_be_written() -> None:
    values = nvidia()
    values["time.sync"] |= {"console_offset_s": -7200.0}
    values["disk.store"] |= {"writable": False}
    told = {key: answer(key, value) for key, value in values.items()}
    clock, store = (judge_one(CHECKS[id], told, site_of(values, R1)) for id in ("host.time-sync", "disk.space"))
    assert clock.verdict == "warn" and clock.params["seconds"] == "-7200" and store.verdict == "fail" and store.params == {"folder": "/data"}


def test_a_recorded_fleet_is_judged_whole() -> None:
    for server, plan in ((nvidia, R1), (ascend, W8A8), (amd, NO)):
        values = server()
        found = judge_all({key: answer(key, value) for key, value in values.items()}, site_of(values, plan))
        assert len(found) >= 25 and all(j.verdict.verdict in ("pass", "info", "warn", "fail", "unknown") for j in found)
        assert not [j.check.id for j in found if j.check.vendor not in (None, j.check.id.split(".")[0]) and j.check.id != "host.iommu"]


def test_a_pass_on_what_is_only_reported_becomes_unknown() -> None:
    values = nvidia()
    for device in values["nvidia.query"]["devices"]:
        device |= {"name": "NVIDIA H20", "memory_total_mib": 97871, "pci_id": "10de:2329"}
    site = site_of(values, R1)
    assert site.entry_of(site.devices[0]).grade == "reported"
    found = judge_one(CHECKS["device.precision"], {}, site)
    assert found.verdict == "unknown" and "H20 96GB" in found.params["name"]


def test_the_runner_grades_by_the_worst_entry() -> None:
    item = replace(CHECKS["device.health"], judge=lambda told, site: Verdict("pass", N_("good"), basis=(site.catalog.find("devices", "MI308X"),)))
    assert judge_one(item, {}, Site((), NO)).verdict == "unknown"
    failing = replace(item, judge=lambda told, site: Verdict("fail", N_("bad"), basis=(site.catalog.find("devices", "MI308X"),)))
    assert judge_one(failing, {}, Site((), NO)).verdict == "fail"


def test_pure_the_same_facts_give_the_same_verdict() -> None:
    values = nvidia()
    told, site = {key: answer(key, value) for key, value in values.items()}, site_of(values, R1)
    before = copy.deepcopy(values)
    assert judge_all(told, site) == judge_all(told, site) and values == before


def test_devices_out_of_order_are_left_out_of_the_fit() -> None:
    site = site_of(recorded("h100-x8-faulty"), R1)
    assert group(site)[:2] == ("H100 SXM5 80GB", 7)
    assert group(Site((), NO)) is None


def test_a_catalog_without_the_device_gives_unknown() -> None:
    values = nvidia()
    bare = Catalog(e for e in built_in().all() if e.kind != "devices")
    site = site_of(values, R1, catalog=bare)
    assert judge_one(CHECKS["model.fit"], {}, site).verdict == "unknown"
    assert judge_one(CHECKS["device.precision"], {}, site).verdict == "unknown"
