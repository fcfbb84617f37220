"""Programs that the work on a server needs or can use."""

from __future__ import annotations

from console.facts.fact import quiet_fact
from console.facts.grammar import clean

TOOLS = ("openssl", "sha256sum", "python3", "systemctl", "tar", "dd", "head", "timeout", "flock", "sync", "ln", "find",
         "df", "stat", "ss", "ip",
         "lspci", "ethtool", "numactl", "curl", "wget", "rsync", "docker", "podman", "nvidia-smi",
         "npu-smi", "hccn_tool", "amd-smi", "rocm-smi", "ibstat", "chronyc", "sudo")


def _present(text: str) -> dict[str, str | None]:
    """Every tool of :data:`TOOLS` with its path, None for one that is not there."""
    found = dict(line.partition("=")[::2] for line in clean(text).splitlines() if "=" in line)
    return {name: found.get(name) or None for name in TOOLS} if found else {}


# Looked for by hand and told at once: "command -v" prints each by itself.
_SCRIPT = f"""for t in {' '.join(TOOLS)}; do f= IFS=:
for d in $PATH; do [ -f "$d/$t" ] && [ -x "$d/$t" ] && {{ f=$d/$t; break; }}; done
out="$out$t=$f
"; done; unset IFS"""

FACTS = [quiet_fact("tools.present", _SCRIPT, 5, _present)]
