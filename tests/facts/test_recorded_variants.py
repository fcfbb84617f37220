"""Pages without their last newline, in other languages, with words instead of readings: right values, or a named error."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from console.errors import InputError
from console.facts.recorded import parse_recorded
from tests.facts.test_recorded_forms import MIG, TABLE, read, refused

# --- pages that were not ended: a value that may be cut is no value, the ones ahead of it are right ------------------

UNENDED = [
    ("nvidia-smi --version", "NVIDIA-SMI version  : 999.54.15\nNVML version        : 999.54\nDRIVER version      : 999.54.15\nCUDA Version        : 13.4",
     {"tool_version": "999.54.15", "driver_version": "999.54.15", "nvml_version": "999.54"}, {"cuda_version": "13.4"}),
    ("cat /usr/local/Ascend/driver/version.info", "Version=99.2.0\nrequired_firmware_firmware_version=1.0",
     {"driver_version": "99.2.0", "fields": {"Version": "99.2.0"}}, {}),
    ("amd-smi version", "AMDSMI Tool: 99.3.0+9b5d1e2 | AMDSMI Library version: 99.3.0 | ROCm version: 9.4.0",
     {"tool_version": "99.3.0+9b5d1e2", "library_version": "99.3.0"}, {"rocm_version": "9.4.0"}),
    ("npu-smi info -t common -i 0", "NPU ID        : 0\nTemperature(C)    : 46\nNPU Real-time Power(W)   : 130.4",
     {"npu_id": 0, "temperature_c": 46, "fields": {"NPU ID": "0", "Temperature(C)": "46"}}, {"power_w": 130.4}),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "text", "sure", "last"), UNENDED, ids=[tool for tool, *_ in UNENDED])
def test_the_last_value_of_a_page_that_was_not_ended_is_left_out(tool: str, text: str, sure: dict, last: dict) -> None:
    whole, open_end = read(tool, text + "\n"), read(tool, text)
    assert {key: open_end[key] for key in sure} == sure
    assert last.items() <= whole.items() and not any(open_end.get(key) for key in last)
    for end in range(1, len(text)):
        if not refused(tool, text[:end]):
            cut = read(tool, text[:end])
            for key, value in cut.items():
                assert value is None or (value.items() <= whole["fields"].items() if key == "fields" else value == whole[key])


def test_a_single_value_that_was_not_ended_is_refused() -> None:
    assert refused("cat /usr/local/Ascend/driver/version.info", "Version=99.2.0")
    assert refused("amd-smi version", "AMDSMI Tool: 99.3.0")
    assert refused("nvidia-smi --version", "NVIDIA-SMI version  : 999.5")


MATRIX = "\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\nGPU0\t X \tNV18\t0-15\t0\t\tN/A\nGPU1\tNV18\t X \t16-31\t12\t\tN/A"


def test_a_matrix_of_links_may_lack_its_last_newline_where_nothing_is_read_from_the_last_cell() -> None:
    whole = read("nvidia-smi topo -m", MATRIX + "\n\nLegend:\n")
    assert read("nvidia-smi topo -m", MATRIX) == whole
    for end in range(MATRIX.rindex("\n") + 1, len(MATRIX)):
        assert refused("nvidia-smi topo -m", MATRIX[:end]) or read("nvidia-smi topo -m", MATRIX[:end]) == whole
    assert refused("nvidia-smi topo -m", MATRIX.replace("\tGPU NUMA ID", "").replace("\t\tN/A", ""))


@pytest.mark.parametrize(("line", "xids"), [("NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has", [79]), ("NVRM: Xid (PCI:0000:3b:00): 119,", [119])])
def test_a_kernel_log_may_end_behind_the_number_of_an_xid(line: str, xids: list[int]) -> None:
    found = read("dmesg", f"[    0.1] booted\n[    1.2] {line}")
    assert [xid["code"] for xid in found["xids"]] == xids
    assert refused("dmesg", f"[    0.1] booted\n[    1.2] {line.split(',')[0]}")


# --- hosts ---------------------------------------------------------------------------------------------------------

CPU = {"architecture": "x86_64", "cpu_count": 64, "sockets": 2, "cores_per_socket": 16, "threads_per_core": 2, "numa_nodes": 4,
       "model_name": "Q CPU @ 9.00GHz", "vendor_id": "GenuineQ"}  # fmt: skip
LANGUAGES = {
    "en": ("Architecture", "CPU(s)", "Socket(s)", "Core(s) per socket", "Thread(s) per core", "NUMA node(s)", "Model name", "Vendor ID"),
    "zh": ("架构", "CPU", "座", "每个座的核数", "每个核的线程数", "NUMA 节点", "型号名称", "厂商 ID"),
    "de": ("Architektur", "CPU(s)", "Sockel", "Kern(e) pro Socket", "Thread(s) pro Kern", "NUMA-Knoten", "Modellname", "Anbieterkennung"),
    "fr": ("Architecture", "Processeur(s)", "Socket(s)", "Cœur(s) par socket", "Thread(s) par cœur", "Nœud(s) NUMA", "Nom de modèle",
           "Identifiant constructeur"),
    "ja": ("アーキテクチャ", "CPU", "ソケット数", "ソケットあたりのコア数", "コアあたりのスレッド数", "NUMA ノード数", "モデル名", "ベンダー ID"),
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("colon", [":   ", "：   ", " :   "])
def test_processors_in_several_languages(language: str, colon: str) -> None:
    said = dict(zip(LANGUAGES[language], CPU.values(), strict=True))
    page = "".join(f"{name}{colon}{value}\n" for name, value in said.items())
    assert read("lscpu", page)["env"] == CPU


@pytest.mark.parametrize("line", ["openEuler release 99.03 (LTS-SP4)", "CentOS Linux release 9.9.2009 (Core)",
                                  "Kylin Linux Advanced Server release V99 (Lance)"])  # fmt: skip
def test_a_release_told_in_a_sentence(line: str) -> None:
    assert read("cat /etc/system-release", line + "\n")["env"] == {"os_pretty_name": line}


@pytest.mark.parametrize("tool", ["cat /proc/meminfo", "head -3 /proc/meminfo", "head -n 3 /proc/meminfo", "grep Mem /proc/meminfo"])
def test_memory_by_other_commands(tool: str) -> None:
    found = read(tool, "MemTotal:       131897712 kB\nMemFree:         1000000 kB\n")
    assert (found["vendor"], found["env"]) == ("host", {"mem_total_kib": 131897712})


def test_a_search_among_the_functions_of_the_bus_has_marks_between_its_hits() -> None:
    row = "01:00.0 3D controller [0302]: NVIDIA Corporation Q100 [10de:20f1] (rev a1)\n\tKernel driver in use: vfio-pci\n"
    assert read("lspci -nnk | grep -A3 NVIDIA", row + "--\n" + row.replace("01:", "02:"))["pci_function_count"] == 2


# --- NVIDIA --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(name=st.lists(st.from_regex(r"[\w./-]{1,12}", fullmatch=True), min_size=1, max_size=4).map(", ".join), used=st.integers(0, 99_999))
def test_commas_in_the_name_of_a_process(name: str, used: int) -> None:
    page = f"gpu_name, pid, process_name, used_gpu_memory [MiB]\nNVIDIA Q1, 77, {name}, {used} MiB\n"
    assert read("nvidia-smi --query-compute-apps=... --format=csv", page)["processes"] == [
        {"gpu_name": "NVIDIA Q1", "bus_id": None, "pid": 77, "name": name, "used_mib": used}]
    assert refused("nvidia-smi --query-gpu=... --format=csv", "index, name\n0, NVIDIA Q1, more\n")


@pytest.mark.parametrize("word", ["Insufficient Permissions", "[Insufficient Permissions]", "[Not Found]"])
def test_a_process_is_named_as_printed(word: str) -> None:
    page = f"pid, process_name, used_gpu_memory [MiB]\n77, {word}, [N/A]\n"
    xml = ("<nvidia_smi_log><gpu id='00000000:0C:00.0'><processes><process_info><pid>77</pid><type>C</type>"
           f"<process_name>{word}</process_name><used_memory>N/A</used_memory></process_info></processes></gpu></nvidia_smi_log>")
    for tool, text in (("nvidia-smi --query-compute-apps=... --format=csv", page), ("nvidia-smi -q -x", xml)):
        process = read(tool, text)["processes"][0]
        assert (process["name"], process["used_mib"]) == (word, None)
    assert read("nvidia-smi -q -x", xml.replace(word, "N/A"))["processes"][0]["name"] is None


def test_a_list_names_a_device_that_is_lost_in_a_remark() -> None:
    page = "GPU 0: NVIDIA Q1 (UUID: GPU-1)\nUnable to determine the device handle for gpu 0000:03:00.0: Unknown Error\n"
    assert read("nvidia-smi -L", page)["device_count"] == 1
    assert parse_recorded("nvidia-smi -L", page.split("\n")[1].encode())["error_kind"] == "device_handle_error"


def test_an_excerpt_of_a_log_tells_of_the_devices_that_are_there() -> None:
    log = ("==============NVSMI LOG==============\n\nAttached GPUs                             : 8\nGPU 00000000:0C:00.0\n"
           "    Product Name                          : Q1\n    FB Memory Usage\n        Total                             : 900 MiB\n")
    found = read("nvidia-smi -q", log)
    assert (found["attached_gpus"], found["device_count"], found["devices"][0]["memory_total_mib"]) == (8, 1, 900)
    assert refused("nvidia-smi -q", log[:-1]) and refused("nvidia-smi -q", log[:-5])


def test_a_heading_of_the_driver_may_stand_ahead_of_the_devices() -> None:
    log = ("==============NVSMI LOG==============\n\nDriver Version                  : 999.11.22\nvGPU Driver Capability\n"
           "    Heterogenous Multi-vGPU       : Supported\n\nAttached GPUs                   : 1\nGPU 00000000:0C:00.0\n"
           "    Memory Usage\n        Total                     : 900 MB\n        Used                      : 9 MB\n    Compute Processes    : None\n")
    found = read("nvidia-smi -q", log)
    assert [(d["bus_id"], d["memory_total_mib"], d["memory_used_mib"]) for d in found["devices"]] == [("00000000:0C:00.0", 900, 9)]
    assert refused("nvidia-smi -q", log.replace("GPU 0000", "GPV 0000")) and refused("nvidia-smi -q", log + "Unit\n    Name   : x\n")


def test_the_log_of_an_old_driver_as_xml() -> None:
    page = ("<nvidia_smi_log><driver_version>304.99</driver_version><gpu id='0000:03:00.0'><memory_usage><total>900 MB</total><used>9 MB</used>"
            "</memory_usage><compute_processes><process_info><pid>22</pid><process_name>a</process_name><used_memory>12 MB</used_memory>"
            "</process_info></compute_processes></gpu></nvidia_smi_log>")  # fmt: skip
    found = read("nvidia-smi -q -x", page)
    assert (found["devices"][0]["memory_total_mib"], found["devices"][0]["memory_used_mib"]) == (900, 9)
    assert found["processes"] == [{"gpu": 0, "pid": 22, "type": None, "name": "a", "used_mib": 12}]


TABLE_BODY = """\
| NVIDIA-SMI 384.99                 Driver Version: 384.99                     |
|------------------------------------------------------------------------------|
| GPU  Name        Persistence-M| Bus-Id        Disp.A |  Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage |   GPU-Util Compute M. |
|===============================+======================+=======================|
|   0  GRID Q-16Q       \tOff | 00000000:02:01.0 Off |                   N/A |
| N/A   36C\tP0    39W / 125W |  \t4MiB /  4036MiB |      0%  \tDefault |
"""
PROCESSES = """\
| Processes:                                                        GPU Memory |
|  GPU       PID   Type   Process name                              Usage      |
|==============================================================================|
|    0      4711      C   an app                                       12MiB   |
+------------------------------------------------------------------------------+
"""


@pytest.mark.parametrize("between", ["+-----------+----------+----------+\n", "|-----------+---------------------|\n|--------------------|\n",
                                     "+-----------+----------+----------+\n+----------------------------------+\n"])  # fmt: skip
def test_the_processes_may_follow_a_table_at_once(between: str) -> None:
    found = read("nvidia-smi", TABLE_BODY + between + PROCESSES)
    assert [(d["name"], d["power_w"], d["memory_used_mib"]) for d in found["devices"]] == [("GRID Q-16Q", 39, 4)]
    assert [(p["pid"], p["name"], p["used_mib"]) for p in found["processes"]] == [(4711, "an app", 12)]
    assert refused("nvidia-smi", TABLE_BODY + PROCESSES)


def test_memory_of_a_device_that_is_lost_is_told_in_words() -> None:
    page = (TABLE_BODY.replace("4MiB /  4036MiB", "GPU is lost").replace("36C", "ERR!").replace("39W / 125W", "ERR! / ERR!")
            + "+-----------+----------+----------+\n")  # fmt: skip
    device = read("nvidia-smi", page)["devices"][0]
    assert device["health"] == "ERR!" and {device[key] for key in ("memory_used_mib", "memory_total_mib", "temperature_c", "power_w")} == {None}


# --- what documents leave out, and loops over devices ----------------------------------------------------------------


def test_dots_of_a_document_are_no_line_of_the_tool() -> None:
    stats = read("hccn_tool -i 0 -stat -g", "packet statistics:\nmac_tx_mac_pause_num:0\n...\nroce_cqe_num:7\n")
    assert stats["fields"] == {"mac_tx_mac_pause_num": "0", "roce_cqe_num": "7"}
    rows = "GPU  VRAM_USED   VRAM_FREE  VRAM_TOTAL    VRAM%\n  0     174 MB    16011 MB    16185 MB   0.01 %\n"
    assert read("amd-smi monitor -v", rows + "  ...\n") == read("amd-smi monitor -v", rows) | {"tool": "amd-smi monitor -v"}


@pytest.mark.parametrize("title", ["NPU_{}:", "======NPU_{}======", "/usr/bin/hccn_tool -i {} -ip -g"])
def test_addresses_of_a_loop_go_by_what_stands_ahead(title: str) -> None:
    page = "".join(f"{title.format(n)}\nipaddr:192.0.2.{n}\nnetmask:255.255.255.0\n" for n in (2, 3))
    assert [(d["index"], d["ip"]) for d in read('for i in 2 3; do echo "NPU_$i:"; hccn_tool -i $i -ip -g; done', page)["devices"]] == [
        (2, "192.0.2.2"), (3, "192.0.2.3")]  # fmt: skip


@pytest.mark.parametrize(("code", "kind"), [(-8001, "invalid_device_id"), (-8002, "insufficient_permissions"), (-8255, "unsupported_query")])
def test_a_command_of_npu_smi_that_failed(code: int, kind: str) -> None:
    found = read("npu-smi info -t board -i 9", f"Failed to execute npu-smi info. ret is {code}.\n")
    assert (found["error_kind"], found["ret_code"]) == (kind, code)


@pytest.mark.parametrize("tool", ["hccn_tool -i 0 -link -g", "npu-smi info", "nvidia-smi", "rocm-smi"])
def test_a_tool_without_its_libraries_does_not_run(tool: str) -> None:
    program = tool.split()[0]
    page = f"{program}: error while loading shared libraries: libq_hal.so: cannot open shared object file: No such file or directory\n"
    assert read(tool, page)["error_kind"] == "driver_not_running"


@pytest.mark.parametrize(("tool", "text"), [
    ("nvidia-smi topo -m", "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n"),
    ("npu-smi info -t spod-info -i 0", "This device does not support querying spod-info.\n")])
def test_a_question_the_tool_does_not_know(tool: str, text: str) -> None:
    assert read(tool, text)["error_kind"] == "unsupported_query"


def test_the_numbers_of_chips_stand_in_a_matrix_of_npus() -> None:
    page = "           Phy-ID12   Phy-ID13\nPhy-ID12   X          SIO\nPhy-ID13   SIO        X\n\nLegend:\n"
    found = read("npu-smi info -t topo", page)
    assert (found["device_count"], found["topology"]["links"]["Phy-ID12"]) == (2, {"Phy-ID12": "X", "Phy-ID13": "SIO"})


LIST = "GPU 0: NVIDIA Q1 (UUID: GPU-1)\n"


@pytest.mark.parametrize("tool", [
    "docker run --rm --gpus all -v /usr/bin/nvidia-smi:/usr/bin/nvidia-smi nvidia/cuda:12 nvidia-smi -L", "kubectl exec -it pod -- nvidia-smi -L",
    "ssh node 'nvidia-smi -L'", "srun -N1 nvidia-smi -L", "& 'C:\\Windows\\System32\\nvidia-smi.exe' -L", "bash -c 'sudo nvidia-smi -L'"])
def test_a_tool_is_known_inside_another_command(tool: str) -> None:
    assert read(tool, LIST)["device_count"] == 1


def test_a_command_that_carries_no_tool_is_not_known() -> None:
    with pytest.raises(InputError) as problem:
        read("docker ps", LIST)
    assert problem.value.code == "inventory.unknown-tool"


def test_the_rule_between_mig_devices_may_not_be_missing() -> None:
    first, second = (f"|  0  {gi:3}   0  {n:2}  |     11MiB / 20096MiB | 14      0 |  3   0    2    0    0 |\n|                  |      0MiB / 32767MiB |"
                     "           |                       |\n" for n, gi in enumerate((1, 2)))  # fmt: skip
    rule = "+------------------+----------------------+-----------+-----------------------+\n"
    head = TABLE + MIG[: MIG.index("|  0    1   0   0")]
    assert [i["gi"] for i in read("nvidia-smi", head + first + rule + second + rule)["devices"][0]["mig"]["instances"]] == [1, 2]
    assert refused("nvidia-smi", head + first + second + rule)


def test_an_excerpt_of_pages_of_rocm_smi_has_the_same_lines_for_each_card() -> None:
    page = "".join(f"GPU[{n}]          : Card series: Q250X\nGPU[{n}]          : Card model: 0x0b0c\n" for n in range(2))
    found = read("rocm-smi --showproductname", page)
    assert [(d["name"], d["device_id"]) for d in found["devices"]] == [("Q250X", "0x0b0c")] * 2
    assert refused("rocm-smi --showproductname", page[: page.rindex("GPU")]) and refused("rocm-smi --showproductname", page[:-1])
    assert refused("rocm-smi --showproductname", page + "something else\n")


def test_links_between_switches_and_a_card_that_fell_off_the_bus() -> None:
    log = ("[1.0] NVRM: Xid (PCI:0000:91:00): 79, pid='<unknown>', GPU has fallen off the bus.\n"
           "[2.0] nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, Fatal, Link 48 LTSSM Fault Up\n"
           "[2.1] nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, Data {0x10000000}\n")
    found = read("dmesg", log)
    assert found["sxids"] == [{"bus_id": "0000:06:00.0", "code": 20034}] and found["fallen_off_bus"] is True and found["xid_line_count"] == 1


@pytest.mark.parametrize("gap", ["\t", "   "])
def test_processes_of_rocm_smi(gap: str) -> None:
    bar = "=" * 60 + "\n"
    head = bar.replace("=\n", " ROCm System Management Interface ===\n") + "===== KFD Processes =====\nKFD process information:\n"
    rows = ["PID   ", "PROCESS NAME   ", "GPU(s)", "VRAM USED  ", "SDMA USED", "CU OCCUPANCY"], ["9399", "VLLM::Core     ", "1     ", "329576448  ", "0", "UNKNOWN"]
    page = head + "".join(gap.join(row) + "\n" for row in rows) + bar + "===== End of ROCm SMI Log =====\n"
    assert read("rocm-smi --showpids", page)["processes"] == [{"pid": 9399, "name": "VLLM::Core", "used_mib": 314.309}]
    assert read("rocm-smi --showpids", head.replace("KFD process information:", "No KFD PIDs currently running") + bar)["processes"] == []
    assert refused("rocm-smi --showpids", page.replace("329576448", "32957q")) and refused("rocm-smi --showpids", page[: page.index("9399") + 9])


def test_complaints_around_a_table_of_rocm_smi() -> None:
    bar = "=" * 90 + "\n"
    page = ('Expected integer value from monitor, but got ""\n' + bar + "ERROR: 2 GPU[0]:\tsclk: Not supported\n" + bar
            + "GPU  Temp (DieEdge)  AvgPwr  SCLK     MCLK    Fan  Perf  PwrCap  VRAM%  GPU%\n"
              "0    N/A             N/A     1700Mhz  300Mhz  0%   auto  0.0W      0%   0%\n" + bar + "WARNING:  One or more commands failed\n" + bar)
    assert [(d["index"], d["power_w"], d["vram_percent"]) for d in read("rocm-smi", page)["devices"]] == [(0, None, 0)]
    page = 'Open mkfd failed\nExpected integer value from monitor, but got ""\nError: No device available, no device found or initialization failed.\n'
    assert read("hy-smi", page)["error_kind"] == "no_devices"


@pytest.mark.parametrize(("tool", "text"), [
    ("rocm-smi --json", '{"card0": {"GPU ID": "0x1"}, "system": {"Driver version": "5.99.0-35 #36 SMP"}}\n'),
    ("rocm-smi --showdriverversion", "=== ROCm ===\n=== Version ===\nDriver version: 5.99.0-35 #36 SMP\n=====\n"),
    ("amd-smi static", "GPU: 0\n    DRIVER:\n        NAME: amdgpu\n        VERSION: 5.99.0-35 #36 SMP\n")])  # fmt: skip
def test_a_version_is_one_word(tool: str, text: str) -> None:
    assert read(tool, text)["driver_version"] == "5.99.0-35"


def test_columns_of_csv_go_by_their_names() -> None:
    page = "fresh,gpu,name,pid,vram_mem\n7,0,worker,22,4096\n"
    assert read("amd-smi process --csv", page)["processes"] == [{"gpu": 0, "pid": 22, "name": "worker", "vram_bytes": 4096}]
    assert refused("amd-smi process --csv", page.replace("fresh", "gpu")) and refused("amd-smi process --csv", page.replace("gpu", "card"))


def test_a_list_with_slices_that_lost_their_indent() -> None:
    page = "GPU 0: NVIDIA Q1 (UUID: GPU-1)\nMIG 1g.9gb Device 0: (UUID: MIG-1)\n  MIG 1g.9gb Device 1: (UUID: MIG-2)\n"
    assert [i["uuid"] for i in read("nvidia-smi -L", page)["devices"][0]["mig"]["instances"]] == ["MIG-1", "MIG-2"]


def test_an_excerpt_of_q_with_marks_for_lines_left_out() -> None:
    page = ("Driver Version                            : 1.2\nAttached GPUs                             : 4\nGPU 00000000:10:1C.0\n"
            "    Product Name                          : NVIDIA Q1\n    [...]\n        Used                              : 9 MiB\n    FB Memory Usage\n"
            "        ...\n        Used                              : 12 MiB\n    Processes                             : None\n[...]\n")
    found = read("nvidia-smi -q", page)
    assert (found["driver_version"], found["attached_gpus"], found["device_count"]) == ("1.2", 4, 1)
    assert found["devices"][0]["memory_used_mib"] == 12 and found["devices"][0]["memory_total_mib"] is None
    assert refused("nvidia-smi -q", page + page[page.index("GPU 0000") :].replace(":10:", ":20:"))  # the place of a later device is not known


def test_a_complaint_ahead_of_a_page_of_npu_smi() -> None:
    page = "[WARNING]The driver package may not be complete.\n\tNPU ID              : 1\n\tHealth Status       : OK\n"
    assert read("npu-smi info -t health -i 1", page)["health"] == "OK"
    assert refused("npu-smi info -t health -i 1", page.split("\n", 1)[1] + page[: page.index("\n") + 1])


def test_the_first_forms_of_rocm_smi() -> None:
    bar = "=" * 60 + "\n"
    page = bar + "GPU[0] \t\t: GPU ID: 0x66a0\n" + bar + "GPU[0] \t\t: Temperature: 34.0c\n" + bar + "GPU[0] \t\t: Average GPU Power: 26.0 W\n" + bar
    device = read("rocm-smi -a", page)["devices"][0]
    assert (device["temperature_c"], device["temperature_sensor"], device["power_w"]) == (34.0, None, 26.0)
    assert refused("rocm-smi -a", page.replace("34.0c", "34.0x")) and refused("rocm-smi -a", page.replace("26.0 W", "26.0 V"))


def test_remarks_on_the_processes_of_an_npu() -> None:
    head = "\tNPU ID              : 3\n\tChip Count          : 1\n\n"
    tool = "npu-smi info -t proc-mem -i 3"
    assert read(tool, head + "\tNo process in device.\n\tChip ID             : 0\n")["npu_id"] == 3
    page = head + "\tGet pid name failed.\n\tProcess id:12 Process name:                  Process memory(MB):45\n\tChip ID             : 0\n"
    assert read(tool, page)["npu_id"] == 3 and refused(tool, "No process in device.\n")


def test_cards_of_hygon_name_themselves() -> None:
    card = '{"card0": {"Device ID": "0x1", "Card Series": "D1", "Card Vendor": "%s", "HCU use (%%)": "0.0"}}\n'
    assert read("rocm-smi -a --json", card % "Chengdu Haiguang Q.")["vendor"] == "hygon"
    assert read("rocm-smi -a --json", (card % "AMD").replace("HCU", "GPU"))["vendor"] == "amd"


# --- words that are no version, and tools of a later year ------------------------------------------------------------

WIDE = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 550.144.02             Driver Version: 550.144.02     CUDA Version: 12.4     |
|-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|                                         |                        |               MIG M. |
|=========================================+========================+======================|
|   0  NVIDIA Q40S                    On  |   00000000:0C:00.0 Off |                    0 |
| N/A   41C    P8             25W /  350W |       3MiB /  46068MiB |      2%      Default |
|                                         |                        |                  N/A |
+-----------------------------------------+------------------------+----------------------+
"""


@pytest.mark.parametrize("words", ["Not Found", "N/A", "ERR!", "Unknown Error", "Not Supported"])
def test_words_are_no_version(words: str) -> None:
    """A host of virtual GPUs has no CUDA."""
    head = f"| NVIDIA-SMI 550.144.02             Driver Version: 550.144.02     CUDA Version: {words:<10} |"
    table = "\n".join(head if "NVIDIA-SMI" in line else line for line in WIDE.splitlines()) + "\n"
    assert (read("nvidia-smi", WIDE)["cuda_version"], read("nvidia-smi", WIDE)["driver_version"]) == ("12.4", "550.144.02")
    found = read("nvidia-smi", table)
    assert found["cuda_version"] is None and found["driver_version"] == "550.144.02" and found["device_count"] == 1
    log = f"==============NVSMI LOG==============\n\nDriver Version : {words}\nCUDA Version : {words}\n\nGPU 00000000:0C:00.0\n    Processes : None\n"
    found = read("nvidia-smi -q", log)
    assert found["cuda_version"] is None and found["driver_version"] is None


@pytest.mark.parametrize(("tool", "text", "wanted"), [
    ("cat /usr/local/Ascend/cann/version.info", "Version=8.9.1\nversion_dir=cann-8.9.1\ntimestamp=20990101\n", {"cann_version": "8.9.1"}),
    ("cat /usr/local/Ascend/ascend-toolkit/latest/runtime/version.info", "Version=7.9.0.1\nversion_dir=8.4.RC9\n", {"cann_version": "8.4.RC9"}),
    ("cat /usr/local/Ascend/mindie/latest/version.info", "Ascend-mindie : MindIE 9.1\nmindie-rt: 9.1\nPlatform : aarch64\n",
     {"fields": {"Ascend-mindie": "MindIE 9.1", "mindie-rt": "9.1", "Platform": "aarch64"}}),
])  # fmt: skip
def test_versions_of_what_is_installed(tool: str, text: str, wanted: dict) -> None:
    found = read(tool, text)
    assert {key: found.get(key) for key in wanted} == wanted


def test_what_the_switch_at_the_other_end_tells() -> None:
    text = ("Chassis ID TLV\n\tMAC: 02:00:5e:00:00:07\nPort ID TLV\n\tIfname: 400GE9/0/7\nTime to Live TLV\n\t90\nSystem Description TLV\n"
            "\tSwitch of a kind\n\tSecond line: more\nEnd of LLDPDU TLV\n")  # fmt: skip
    assert read("hccn_tool -i 3 -lldp -g", text)["fields"] == {
        "Chassis ID TLV": "MAC: 02:00:5e:00:00:07", "Port ID TLV": "Ifname: 400GE9/0/7", "Time to Live TLV": "90",
        "System Description TLV": "Switch of a kind\nSecond line: more", "End of LLDPDU TLV": ""}  # fmt: skip
    for wrong in ("\tMAC: 02:00:5e:00:00:07\n", text + "Chassis ID TLV\n", text + "words\n", text[:-1]):
        with pytest.raises(InputError):
            read("hccn_tool -i 3 -lldp -g", wrong)


@pytest.mark.parametrize(("tool", "text"), [
    ("amd-smi list", "ERROR: Drivers not loaded (amdgpu not found in modules)\n"),
    ("amd-smi", "AMDSMI Error code: 34 | AMDSMI_STATUS_DRIVER_NOT_LOADED - Driver not loaded\n")])
def test_a_driver_that_is_not_loaded_in_the_words_of_amd_smi(tool: str, text: str) -> None:
    assert read(tool, text)["error_kind"] == "driver_not_running"


def test_links_that_are_down_without_the_mark_of_the_library() -> None:
    page = ("GPU 0: NVIDIA Q1 (UUID: GPU-00000000-0000-0000-0000-000000000001)\n\t Link 0: 50 GB/s\n\t Link 1: <inactive>\n"
            "GPU 1: NVIDIA Q2 (UUID: GPU-00000000-0000-0000-0000-000000000002)\nUnable to retrieve NVLink information as all links are inActive\n")
    assert [d["nvlinks"] for d in read("nvidia-smi nvlink -s", page)["devices"]] == [["50 GB/s", "<inactive>"], []]


@given(name=st.text("ab |+-=/", min_size=1, max_size=12).map(lambda text: f"p{text}q"))
def test_no_name_of_a_process_hides_the_npus(name: str) -> None:
    page = f"""\
+------------------------------------------------------------------------------------------------+
| npu-smi 24.9.0                   Version: 24.9.0                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910Q4               | Critical      | 87.8        34                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          2847 / 32768         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 2517143       | {name:<24} | 29000                   |
+===========================+===============+====================================================+
"""
    found = read("npu-smi info", page)
    assert [(d["health"], d["memory_used_mib"]) for d in found["devices"]] == [("Critical", 2847)]
    assert found["processes"] == [{"npu": 0, "chip": 0, "pid": 2517143, "name": name.strip(), "used_mib": 29000}]


@given(name=st.text("ab<>&;'\"/ ", min_size=1, max_size=20).map(lambda text: f"p{text}q"))
@example(name="p</process_name></process_info><process_info><pid>1</pid>q")
@example(name="p&lt;q")
def test_no_name_of_a_process_hides_the_gpus(name: str) -> None:
    page = (f'<?xml version="1.0" ?>\n<nvidia_smi_log>\n<driver_version>599.1</driver_version>\n<gpu id="00000000:0C:00.0">\n'
            f"<fb_memory_usage><total>900 MiB</total><used>70 MiB</used></fb_memory_usage>\n<processes>\n<process_info>\n<pid>71</pid>\n<type>C</type>\n"
            f"<process_name>{name}</process_name>\n<used_memory>60 MiB</used_memory>\n</process_info>\n</processes>\n</gpu>\n</nvidia_smi_log>\n")
    found = read("nvidia-smi -q -x", page)
    assert found["devices"][0]["memory_total_mib"] == 900 and [(p["pid"], p["used_mib"]) for p in found["processes"]] == [(71, 60)]
    assert found["processes"][0]["name"] == name.replace("&lt;", "<").strip()
