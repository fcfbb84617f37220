"""Whether a container engine is there for playbooks that run in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "host.container-engine",
    title=N_("Container engine"),
    needs=("containers.engines",),
    empty_is_value=True,
    applies=lambda site: site.plan.engine == "container",
    source="the playbook's own statement",
)
def container_engine(facts: Mapping[str, Any], site: Site) -> Verdict:
    found = facts["containers.engines"] or []
    names = sorted({str(e.get("name") if isinstance(e, dict) else e) for e in found})
    if names:
        return Verdict("pass", N_("{names} is there."), {"names": ", ".join(names)})
    return Verdict(
        "fail",
        N_("The playbook runs in a container, and the server has no container engine."),
        remedy=N_("Install podman or docker from the system's packages."),
    )
