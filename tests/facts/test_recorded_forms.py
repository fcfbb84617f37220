"""Forms of outputs beyond the shared recordings, written after the tools' formats: right values, or a named error."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from console.errors import InputError
from console.facts.recorded import parse_recorded

VERSIONS = st.from_regex(r"[1-9][0-9]{2}\.[0-9]{2}(\.[0-9]{2})?", fullmatch=True)
some = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def read(tool: str, text: str) -> dict:
    return parse_recorded(tool, text.encode())


def refused(tool: str, text: str) -> bool:
    try:
        read(tool, text)
    except InputError as problem:
        assert problem.code == "inventory.unreadable-output"
        return True
    return False


# --- NVIDIA: the names of versions from driver 610 on ------------------------------------------------------------

REMARKS = st.sampled_from(['Deprecated, see "KMD version" instead', "{} [Deprecated; will be removed. Use the new name instead]", "N/A"])


@some
@example(driver="610.43.02", cuda="133.1", remark="N/A")
@given(driver=VERSIONS, cuda=VERSIONS, remark=REMARKS)
def test_the_newer_names_of_versions_win_and_remarks_are_no_part_of_one(driver: str, cuda: str, remark: str) -> None:
    entries = [("Driver Version", remark.format(driver)), ("CUDA Version", remark.format(cuda)), ("KMD Version", driver),
               ("CUDA UMD Version", cuda)]
    page = "".join(f"{name:<20}: {value}\n" for name, value in [("NVIDIA-SMI version", driver), *entries])
    log = "==============NVSMI LOG==============\n\n" + "".join(f"{name:<40}: {value}\n" for name, value in entries)
    log += f"\n{'Attached GPUs':<40}: 1\nGPU 00000000:0C:00.0\n    {'Product Name':<36}: NVIDIA Q1\n    {'Processes':<36}: None\n"
    tags = "".join(f"<{(tag := name.lower().replace(' ', '_'))}>{value}</{tag}>" for name, value in entries)
    xml = f'<?xml version="1.0" ?>\n<nvidia_smi_log>{tags}<gpu id="00000000:0C:00.0"></gpu></nvidia_smi_log>\n'
    csv = f"driver_version, kmd_version, index\n{remark.format(driver).replace(',', ';')}, {driver}, 0\n"
    for tool, text in (("nvidia-smi --version", page), ("nvidia-smi -q", log), ("nvidia-smi -q -x", xml)):
        found = read(tool, text)
        assert (found["driver_version"], found["cuda_version"]) == (driver, cuda)
    assert read("nvidia-smi --query-gpu=... --format=csv", csv)["driver_version"] == driver


# --- words where a reading is expected -----------------------------------------------------------------------------

WORDS = ["Not available in WDDM driver model", "GPU requires reset", "[GPU requires reset]", "Insufficient Permissions", "[Not Found]",
         "Unknown Error", "[N/A]"]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_words_instead_of_a_reading_are_no_value(word: str) -> None:
    log = ("==============NVSMI LOG==============\n\nAttached GPUs                             : 1\nGPU 00000000:0C:00.0\n"
           f"    Temperature\n        GPU Current Temp                  : {word}\n"
           f"    Processes\n        Process ID                        : 77\n            Used GPU Memory               : {word}\n")
    found = read("nvidia-smi -q", log)
    assert found["devices"][0]["temperature_c"] is None and found["processes"][0]["used_mib"] is None
    row = read("nvidia-smi --query-gpu=... --format=csv", f"index, temperature.gpu, memory.used [MiB]\n0, {word}, {word}\n")["devices"][0]
    assert (row["temperature_c"], row["memory_used_mib"]) == (None, None)


@some
@given(text=st.from_regex(r"[+?#][0-9]{1,2} C|[0-9]{1,2}[CF]|[0-9]{1,2} F|[0-9]{1,2}x C|\? C", fullmatch=True))
def test_a_reading_that_is_damaged_is_an_error(text: str) -> None:
    assert refused("nvidia-smi -q", "==============NVSMI LOG==============\n\nGPU 00000000:0C:00.0\n    Temperature\n"
                                    f"        GPU Current Temp                  : {text}\n    Processes                      : None\n")


# --- NVIDIA: the table ---------------------------------------------------------------------------------------------

TABLE = """\
+-----------------------------------------------------------------------------+
| NVIDIA-SMI 450.11.22    Driver Version: 450.11.22    CUDA Version: 11.0     |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|                               |                      |               MIG M. |
|===============================+======================+======================|
|   0  Q100-SXM4-40GB      On   | 00000000:36:00.0 Off |                   On |
| N/A   29C    P0    44W / 400W |     22MiB / 40537MiB |     N/A      Default |
|                               |                      |              Enabled |
+-------------------------------+----------------------+----------------------+
"""
MIG = """
+-----------------------------------------------------------------------------+
| MIG devices:                                                                |
+------------------+----------------------+-----------+-----------------------+
| GPU  GI  CI  MIG |         Memory-Usage |        Vol|         Shared        |
|      ID  ID  Dev |           BAR1-Usage | SM     Unc| CE  ENC  DEC  OFA  JPG|
|                  |                      |        ECC|                       |
|==================+======================+===========+=======================|
|  0    1   0   0  |     11MiB / 20096MiB | 14      0 |  3   0    2    0    0 |
|                  |      0MiB / 32767MiB |           |                       |
+------------------+                      +-----------+-----------------------+
|  0    1   1   1  |                      | 14      0 |  3   0    2    0    0 |
|                  |                      |           |                       |
+------------------+----------------------+-----------+-----------------------+
"""


@pytest.mark.parametrize("kept", range(1, 8))
def test_a_log_that_ends_inside_its_processes_is_cut(kept: int) -> None:
    head = ["==============NVSMI LOG==============", "", "Attached GPUs : 1", "GPU 00000000:0C:00.0",
            "    Product Name : Card", "    FB Memory Usage", "        Total : 900 MiB", "        Used : 90 MiB"]
    section = ["    Processes", "        GPU instance ID : N/A", "        Compute instance ID : N/A",
               "        Process ID : 71", "            Type : C", "            Name : worker",
               "            Used GPU Memory : 60 MiB"]
    text = "\n".join(head + section[:kept]) + "\n"
    if kept < len(section):
        assert refused("nvidia-smi -q", text)
    else:
        assert read("nvidia-smi -q", text)["processes"] == [
            {"gpu": 0, "pid": 71, "type": "C", "name": "worker", "used_mib": 60}]


def test_a_table_may_end_with_its_rule_and_be_followed_by_text() -> None:
    plain = read("nvidia-smi", TABLE)
    assert plain["device_count"] == 1 and plain["processes"] == [] and plain["devices"][0]["power_w"] == 44
    for behind in ("\n", "\n\nThe card is idle.\n", "\nhttps://example.org/page\n"):
        assert read("nvidia-smi", TABLE + behind) == plain
    assert read("nvidia-smi", TABLE.rstrip("\n")) == plain
    assert refused("nvidia-smi", TABLE + "| a row of nothing |\n")


def test_compute_instances_of_one_gpu_instance_share_a_cell() -> None:
    first, second = read("nvidia-smi", TABLE + MIG)["devices"][0]["mig"]["instances"]
    assert (first["gi"], first["ci"], first["memory_used_mib"], first["memory_total_mib"]) == (1, 0, 11, 20096)
    assert (second["gi"], second["ci"], second["memory_used_mib"], second["memory_total_mib"]) == (1, 1, None, None)
    # A gap is no end of the table: a page cut there is refused.
    assert refused("nvidia-smi", TABLE + MIG[: MIG.index("|  0    1   1   1")])


PROCESSES = {
    "new": ("  GPU   GI   CI        PID   Type   Process name                  GPU Memory ", "    0    1    0     {pid}      C   {name}   {used} "),
    "plain": ("  GPU       PID   Type   Process name                             Usage      ", "    0     {pid}      C   {name}   {used} "),
    "old": ("  GPU       PID  Process name                                     Usage      ", "    0     {pid}  {name}   {used} "),
}


@some
@given(form=st.sampled_from(sorted(PROCESSES)), pid=st.integers(1, 4_000_000), used=st.none() | st.integers(0, 99_999),
       name=st.lists(st.from_regex(r"[\w./:\\\[\]-]{1,12}", fullmatch=True), max_size=3).map(" ".join))  # fmt: skip
def test_processes_in_all_generations_of_the_table(form: str, pid: int, used: int | None, name: str) -> None:
    title, row = PROCESSES[form]
    head = "Compute processes:" if form == "old" else "Processes:"
    rows = [f" {head} ", title, row.format(pid=pid, name=name, used="N/A" if used is None else f"{used}MiB")]
    width = max(90, *map(len, rows))
    framed = [f"|{text:<{width}}|" for text in rows]
    rule = "+" + "-" * width + "+"
    page = TABLE + "\n" + "\n".join([rule, framed[0], framed[1], "|" + "=" * width + "|", framed[2], rule, ""])
    assert read("nvidia-smi", page)["processes"] == [{
        "gpu": 0, "gi": 1 if form == "new" else None, "ci": 0 if form == "new" else None, "pid": pid, "name": " ".join(name.split()) or None,
        "type": None if form == "old" else "C", "used_mib": used}]  # fmt: skip


def test_a_module_without_sensors() -> None:
    page = (TABLE.replace("Driver Version: 450.11.22 ", "Driver Version: N/A       ").replace("00000000:36:00.0 Off ", "N/A              N/A ")
            .replace(" N/A   29C    P0    44W / 400W ", " N/A   N/A  N/A     N/A /  N/A ").replace("    22MiB / 40537MiB ", " Not Supported        "))
    found = read("nvidia-smi", page)
    assert found["driver_version"] is None and found["cuda_version"] == "11.0"
    assert {found["devices"][0][key] for key in ("bus_id", "temperature_c", "power_w", "memory_used_mib", "memory_total_mib")} == {None}


# --- links ---------------------------------------------------------------------------------------------------------

NICS = st.lists(st.from_regex(r"(mlx5_|rocep|ibp|irdma|efa_|bnxt_re|hfi1_)[0-9]{1,3}(s0f[01])?", fullmatch=True), max_size=4, unique=True)


@some
@given(gpus=st.integers(1, 5), nics=NICS, affinity=st.booleans(), gap=st.sampled_from(["\t", "   "]))
def test_topology_with_any_names_of_adapters(gpus: int, nics: list[str], affinity: bool, gap: str) -> None:
    names = [f"GPU{n}" for n in range(gpus)] + nics
    lines = [gap.join(["", *names, *(["CPU Affinity", "NUMA Affinity", "GPU NUMA ID"] if affinity else [])])]
    for name in names:
        behind = ["0-7", "0", "N/A"] if affinity and name.startswith("GPU") else []
        lines.append(gap.join([name, *(" X " if other == name else "PIX" for other in names), *behind]))
    page = "\n".join(lines) + "\n\nLegend:\n  X    = Self\n"
    found = read("nvidia-smi topo -m", page)
    assert found["device_count"] == gpus and found["topology"]["devices"] == names
    assert found["topology"].get("cpu_affinity") == ({f"GPU{n}": "0-7" for n in range(gpus)} if affinity else None)
    assert refused("nvidia-smi topo -m", "\n".join(lines[:-1]) + "\n\nLegend:\n")


def test_topology_without_affinities_of_the_host() -> None:
    assert read("nvidia-smi topo -m", "\tGPU0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\nGPU0\t X \t\t\t\tN/A\n\nLegend:\n")["topology"] == {
        "devices": ["GPU0"], "links": {"GPU0": {"GPU0": "X"}}}


def test_columns_that_tell_nothing_need_no_place() -> None:
    page = "        GPU0    CPU Affinity    NUMA Affinity   GPU NUMA ID\nGPU0     X                                      {}\n\nLegend:\n"
    assert "cpu_affinity" not in read("nvidia-smi topo -m", page.format("N/A"))["topology"]
    assert refused("nvidia-smi topo -m", page.format("0-7"))


@pytest.mark.parametrize("remark", ["NVML: Unable to retrieve NVLink information as all links are inactive",
                                    "NVML: Unable to retrieve Nvlink information as all links are inActive"])
def test_links_that_are_down(remark: str) -> None:
    found = read("nvidia-smi nvlink -s", f"GPU 3: NVIDIA Q1 (UUID: GPU-01234567-0000-1111-2222-333344445555)\n{remark}\n")
    assert [(d["index"], d["nvlinks"]) for d in found["devices"]] == [(3, [])] and "unsupported" not in found


# --- Ascend --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["devid", "device"])
def test_link_changes_with_either_mark(mark: str) -> None:
    page = (f"[{mark} 5]current time        : Wed Jun  7 10:08:28 2023\n[{mark} 5]link up count       : 2\n"
            f"[{mark} 5]link down count     : 1\n[{mark} 5]link change records :\n[{mark} 5]    Tue Jun  6 16:32:12 2023    LINK UP\n")
    found = read("hccn_tool -i 5 -link_stat -g", page)
    assert (found["device"], found["link_up_count"], found["changes"]) == (5, 2, ["LINK UP"])


STATUS = """\
Netdev status:Settings for eth3:
        Supported ports: [ FIBRE ]
        Supported link modes:   40000baseCR4/Full
                                100000baseCR4/Full
        Speed: 200000Mb/s
        Current message level: 0x00000036 (54)
                               probe link
        Link detected: yes
"""


def test_a_value_goes_on_in_deeper_lines() -> None:
    fields = read("hccn_tool -i 3 -status -g", STATUS)["fields"]
    assert fields["Supported link modes"] == "40000baseCR4/Full\n100000baseCR4/Full"
    assert fields["Current message level"] == "0x00000036 (54)\nprobe link" and fields["Netdev status"] == "Settings for eth3:"
    assert refused("hccn_tool -i 3 -status -g", STATUS + "a line of its own\n")


def test_headings_empty_values_and_loops() -> None:
    page = "optical info:\npresent              : present\nVendor Name          :\nTx Power             : 1.2 mW\n"
    assert read("hccn_tool -i 0 -optical -g", page)["fields"] == {"present": "present", "Vendor Name": "", "Tx Power": "1.2 mW"}
    loop = read("for i in 0 1; do hccn_tool -i $i -link -g; done", "link status: UP\nlink status: DOWN\n")
    assert loop["records"] == [{"link status": "UP"}, {"link status": "DOWN"}]


@some
@given(rows=st.lists(st.tuples(st.integers(1, 9_999_999), st.from_regex(r"[\w.\-]{1,15}", fullmatch=True), st.integers(0, 99_999)), max_size=4))
def test_memory_of_processes(rows: list[tuple[int, str, int]]) -> None:
    page = "        NPU ID                         : 6\n        Chip ID                        : 0\n"
    page += "".join(f"        Process id:{pid}  Process name:{name}        Process memory(MB):{used}\n" for pid, name, used in rows)
    found = read("npu-smi info -t proc-mem -i 6", page + ("" if rows else "        No process in device.\n"))
    records = found.get("records") or [found["fields"]]
    assert found["npu_id"] == 6
    assert [r["Process id"] for r in records if "Process id" in r] == [str(pid) for pid, _, _ in rows]
    assert [r["Process memory(MB)"] for r in records if "Process id" in r] == [str(used) for _, _, used in rows]


def test_a_map_without_its_last_newline_is_read_where_the_name_is_known_from_another_row() -> None:
    rows = ["NPU ID        Chip ID       Chip Logic ID    Chip Name", *(f"{n}             0             {n}                Ascend Q10B" for n in range(3))]
    text = "\n".join(rows)
    assert [d["logic_id"] for d in read("npu-smi info -m", text)["devices"]] == [0, 1, 2]
    for end in range(text.rindex("\n") + 1, len(text)):
        assert refused("npu-smi info -m", text[:end]) or end == text.rindex("\n") + 1


@pytest.mark.parametrize(("tool", "text", "wanted"), [
    ("npu-smi -v", "npu-smi version: x.x.x\n", {"tool_version": "x.x.x"}),
    ("cat /usr/local/Ascend/ascend-toolkit/latest/toolkit/version.info", "Version=8.2.0.0.201\nversion_dir=8.2.RC1\n", {"cann_version": "8.2.RC1"}),
    ("cat /usr/local/Ascend/ascend-toolkit/latest/version.cfg", "# version: 1.0\ntoolkit_running_version=[7.6.0.1.220:8.0.0]\n",
     {"cann_version": "8.0.0"}),
    ("cat /usr/local/Ascend/driver/version.info", "Version=25.2.0\nascendhal_version=7.35.23\n", {"driver_version": "25.2.0"}),
    ("cat /etc/*-release", "EulerOS release 2.0 (SP10)\nNAME=\"EulerOS\"\nID=\"euleros\"\n", {"env": {"os_id": "euleros"}}),
])  # fmt: skip
def test_versions_in_files(tool: str, text: str, wanted: dict) -> None:
    found = read(tool, text)
    env = {key: value for key, value in (found.get("env") or {}).items() if value is not None}
    assert {key: env if key == "env" else found[key] for key in wanted} == wanted
    assert not {"driver_version", "firmware_version", "cann_version"} & set(found) - set(wanted)


def test_a_table_of_npus_may_be_followed_by_text() -> None:
    page = """\
+--------------------------------------------------------------------------------------+
| npu-smi 22.0.4                       Version: 22.0.4                                 |
+-------------------+-----------------+------------------------------------------------+
| NPU     Name      | Health          | Power(W)     Temp(C)     Hugepages-Usage(page) |
| Chip    Device    | Bus-Id          | AICore(%)    Memory-Usage(MB)                  |
+===================+=================+================================================+
| 7       Q10P3     | Alarm           | NA           28          0    / 0              |
| 0       0         | NA              | 0            1805 / 21527                      |
+-------------------+-----------------+------------------------------------------------+
"""
    plain = read("npu-smi info", page)
    assert plain["devices"][0]["health"] == "Alarm" and plain["devices"][0]["bus_id"] is None and "truncated" not in plain
    assert read("npu-smi info", page + "https://example.org/a/page\n") == plain
    assert refused("npu-smi info", page + "| 8       Q10P3     | OK \n")


# --- AMD -----------------------------------------------------------------------------------------------------------


@some
@given(rows=st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 400).map(lambda v: round(v, 1)), st.integers(1, 512)), min_size=1, max_size=9),
       blanks=st.integers(0, 2))  # fmt: skip
def test_monitor_with_memory_in_one_column(rows: list[tuple[int, float, int]], blanks: int) -> None:
    lines = ["GPU  XCP  POWER  PWR_CAP   GPU_T   MEM_T   GFX_CLK   GFX%      VRAM_USAGE"]
    lines += [f"{n:3}    0  {power:3} W    750 W   41 °C     N/A   132 MHz    0 %  {used:5}/{' ' * blanks}{total}.0 GB"
              for n, (power, used, total) in enumerate(rows)]  # fmt: skip
    found = read("amd-smi monitor", "\n".join(lines) + "\n")
    assert [(d["power_w"], d["memory_used_mib"], d["memory_total_mib"]) for d in found["devices"]] == [
        (power, round(used * 1024, 3), total * 1024) for power, used, total in rows]
    assert all("memory_temperature_c" not in device for device in found["devices"])


@some
@given(sizes=st.lists(st.integers(0, 10**13), min_size=1, max_size=5))
def test_bytes_of_processes_are_exact(sizes: list[int]) -> None:
    page = json.dumps([{"gpu": n, "process_list": [{"process_info": {"name": "p", "pid": 10 + n, "memory_usage": {
        "vram_mem": {"value": size, "unit": "B"}}}}]} for n, size in enumerate(sizes)])
    assert [p["vram_bytes"] for p in read("amd-smi process --json", page)["processes"]] == sizes


def test_json_of_monitor_version_and_topology() -> None:
    row = {"gpu": 0, "power_usage": {"value": 140, "unit": "W"}, "hotspot_temperature": {"value": 41, "unit": "C"}, "memory_temperature": "N/A",
           "gfx": {"value": 3, "unit": "%"}, "vram_used": {"value": 283, "unit": "MB"}, "vram_total": {"value": 196300, "unit": "MB"}}  # fmt: skip
    assert read("amd-smi monitor --json", json.dumps([row]))["devices"] == [{
        "index": 0, "power_w": 140, "temperature_c": 41, "gpu_percent": 3, "memory_used_mib": 283, "memory_total_mib": 196300}]
    version = {"tool": "AMDSMI Tool", "version": "26.0.0+1234", "amdsmi_library_version": "26.0.0", "rocm_version": "7.0.0", "amdgpu_version": "6.14.14"}
    wanted = {"tool_version": "26.0.0+1234", "library_version": "26.0.0", "rocm_version": "7.0.0", "driver_version": "6.14.14"}
    for tool, text in (("amd-smi version --json", json.dumps([version])),
                       ("amd-smi version --csv", ",".join(version) + "\n" + ",".join(version.values()) + "\n")):
        assert wanted.items() <= read(tool, text).items()
    ends = ["0000:0c:00.0", "0000:22:00.0"]
    page = [{"gpu": n, "bdf": bdf, "links": [{"gpu": m, "bdf": peer, "weight": 0 if m == n else 15, "link_type": "SELF" if m == n else "XGMI",
                                             "num_hops": int(m != n)} for m, peer in enumerate(ends)]} for n, bdf in enumerate(ends)]  # fmt: skip
    topology = read("amd-smi topology --json", json.dumps(page))["topology"]
    assert topology["links"][ends[0]] == {ends[0]: "SELF", ends[1]: "XGMI"} and topology["weights"][ends[1]] == {ends[0]: 15, ends[1]: 0}
    assert refused("amd-smi topology --json", json.dumps([page[0] | {"links": page[0]["links"][:1]}, page[1]]))


STATIC = "".join(f"GPU: {n}\n    ASIC:\n        MARKET_NAME: Q300\n        DEVICE_ID: 0x74a1\n    BUS:\n        BDF: 0000:{n}5:00.0\n"
                 f"    VRAM:\n        TYPE: HBM\n        SIZE: 196592 MB\n\n" for n in range(3))  # fmt: skip


def test_a_text_of_sections_cut_at_any_line_gives_no_device_by_halves() -> None:
    lines = STATIC.splitlines(keepends=True)
    for end in range(1, len(lines)):
        if not refused("amd-smi static", "".join(lines[:end])):
            for device in read("amd-smi static", "".join(lines[:end]))["devices"][1:]:
                assert (device["name"], device["memory_total_mib"]) == ("Q300", 196592)
    other = STATIC.replace("MARKET_NAME: Q300", "MARKET_NAME: N/A", 1).replace("0000:25:00.0", "N/A")
    assert read("amd-smi static", other)["device_count"] == 3


AMD_TABLE = """\
+------------------------------------------------------------------------------+
| AMD-SMI 26.9.9+abcdef12      amdgpu version: 6.99.9   ROCm version: 7.9.9    |
|-------------------------------------+----------------------------------------|
| BDF                        GPU-Name | Mem-Uti   Temp   UEC       Power-Usage |
| GPU  HIP-ID  OAM-ID  Partition-Mode | GFX-Uti    Fan               Mem-Usage |
|=====================================+========================================|
| 0000:0c:00.0     AMD Instinct Q300X | 13 %     60 °C   0           734/750 W |
|   0       0       2        SPX/NPS1 | 98 %       N/A          4976/196592 MB |
+-------------------------------------+----------------------------------------+
+------------------------------------------------------------------------------+
| Processes:                                                                   |
|  GPU        PID  Process Name          GTT_MEM  VRAM_MEM  MEM_USAGE     CU % |
|==============================================================================|
"""
RULE = "+------------------------------------------------------------------------------+\n"


def test_processes_of_the_table_of_amd_smi() -> None:
    row = "|    0    2427396  an app                 2.0 MB    2.0 GB     2.5 GB    0.0 % |\n"
    idle = "|  No running processes found                                                  |\n"
    assert read("amd-smi", AMD_TABLE + row + RULE)["processes"] == [{"gpu": 0, "pid": 2427396, "name": "an app", "used_mib": 2048}]
    assert read("amd-smi", AMD_TABLE + idle + RULE)["processes"] == []
    assert refused("amd-smi", AMD_TABLE + row) and refused("amd-smi", AMD_TABLE + row.replace("2427396  an", "an") + RULE)


def test_tables_of_rocm_smi_in_older_forms() -> None:
    bar = "=" * 80 + "\n"
    page = (bar + " GPU  Temp    AvgPwr   SCLK     MCLK     Fan      Perf    SCLK OD\n  0   50.0c   8.0W     852Mhz   500Mhz   12.94%   auto      0%\n" + bar)
    device = read("rocm-smi", page)["devices"][0]
    assert (device["index"], device["temperature_c"], device["power_w"]) == (0, 50.0, 8.0)
    page = (bar + bar + "GPU  DID   GFX RAS  SDMA RAS  UMC RAS  VBIOS            BUS           \n"
            "0    744c  N/A      N/A       N/A      115-Q702BS0-101  0000:03:00.0  \n" + bar)
    assert read("rocm-smi --showhw", page)["devices"] == [{"index": 0, "device_id": "744c", "bus_id": "0000:03:00.0"}]


# --- what is around, and errors -----------------------------------------------------------------------------------


def test_the_heading_of_watch_is_no_output() -> None:
    assert read("watch -n 1 nvidia-smi -L", "Every 1.0s: nvidia-smi -L      gpu-01: Mon Sep  1 10:00:00 2025\n\nGPU 0: NVIDIA Q1 (UUID: GPU-1)\n")[
        "device_count"] == 1


@pytest.mark.parametrize("tool", ["dmesg | grep -i xid", "grep -i xid /var/log/syslog", "zgrep NVRM /var/log/kern.log.2.gz", "cat /var/log/messages"])
def test_places_of_the_kernel_log(tool: str) -> None:
    found = read(tool, "Sep  1 10:00:00 gpu kernel: NVRM: Xid (PCI:0000:01:00): 48, pid=1\n")
    assert (found["vendor"], found["error_kind"], found["xids"]) == ("nvidia", "xid", [{"bus_id": "0000:01:00", "code": 48}])


ERRORS = [
    ("nvidia-smi", "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure it is there.\n", "driver_not_running"),
    ("nvidia-smi", "Failed to initialize NVML: GPU access blocked by the operating system\n", "nvml_unknown_error"),
    ("nvidia-smi", "Unable to determine the device handle for GPU2: Unknown Error\n", "device_handle_error"),
    ("nvidia-smi", "Unable to determine the device handle for GPU 0000:81:00.0: The NVIDIA kernel module detected an issue.\n", "device_handle_error"),
    ("nvidia-smi --query-gpu=power --format=csv", 'Field "power" is not a valid field to query.\n', "unsupported_query"),
    ("npu-smi info", "npu-smi: error while loading shared libraries: libdrvdsmi_host.so: cannot open shared object file\n", "driver_not_running"),
    ("rocm-smi", "cat: /sys/module/amdgpu/initstate: No such file or directory\nERROR:root:Driver not initialized (amdgpu not found in modules)\n",
     "driver_not_running"),
    ("amd-smi list", "ERROR:root:Unable to detect any GPU devices, check amdgpu version and module status\n", "no_devices"),
    ("amd-smi metric", "amdsmi.amdsmi_exception.AmdSmiLibraryException: Error code:\n\t10 | AMDSMI_STATUS_NO_PERM - Permission Denied\n",
     "insufficient_permissions"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind"), [
    ("Failed to initialize NVML: Driver/library version mismatch\n", "driver_library_mismatch"),
    ("Unable to determine the device handle for GPU 0000:05:00.0: GPU is lost.  Reboot the system\n", "gpu_lost")])
def test_an_error_that_is_cut_is_no_other_error(text: str, kind: str) -> None:
    for end in range(1, len(text)):
        if not refused("nvidia-smi", text[:end]):
            assert read("nvidia-smi", text[:end])["error_kind"] == kind


@pytest.mark.parametrize(("tool", "text", "kind"), ERRORS, ids=[kind for _, _, kind in ERRORS])
def test_more_errors_of_tools_are_named(tool: str, text: str, kind: str) -> None:
    assert read(tool, text)["error_kind"] == kind


def test_remarks_ahead_of_an_answer_are_no_error() -> None:
    page = "DEBUG: Failed to get a profile for GPU 0 | AMDSMI_STATUS_NOT_SUPPORTED - Feature not supported\n" + STATIC
    assert "error_kind" not in read("amd-smi static --loglevel DEBUG", page)


ENV = """\
Collecting environment information...
PyTorch version: 2.9.9+cu999
OS: Ubuntu 22.04.5 LTS (x86_64)
GPU models and configuration: GPU 0: NVIDIA Q1
Nvidia driver version: 999.11.22

CPU:
Architecture:                       x86_64
CPU(s):                             32
Socket(s):                          -
Model name:                         -
BIOS Model name:                    Q CPU

Versions of relevant libraries:
[pip3] torch==2.9.9
vLLM Version: 0.99.0
"""


def test_environment_collected_by_vllm() -> None:
    found = read("vllm collect-env", ENV)
    assert (found["vendor"], found["driver_version"], found["devices"]) == ("nvidia", "999.11.22", [{"index": 0, "name": "NVIDIA Q1"}])
    assert found["env"]["model_name"] == "Q CPU" and "sockets" not in found["env"] and found["env"]["vllm_version"] == "0.99.0"


@some
@given(data=st.data())
def test_any_page_here_that_loses_its_end_gives_no_other_number(data: st.DataObject) -> None:
    """The numbers of a page that was cut are numbers of the whole page."""
    tool, text = data.draw(st.sampled_from([("nvidia-smi", TABLE + MIG), ("hccn_tool -i 3 -status -g", STATUS), ("amd-smi static", STATIC),
                                            ("amd-smi", AMD_TABLE + RULE), ("vllm collect-env", ENV)]))  # fmt: skip
    try:
        cut = read(tool, text[: data.draw(st.integers(0, len(text)))])
    except InputError as problem:
        assert problem.code == "inventory.unreadable-output"
        return
    whole = set(re.findall(r"[\w.]+", json.dumps(read(tool, text))))
    counts = {"0", "1", "2", "3"}  # fewer devices are counted
    assert set(re.findall(r"[\w.]+", json.dumps(cut))) <= whole | counts
