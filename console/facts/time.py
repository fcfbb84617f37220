"""The clock: what it says, and whether something keeps it right."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import quiet_fact
from console.facts.grammar import clean, number, pairs

# Asked of whatever keeps the clock. The time service is not started by the question; systemd's own answering service is, for some
# seconds, and where it cannot start, its client waits for long: it is given little time, and not asked in other words then.
_SCRIPT = r"""$flush; date -u +now=%s.%N
up=; read -r up rest 2>/dev/null </proc/uptime
out="up=$up
console=$SEALIFT_NOW
console_up=$SEALIFT_UP
"
if [ -d /run/systemd/system ] && command -v timedatectl >/dev/null 2>&1; then
  $limit timedatectl show 2>/dev/null || case $? in 124|137|143) ;; *) $limit timedatectl status 2>/dev/null;; esac
fi
if command -v chronyc >/dev/null 2>&1; then printf 'chrony=%s\n' "$($limit chronyc -n -c tracking 2>/dev/null)"
elif command -v ntpq >/dev/null 2>&1; then printf 'ntpq=%s\n' "$($limit ntpq -c 'rv 0 offset,stratum,refid' 2>/dev/null | tr '\n' ' ')"
elif [ -d /run/systemd/timesync ]; then $limit timedatectl timesync-status 2>/dev/null | sed 's/^ */timesync./'; fi; :"""


def _sync(text: str) -> dict[str, Any]:
    """``epoch_s``; ``synchronized`` (None: nothing told), by whom, and ``offset_s`` from the time service's own reference where
    one tells. ``console_offset_s`` is how far the clock is ahead of the console's, as well as the time allows that the
    question took to get there: seconds at most."""
    said = dict(pairs(clean(text).splitlines(), "="))
    words = dict(pairs(clean(text).splitlines(), ":"))
    flag = said.get("NTPSynchronized") or words.get("System clock synchronized") or words.get("NTP synchronized")
    chrony = (said.get("chrony") or "").split(",")
    found: dict[str, Any] = {
        "epoch_s": number(re.match(r"\d{0,18}(?:\.\d{1,9})?", said.get("now", ""))[0]), "synchronized": {"yes": True, "no": False}.get(flag or ""),
        "service": said.get("NTP") or words.get("NTP service") or words.get("Network time on"),
        "timezone": said.get("Timezone") or (re.match(r"\S+", words.get("Time zone", "")) or [None])[0]}
    began, moments = number(said.get("console")), (number(said.get("up")), number(said.get("console_up")))
    if began is not None and found["epoch_s"] is not None and None not in moments:
        found["console_offset_s"] = round(found["epoch_s"] - began - (moments[0] - moments[1]), 1)
    found |= _other_services(said, words)
    if len(chrony) > 5:
        found |= {"offset_s": number(chrony[4]), "source": chrony[1] or None, "stratum": number(chrony[2])}
        found["synchronized"] = chrony[-1] == "Normal" if found["synchronized"] is None else found["synchronized"]
    return found


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


def _other_services(said: dict[str, str], words: dict[str, str]) -> dict[str, Any]:
    """What ntpd, in milliseconds, or systemd-timesyncd, in units of its choice, say of their reference."""
    ntpq = dict(re.findall(r"(offset|stratum|refid)=([^,\s]+)", said.get("ntpq", "")))
    parts = re.findall(r"([+-]?)([\d.]{1,20})(us|ms|s|min|h)(?![a-z])", words.get("timesync.Offset", ""))
    found: dict[str, Any] = {}
    if number(ntpq.get("offset")) is not None:
        found |= {"offset_s": number(ntpq["offset"]) / 1000, "source": ntpq.get("refid"), "stratum": number(ntpq.get("stratum"))}
    elif parts:
        size = sum((number(value) or 0.0) * _UNITS[unit] for _sign, value, unit in parts)
        found |= {"offset_s": round(-size if parts[0][0] == "-" else size, 9), "source": words.get("timesync.Server"),
                  "stratum": number(words.get("timesync.Stratum"))}
    return found


FACTS = [quiet_fact("time.sync", _SCRIPT, 4, _sync)]
