"""Whether CANN is there. Which driver each CANN needs is in the catalog of the release notes, not guessed here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check("ascend.cann", title=N_("CANN toolkit"), needs=("ascend.cann",), vendor="ascend", source="ascend_toolkit_install.info on the server")
def ascend_cann(facts: Mapping[str, Any], site: Site) -> Verdict:
    version = facts["ascend.cann"].get("cann_version")
    driver = next((d.driver_version for d in site.devices if d.driver_version), None)
    if not version:
        return Verdict("unknown", N_("The CANN version could not be told."), remedy=N_("Look at ascend_toolkit_install.info on the server."))
    return Verdict("info", N_("CANN {version} with driver {driver}. Serving images carry a CANN of their own."), {"version": version, "driver": driver or "?"},
                   N_("Compare the image's CANN with the driver in the vendor's compatibility table."))
