"""What will keep a service running after the console has gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check("host.service-manager", title=N_("Service manager"), needs=("init.system",), source="derived: how the playbooks start services")
def service_manager(facts: Mapping[str, Any], site: Site) -> Verdict:
    found = facts["init.system"]
    told = {"init": found.get("init") or "–"}
    if found.get("init") == "systemd":
        return Verdict("pass", N_("systemd keeps services running, over a restart too."))
    return Verdict(
        "info", N_("The first process is {init}, not systemd: a service is supervised, but has to be started again after a restart."), told
    )
