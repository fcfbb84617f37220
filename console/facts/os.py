"""The operating system: its release file, kernel, architecture, virtualisation."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import Fact, file_fact
from console.facts.grammar import Page, clean

# What /etc/redhat-release and its like say, which "cat /etc/*-release" puts among the assignments.
_SENTENCE = re.compile(r"[A-Za-z][\w ]{1,60} release [\w.]{1,20}(?: \([\w .\-]{1,40}\))?")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,63})=(.*)")


def _is_closed(text: str) -> bool:
    """Whether a value that opens a quote closes it."""
    return text[:1] not in ("'", '"') or (len(text) > 1 and text[-1] == text[0])


def _unquoted(text: str) -> str:
    """A value as a shell would read it: quotes away, escapes resolved."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return re.sub(r"\\([\"'$`\\])", r"\1", text)


def release_fields(page: Page) -> dict[str, str]:
    """All assignments of an os-release file.

    Raises:
        InputError: ``inventory.unreadable-output`` for a line that is no assignment, or none of NAME, ID there.
    """
    found: dict[str, str] = {}
    for index, line in page.numbered():
        text = line.strip()
        if not text or text.startswith("#") or _SENTENCE.fullmatch(text):
            continue
        match = _ASSIGNMENT.fullmatch(text)
        if not match or not _is_closed(match[2].strip()):
            page.fail(index, "this is not an assignment")
        found[match[1]] = _unquoted(match[2])
    last = page.lines[-1].strip() if page.lines else ""
    if last.partition("=")[0] in ("ID", "VERSION_ID", "PRETTY_NAME") and last[-1] not in "\"'":
        page.whole()
    if not {"ID", "NAME", "PRETTY_NAME"} & set(found):
        page.empty()
    return found


def release_env(page: Page) -> dict[str, Any]:
    """``os_id``, ``os_version_id``, ``os_pretty_name``; of a file that holds one sentence, only the last."""
    filled = [line.strip() for line in page.lines if line.strip()]
    if len(filled) == 1 and _SENTENCE.fullmatch(filled[0]) and (page.ended or filled[0].endswith(")")):
        return {"os_pretty_name": filled[0]}
    fields = release_fields(page)
    return {"os_id": fields.get("ID"), "os_version_id": fields.get("VERSION_ID"),
            "os_pretty_name": fields.get("PRETTY_NAME")}


def _release(text: str) -> dict[str, Any]:
    page = Page(clean(text), "/etc/os-release")
    fields = release_fields(page)
    return release_env(page) | {"os_id_like": fields.get("ID_LIKE", "").split()}


BOOT = "os.boot"
"""The fact that is another after each start of the server."""


def _one_line(text: str) -> str | None:
    line = clean(text).strip()
    return line.splitlines()[0][:200] if line else None


FACTS = [
    file_fact("os.release", "/etc/os-release", _release),
    file_fact(BOOT, "/proc/sys/kernel/random/boot_id", _one_line),
    Fact("os.kernel", ("uname", "-r"), 5, _one_line, quick=True, lasting=True),
    Fact("os.arch", ("uname", "-m"), 5, _one_line, quick=True, lasting=True),
    Fact("os.hostname", ("uname", "-n"), 5, _one_line, quick=True),
    Fact("os.virtualization", ("systemd-detect-virt",), 5, _one_line, quick=True, lasting=True),
]
