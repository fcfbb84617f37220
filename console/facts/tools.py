"""Programs that the work on a server needs or can use."""

from __future__ import annotations

from console.facts.fact import Fact
from console.facts.grammar import clean

TOOLS = ("openssl", "sha256sum", "python3", "systemctl", "tar", "dd", "head", "timeout", "flock", "sync", "ln", "find",
         "df", "stat", "ss", "ip",
         "lspci", "ethtool", "numactl", "curl", "wget", "rsync", "docker", "podman", "nvidia-smi",
         "npu-smi", "hccn_tool", "amd-smi", "rocm-smi", "ibstat", "chronyc", "sudo")


def _present(text: str) -> dict[str, str | None]:
    """Every tool of :data:`TOOLS` with its path, None for one that is not there."""
    found = dict(line.partition("=")[::2] for line in clean(text).splitlines() if "=" in line)
    return {name: found.get(name) or None for name in TOOLS} if found else {}


_SCRIPT = f"""for t in {' '.join(TOOLS)}; do
printf '%s=' "$t"; command -v "$t" 2>/dev/null || echo; done; exit 0"""

FACTS = [Fact("tools.present", ("sh", "-c", _SCRIPT), 5, _present, quick=True)]
