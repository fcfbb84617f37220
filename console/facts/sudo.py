"""Who we are on the server, and what sudo allows."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import ENDS, quiet_fact
from console.facts.grammar import Page, clean, pairs

# Directories of accounts may hang, and sudo with them; what it did not answer is no refusal.
_SCRIPT = ENDS + r"""said=$account; [ -n "$said" ] || { $flush; said=$($limit id); }
case $said in uid=*) out="id=$said
"
if ! command -v sudo >/dev/null 2>&1; then out="${out}sudo=absent
"
else $flush; $limit sudo -n true >/dev/null 2>&1
case $? in 0) out="${out}sudo=nopasswd
";; 124|137|143) ends 124;; *) out="${out}sudo=refused-without-password
";; esac; fi;; late) ends 124;; *) ends 1;; esac"""

_ID = re.compile(r"uid=(\d{1,10})(?:\(([^()]{0,200})\))?")
_GROUP = re.compile(r"\d{1,10}(?:\(([^()]{0,200})\))?")


def _rights(text: str) -> dict[str, Any]:
    """``uid``, ``user``, ``groups``, ``sudo``: nopasswd, refused-without-password, absent."""
    page = Page(clean(text), "sudo -n true")
    said = dict(pairs(page.lines, "="))
    account = _ID.match(said.get("id", ""))
    if not account or "sudo" not in said:
        page.empty()
    # The id of busybox leaves the list out where the account's own group is the only one.
    _, listed, groups = said["id"].partition(" groups=")
    groups = (groups if listed else said["id"].partition(" gid=")[2]).partition(" context=")[0]
    return {"uid": int(account[1]), "user": account[2], "groups": [group[1] or group[0] for group in _GROUP.finditer(groups)],
            "sudo": said["sudo"]}


# Asked as root, of the account that became it: so nobody is asked for a password again.
_ALLOWED_SCRIPT = r"""if [ -n "$SUDO_USER" ]; then $flush; $limit sudo -n -l -U "$SUDO_USER"
else [ -O /proc/1 ] && out='(root) ALL
'; fi"""


def _allowed(text: str) -> dict[str, Any]:
    """``everything``, and the ``rules`` as sudo lists them: ``(run as) [tags:] command``."""
    rules = [line.strip() for line in clean(text).splitlines() if re.match(r"\s*\([^()]{1,200}\) ", line[:4000])]
    if not rules:
        Page(clean(text), "sudo -l").empty()
    return {"everything": any(re.fullmatch(r"\((?:ALL|root)(?: : ALL)?\) (?:[A-Z_]+: )*ALL", rule) for rule in rules), "rules": rules}


FACTS = [
    quiet_fact("sudo.rights", _SCRIPT, 10, _rights),
    quiet_fact("sudo.allowed", _ALLOWED_SCRIPT, 10, _allowed, needs_root=True, tool="sudo -l"),
]
