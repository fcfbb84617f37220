"""File systems with their free space and inodes, the one that models would go to, mounts, block devices and software RAID."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import ENDS, Fact, file_fact, files_fact, lines_of, shell_fact
from console.facts.grammar import Page, clean, pairs, shown, whole
from console.i18n import N_

_ROW = re.compile(r"(.+?)\s+(\d+|-)\s+(\d+|-)\s+(-?\d+|-)\s+(?:(\d+|-)\s+(\d+|-)\s+(-?\d+|-)|\d+%|-)\s+(/.*)")
_OCTAL = re.compile(r"\\([0-7]{3})")

# One call tells of space and inodes; where df cannot do that, as in busybox, or fails on one of the file systems, two do.
_DF = ENDS + r"""table() { $limit df -k --output=source,size,used,avail,itotal,iused,iavail,target "$@" 2>/dev/null && return
case $? in 124|137|143) ends 124; return;; esac
$limit df -kP "$@" || return; echo; $limit df -iP "$@" 2>/dev/null; return 0; }
"""


def _tables(text: str) -> list[dict[str, Any]]:
    """File systems with their space, and their inodes where they have a number of them."""
    page, found, inodes = Page(clean(text), "df"), {}, False
    for index, line in page.numbered():
        if not line.strip():
            continue
        if line.split()[0] == "Filesystem":
            inodes = "-blocks" not in line  # in every df the column of space, and of space only, is one of blocks
            continue
        match = _ROW.fullmatch(line) if len(line) < 4000 else None
        if not match:
            page.fail(index, N_("this is not the row of a file system"))
        source, mount, numbers = match[1], match[8], [whole(match[n]) for n in (2, 3, 4)]
        entry = found.setdefault((source, mount), {"source": source, "mount": mount})
        if not inodes:
            entry |= dict(zip(("size_bytes", "used_bytes", "free_bytes"), map(_bytes, numbers), strict=True))
            numbers = [whole(match[n]) for n in (5, 6, 7)] if match[5] else []
        entry |= dict(zip(("inodes", "inodes_used", "inodes_free"), numbers, strict=False))
    return list(found.values())


def _bytes(kib: int | None) -> int | None:
    return None if kib is None else kib * 1024


def _free(text: str) -> list[dict[str, Any]]:
    keys = ("source", "size_bytes", "used_bytes", "free_bytes", "mount")
    return [{key: entry[key] for key in keys} for entry in _tables(text) if "size_bytes" in entry]


def _inodes(text: str) -> list[dict[str, Any]]:
    keys = ("source", "inodes", "inodes_used", "inodes_free", "mount")
    return [{key: entry[key] for key in keys} for entry in _tables(text) if "inodes" in entry]


def _mounts(text: str) -> list[dict[str, Any]]:
    found = []
    for line in clean(text).splitlines():
        words = [_OCTAL.sub(lambda m: chr(int(m[1], 8)), word) for word in line.split(" ")]
        if len(words) >= 4:
            found.append({"source": words[0], "mount": words[1], "type": words[2], "options": words[3].split(",")})
    return found


_BLOCK = re.compile(r"/sys/class/block/([^/]{1,128})/(size|partition|queue/rotational|device/model|device/type|dm/uuid|md/level|slaves/[^/]{1,128}/size)")
_ROM = "5"
"""The type of a CD-ROM drive in SCSI's numbering (TYPE_ROM, include/scsi/scsi_proto.h)."""
_MAPPED = {"LVM": "lvm", "CRYPT": "crypt", "MPATH": "mpath"}


def _blocks(text: str) -> list[dict[str, Any]]:
    """Block devices that hold something, and their partitions: ``type`` by the words of lsblk(8), ``parent`` for what lies on
    another."""
    said: dict[str, dict[str, str]] = {}
    for path, value in lines_of(clean(text)):
        if match := _BLOCK.fullmatch(path):
            said.setdefault(match[1], {})[match[2]] = value
    found = []
    for name, own in said.items():
        sectors, parent = whole(own.get("size")), _parent(name, own)
        disk = said.get(parent or "", {}) if "partition" in own else own
        # Drives without a medium and loops without a file have no size; RAM disks are memory.
        if sectors and not re.fullmatch(r"ram\d+", name):
            found.append({"name": name.replace("!", "/"), "type": _kind(name, own), "size_bytes": sectors * 512,
                          "rotational": {"1": True, "0": False}.get(disk.get("queue/rotational", "")),
                          "model": shown(own.get("device/model")), "parent": parent and parent.replace("!", "/")})
    return found


def _parent(name: str, own: dict[str, str]) -> str | None:
    """What a device lies on. A partition is named by its disk and its number, with a ``p`` between where the disk's name ends with
    a digit (block/partitions/core.c)."""
    if number := own.get("partition", "").strip():
        disk = name.removesuffix(number)
        return disk[:-1] if re.search(r"\dp$", disk) else disk
    return next((key.split("/")[1] for key in sorted(own) if key.startswith("slaves/")), None)


def _kind(name: str, own: dict[str, str]) -> str:
    if "partition" in own:
        return "part"
    if own.get("dm/uuid"):
        word = own["dm/uuid"].partition("-")[0].upper()
        return "part" if word.startswith("PART") else _MAPPED.get(word, "dm")
    if own.get("md/level"):
        return own["md/level"]
    return "loop" if name.startswith("loop") else "rom" if own.get("device/type") == _ROM else "disk"


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


# The folder need not be there yet; then it is about the one in which it would be made. Links are followed, where there are any.
_STORE_SCRIPT = _DF + r"""s=${SEALIFT_STORE:-"~/sealift"}; case $s in "~/"*) s=$HOME/${s#"~/"};; esac
d=$s; while [ -n "$d" ] && [ ! -d "$d" ]; do d=${d%/*}; done; d=${d:-/}
[ "$d" = "$s" ] && there=yes || there=no
[ -w "$d" ] && writable=yes || writable=no
linked=; case $d/ in [!/]*|*//*|*/./*|*/../*) linked=1;; *) e=$d; while [ -n "$e" ]; do [ ! -L "$e" ] || linked=1; e=${e%/*}; done;; esac
[ -z "$linked" ] || d=$(cd "$d" 2>/dev/null && pwd -P || printf %s "$d")
printf 'store=%s\nfolder=%s\nthere=%s\nwritable=%s\n\n' "$s" "$d" "$there" "$writable"
table "$d"
"""


def _store(text: str) -> dict[str, Any]:
    """Where models go: ``store``, ``there``, the ``folder`` that is there now, whether it is ``writable``, and its file system."""
    head, _, tables = clean(text).partition("\n\n")
    said, rows = dict(pairs(head.splitlines(), "=")), _tables(tables)
    if len(rows) != 1 or "size_bytes" not in rows[0] or not said.get("store"):
        Page(clean(text), "df").empty()
    return {"store": said["store"], "there": said.get("there") == "yes", "folder": said.get("folder"),
            "writable": said.get("writable") == "yes", "inodes": None, "inodes_free": None, **rows[0]}


_ASKED = shell_fact("disk.free", _DF + "table", 15, _free, needs="df")
FACTS = [
    shell_fact("disk.store", _STORE_SCRIPT, 15, _store, needs="df"),
    _ASKED,
    Fact("disk.inodes", _ASKED.argv, _ASKED.timeout_s, _inodes, of=_ASKED.id, tool=_ASKED.tool),
    file_fact("disk.mounts", "/proc/mounts", _mounts),
    files_fact("disk.blocks", tuple(f"/sys/class/block/*/{name}" for name in (
        "size", "partition", "queue/rotational", "device/model", "device/type", "dm/uuid", "md/level", "slaves/*/size")),
        _blocks, tool="/sys/class/block"),
    file_fact("disk.raid", "/proc/mdstat", _raid),
]
