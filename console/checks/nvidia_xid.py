"""What the driver has reported in the kernel log since the server started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "nvidia.xid",
    title=N_("Errors of the driver in the kernel log"),
    needs=("kernel.log",),
    vendor="nvidia",
    empty_is_value=True,
    source="NVIDIA Xid catalog, 2026 (documented); list of fatal codes of azurehpc-health-checks, 2026-05-01 (reported)",
    blocking=False,
)
def nvidia_xid(facts: Mapping[str, Any], site: Site) -> Verdict:
    log = facts["kernel.log"] or {}
    codes = sorted({entry["code"] for entry in log.get("xids", ())})
    fatal = [code for code in codes if code in site.limit("xid-fatal", "codes")]
    told = {"codes": ", ".join(map(str, fatal or codes))}
    if fatal or log.get("fallen_off_bus"):
        return Verdict(
            "fail",
            N_("The kernel log tells of errors of the hardware (Xid {codes})."),
            told,
            N_("Look the codes up in NVIDIA's catalog; drain the server, reset the device or restart, and have it replaced if they come back."),
        )
    if codes:
        return Verdict(
            "warn",
            N_("The kernel log tells of errors, mostly of programs (Xid {codes})."),
            told,
            N_("Look the codes up in NVIDIA's catalog before going on."),
        )
    return Verdict("pass", N_("The kernel log tells of no error of the driver."))
