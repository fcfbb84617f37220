"""The init system, and services that matter to accelerators."""

from __future__ import annotations

from typing import Any

from console.facts.fact import quiet_fact
from console.facts.grammar import clean, pairs

SERVICES = ("docker", "containerd", "nvidia-fabricmanager", "nvidia-persistenced", "nvlsm", "firewalld", "ufw",
            "unattended-upgrades", "npu-exporter", "chronyd", "chrony", "ntpd", "systemd-timesyncd")

# Asked together: systemctl answers a line for each, and its start is what costs time.
_SCRIPT = r"""init=; read -r init 2>/dev/null </proc/1/comm; out="init=$init
"
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
$flush; printf 'user_manager=%s\n' "$($limit systemctl --user is-system-running 2>/dev/null)"
printf 'linger=%s\n' "$($limit loginctl show-user "$(id -un)" -p Linger --value 2>/dev/null)"
set -- {services}
$limit systemctl is-active "$@" 2>/dev/null | while read -r state; do
[ "$#" -gt 0 ] && printf 'service.%s=%s\n' "$1" "$state" && shift; done; fi; :""".replace("{services}", " ".join(SERVICES))


def _system(text: str) -> dict[str, Any]:
    """``init`` (the name of process 1), ``user_manager``, ``linger``, ``services`` by name with their state."""
    said = dict(pairs(clean(text).splitlines(), "="))
    services = {key[8:]: value for key, value in said.items() if key.startswith("service.") and value}
    return {"init": said.get("init") or None, "user_manager": said.get("user_manager") or None,
            "linger": {"yes": True, "no": False}.get(said.get("linger", "")), "services": services}


FACTS = [quiet_fact("init.system", _SCRIPT, 20, _system)]
