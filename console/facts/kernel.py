"""Kernel settings, modules, and proxies of the environment."""

from __future__ import annotations

from typing import Any

from console.facts.fact import Fact, file_fact, over_files
from console.facts.grammar import clean, pairs

_SETTINGS = {
    "numa_balancing": "/proc/sys/kernel/numa_balancing", "swappiness": "/proc/sys/vm/swappiness",
    "overcommit_memory": "/proc/sys/vm/overcommit_memory", "max_map_count": "/proc/sys/vm/max_map_count",
    "cmdline": "/proc/cmdline", "transparent_hugepage": "/sys/kernel/mm/transparent_hugepage/enabled",
    "clocksource": "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "governor": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "selinux_enforce": "/sys/fs/selinux/enforce",
    "user_namespaces": "/proc/sys/user/max_user_namespaces"}

_NAMED = "; ".join(f'name["{path}"] = "{name}"' for name, path in _SETTINGS.items())
_SCRIPT = over_files(f'BEGIN {{ {_NAMED} }}\n!(path in seen) {{ seen[path]; print name[path] "=" value }}', *_SETTINGS.values())

# Only the names: a proxy's address may hold a password.
_PROXY_SCRIPT = r"env | sed -n 's/^\([A-Za-z_]*[Pp][Rr][Oo][Xx][Yy]\)=..*/\1/p'"


def _settings(text: str) -> dict[str, str]:
    return {key: value for key, value in pairs(clean(text).splitlines(), "=") if key in _SETTINGS}


def _modules(text: str) -> list[str]:
    return sorted({line.split()[0] for line in clean(text).splitlines() if line.strip()})


def _names(text: str) -> list[Any]:
    return sorted(set(clean(text).split()))


FACTS = [
    Fact("kernel.settings", ("sh", "-c", _SCRIPT), 5, _settings, needs="awk", quick=True),
    file_fact("kernel.modules", "/proc/modules", _modules),
    Fact("env.proxies", ("sh", "-c", _PROXY_SCRIPT), 5, _names, quick=True),
]
