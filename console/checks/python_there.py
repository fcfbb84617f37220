"""Whether the server has the Python that the playbook needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.checks.nvidia_driver import numbers
from console.i18n import N_

LOWEST = (3, 8)


@check(
    "host.python",
    title=N_("Python on the server"),
    needs=("python.versions",),
    empty_is_value=True,
    source="the small runtime's own minimum",
)
def python_there(facts: Mapping[str, Any], site: Site) -> Verdict:
    found = [p for p in facts["python.versions"] or () if p.get("version")]
    fit = [p for p in found if numbers(p["version"]) >= LOWEST]
    if fit:
        best = max(fit, key=lambda p: (bool(p.get("venv")), numbers(p["version"])))
        if site.plan.python and not best.get("venv"):
            return Verdict(
                "warn",
                N_("Python {version} is there, but cannot make virtual environments."),
                {"version": best["version"]},
                N_("Install the venv module (package python3-venv on Debian and Ubuntu)."),
            )
        return Verdict("pass", N_("Python {version} is there."), {"version": best["version"]})
    if site.plan.python:
        return Verdict(
            "fail",
            N_("The server has no Python 3.8 or newer, which the playbook needs."),
            remedy=N_("Install python3 with venv, or choose a playbook that runs in a container."),
        )
    return Verdict("info", N_("The server has no Python 3.8 or newer; weights are pushed through its shell, more slowly."))
