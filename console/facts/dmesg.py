"""The kernel log: Xid and SXid messages of the NVIDIA driver, and other lines that tell of broken hardware."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import shell_fact
from console.facts.grammar import Page, clean

_XID = re.compile(r"(?<![A-Za-z])(S?Xid) \((?:PCI:)?([0-9a-fA-F:.]{4,20})\): (\d{1,5})")
_GPU = re.compile(r"NVRM: GPU at (?:PCI:)?([0-9a-fA-F:.]{4,20}): (GPU-[0-9a-fA-F-]{8,40})")


def parse_dmesg(page: Page) -> dict[str, Any]:
    """Xids once each, how many lines told of them, GPUs named by address and UUID.

    ``error_kind`` is there only when there are such messages.
    """
    found: dict[str, dict[tuple[str, int], None]] = {"Xid": {}, "SXid": {}}
    named: dict[tuple[str, str], None] = {}
    lines, off_bus = 0, False
    for line in page.lines:
        line = line[:4000]
        match, gpu = _XID.search(line), _GPU.search(line)
        if match:
            lines += match[1] == "Xid"
            found[match[1]][match[2], int(match[3])] = None
        if gpu:
            named[gpu[1], gpu[2]] = None
        off_bus = off_bus or "fallen off the bus" in line
    if not page.text.strip():
        page.empty()
    last = page.lines[-1][:4000]
    if any(match and match.end() == len(last) for match in (_XID.search(last), _GPU.search(last))):
        page.whole()
    xids, sxids = ([{"bus_id": bus, "code": number} for bus, number in found[kind]] for kind in ("Xid", "SXid"))
    told: dict[str, Any] = {"error_kind": "xid"} if xids or sxids else {}
    told |= {"xids": xids, "xid_line_count": lines}
    told |= {"sxids": sxids} if sxids else {}
    told |= {"gpus_named": [{"bus_id": bus, "uuid": uuid} for bus, uuid in named]} if named else {}
    return told | ({"fallen_off_bus": True} if off_bus else {})


_PATTERN = ("xid|nvrm: gpu at|fallen off the bus|amdgpu.*(error|reset|timeout|ras)|machine check|aer:.*fatal"
            "|out of memory|hung_task|blocked for more than")
_MOST_LINES = 400

# The kernel's own records, read until it says that there are no more, cost a server half of what dmesg takes to print them, and
# tell also what "dmesg -C" hides. Where they cannot be read so, there is none, or one was overwritten on the way, dmesg is asked. Of
# either, the newest lines that match are kept, in the form of dmesg. A log that may not be read is no empty log, nor is what a
# container has in that place.
_SCRIPT = f"""{{ said=$(dd if=/dev/kmsg iflag=nonblock ibs=8192 obs=1M 2>&1 >&3)
case $said in *'0+0 records in'*) said=;; esac; case $said in *'temporarily unavailable'*) ;; *) echo '@@ dmesg'; dmesg || echo '@@ refused';; esac; }} 3>&1 | awk 'BEGIN {{ records = 1 }}
/^@@ dmesg$/ {{ records = n = 0; next }}
/^@@ refused$/ {{ refused = 1 }}
records && !/^[0-9]+,[0-9]+,[0-9]+,/ {{ next }}
{{ read++ }}
tolower($0) ~ /{_PATTERN}/ {{ kept[++n] = $0; delete kept[n - {_MOST_LINES}] }}
END {{ for (i = n > {_MOST_LINES} ? n - {_MOST_LINES - 1} : 1; i <= n; i++) {{
  if (records) {{ at = index(kept[i], ";"); split(kept[i], head, ",")
    kept[i] = sprintf("[%5d.%06d] %s", head[3] / 1000000, head[3] % 1000000, substr(kept[i], at + 1)) }}
  print kept[i] }}
exit refused || (records && !read) }}'"""


def _log(text: str) -> dict[str, Any]:
    lines = clean(text).splitlines()
    if not lines:
        return {}
    found = parse_dmesg(Page("\n".join(lines) + "\n", "dmesg"))
    kinds = {"machine_check": r"machine check", "aer_fatal": r"AER:.*\bfatal", "out_of_memory": r"out of memory",
             "hung_task": r"hung_task|blocked for more than", "amdgpu": r"amdgpu.*(?:error|reset|timeout|ras)"}
    counts = {name: sum(bool(re.search(pattern, line[:2000], re.IGNORECASE)) for line in lines)
              for name, pattern in kinds.items()}
    return {key: value for key, value in found.items() if key != "error_kind"} | {"counts": counts}


FACTS = [shell_fact("kernel.log", _SCRIPT, 15, _log, needs_root=True, needs="awk", tool="dmesg")]
