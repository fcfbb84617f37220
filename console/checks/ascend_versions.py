"""Whether the Ascend driver and firmware name each other as compatible."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.checks.nvidia_driver import numbers
from console.i18n import N_


@check(
    "ascend.firmware",
    title=N_("Ascend driver and firmware"),
    needs=("ascend.driver", "ascend.firmware"),
    vendor="ascend",
    source="compatible_version_fw of the driver's version.info (hiascend.com)",
)
def ascend_firmware(facts: Mapping[str, Any], site: Site) -> Verdict:
    driver, firmware = facts["ascend.driver"].get("driver_version"), facts["ascend.firmware"].get("firmware_version")
    span = re.search(r"([\d.]+)\s*,\s*([\d.]+)", str(facts["ascend.driver"].get("fields", {}).get("compatible_version_fw", "")))
    told = {"driver": driver or "?", "firmware": firmware or "?"}
    if not (driver and firmware and span):
        return Verdict(
            "unknown",
            N_("Driver {driver} does not say which firmware it goes with (found {firmware})."),
            told,
            N_("Compare both with the vendor's release notes."),
        )
    width = min(len(numbers(span[1])), len(numbers(span[2])))
    if numbers(span[1])[:width] <= numbers(firmware)[:width] <= numbers(span[2])[:width]:
        return Verdict("pass", N_("Driver {driver} lists firmware {firmware} as compatible."), told)
    return Verdict(
        "fail",
        N_("Driver {driver} does not list firmware {firmware} as compatible."),
        told,
        N_("Install the firmware that belongs to the driver."),
    )
