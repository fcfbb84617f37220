"""The operating system: its release file and kernel; and the machine itself with its firmware."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from console.facts.fact import file_fact, files_fact, lines_of
from console.facts.grammar import Page, clean, shown
from console.i18n import N_

# What /etc/redhat-release and its like say, which "cat /etc/*-release" puts among the assignments.
_SENTENCE = re.compile(r"[A-Za-z][\w ]{1,60} release [\w.]{1,20}(?: \([\w .\-]{1,40}\))?")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,63})=(.*)")


_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'")
_NAMED = re.compile(r"[\w.~^+\-]*")


def _is_closed(text: str) -> bool:
    """Whether a value that opens a quote closes it, at its end and not before."""
    if text[:1] not in ("'", '"'):
        return '"' not in text
    return bool(_QUOTED.fullmatch(text))


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
            page.fail(index, N_("this is not an assignment"))
        found[match[1]] = _unquoted(match[2])
        if match[1] in ("ID", "VERSION_ID") and not _NAMED.fullmatch(found[match[1]]):
            page.fail(index, N_("this is not the name of a system or its version"))
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


_MACHINE = {"sys_vendor": "maker", "product_name": "product", "board_name": "board", "bios_vendor": "firmware_maker",
            "bios_version": "firmware_version", "bios_date": "firmware_date", "model": "product"}


def _machine(text: str) -> dict[str, str]:
    """``maker``, ``product``, ``board``, and ``firmware_…`` (BIOS or UEFI), as the machine's own table (SMBIOS) says, or on
    some Arm machines only the product."""
    found: dict[str, str] = {}
    for path, value in lines_of(clean(text)):
        key = path.rpartition("/")[2]
        if key in _MACHINE and shown(value) is not None:
            found.setdefault(_MACHINE[key], value.strip())
    return found


FACTS = [
    file_fact("os.release", "/etc/os-release", _release),
    file_fact(BOOT, "/proc/sys/kernel/random/boot_id", _one_line),
    replace(file_fact("os.kernel", "/proc/sys/kernel/osrelease", _one_line), lasting=True),
    file_fact("os.hostname", "/proc/sys/kernel/hostname", _one_line),
    files_fact("os.machine", (*(f"/sys/class/dmi/id/{name}" for name in _MACHINE if name != "model"), "/proc/device-tree/model"), _machine,
               tool="/sys/class/dmi/id", lasting=True),
]
