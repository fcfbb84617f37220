"""Who we are on the server, and what sudo allows."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import Fact
from console.facts.grammar import Page, clean, pairs, whole

_SCRIPT = r"""printf 'uid=%s\nuser=%s\ngroups=%s\n' "$(id -u)" "$(id -un)" "$(id -Gn)"
if ! command -v sudo >/dev/null 2>&1; then echo sudo=absent
elif sudo -n true >/dev/null 2>&1; then echo sudo=nopasswd
else echo sudo=refused-without-password; fi"""


def _rights(text: str) -> dict[str, Any]:
    """``uid``, ``user``, ``groups``, ``sudo``: nopasswd, refused-without-password, absent."""
    page = Page(clean(text), "sudo -n true")
    said = dict(pairs(page.lines, "="))
    if whole(said.get("uid")) is None or "sudo" not in said:
        page.empty()
    return {"uid": whole(said["uid"]), "user": said.get("user"), "groups": said.get("groups", "").split(),
            "sudo": said["sudo"]}


# Asked as root, of the account that became it: so nobody is asked for a password again.
_ALLOWED_SCRIPT = r"""if [ -n "$SUDO_USER" ]; then exec sudo -n -l -U "$SUDO_USER"; fi
[ "$(id -u)" = 0 ] && echo '(root) ALL'"""


def _allowed(text: str) -> dict[str, Any]:
    """``everything``, and the ``rules`` as sudo lists them: ``(run as) [tags:] command``."""
    rules = [line.strip() for line in clean(text).splitlines() if re.match(r"\s*\([^()]{1,200}\) ", line[:4000])]
    if not rules:
        Page(clean(text), "sudo -l").empty()
    return {"everything": any(re.fullmatch(r"\((?:ALL|root)(?: : ALL)?\) (?:[A-Z_]+: )*ALL", rule) for rule in rules), "rules": rules}


FACTS = [
    Fact("sudo.rights", ("sh", "-c", _SCRIPT), 10, _rights),
    Fact("sudo.allowed", ("sh", "-c", _ALLOWED_SCRIPT), 10, _allowed, needs_root=True, tool="sudo -l"),
]
