"""Limits on open files and locked memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_

OPEN_FILES = 65_536


def _amount(value: Any) -> float:
    return float("inf") if value in (None, "unlimited") else float(value)


@check(
    "host.limits", title=N_("Limits of the account"), needs=("limits",), source="derived; locked memory: NCCL troubleshooting (documented)"
)
def limits_files(facts: Mapping[str, Any], site: Site) -> Verdict:
    files, locked = facts["limits"].get("open_files"), facts["limits"].get("locked_memory_bytes")
    if files is None or locked is None:
        return Verdict("unknown", N_("The account's limits are not told."), remedy=N_("Run ulimit -a on the server."))
    if _amount(files["hard"]) < OPEN_FILES:
        return Verdict(
            "warn",
            N_("The account may open {count} files; a busy engine needs {wanted}."),
            {"count": files["hard"], "wanted": OPEN_FILES},
            N_("Raise nofile in limits.conf or in the service's unit."),
        )
    if site.plan.accelerator and _amount(locked["hard"]) != float("inf"):
        return Verdict(
            "warn",
            N_("Locked memory is limited, which slows or stops traffic between devices."),
            remedy=N_("Set memlock to unlimited for the service."),
        )
    return Verdict("pass", N_("The account may open {count} files."), {"count": files["hard"]})
