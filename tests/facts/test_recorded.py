"""How a command line finds its reader, what forms beyond the shared recordings are read, and hostile outputs."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import InputError
from console.facts.fact import MAX_OUTPUT_BYTES
from console.facts.recorded import calls, parse_recorded

LIST = b"GPU 0: NVIDIA H200 (UUID: GPU-6a7d2000-5ea1-4f00-8a00-0000c0ffee00)\n"


@pytest.mark.parametrize("tool", [
    "nvidia-smi -L", "/usr/bin/nvidia-smi -L", "sudo nvidia-smi --list-gpus", "LC_ALL=C nvidia-smi -L",
    "env LC_ALL=C timeout 5 nvidia-smi -L", "timeout -k 2 5s nvidia-smi -L", "nvidia-smi -i 0 -L 2>/dev/null",
    "nvidia-smi -L | sort", "C:\\\\Windows\\\\System32\\\\nvidia-smi.exe -L",
    "hostname && nvidia-smi -L", "watch -n 1 nvidia-smi -L",
])
def test_command_line_in_many_forms(tool: str) -> None:
    assert parse_recorded(tool, LIST)["devices"][0]["name"] == "NVIDIA H200"


def test_loop_over_devices_is_read() -> None:
    assert calls('for i in 0 1; do hccn_tool -i $i -ip -g; done')[-1].program == "hccn_tool"


@pytest.mark.parametrize("tool", ["", "ls -l", "cat /etc/passwd", "nvidia-smi mig -lgi", "amd-smi firmware",
                                  "python train.py"])
def test_unknown_command_line_is_named(tool: str) -> None:
    with pytest.raises(InputError) as problem:
        parse_recorded(tool, LIST)
    assert problem.value.code == "inventory.unknown-tool"


OLD_NVIDIA = """\
+------------------------------------------------------+
| NVIDIA-SMI 352.63     Driver Version: 352.63         |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|===============================+======================+======================|
|   0  Quadro K2100M       Off  | 0000:01:00.0     Off |                  N/A |
| N/A   55C    P0    N/A /  N/A |    194MiB /  2047MiB |     13%      Default |
+-------------------------------+----------------------+----------------------+

+-----------------------------------------------------------------------------+
| Processes:                                                       GPU Memory |
|  GPU       PID  Type  Process name                               Usage      |
|=============================================================================|
|    0      1934    G   /usr/bin/X                                      96MiB |
+-----------------------------------------------------------------------------+
"""


def test_table_of_an_old_driver() -> None:
    found = parse_recorded("nvidia-smi", OLD_NVIDIA.encode())
    assert found["devices"] == [{"index": 0, "name": "Quadro K2100M", "bus_id": "0000:01:00.0", "temperature_c": 55,
                                 "power_w": None, "memory_used_mib": 194, "memory_total_mib": 2047, "health": None}]
    assert found["processes"][0]["name"] == "/usr/bin/X" and found["cuda_version"] is None


AMD_TABLE = """\
+------------------------------------------------------------------------------+
| AMD-SMI 26.2.0+021c61fc      amdgpu version: 6.16.6   ROCm version: 7.1.1    |
| VBIOS version: 00165724                                                      |
| Platform: Linux Baremetal                                                    |
|-------------------------------------+----------------------------------------|
| BDF                        GPU-Name | Mem-Uti   Temp   UEC       Power-Usage |
| GPU  HIP-ID  OAM-ID  Partition-Mode | GFX-Uti    Fan               Mem-Usage |
|=====================================+========================================|
| 0000:05:00.0    AMD Instinct MI355X | 0 %      50 °C   0          240/1400 W |
|   0       1       6        SPX/NPS1 | 3 %        N/A           283/294896 MB |
|-------------------------------------+----------------------------------------|
| 0000:1b:00.0 ...Instinct MI300X OAM | N/A        N/A   0           N/A/750 W |
|   1       0       1        SPX/NPS1 | N/A        N/A        149820/196592 MB |
+-------------------------------------+----------------------------------------+
"""


def test_table_of_amd_smi() -> None:
    found = parse_recorded("amd-smi", AMD_TABLE.encode())
    versions = found["tool_version"], found["driver_version"], found["rocm_version"]
    assert versions == ("26.2.0+021c61fc", "6.16.6", "7.1.1")
    assert found["devices"][0] == {
        "index": 0, "name": "AMD Instinct MI355X", "bus_id": "0000:05:00.0", "temperature_c": 50, "power_w": 240,
        "gpu_percent": 3, "partitions": "SPX/NPS1", "memory_used_mib": 283, "memory_total_mib": 294896}
    assert "temperature_c" not in found["devices"][1]


ROCM_OLD = """\
========================= ROCm System Management Interface =========================
=================================== Concise Info ===================================
GPU  Temp (DieEdge)  AvgPwr  SCLK    MCLK     Fan  Perf  PwrCap       VRAM%  GPU%
0    39.0c           92.0W   800Mhz  1600Mhz  0%   auto  560.0W         0%   0%
1    28.0c           N/A     None    1600Mhz  0%   auto  Unsupported   83%   7%
====================================================================================
=============================== End of ROCm SMI Log ================================
"""


def test_table_of_old_rocm() -> None:
    first, second = parse_recorded("rocm-smi", ROCM_OLD.encode())["devices"]
    assert (first["temperature_c"], first["temperature_sensor"], first["power_w"]) == (39.0, "edge", 92.0)
    assert (second["power_w"], second["vram_percent"], second["gpu_percent"]) == (None, 83, 7)


HY_SMI = """\
============================ System Management Interface =============================
======================================================================================
DCU     Temp     AvgPwr     Perf     PwrCap     VRAM%      DCU%      Mode
0       50.0C    109.0W     auto     800.0W     0%         0.0%      Normal
======================================================================================
=================================== End of SMI Log ===================================
"""


def test_table_of_hygon() -> None:
    found = parse_recorded("hy-smi", HY_SMI.encode())
    assert found["vendor"] == "hygon" and found["devices"][0]["gpu_percent"] == 0.0


def test_monitor_of_rocm_7() -> None:
    page = ("GPU  XCP  POWER  GPU_T  MEM_T  GFX_CLK  GFX%  MEM%  ENC%  DEC%     VRAM_USAGE\n"
            "  0    0  140 W  41 °C  34 °C  132 MHz   0 %   0 %   N/A   0 %   0.3/192.0 GB\n")
    device = parse_recorded("amd-smi monitor", page.encode())["devices"][0]
    assert (device["power_w"], device["temperature_c"], device["memory_total_mib"]) == (140, 41, 196608)


@pytest.mark.parametrize(("tool", "text", "kind", "more"), [
    ("nvidia-smi", "Failed to initialize NVML: Unknown Error\n", "nvml_unknown_error", {}),
    ("nvidia-smi", "Failed to initialize NVML: Insufficient Permissions\n", "insufficient_permissions", {}),
    ("nvidia-smi -q -x",
     "Unable to determine the device handle for gpu 0000:8A:00.0: GPU is lost.  Reboot the system\n",
     "gpu_lost", {"bus_id": "0000:8A:00.0"}),
    ("npu-smi info -t spod-info -i 0", "This device does not support querying spod-info.\n", "unsupported_query", {}),
    ("npu-smi info -t board -i 99", "Error parameter of -i\n", "invalid_device_id", {}),
    ("npu-smi info", "dcmi module initialize failed. ret is -8005\n", "dcmi_init_failed", {"ret_code": -8005}),
    ("rocm-smi", "WARNING: No AMD GPUs specified\n", "no_devices", {}),
    ("rocminfo", "ROCk module is NOT loaded, possibly no GPU devices\n", "driver_not_running", {}),
])
def test_errors_of_tools(tool: str, text: str, kind: str, more: dict) -> None:
    found = parse_recorded(tool, text.encode())
    assert found["error_kind"] == kind and more.items() <= found.items()


def test_csv_without_heading_needs_the_fields() -> None:
    row = b"0, NVIDIA H200, 143771, 4\n"
    tool = "nvidia-smi --query-gpu=index,name,memory.total,memory.used --format=csv,noheader,nounits"
    assert parse_recorded(tool, row)["devices"][0]["memory_total_mib"] == 143771
    with pytest.raises(InputError):
        parse_recorded("nvidia-smi --query-gpu=... --format=csv,noheader", row)


def test_more_than_one_form_of_pci_listing() -> None:
    text = (b"0000:01:00.0 Processing accelerators [1200]: Huawei Technologies Co., Ltd. Device [19e5:d802] (rev 20)\n"
            b"0000:02:00.0 VGA compatible controller [0300]: Huawei Technologies Co., Ltd. Hi171x Series "
            b"[iBMC Intelligent Management system chip w/VGA support] [19e5:1711] (rev 01)\n")
    found = parse_recorded("lspci -Dnn", text)
    assert (found["vendor"], found["device_count"], found["pci_function_count"]) == ("ascend", 1, 2)
    assert found["devices"][0]["device_id"] == "d802"
    numeric = parse_recorded("lspci -n", b"3d:00.0 1200: 19e5:d801 (rev 20)\n")
    assert numeric["devices"][0]["vendor_id"] == "19e5"


def test_kernel_log() -> None:
    text = (b"NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n"
            b"nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32\n"
            b"NVRM: Xid (PCI:0000:01:00): 79, pid=1, again\n")
    found = parse_recorded("dmesg", text)
    assert found["xids"] == [{"bus_id": "0000:01:00", "code": 79}] and found["xid_line_count"] == 2
    assert found["sxids"] == [{"bus_id": "0000:05:00.0", "code": 12028}] and found["fallen_off_bus"]
    assert "error_kind" not in parse_recorded("dmesg -T", b"[    0.0] Linux version 6.1\n")


# --- hostile outputs ---------------------------------------------------------------------------------------------

TOOLS = ["nvidia-smi", "nvidia-smi -q", "nvidia-smi -q -x", "nvidia-smi -L", "nvidia-smi topo -m",
         "nvidia-smi nvlink -s", "nvidia-smi --query-gpu=index --format=csv", "npu-smi info", "npu-smi info -m",
         "npu-smi info -l",
         "npu-smi info -t board", "npu-smi info -t topo", "hccn_tool -i 0 -ip -g", "hccn_tool -i 0 -link_stat -g",
         "rocm-smi", "rocm-smi -a", "rocm-smi --json", "rocm-smi --showtopo", "rocm-smi --showhw", "amd-smi",
         "amd-smi static --json", "amd-smi static", "amd-smi monitor", "amd-smi process --csv", "rocminfo",
         "lspci -nn", "lscpu", "dmesg", "cat /etc/os-release", "cat /proc/meminfo",
         "cat /usr/local/Ascend/driver/version.info",
         "python collect_env.py", "vllm collect-env", "amd-smi monitor --json", "amd-smi version --json", "amd-smi version --csv",
         "amd-smi topology --json", "amd-smi process", "hccn_tool -i 0 -status -g", "npu-smi info -t proc-mem", "npu-smi -v",
         "grep -i xid /var/log/syslog", "nvidia-smi --version"]

BOMB = (b'<?xml version="1.0"?><!DOCTYPE nvidia_smi_log [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]>'
        b"<nvidia_smi_log><driver_version>&b;</driver_version></nvidia_smi_log>")


def test_entities_of_ones_own_are_refused() -> None:
    with pytest.raises(InputError) as problem:
        parse_recorded("nvidia-smi -q -x", BOMB)
    assert problem.value.code == "inventory.unreadable-output"


def test_external_entities_are_not_fetched(tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    text = (f'<?xml version="1.0"?><!DOCTYPE nvidia_smi_log SYSTEM "file://{secret}">'
            "<nvidia_smi_log><driver_version>1.2</driver_version><gpu id='0000:01:00.0'></gpu></nvidia_smi_log>")
    assert "hidden" not in json.dumps(parse_recorded("nvidia-smi -q -x", text.encode()))


@pytest.mark.parametrize("tool", ["rocm-smi --json", "amd-smi static --json"])
@pytest.mark.parametrize("raw", [b"[" * 200_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b'"' * 300_001,
                                 b'"\\"' * 200_000, b"[" + b"9" * 100_000 + b"]", b"NaN", b"[NaN]", b"[{}]"])
def test_hostile_json_is_refused(tool: str, raw: bytes) -> None:
    with pytest.raises(InputError):
        parse_recorded(tool, raw)


def test_size_has_a_bound() -> None:
    with pytest.raises(InputError) as problem:
        parse_recorded("nvidia-smi", bytes(MAX_OUTPUT_BYTES + 1))
    assert problem.value.code == "inventory.output-too-long"


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("raw", [
    b"", b"\n\n", b"\xff\xfe\x00\x01", b"\x1b]0;title\x07\x1b[31m\n", b"|" * 50_000, b" " * 60_000 + b"x",
    b"a:" * 30_000 + b"\n", b"| " + b" / " * 20_000 + b" |\n", b"=" * 60_000, b"<" * 10_000,
    b"GPU 0: " + b" " * 60_000 + b"(UUID: \n",
    b"card0," * 10_000,
], ids=range(12))
def test_hostile_text_is_refused_soon(tool: str, raw: bytes) -> None:
    try:
        parse_recorded(tool, raw)
    except InputError as problem:
        assert problem.code == "inventory.unreadable-output"


@settings(max_examples=300, deadline=None)
@given(tool=st.sampled_from(TOOLS), raw=st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_any_bytes_give_an_answer_or_a_named_error(tool: str, raw: bytes) -> None:
    try:
        json.dumps(parse_recorded(tool, raw))
    except InputError as problem:
        assert problem.code == "inventory.unreadable-output"


def test_escapes_and_utf16_are_read_through() -> None:
    coloured = b"\x1b[1;32mGPU 0: \x1b[0mNVIDIA H200 (UUID: GPU-6a7d2000-5ea1-4f00-8a00-0000c0ffee00)\x1b[K\r\n"
    assert parse_recorded("nvidia-smi -L", coloured)["devices"][0]["name"] == "NVIDIA H200"
    wide = b"\xff\xfe" + LIST.decode().encode("utf-16-le")
    assert parse_recorded("nvidia-smi -L", wide)["device_count"] == 1


DMON = """# gpu    pwr  gtemp  mtemp     sm    mem     fb
# Idx      W      C      C      %      %     MB
    0     68     33     40      0      0   1024
    1      -     31      -      0      0      0
# gpu    pwr  gtemp  mtemp     sm    mem     fb
# Idx      W      C      C      %      %     MB
    0     70     34     40      0      0   2048
"""
PMON = """# gpu         pid   type     sm    command
# Idx           #    C/G      %    name
    0       12345     C      97    python3 -m x
    1           -     -       -    -
"""
TOPO = json.dumps({"system": {"(Topology) Weight between DRM devices 0 and 1": "15", "(Topology) Hops between DRM devices 0 and 1": "1",
                              "(Topology) Link type between DRM devices 0 and 1": "XGMI"},
                   "card0": {"(Topology) Numa Node": "0"}, "card1": {"(Topology) Numa Node": "1"}})  # fmt: skip
VARIANTS = [
    ("nvidia-smi dmon -c 2", DMON, {"device_count": 2, "devices": [
        {"index": 0, "power_w": 70, "temperature_c": 34, "memory_used_mib": 2048},
        {"index": 1, "power_w": None, "temperature_c": 31, "memory_used_mib": 0}]}),
    ("nvidia-smi pmon -c 1", PMON, {"processes": [{"gpu": 0, "pid": 12345, "type": "C", "name": "python3 -m x"}]}),
    ("npu-smi -v", "npu-smi version: 23.0.3\n", {"tool_version": "23.0.3"}),
    ("cat /proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n",
     {"driver_version": "550.54.15"}),
    ("rocm-smi --showdriverversion", "===== ROCm System Management Interface =====\n===== Version of System Component =====\n"
     "Driver version: 6.7.0\n=====\n===== End of ROCm SMI Log =====\n", {"driver_version": "6.7.0"}),
    ("rocm-smi --showtopo --json", TOPO + "\n", {"device_count": 2, "topology": {
        "devices": ["GPU0", "GPU1"], "weights": {"GPU0": {"GPU0": 0, "GPU1": 15}, "GPU1": {"GPU0": 15, "GPU1": 0}},
        "hops": {"GPU0": {"GPU0": 0, "GPU1": 1}, "GPU1": {"GPU0": 1, "GPU1": 0}},
        "links": {"GPU0": {"GPU0": "0", "GPU1": "XGMI"}, "GPU1": {"GPU0": "XGMI", "GPU1": "0"}},
        "numa": {"GPU0": "0", "GPU1": "1"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "text", "wanted"), VARIANTS, ids=[tool for tool, _, _ in VARIANTS])
def test_forms_that_are_not_among_the_recordings(tool: str, text: str, wanted: dict) -> None:
    found = parse_recorded(tool, text.encode())
    assert {k: v for k, v in found.items() if k not in ("vendor", "tool")} == wanted
    for end in range(len(text)):
        with contextlib.suppress(InputError):
            cut = parse_recorded(tool, text[:end].encode())
            for key in ("driver_version", "tool_version"):
                assert cut.get(key) in (None, wanted.get(key))
            for got, was in zip(cut.get("processes", ()), wanted.get("processes", ()), strict=False):
                assert got == was


def test_a_query_for_the_driver_alone() -> None:
    found = parse_recorded("nvidia-smi --query-gpu=driver_version --format=csv,noheader", b"550.54.15\n550.54.15\n")
    assert (found["driver_version"], found["device_count"]) == ("550.54.15", 2)
