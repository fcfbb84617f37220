"""Kernel settings, modules, and proxies of the environment."""

from __future__ import annotations

from typing import Any

from console.facts.fact import file_fact, files_fact, lines_of, quiet_fact
from console.facts.grammar import clean

_SETTINGS = {
    "numa_balancing": "/proc/sys/kernel/numa_balancing", "swappiness": "/proc/sys/vm/swappiness",
    "overcommit_memory": "/proc/sys/vm/overcommit_memory", "max_map_count": "/proc/sys/vm/max_map_count",
    "cmdline": "/proc/cmdline", "transparent_hugepage": "/sys/kernel/mm/transparent_hugepage/enabled",
    "clocksource": "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "governor": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "selinux_enforce": "/sys/fs/selinux/enforce",
    "user_namespaces": "/proc/sys/user/max_user_namespaces"}

_NAMES_OF = {path: name for name, path in _SETTINGS.items()}

# Only the names: a proxy's address may hold a password.
_PROXY_SCRIPT = r"""for n in http https ftp all no socks rsync HTTP HTTPS FTP ALL NO SOCKS RSYNC; do
case $n in [a-z]*) n=${n}_proxy;; *) n=${n}_PROXY;; esac
eval "v=\${$n-}"; [ -z "$v" ] || out="$out$n
"; done; :"""


def _settings(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, value in lines_of(clean(text)):
        if path in _NAMES_OF:
            found.setdefault(_NAMES_OF[path], value.strip())
    return found


def _modules(text: str) -> list[str]:
    return sorted({line.split()[0] for line in clean(text).splitlines() if line.strip()})


def _names(text: str) -> list[Any]:
    return sorted(set(clean(text).split()))


FACTS = [
    files_fact("kernel.settings", tuple(_SETTINGS.values()), _settings, tool="/proc/sys"),
    file_fact("kernel.modules", "/proc/modules", _modules),
    quiet_fact("env.proxies", _PROXY_SCRIPT, 5, _names),
]
