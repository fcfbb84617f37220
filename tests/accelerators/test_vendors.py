"""Recorded servers become device records with their health; every vendor has recordings."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from console import accelerators, facts
from console.accelerators import amd, ascend, nvidia
from console.accelerators.models import by_chip, by_pci
from console.accelerators.toolerrors import KINDS
from console.errors import WorldError

SERVERS = Path(__file__).resolve().parents[1] / "fixtures" / "servers"
FACTS = {f.id: f for f in (*facts.all_facts(), *(f for v in accelerators.vendors() for f in v.facts))}


def read_server(folder: Path) -> dict[str, SimpleNamespace]:
    """The facts of a recorded server, each in state ``value``."""
    return {file.stem: SimpleNamespace(state="value", value=FACTS[file.stem].parse(file.read_text(encoding="utf-8")))
            for file in sorted(folder.glob("*.txt"))}


FOLDERS = sorted(folder for folder in SERVERS.iterdir() if (folder / "expected.json").exists())


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_recorded_server(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    told = read_server(folder)
    devices = [d for vendor in accelerators.vendors() for d in vendor.devices(told)]
    assert len(devices) == expected["devices"] and [d.index for d in devices] == list(range(len(devices)))
    assert {d.name for d in devices} == {expected["name"]}
    assert [d.health for d in devices] == expected["health"]
    assert {d.memory_total_bytes for d in devices if d.health == "ok"} == {expected["memory_total_bytes"]}
    assert {d.links["kind"] for d in devices} == {expected["kind"]}
    if expected["driver_version"]:
        assert {d.driver_version for d in devices} == {expected["driver_version"]}
    assert len(told["lspci.accelerators"].value) == expected["devices"]


def test_every_vendor_has_recordings() -> None:
    told = [read_server(folder) for folder in FOLDERS]
    for vendor in accelerators.vendors():
        assert any(vendor.devices(facts_) for facts_ in told), vendor.id


def test_fact_ids_are_unique_and_commands_are_bounded() -> None:
    everything = [*facts.all_facts(), *(f for v in accelerators.vendors() for f in v.facts)]
    assert len({f.id for f in everything}) == len(everything)
    assert all(f.argv and 0 < f.timeout_s <= 120 for f in everything)


def test_a_server_without_accelerators_has_no_devices() -> None:
    absent = {f.id: SimpleNamespace(state="absent", value=None) for v in accelerators.vendors() for f in v.facts}
    assert [d for v in accelerators.vendors() for d in (*v.devices({}), *v.devices(absent))] == []


@pytest.mark.parametrize(("device", "health"), [
    ({"ecc": {"uncorrected_volatile": 0, "remap_pending": False}}, "ok"),
    ({"ecc": {"uncorrected_volatile": 3}}, "fail"),
    ({"ecc": {"remap_pending": True}}, "fail"), ({"ecc": {"remap_failure": True}}, "fail"),
    ({"ecc": {"uncorrected_aggregate": 1}}, "warning"), ({"recovery_action": "Drain and Reset"}, "fail"),
    ({"recovery_action": "None"}, "ok"), ({}, "unknown"), ({"lost": True}, "fail"),
    ({"ecc": {"uncorrected_volatile": 0}, "slowdown_reasons": ["hw_slowdown"]}, "warning"),
    ({"ecc": {"uncorrected_volatile": 0}, "slowdown_reasons": ["gpu_idle"]}, "ok")])
def test_health_of_nvidia(device: dict, health: str) -> None:
    assert nvidia.health_of(device)[0] == health


def test_health_of_the_others() -> None:
    assert [ascend.health_of(text) for text in ("OK", "Warning", "Alarm", "Critical", "UNKNOWN", None)] == [
        "ok", "warning", "fail", "fail", "unknown", "unknown"]
    assert [amd.health_of(ecc)[0] for ecc in (None, {}, {"uncorrectable_total": 0}, {"uncorrectable_total": 2},
                                              {"uncorrectable_total": 0, "deferred_total": 1})] == [
        "unknown", "unknown", "ok", "fail", "warning"]


def test_errors_of_tools_are_named() -> None:
    no_driver = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    for text, parse in ((no_driver, nvidia.parse_query),
                        ("dcmi module initialize failed. ret is -8005\n", ascend.parse_devices)):
        with pytest.raises(WorldError) as problem:
            parse(text)
        assert problem.value.code.removeprefix("inventory.").replace("-", "_") in KINDS
        assert problem.value.remedy()


def test_two_dies_a_card_have_their_own_numbers() -> None:
    table = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 25.2.0                   Version: 25.2.0                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 4     Ascend910           | OK            | 162.8       37                0    / 0             |
| 0     8                   | 0000:9C:00.0  | 0           0    / 0          3133 / 65536         |
+------------------------------------------------------------------------------------------------+
| 4     Ascend910           | Alarm         | -           37                0    / 0             |
| 1     9                   | 0000:9E:00.0  | 0           0    / 0          2876 / 65536         |
+===========================+===============+====================================================+
"""
    told = {"ascend.devices": SimpleNamespace(state="value", value=ascend.parse_devices(table))}
    first, second = ascend.VENDOR.devices(told)
    assert (first.index, first.card, first.chip, second.index, second.chip) == (8, 4, 0, 9, 1)
    assert (second.health, second.power_w, first.processes) == ("fail", None, None)


def test_models() -> None:
    ids = ("10de:2335", "1002:74a5", "10de:ffff", None)
    assert [by_pci(name) for name in ids] == ["H200 SXM", "MI325X", None, None]
    assert [by_chip(name) for name in ("910B3", "910B4-1", "Ascend910", "310P3", "xxx", None)] == [
        "Ascend 910B3", "Ascend 910B4-1", "Ascend 910C", "Ascend 310P3", None, None]
