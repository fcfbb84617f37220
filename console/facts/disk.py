"""File systems with their free space and inodes, the one that models would go to, mounts, block devices and software RAID."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import Fact, file_fact
from console.facts.grammar import Page, clean, pairs, strict_json, whole
from console.i18n import N_

_ROW = re.compile(r"(.+?)\s+(\d+|-)\s+(\d+|-)\s+(-?\d+|-)\s+(\d+%|-)\s+(/.*)")
_OCTAL = re.compile(r"\\([0-7]{3})")


def _rows(text: str, tool: str) -> list[tuple[str, int | None, int | None, int | None, str]]:
    page, rows = Page(clean(text), tool), []
    for index, line in page.numbered(1):
        match = _ROW.fullmatch(line) if len(line) < 4000 else None
        if not line.strip():
            continue
        if not match:
            page.fail(index, N_("this is not the row of a file system"))
        rows.append((match[1], whole(match[2]), whole(match[3]), whole(match[4]), match[6]))
    return rows


def _bytes(kib: int | None) -> int | None:
    return None if kib is None else kib * 1024


def _free(text: str) -> list[dict[str, Any]]:
    return [{"source": source, "size_bytes": _bytes(size), "used_bytes": _bytes(used), "free_bytes": _bytes(free),
             "mount": mount} for source, size, used, free, mount in _rows(text, "df -kP")]


def _inodes(text: str) -> list[dict[str, Any]]:
    return [{"source": source, "inodes": total, "inodes_used": used, "inodes_free": free, "mount": mount}
            for source, total, used, free, mount in _rows(text, "df -iP")]


def _mounts(text: str) -> list[dict[str, Any]]:
    found = []
    for line in clean(text).splitlines():
        words = [_OCTAL.sub(lambda m: chr(int(m[1], 8)), word) for word in line.split(" ")]
        if len(words) >= 4:
            found.append({"source": words[0], "mount": words[1], "type": words[2], "options": words[3].split(",")})
    return found


def _blocks(text: str) -> list[dict[str, Any]]:
    page = Page(clean(text), "lsblk")
    value = strict_json(page.text, page)
    entries = value.get("blockdevices") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        page.fail(0, N_("there is no list of block devices"))
    return [{"name": e.get("name"), "type": e.get("type"), "size_bytes": whole(str(e.get("size"))),
             "rotational": {"1": True, "0": False, "true": True, "false": False}.get(str(e.get("rota")).lower()),
             "model": e.get("model"), "parent": e.get("pkname")} for e in entries if isinstance(e, dict)]


def _raid(text: str) -> list[dict[str, Any]]:
    arrays: list[dict[str, Any]] = []
    for line in clean(text).splitlines():
        head = re.match(r"(md\S+)\s*:\s*(\w+)\s+(?:\([\w-]+\)\s+)?(\w+)?", line)
        state = re.search(r"\[(\d+)/(\d+)\]", line)
        if head:
            arrays.append({"name": head[1], "state": head[2], "level": head[3], "failed": "(F)" in line})
        elif state and arrays:
            arrays[-1] |= {"devices": int(state[1]), "active": int(state[2])}
    return arrays


# The folder need not be there yet; then it is about the one in which it would be made. Links are followed.
_STORE_SCRIPT = r"""s=${SEALIFT_STORE:-"~/sealift"}; case $s in "~/"*) s=$HOME/${s#"~/"};; esac
d=$s; while [ -n "$d" ] && [ ! -d "$d" ]; do d=${d%/*}; done; d=${d:-/}
[ "$d" = "$s" ] && there=yes || there=no
[ -w "$d" ] && writable=yes || writable=no
d=$(cd "$d" 2>/dev/null && pwd -P || printf %s "$d")
printf 'store=%s\nfolder=%s\nthere=%s\nwritable=%s\n\n' "$s" "$d" "$there" "$writable"
df -kP "$d" || exit 1
echo; df -iP "$d" 2>/dev/null; exit 0"""


def _store(text: str) -> dict[str, Any]:
    """Where models go: ``store``, ``there``, the ``folder`` that is there now, whether it is ``writable``, and its file system."""
    head, _, tables = clean(text).partition("\n\n")
    said, (space, _, inodes) = dict(pairs(head.splitlines(), "=")), tables.partition("\n\n")
    rows, counts = _free(space), _inodes(inodes)
    if len(rows) != 1 or not said.get("store"):
        Page(clean(text), "df -kP").empty()
    count = counts[0] if len(counts) == 1 else {}
    return {"store": said["store"], "there": said.get("there") == "yes", "folder": said.get("folder"),
            "writable": said.get("writable") == "yes", **rows[0], "inodes": count.get("inodes"), "inodes_free": count.get("inodes_free")}


FACTS = [
    Fact("disk.store", ("sh", "-c", _STORE_SCRIPT), 15, _store, tool="df"),
    Fact("disk.free", ("df", "-kP"), 15, _free),
    Fact("disk.inodes", ("df", "-iP"), 15, _inodes),
    file_fact("disk.mounts", "/proc/mounts", _mounts),
    Fact("disk.blocks", ("lsblk", "-J", "-b", "-l", "-o", "NAME,TYPE,SIZE,ROTA,MODEL,PKNAME"), 10, _blocks),
    file_fact("disk.raid", "/proc/mdstat", _raid),
]
