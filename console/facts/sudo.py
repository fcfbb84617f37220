"""Who we are on the server, and whether sudo works without a password."""

from __future__ import annotations

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


FACTS = [Fact("sudo.rights", ("sh", "-c", _SCRIPT), 10, _rights)]
