"""The clock: what it says, and whether something keeps it right."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import Fact
from console.facts.grammar import clean, number, pairs

_SCRIPT = r"""printf 'now=%s\n' "$(date -u +%s)"
if [ -d /run/systemd/system ] && command -v timedatectl >/dev/null 2>&1; then timedatectl show 2>/dev/null || timedatectl status 2>/dev/null; fi
if command -v chronyc >/dev/null 2>&1; then printf 'chrony=%s\n' "$(chronyc -n -c tracking 2>/dev/null)"; fi
exit 0"""


def _sync(text: str) -> dict[str, Any]:
    """``epoch_s``; ``synchronized`` (None: nothing told), by whom, and the offset in seconds where chrony tells."""
    said = dict(pairs(clean(text).splitlines(), "="))
    words = dict(pairs(clean(text).splitlines(), ":"))
    flag = said.get("NTPSynchronized") or words.get("System clock synchronized") or words.get("NTP synchronized")
    chrony = (said.get("chrony") or "").split(",")
    found: dict[str, Any] = {
        "epoch_s": number(said.get("now")), "synchronized": {"yes": True, "no": False}.get(flag or ""),
        "service": said.get("NTP") or words.get("NTP service") or words.get("Network time on"),
        "timezone": said.get("Timezone") or (re.match(r"\S+", words.get("Time zone", "")) or [None])[0]}
    if len(chrony) > 5:
        found |= {"offset_s": number(chrony[4]), "source": chrony[1] or None, "stratum": number(chrony[2])}
        found["synchronized"] = chrony[-1] == "Normal" if found["synchronized"] is None else found["synchronized"]
    return found


FACTS = [Fact("time.sync", ("sh", "-c", _SCRIPT), 10, _sync)]
