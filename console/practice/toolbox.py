"""What lies on a practice server's ``PATH``: its simulated vendor tools, then this machine's own tools.

The machine's tools come as a folder of links, so that those can be left out which would contradict the simulation
(real vendor tools), lead out of the server's folder (service managers, container engines, sudo) or which a server
can be told not to have (``python3``).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from pathlib import Path

REAL_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
_LEFT_OUT = re.compile(
    r"python[0-9.]*|pypy.*|pip[0-9.]*|nvidia-.*|npu-smi|hccn_tool|amd-smi|rocm-?smi|rocminfo|nvcc|lspci|df"
    r"|systemctl|loginctl|systemd-run|service|initctl|rc-service|crontab|at|docker.*|podman.*|nerdctl|ctr|crictl"
    r"|sudo.*|su|doas|pkexec|shutdown|reboot|halt|poweroff")

_DF = """#!/bin/sh
# The bounded disk of this practice server, as df shows it, in every table that has the size and the mount point.
# Without a bound: the real answer.
bound=$(cat "$SEALIFT_PRACTICE_FOLDER/disk_bytes" 2>/dev/null)
[ -n "$bound" ] || exec {df} "$@"
mount=$({df} -P "$SEALIFT_PRACTICE_FOLDER" | awk 'NR == 2 {{ print $NF }}')
used=$(du -sk "$SEALIFT_PRACTICE_FOLDER" | awk '{{ print $1 * 1024 }}')
out=$({df} "$@")
code=$?
printf '%s\\n' "$out" | awk -v bound="$bound" -v used="$used" -v mount="$mount" '
  NR == 1 {{
    for (i = 1; i <= NF; i++) {{
      if ($i ~ /-blocks$/) {{ size = i; unit = $i + 0; if ($i ~ /^[0-9]+[Kk]-/) unit *= 1024; if (unit < 1) unit = 1 }}
      if ($i ~ /^Avail/) avail = i
      if ($i ~ /^Used$/) taken = i
      if ($i ~ /^(Capacity|Use%)$/) percent = i
    }}
    if (size && $0 ~ /1024-blocks/) unit = 1024
  }}
  NR > 1 && size && $NF == mount {{
    left = bound - used; if (left < 0) left = 0
    if ($size * unit > bound) {{
      $size = sprintf("%.0f", bound / unit)
      if (taken) $taken = sprintf("%.0f", used / unit)
      if (avail) $avail = sprintf("%.0f", left / unit)
      if (percent) $percent = sprintf("%d%%", bound ? 100 * (bound - left) / bound : 100)
    }}
  }}
  {{ print }}'
exit $code
"""


def system_tools(folder: Path) -> Path:
    """Make, or bring up to date, the folder of links to this machine's tools."""
    folder.mkdir(parents=True, exist_ok=True)
    present = {entry.name for entry in os.scandir(folder)}
    for real in REAL_FOLDERS:
        for name in _programs(Path(real)):
            if name not in present:
                present.add(name)
                (folder / name).symlink_to(Path(real) / name)
    return folder


def _programs(folder: Path) -> list[str]:
    try:
        return sorted(e.name for e in os.scandir(folder) if not _LEFT_OUT.fullmatch(e.name))
    except OSError:
        return []


def install_tools(tools: Path, assets: Path | None) -> None:
    """Put the simulated tools (``assets/bin``, with what they print in ``assets/recordings``), ``df`` and a
    ``python3`` in place."""
    tools.mkdir(parents=True, exist_ok=True)
    if assets:
        for script in sorted((assets / "bin").iterdir()):
            _program(tools / script.name, script.read_text(encoding="utf-8"))
        recordings = tools.parent / "recordings"
        shutil.rmtree(recordings, ignore_errors=True)
        shutil.copytree(assets / "recordings", recordings)
    real_df = shutil.which("df", path=os.pathsep.join(REAL_FOLDERS))
    if real_df:
        _program(tools / "df", _DF.format(df=real_df))
    if python3 := interpreter():
        # A wrapper, not a link: an interpreter finds its library by the path it was started with.
        _program(tools / "python3", f'#!/bin/sh\nexec "{python3}" "$@"\n')


def interpreter() -> str | None:
    """A Python that can make virtual environments: the one below ours, or the system's when we are frozen."""
    if getattr(sys, "frozen", False):
        return shutil.which("python3", path=os.pathsep.join(REAL_FOLDERS))
    return getattr(sys, "_base_executable", None) or sys.executable


def _program(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
