"""Whether a container engine is there for playbooks that run in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_

ENGINES = ("podman", "docker")
"""Those that a playbook's steps can use, see ``console.steps.container``."""


@check(
    "host.container-engine",
    title=N_("Container engine"),
    needs=("containers.engines",),
    empty_is_value=True,
    applies=lambda site: site.plan.engine == "container",
    source="the playbook's own statement",
)
def container_engine(facts: Mapping[str, Any], site: Site) -> Verdict:
    engines = {e["name"]: e.get("daemon", True) for e in facts["containers.engines"] or () if e.get("name") in ENGINES}
    usable = sorted(name for name, answers in engines.items() if answers)
    if usable:
        return Verdict("pass", N_("{names} is there."), {"names": ", ".join(usable)})
    if engines:
        return Verdict(
            "fail",
            N_("The playbook runs in a container, and of docker the server has only the client: there is no socket of a daemon."),
            remedy=N_("Start the daemon: systemctl enable --now docker; or install podman, which needs none."),
        )
    return Verdict(
        "fail",
        N_("The playbook runs in a container, and the server has no container engine."),
        remedy=N_("Install podman or docker from the system's packages."),
    )
