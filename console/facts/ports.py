"""TCP ports that something listens on."""

from __future__ import annotations

from typing import Any

from console.facts.fact import Fact
from console.facts.grammar import Page, clean, whole
from console.i18n import N_


def _listening(text: str) -> list[dict[str, Any]]:
    """Rows of ``ss -ltn``."""
    page, found = Page(clean(text), "ss -ltn"), []
    for index, line in page.numbered():
        cells = line.split()
        if not cells or cells[0] == "State":
            continue
        address, mark, port = cells[3].rpartition(":") if len(cells) >= 5 else ("", "", "")
        if cells[0] != "LISTEN" or not mark or whole(port) is None:
            page.fail(index, N_("this is not a listening socket"))
        bare = address.strip("[]").partition("%")[0]
        found.append({"address": bare, "port": whole(port), "everywhere": bare in ("*", "0.0.0.0", "::")})
    return found


FACTS = [Fact("net.listening", ("ss", "-ltn"), 10, _listening, quick=True)]
