"""Writes what the simulated vendor tools of the practice site print: ``assets/practice/<host>/``.

Run from the project's root: ``.venv/bin/python tests/tools/practice_recordings.py``. The layouts follow published
outputs of nvidia-smi 570 and 525, npu-smi 25.2, amd-smi of ROCm 6.4; the values are made up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

OUT = Path("assets/practice")
LEGEND = """
Legend:

  X    = Self
  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)
  NODE = Connection traversing PCIe as well as the interconnect between PCIe Host Bridges within a NUMA node
  PHB  = Connection traversing PCIe as well as a PCIe Host Bridge (typically the CPU)
  PXB  = Connection traversing multiple PCIe bridges (without traversing the PCIe Host Bridge)
  PIX  = Connection traversing at most a single PCIe bridge
  NV#  = Connection traversing a bonded set of # NVLinks
"""

HERE = 'here=${0%/*}/../recordings\n'

NVIDIA_SMI = """#!/bin/sh
# Simulated: prints recordings. Practice site only.
""" + HERE + r"""
query() {
  fields=${1#*=}
  shift
  format=csv
  for word; do case $word in --format=*) format=${word#*=};; esac; done
  awk -F', ' -v fields="$fields" -v format="$format" '
    NR == 1 {
      for (i = 1; i <= NF; i++) { bare = $i; sub(/ \[.*\]$/, "", bare); column[bare] = i }
      wanted = split(fields, want, / *, */)
      for (i = 1; i <= wanted; i++) if (!(want[i] in column)) {
        printf "Field \"%s\" is not a valid field to query.\n\n", want[i]; exit 2 }
    }
    NR == 1 && format ~ /noheader/ { next }
    {
      line = ""
      for (i = 1; i <= wanted; i++) {
        cell = $(column[want[i]])
        if (NR > 1 && format ~ /nounits/) sub(/ (MiB|W|%|MHz)$/, "", cell)
        line = line (i > 1 ? ", " : "") cell
      }
      print line
    }' "$here/query.csv"
}
case "$*" in
  "") cat "$here/table.txt";;
  "-L"|"--list-gpus") cat "$here/list.txt";;
  "-q -x"|"-x -q"|"--query --xml-format") cat "$here/query.xml";;
  "topo -m"|"topo --matrix") cat "$here/topo.txt";;
  "--version") cat "$here/version.txt";;
  --query-gpu=*) query "$@";;
  --query-compute-apps=*) case "$*" in *noheader*) ;; *) echo "pid, process_name, used_gpu_memory [MiB]";; esac;;
  *) echo "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help."; exit 1;;
esac
"""

NPU_SMI = """#!/bin/sh
# Simulated: prints recordings. Practice site only.
""" + HERE + r"""
case "$*" in
  "info") cat "$here/info.txt"; exit;;
  "info -l") cat "$here/list.txt"; exit;;
  "info -m") cat "$here/map.txt"; exit;;
  "info -t topo") cat "$here/topo.txt"; exit;;
  "-v") echo "npu-smi version: 25.2.0"; exit;;
esac
if [ "$1" = info ]; then
  shift
  while [ $# -gt 1 ]; do
    case $1 in -t) kind=$2;; -i) card=$2;; -c) ;; *) break;; esac
    shift 2
  done
  if [ -f "$here/$kind-$card.txt" ]; then cat "$here/$kind-$card.txt"; exit; fi
fi
echo "This operation is not supported or a parameter is wrong."
exit 1
"""

HCCN_TOOL = """#!/bin/sh
# Simulated: prints recordings. Practice site only.
""" + HERE + r"""
[ "$1" = -i ] || { echo "hccn_tool: a parameter is wrong"; exit 1; }
case "$3 $4" in
  "-ip -g") cat "$here/hccn-ip-$2.txt";;
  "-link -g") echo "link status: UP";;
  "-net_health -g") echo "net health status: Success";;
  "-speed -g") echo "Speed: 200000 Mb/s";;
  *) echo "hccn_tool: a parameter is wrong"; exit 1;;
esac
"""

ASCEND_CAT = """#!/bin/sh
# The files of the Ascend driver and toolkit lie outside the practice server's folder; they are answered from
# recordings, and everything else is the real cat.
""" + HERE + r"""
case "$*" in
  /usr/local/Ascend/driver/version.info) exec @CAT@ "$here/driver-version.info";;
  /usr/local/Ascend/firmware/version.info) exec @CAT@ "$here/firmware-version.info";;
  /usr/local/Ascend/*ascend_toolkit_install.info) exec @CAT@ "$here/toolkit-install.info";;
  /etc/ascend_install.info) exec @CAT@ "$here/ascend_install.info";;
esac
exec @CAT@ "$@"
""".replace("@CAT@", "/bin/cat")

AMD_SMI = """#!/bin/sh
# Simulated: prints recordings. Practice site only.
""" + HERE + r"""
case "$*" in
  "static --json") cat "$here/static.json";;
  "metric --json") cat "$here/metric.json";;
  "list --json") cat "$here/list.json";;
  "list") cat "$here/list.txt";;
  "version") cat "$here/version.txt";;
  "version --json") cat "$here/version.json";;
  "topology --json") cat "$here/topology.json";;
  *) echo "AMD-SMI ERROR: unrecognized arguments: $*"; exit 2;;
esac
"""

ROCM_SMI = """#!/bin/sh
# Simulated: prints recordings. Practice site only.
""" + HERE + r"""
case "$*" in
  "") cat "$here/rocm-smi.txt";;
  "-a --json"|"--json"|"--json -a") cat "$here/rocm-smi.json";;
  *) echo "rocm-smi: error: unrecognized arguments: $*" >&2; exit 2;;
esac
"""

LSPCI = """#!/bin/sh
# Simulated: prints recordings. Practice site only.
""" + HERE + r"""
numbers= domain= vendor=
while [ $# -gt 0 ]; do
  case $1 in
    -nn) numbers=1;; -D) domain=0000:;; -Dnn|-nnD) numbers=1 domain=0000:;;
    -d) vendor=${2%%:*}; shift;;
  esac
  shift
done
sed "s/^/$domain/" "$here/lspci.txt" | { if [ -n "$vendor" ]; then grep -i "\\[$vendor:"; else cat; fi; } |
  if [ -n "$numbers" ]; then cat; else sed 's/ \[[0-9a-f]\{4\}\(:[0-9a-f]\{4\}\)*\]//g'; fi
"""


def write(host: str, name: str, text: str) -> None:
    file = OUT / host / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Gpus:
    """One NVIDIA host."""

    host: str
    name: str
    pci_name: str
    device_id: str
    memory_mib: int
    driver: str
    cuda: str
    buses: tuple[str, ...]
    seed: str
    lost: int | None = None

    def uuid(self, n: int) -> str:
        return f"GPU-{self.seed}{n}00-5ea1-4f00-8a{n}0-0000c0ffee{n:02d}"


H200 = Gpus("practice-nvidia", "NVIDIA H200", "GH100 [H200 SXM 141GB]", "2335", 143771, "570.133.20", "12.8",
            ("19", "3B", "4C", "5D", "9B", "BB", "CB", "DB"), "6a7d2")
H100 = Gpus("practice-faulty", "NVIDIA H100 80GB HBM3", "GH100 [H100 SXM5 80GB]", "2330", 81559, "525.60.13", "12.0",
            ("1B", "43", "52", "61", "9D", "C3", "D1", "DF"), "1f3c4", lost=3)


def nvidia(g: Gpus) -> None:
    write(g.host, "bin/nvidia-smi", NVIDIA_SMI)
    write(g.host, "bin/lspci", LSPCI)
    write(g.host, "recordings/lspci.txt", "".join(
        f"{b.lower()}:00.0 3D controller [0302]: NVIDIA Corporation {g.pci_name} [10de:{g.device_id}] (rev a1)\n"
        for b in g.buses))
    write(g.host, "recordings/list.txt", "".join(
        f"Unable to determine the device handle for gpu 0000:{b}:00.0: GPU is lost.  Reboot the system to recover "
        f"this GPU\n" if n == g.lost else f"GPU {n}: {g.name} (UUID: {g.uuid(n)})\n" for n, b in enumerate(g.buses)))
    write(g.host, "recordings/version.txt", f"NVIDIA-SMI version  : {g.driver}\nNVML version        : "
          f"{g.driver.split('.')[0]}.{g.driver.split('.')[1]}\nDRIVER version      : {g.driver}\n"
          f"CUDA Version        : {g.cuda}\n")
    write(g.host, "recordings/query.xml", _xml(g))
    write(g.host, "recordings/query.csv", _csv(g))
    write(g.host, "recordings/table.txt", _wide(g) if int(g.driver[:3]) >= 535 else _narrow(g))
    write(g.host, "recordings/topo.txt", _topo(len(g.buses)))


def _topo(count: int) -> str:
    head = "".join(f"\tGPU{n}" for n in range(count)) + "\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\n"
    rows = "".join(f"GPU{a}" + "".join("\t X " if a == b else "\tNV18" for b in range(count))
                   + ("\t0-55,112-167\t0\t\tN/A\n" if a < count // 2 else "\t56-111,168-223\t1\t\tN/A\n")
                   for a in range(count))
    return head + rows + LEGEND


def _csv(g: Gpus) -> str:
    head = ("index, name, uuid, serial, pci.bus_id, driver_version, vbios_version, memory.total [MiB], "
            "memory.used [MiB], memory.free [MiB], utilization.gpu [%], utilization.memory [%], temperature.gpu, "
            "power.draw [W], power.limit [W], pstate, ecc.mode.current, ecc.errors.corrected.volatile.total, "
            "ecc.errors.uncorrected.volatile.total, ecc.errors.corrected.aggregate.total, "
            "ecc.errors.uncorrected.aggregate.total, mig.mode.current, persistence_mode, compute_cap, compute_mode, "
            "clocks.current.sm [MHz], pcie.link.gen.current, pcie.link.width.current\n")
    rows = []
    for n, bus in enumerate(g.buses):
        lost = "[GPU is lost]"
        live = n != g.lost
        rows.append(", ".join(str(c) for c in (
            n, g.name if live else lost, g.uuid(n), f"16520240{n:05d}", f"00000000:{bus}:00.0", g.driver,
            "96.00.A5.00.03" if live else lost, f"{g.memory_mib} MiB" if live else lost,
            "4 MiB" if live else lost, f"{g.memory_mib - 618} MiB" if live else lost, "0 %" if live else lost,
            "0 %" if live else lost, 27 + n % 4 if live else lost, f"{74 + n}.12 W" if live else lost,
            "700.00 W" if live else lost, "P0" if live else lost, "Enabled" if live else lost, 0 if live else lost,
            0 if live else lost, 0 if live else lost, 0 if live else lost, "Disabled" if live else lost, "Enabled",
            "9.0", "Default", "345 MHz" if live else lost, 5 if live else lost, 16 if live else lost)) + "\n")
    return head + "".join(rows)


def _xml(g: Gpus) -> str:
    gpus = "".join(_xml_gpu(g, n, bus) for n, bus in enumerate(g.buses))
    return (f'<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n<nvidia_smi_log>\n'
            f"\t<timestamp>Mon Mar  2 09:14:05 2026</timestamp>\n\t<driver_version>{g.driver}</driver_version>\n"
            f"\t<cuda_version>{g.cuda}</cuda_version>\n\t<attached_gpus>{len(g.buses)}</attached_gpus>\n{gpus}"
            f"</nvidia_smi_log>\n")


def _xml_gpu(g: Gpus, n: int, bus: str) -> str:
    lost = n == g.lost

    def v(text: str) -> str:
        return "GPU is lost" if lost else text

    return f"""\t<gpu id="00000000:{bus}:00.0">
		<product_name>{g.name}</product_name>
		<product_brand>NVIDIA</product_brand>
		<product_architecture>Hopper</product_architecture>
		<display_mode>Enabled</display_mode>
		<display_active>Disabled</display_active>
		<persistence_mode>Enabled</persistence_mode>
		<addressing_mode>None</addressing_mode>
		<mig_mode>
			<current_mig>{v("Disabled")}</current_mig>
			<pending_mig>{v("Disabled")}</pending_mig>
		</mig_mode>
		<mig_devices>
			None
		</mig_devices>
		<serial>16520240{n:05d}</serial>
		<uuid>{g.uuid(n)}</uuid>
		<minor_number>{n}</minor_number>
		<vbios_version>{v("96.00.A5.00.03")}</vbios_version>
		<multigpu_board>No</multigpu_board>
		<board_id>0x{bus.lower()}00</board_id>
		<inforom_version>
			<img_version>{v("G520.0280.02.02")}</img_version>
			<oem_object>{v("2.1")}</oem_object>
			<ecc_object>{v("7.16")}</ecc_object>
			<pwr_object>N/A</pwr_object>
		</inforom_version>
		<gpu_virtualization_mode>
			<virtualization_mode>None</virtualization_mode>
			<host_vgpu_mode>N/A</host_vgpu_mode>
		</gpu_virtualization_mode>
		<gpu_recovery_action>{"Reboot" if lost else "None"}</gpu_recovery_action>
		<gsp_firmware_version>{v(g.driver)}</gsp_firmware_version>
		<pci>
			<pci_bus>{bus}</pci_bus>
			<pci_device>00</pci_device>
			<pci_domain>0000</pci_domain>
			<pci_base_class>3</pci_base_class>
			<pci_sub_class>2</pci_sub_class>
			<pci_device_id>{g.device_id}10DE</pci_device_id>
			<pci_bus_id>00000000:{bus}:00.0</pci_bus_id>
			<pci_sub_system_id>18BE10DE</pci_sub_system_id>
			<pci_gpu_link_info>
				<pcie_gen>
					<max_link_gen>{v("5")}</max_link_gen>
					<current_link_gen>{v("5")}</current_link_gen>
				</pcie_gen>
				<link_widths>
					<max_link_width>{v("16x")}</max_link_width>
					<current_link_width>{v("16x")}</current_link_width>
				</link_widths>
			</pci_gpu_link_info>
		</pci>
		<fan_speed>N/A</fan_speed>
		<performance_state>{v("P0")}</performance_state>
		<fb_memory_usage>
			<total>{v(f"{g.memory_mib} MiB")}</total>
			<reserved>{v("614 MiB")}</reserved>
			<used>{v("4 MiB")}</used>
			<free>{v(f"{g.memory_mib - 618} MiB")}</free>
		</fb_memory_usage>
		<bar1_memory_usage>
			<total>{v("262144 MiB")}</total>
			<used>{v("1 MiB")}</used>
			<free>{v("262143 MiB")}</free>
		</bar1_memory_usage>
		<compute_mode>Default</compute_mode>
		<utilization>
			<gpu_util>{v("0 %")}</gpu_util>
			<memory_util>{v("0 %")}</memory_util>
			<encoder_util>{v("0 %")}</encoder_util>
			<decoder_util>{v("0 %")}</decoder_util>
		</utilization>
		<ecc_mode>
			<current_ecc>{v("Enabled")}</current_ecc>
			<pending_ecc>{v("Enabled")}</pending_ecc>
		</ecc_mode>
		<ecc_errors>
			<volatile>
				<sram_correctable>{v("0")}</sram_correctable>
				<sram_uncorrectable_parity>{v("0")}</sram_uncorrectable_parity>
				<sram_uncorrectable_secded>{v("0")}</sram_uncorrectable_secded>
				<dram_correctable>{v("0")}</dram_correctable>
				<dram_uncorrectable>{v("0")}</dram_uncorrectable>
			</volatile>
			<aggregate>
				<sram_correctable>{v("0")}</sram_correctable>
				<sram_uncorrectable_parity>{v("0")}</sram_uncorrectable_parity>
				<sram_uncorrectable_secded>{v("0")}</sram_uncorrectable_secded>
				<dram_correctable>{v("0")}</dram_correctable>
				<dram_uncorrectable>{v("0")}</dram_uncorrectable>
				<sram_threshold_exceeded>{v("No")}</sram_threshold_exceeded>
			</aggregate>
		</ecc_errors>
		<remapped_rows>
			<remapped_row_corr>{v("0")}</remapped_row_corr>
			<remapped_row_unc>{v("0")}</remapped_row_unc>
			<remapped_row_pending>{v("No")}</remapped_row_pending>
			<remapped_row_failure>{v("No")}</remapped_row_failure>
		</remapped_rows>
		<temperature>
			<gpu_temp>{v(f"{27 + n % 4} C")}</gpu_temp>
			<gpu_temp_tlimit>{v("58 C")}</gpu_temp_tlimit>
			<memory_temp>{v(f"{36 + n % 3} C")}</memory_temp>
		</temperature>
		<gpu_power_readings>
			<power_state>{v("P0")}</power_state>
			<power_draw>{v(f"{74 + n}.12 W")}</power_draw>
			<current_power_limit>{v("700.00 W")}</current_power_limit>
			<default_power_limit>{v("700.00 W")}</default_power_limit>
			<max_power_limit>{v("700.00 W")}</max_power_limit>
		</gpu_power_readings>
		<clocks>
			<graphics_clock>{v("345 MHz")}</graphics_clock>
			<sm_clock>{v("345 MHz")}</sm_clock>
			<mem_clock>{v("2619 MHz")}</mem_clock>
		</clocks>
		<fabric>
			<state>{v("Completed")}</state>
			<status>{v("Success")}</status>
		</fabric>
		<processes>
		</processes>
	</gpu>
"""


def _wide(g: Gpus) -> str:
    """The table of drivers since 535, 91 columns."""
    bar = "+-----------------------------------------+------------------------+----------------------+\n"
    rows = "".join(
        f"|   {n}  {g.name:<31}On  |   00000000:{bus}:00.0 Off |                    0 |\n"
        f"| N/A   {27 + n % 4}C    P0             {74 + n}W /  700W |{4:>8}MiB / {g.memory_mib:>6}MiB |"
        f"      0%      Default |\n"
        f"|                                         |                        |             Disabled |\n" + bar
        for n, bus in enumerate(g.buses))
    return ("Mon Mar  2 09:14:05 2026       \n" + "+" + "-" * 89 + "+\n"
            f"| NVIDIA-SMI {g.driver:<22} Driver Version: {g.driver:<14} CUDA Version: {g.cuda:<8} |\n"
            "|-----------------------------------------+------------------------+----------------------+\n"
            "| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |\n"
            "| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |\n"
            "|                                         |                        |               MIG M. |\n"
            "|=========================================+========================+======================|\n"
            + rows + "\n" + "+" + "-" * 89 + "+\n"
            "| Processes:                                                                              |\n"
            "|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |\n"
            "|        ID   ID                                                               Usage      |\n"
            "|=========================================================================================|\n"
            "|  No running processes found                                                             |\n"
            + "+" + "-" * 89 + "+\n")


def _narrow(g: Gpus) -> str:
    """The table of drivers before 535, 79 columns; a lost device shows ERR! in its cells."""
    bar = "+-------------------------------+----------------------+----------------------+\n"
    rows = ""
    for n, bus in enumerate(g.buses):
        if n == g.lost:
            rows += (f"|   {n}  ERR!                On   | 00000000:{bus}:00.0 Off |                 ERR! |\n"
                     f"|ERR!  ERR! ERR!    ERR! / ERR! |{0:>7}MiB / {g.memory_mib}MiB |    ERR!      Default |\n"
                     f"|                               |                      |                 ERR! |\n")
        else:
            rows += (f"|   {n}  {_short(g.name):<20}On   | 00000000:{bus}:00.0 Off |                    0 |\n"
                     f"| N/A   {27 + n % 4}C    P0    {74 + n}W / 700W |{4:>7}MiB / {g.memory_mib}MiB |      0%      "
                     f"Default |\n"
                     f"|                               |                      |             Disabled |\n")
        rows += bar
    return ("Mon Mar  2 09:14:05 2026       \n" + "+" + "-" * 77 + "+\n"
            f"| NVIDIA-SMI {g.driver:<12} Driver Version: {g.driver:<12} CUDA Version: {g.cuda:<8} |\n"
            "|-------------------------------+----------------------+----------------------+\n"
            "| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |\n"
            "| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |\n"
            "|                               |                      |               MIG M. |\n"
            "|===============================+======================+======================|\n"
            + rows + "                                                                               \n"
            + "+" + "-" * 77 + "+\n"
            "| Processes:                                                                  |\n"
            "|  GPU   GI   CI        PID   Type   Process name                  GPU Memory |\n"
            "|        ID   ID                                                   Usage      |\n"
            "|=============================================================================|\n"
            "|  No running processes found                                                 |\n"
            + "+" + "-" * 77 + "+\n")


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:15] + "..."


def ascend() -> None:
    host = "practice-ascend"
    buses = ("C1", "C2", "81", "82", "01", "02", "41", "42")
    affinity = ("144-167", "0-23", "144-167", "0-23", "96-119", "48-71", "96-119", "48-71")
    for name, text in (("npu-smi", NPU_SMI), ("hccn_tool", HCCN_TOOL), ("lspci", LSPCI), ("cat", ASCEND_CAT)):
        write(host, f"bin/{name}", text)
    write(host, "recordings/lspci.txt", "".join(
        f"{b.lower()}:00.0 Processing accelerators [1200]: Huawei Technologies Co., Ltd. Device [19e5:d802] (rev 20)\n"
        for b in sorted(buses)))
    write(host, "recordings/info.txt", _npu_table(buses))
    write(host, "recordings/list.txt", f"\t{'Total Count':<31}: 8\n" + "".join(
        f"\n\t{'NPU ID':<31}: {n}\n\t{'Chip Count':<31}: 1\n" for n in range(8)))
    columns = ("NPU ID", "Chip ID", "Chip Logic ID", "Chip Name")
    write(host, "recordings/map.txt", "".join(f"{c:<31}" for c in columns).rstrip() + "\n" + "".join(
        f"{n:<31}{0:<31}{n:<31}Ascend 910B3\n{n:<31}{1:<31}{'-':<31}Mcu\n" for n in range(8)))
    write(host, "recordings/topo.txt", " " * 11 + "".join(f"NPU{n:<8}" for n in range(8)) + "CPU Affinity\n" + "".join(
        f"NPU{a:<8}" + "".join(f"{'X' if a == b else 'HCCS':<11}" for b in range(8)) + affinity[a] + "\n"
        for a in range(8)) + "\nLegend:\n  X    = Self\n  HCCS = Connection traversing HCCS.\n")
    for n, bus in enumerate(buses):
        _npu_queries(host, n, bus)
    write(host, "recordings/driver-version.info",
          "Version=25.2.0\nascendhal_version=7.35.23\naicpu_version=1.0\ntdt_version=1.0\nlog_version=1.0\n"
          "package_version=25.2.0\ncompatible_version_fw=[7.0.0,7.7.99]\n")
    write(host, "recordings/firmware-version.info",
          "Version=7.7.0.6.236\nfirmware_version=1.0\npackage_version=25.2.0\n")
    write(host, "recordings/toolkit-install.info",
          "package_name=Ascend-cann-toolkit\nversion=8.2.RC1\ninnerversion=V100R001C22SPC001B231\n"
          "arch=aarch64\nos=linux\npath=/usr/local/Ascend/ascend-toolkit/8.2.RC1/aarch64-linux\n")
    write(host, "recordings/ascend_install.info",
          "UserName=HwHiAiUser\nUserGroup=HwHiAiUser\nDriver_Install_Type=run\n"
          "Driver_Install_Path_Param=/usr/local/Ascend\nDriver_Install_For_All=no\n")


def _npu_table(buses: tuple[str, ...]) -> str:
    bar = "+===========================+===============+====================================================+\n"
    line = "+---------------------------+---------------+----------------------------------------------------+\n"
    rows = "".join(
        f"| {n:<6}{'910B3':<20}| {'OK':<14}| {92.4 + n:<12.1f}{35 + n % 5:<18}{0:<5}/ {0:<14}|\n"
        f"| {0:<26}| 0000:{bus}:00.0  | {0:<12}{0:<5}/ {0:<11}{3385 + n:<5}/ {65536:<14}|\n" + bar
        for n, bus in enumerate(buses))
    procs = "".join(f"| No running processes found in NPU {n:<61}|\n" + bar for n in range(8))
    return ("+" + "-" * 96 + "+\n"
            f"| npu-smi 25.2.0                   Version: 25.2.0{' ' * 47}|\n" + line
            + "| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|\n"
            + "| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |\n"
            + bar + rows + line + "| NPU     Chip              | Process id    | Process name             | "
            "Process memory(MB)      |\n" + bar + procs)


def _npu_queries(host: str, n: int, bus: str) -> None:
    def block(*pairs: tuple[str, object]) -> str:
        return "".join(f"\t{key:<31}: {value}\n" if key else "\n" for key, value in pairs)

    top = (("NPU ID", n), ("Chip Count", 1), ("", ""))
    write(host, f"recordings/common-{n}.txt", block(
        *top, ("Chip ID", 0), ("Memory Usage Rate(%)", 0), ("HBM Usage Rate(%)", 5), ("Aicore Usage Rate(%)", 0),
        ("Aicore Freq(MHZ)", 1800), ("Aicore curFreq(MHZ)", 1800), ("Aicore Count", 20),
        ("Temperature(C)", 35 + n % 5), ("NPU Real-time Power(W)", f"{92.4 + n:.1f}")))
    write(host, f"recordings/usages-{n}.txt", block(
        *top, ("DDR Capacity(MB)", 0), ("DDR Usage Rate(%)", 0), ("DDR Hugepages Total(page)", 0),
        ("DDR Hugepages Usage Rate(%)", 0), ("HBM Capacity(MB)", 65536), ("HBM Usage Rate(%)", 5),
        ("Aicore Usage Rate(%)", 0), ("Aivector Usage Rate(%)", 0), ("Aicpu Usage Rate(%)", 0),
        ("Ctrlcpu Usage Rate(%)", 0), ("HBM Bandwidth Usage Rate(%)", 0), ("Chip ID", 0)))
    write(host, f"recordings/health-{n}.txt", block(
        ("Health Status", "OK"), ("Error Code", "NA"), ("Error Information", "NA")))
    write(host, f"recordings/ecc-{n}.txt", block(
        ("NPU ID", n), ("Chip Count", 1), ("", ""), ("HBM Single Bit Error Count", 0),
        ("HBM Double Bit Error Count", 0), ("HBM Single Bit Aggregate Total Err Cnt", 0),
        ("HBM Double Bit Aggregate Total Err Cnt", 0), ("HBM Single Bit Isolated Pages Count", 0),
        ("HBM Double Bit Isolated Pages Count", 0), ("Chip ID", 0)))
    write(host, f"recordings/board-{n}.txt", block(
        ("NPU ID", n), ("Software Version", "25.2.0"), ("Firmware Version", "7.7.0.6.236"), ("Compatibility", "OK"),
        ("Board ID", "0x65"), ("PCB ID", "A"), ("BOM ID", 1), ("PCIe Bus Info", f"0000:{bus}:00.0"), ("Slot ID", n),
        ("Class ID", "NA"), ("PCI Vendor ID", "0x19E5"), ("PCI Device ID", "0xD802"), ("Chip Count", 1)))
    write(host, f"recordings/hccn-ip-{n}.txt", f"ipaddr:10.20.{n % 4}.{10 + n}\nnetmask:255.255.255.0\n")


def amd() -> None:
    host = "practice-amd"
    buses = ("05", "26", "46", "65", "85", "A6", "C6", "E5")
    for name, text in (("amd-smi", AMD_SMI), ("rocm-smi", ROCM_SMI), ("lspci", LSPCI)):
        write(host, f"bin/{name}", text)
    write(host, "recordings/lspci.txt", "".join(
        f"{b.lower()}:00.0 Processing accelerators [1200]: Advanced Micro Devices, Inc. [AMD/ATI] Aqua Vanjaram "
        f"[Instinct MI325X] [1002:74a5]\n" for b in buses))
    tool, rocm = "25.3.0+ede62f2", "6.4.1"
    write(host, "recordings/version.txt", f"AMDSMI Tool: {tool} | AMDSMI Library version: 25.3.0 | ROCm version: {rocm}"
          " | amdgpu version: 6.12.12 | amd_hsmp version: N/A\n")
    for name, value in (
            ("version.json", [{"tool": "AMDSMI Tool", "version": tool, "amdsmi_library_version": "25.3.0",
                               "rocm_version": rocm, "amdgpu_version": "6.12.12", "amd_hsmp_driver_version": "N/A"}]),
            ("list.json", [_amd_identity(n, b) for n, b in enumerate(buses)]),
            ("static.json", [_amd_static(n, b) for n, b in enumerate(buses)]),
            ("metric.json", [_amd_metric(n) for n in range(8)]),
            ("topology.json", [_amd_links(n, buses) for n in range(8)]),
            ("rocm-smi.json", {f"card{n}": _rocm_card(n, b) for n, b in enumerate(buses)}
             | {"system": {"Driver version": "6.12.12"}})):
        write(host, f"recordings/{name}", json.dumps(value, indent=4) + "\n")
    write(host, "recordings/list.txt", "\n".join(
        f"GPU: {n}\n    BDF: 0000:{b}:00.0\n    UUID: {_amd_uuid(n)}\n    KFD_ID: {41000 + 137 * n}\n"
        f"    NODE_ID: {n + 2}\n    PARTITION_ID: 0\n" for n, b in enumerate(buses)))
    write(host, "recordings/rocm-smi.txt", _rocm_table())


def _amd_uuid(n: int) -> str:
    return f"{n:x}eff74a5-0000-1000-80{n:x}0-5ea11f7c0d{n:x}0"


def _amd_identity(n: int, bus: str) -> dict:
    return {"gpu": n, "bdf": f"0000:{bus}:00.0", "uuid": _amd_uuid(n), "kfd_id": 41000 + 137 * n, "node_id": n + 2,
            "partition_id": 0}


def _of(value: object, unit: str) -> dict:
    return {"value": value, "unit": unit}


def _amd_static(n: int, bus: str) -> dict:
    return {
        "gpu": n,
        "asic": {"market_name": "AMD Instinct MI325X", "vendor_id": "0x1002",
                 "vendor_name": "Advanced Micro Devices Inc. [AMD/ATI]", "subvendor_id": "0x1002",
                 "device_id": "0x74a5", "subsystem_id": "0x74a5", "rev_id": "0x00",
                 "asic_serial": f"0x5EA11F7C0D{n:X}0000{n:X}", "oam_id": n, "num_compute_units": 304,
                 "target_graphics_version": "gfx942"},
        "bus": {"bdf": f"0000:{bus}:00.0", "max_pcie_width": 16, "max_pcie_speed": _of(32, "GT/s"),
                "pcie_interface_version": "Gen 5", "slot_type": "OAM"},
        "vbios": {"name": "AMD MI325X_HW_SRIOV_CVS_1VF", "build_date": "2024/11/18 10:22",
                  "part_number": "113-M3250101-100", "version": "022.040.003.043.000001"},
        "limit": {"max_power": _of(1000, "W"), "min_power": _of(0, "W"), "socket_power": _of(1000, "W"),
                  "slowdown_edge_temperature": "N/A", "slowdown_hotspot_temperature": _of(100, "C"),
                  "slowdown_vram_temperature": _of(105, "C"), "shutdown_edge_temperature": "N/A",
                  "shutdown_hotspot_temperature": _of(110, "C"), "shutdown_vram_temperature": _of(115, "C")},
        "driver": {"name": "amdgpu", "version": "6.12.12"},
        "board": {"model_number": "102-G30212-0C", "product_serial": f"69241500{n:04d}", "fru_id": "113-AMDG302120C",
                  "product_name": "AMD Instinct MI325 OAM", "manufacturer_name": "AMD"},
        "ras": {"eeprom_version": "0x30000", "parity_schema": "DISABLED", "single_bit_schema": "DISABLED",
                "double_bit_schema": "DISABLED", "poison_schema": "ENABLED",
                "ecc_block_state": {"UMC": "ENABLED", "SDMA": "ENABLED", "GFX": "ENABLED", "MMHUB": "ENABLED"}},
        "partition": {"compute_partition": "SPX", "memory_partition": "NPS1", "partition_id": 0},
        "numa": {"node": n // 4, "affinity": n // 4},
        "vram": {"type": "HBM", "vendor": "N/A", "size": _of(262128, "MB"), "bit_width": 8192,
                 "max_bandwidth": "N/A"},
    }


def _amd_metric(n: int) -> dict:
    return {
        "gpu": n,
        "usage": {"gfx_activity": _of(0, "%"), "umc_activity": _of(0, "%"), "mm_activity": "N/A"},
        "power": {"socket_power": _of(139 + n, "W"), "gfx_voltage": "N/A", "soc_voltage": "N/A", "mem_voltage": "N/A",
                  "throttle_status": "N/A", "power_management": "ENABLED"},
        "temperature": {"edge": "N/A", "hotspot": _of(38 + n % 4, "C"), "mem": _of(31 + n % 3, "C")},
        "pcie": {"width": 16, "speed": _of(32, "GT/s"), "bandwidth": "N/A", "replay_count": 0},
        "ecc": {"total_correctable_count": 0, "total_uncorrectable_count": 0, "total_deferred_count": 0,
                "cache_correctable_count": 0, "cache_uncorrectable_count": 0},
        "fan": {"speed": "N/A", "max": "N/A", "rpm": "N/A", "usage": "N/A"},
        "perf_level": "AMDSMI_DEV_PERF_LEVEL_AUTO",
        "mem_usage": {"total_vram": _of(262128, "MB"), "used_vram": _of(288, "MB"), "free_vram": _of(261840, "MB")},
    }


def _amd_links(n: int, buses: tuple[str, ...]) -> dict:
    return {"gpu": n, "bdf": f"0000:{buses[n]}:00.0", "links": [
        {"gpu": m, "bdf": f"0000:{b}:00.0", "weight": 0 if m == n else 15, "link_status": "ENABLED",
         "link_type": "SELF" if m == n else "XGMI", "num_hops": 0 if m == n else 1, "bandwidth": "N/A"}
        for m, b in enumerate(buses)]}


def _rocm_card(n: int, bus: str) -> dict:
    return {"Device Name": "AMD Instinct MI325X", "Device ID": "0x74a5", "Device Rev": "0x00", "Subsystem ID": "0x74a5",
            "GUID": str(41000 + 137 * n), "Unique ID": f"0x5ea11f7c0d{n:x}0000{n:x}",
            "VBIOS version": "113-M3250101-100", "Temperature (Sensor junction) (C)": f"{38 + n % 4}.0",
            "Temperature (Sensor memory) (C)": f"{31 + n % 3}.0",
            "Current Socket Graphics Package Power (W)": f"{139 + n}.0",
            "Max Graphics Package Power (W)": "1000.0", "GPU use (%)": "0", "GPU Memory Allocated (VRAM%)": "0",
            "PCI Bus": f"0000:{bus}:00.0", "VRAM Total Memory (B)": str(262128 << 20),
            "VRAM Total Used Memory (B)": str(288 << 20), "Card Series": "AMD Instinct MI325X", "Card Model": "0x74a5",
            "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]", "Card SKU": "M3250101", "Node ID": str(n + 2),
            "GFX Version": "gfx942", "Compute Partition": "SPX", "Memory Partition": "NPS1",
            "(Topology) Numa Node": str(n // 4), "(Topology) Numa Affinity": str(n // 4)}


def _rocm_table() -> str:
    rows = "".join(
        f"{n:<8}[0x74a5 : 0x00]       {38 + n % 4}.0°C      {139 + n}.0W    NPS1, SPX       132Mhz  900Mhz  0%   "
        f"auto  1000.0W    0%   0%\n        AMD Instinct MI325X\n" for n in range(8))
    return ("\n\n" + " ROCm System Management Interface ".center(117, "=") + "\n" + " Concise Info ".center(117, "=")
            + "\nDevice  [Model : Revision]    Temp        Power     Partitions      SCLK    MCLK    Fan  Perf  "
            "PwrCap   VRAM%  GPU%\n"
            "        Name (20 chars)       (Junction)  (Socket)  (Mem, Compute)\n" + "=" * 117 + "\n" + rows
            + "=" * 117 + "\n" + " End of ROCm SMI Log ".center(117, "=") + "\n")


if __name__ == "__main__":
    nvidia(H200)
    nvidia(H100)
    ascend()
    amd()
