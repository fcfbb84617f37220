"""Whether the playbook's packages are made for this server's processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check("host.architecture", title=N_("Processor architecture"), needs=("os.arch",), source="the playbook's own statement")
def architecture(facts: Mapping[str, Any], site: Site) -> Verdict:
    arch = facts["os.arch"]
    if not site.plan.arch:
        return Verdict("info", N_("The server is {arch}."), {"arch": arch})
    if arch in site.plan.arch:
        return Verdict("pass", N_("The server is {arch}, for which the playbook is made."), {"arch": arch})
    return Verdict(
        "fail",
        N_("The server is {arch}; the playbook is made for {wanted}."),
        {"arch": arch, "wanted": ", ".join(site.plan.arch)},
        N_("Get a bundle with packages for this architecture."),
    )
