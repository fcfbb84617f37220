"""What a package file says of itself: name, version, licence, unpacked size. Read in place; nothing is unpacked to disk.

Layouts: deb(5) and deb-control(5) of dpkg 1.22; the RPM package format of rpm 4.18 (lead, signature, header; tags 1000, 1001,
1002, 1009, 1014, 1022, 5009); the wheel format 1.0 (PEP 427, core metadata 2.4); docker save's manifest.json; the OCI image
layout 1.0. A vendor's .run installer says it in its name, and those made with makeself in their first lines too.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import lzma
import re
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, BinaryIO

from console.bundles import archives, debs, tars
from console.i18n import N_

MAX_CONTROL_BYTES = 16 << 20
MAX_RPM_ENTRIES = 100_000
MAX_IMAGE_DEPTH = 4
_VERSIONED = re.compile(r"(?P<name>.+?)[-_](?P<version>v?\d[0-9A-Za-z.+~]*(?:[-_]?(?:rc|alpha|beta)[0-9.]*)?)(?:[-_](?P<arch>.+))?",
                        re.IGNORECASE)
_UNPACKED = re.compile(rb"Uncompressed size: (\d+) KB")


@dataclass(frozen=True)
class Package:
    """A package. ``kind`` is its type in package URLs, or generic; ``installed_bytes`` None where it does not say."""

    kind: str
    name: str
    version: str
    arch: str = ""
    license: str = ""
    installed_bytes: int | None = None


def identify(path: Path) -> Package | None:
    """The package in a file, by its own data and else by its name; None for what is no package.

    Raises:
        OSError: it cannot be read.
    """
    name = path.name.lower()
    with open(path, "rb") as source:
        size = path.stat().st_size
        with contextlib.suppress(tars.Refused, ValueError, KeyError, EOFError, struct.error, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError,
                                 NotImplementedError, RuntimeError, OverflowError, gzip.BadGzipFile, RecursionError):
            if name.endswith(".deb"):
                return _deb(source, size)
            if name.endswith(".rpm"):
                return _rpm(source)
            if name.endswith(".whl"):
                return _wheel(source, size)
            if name.endswith(".tar"):
                return _docker(source, size)
            if name.endswith(".run"):
                return _run(source, path)
    return _by_name(path) if name.endswith((".deb", ".rpm", ".whl", ".run")) else None


def _by_name(path: Path, installed_bytes: int | None = None) -> Package:
    kind = {".deb": "deb", ".rpm": "rpm", ".whl": "pypi"}.get(path.suffix.lower(), "generic")
    found = _VERSIONED.fullmatch(path.stem)
    if found is None:
        return Package(kind, path.stem, "", installed_bytes=installed_bytes)
    return Package(kind, found["name"], found["version"], found["arch"] or "", installed_bytes=installed_bytes)


def _deb(source: BinaryIO, size: int) -> Package:
    for part in debs.parts(source, size):
        if part.name.startswith("control.tar"):
            return _control(_unpacked(part.read(MAX_CONTROL_BYTES), part.name))
    raise ValueError("no control file")


def _unpacked(raw: bytes, name: str) -> bytes:
    if name.endswith(".gz"):
        with gzip.open(io.BytesIO(raw)) as plain:
            return plain.read(MAX_CONTROL_BYTES)
    if name.endswith(".xz"):
        with lzma.open(io.BytesIO(raw)) as plain:
            return plain.read(MAX_CONTROL_BYTES)
    if name.endswith(".tar"):
        return raw
    raise ValueError("a compression that is not read here")


def _control(raw: bytes) -> Package:
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
        for member in archive:
            held = archive.extractfile(member) if member.isfile() and member.name.removeprefix("./") == "control" else None
            if held is not None:
                told = HeaderParser().parsestr(held.read(1 << 20).decode("utf-8", "replace"))
                kib = str(told.get("Installed-Size", ""))
                return Package("deb", told["Package"], told.get("Version", ""), told.get("Architecture", ""),
                               installed_bytes=int(kib) << 10 if kib.isdecimal() else None)
    raise ValueError("no control file")


def _rpm(source: BinaryIO) -> Package:
    lead = source.read(96)
    if lead[:4] != b"\xed\xab\xee\xdb":
        raise ValueError("no rpm")
    _, store = _rpm_header(source)
    source.seek(-len(store) % 8, 1)  # the signature is filled up to eight bytes
    entries, store = _rpm_header(source)
    told: dict[int, Any] = {}
    for tag, kind, offset, _count in entries:
        if kind in (6, 9):  # text, translated text
            told[tag] = store[offset : store.index(b"\x00", offset)].decode("utf-8", "replace")
        elif kind in (4, 5):  # whole numbers of 32 and 64 bits
            told[tag] = int.from_bytes(store[offset : offset + (4 if kind == 4 else 8)], "big")
    version = f"{told[1001]}-{told[1002]}" if 1002 in told else told[1001]
    return Package("rpm", told[1000], version, told.get(1022, ""), told.get(1014, ""), told.get(5009, told.get(1009)))


def _rpm_header(source: BinaryIO) -> tuple[list[tuple[int, int, int, int]], bytes]:
    magic, count, length = struct.unpack(">4s4xII", source.read(16))
    if magic[:3] != b"\x8e\xad\xe8" or count > MAX_RPM_ENTRIES or length > MAX_CONTROL_BYTES:
        raise ValueError("no header")
    entries = [struct.unpack(">IIII", source.read(16)) for _ in range(count)]
    return entries, source.read(length)


def _wheel(source: BinaryIO, size: int) -> Package:
    total = archives.unpacked_bytes(source.read(512), size, source)
    if total is None:
        raise ValueError("not a zip archive that can be read")
    with zipfile.ZipFile(source) as archive:
        name = next(n for n in (*archive.namelist(), "") if n.count("/") == 1 and n.endswith(".dist-info/METADATA") or not n)
        with archive.open(name) as held:
            told = HeaderParser().parsestr(held.read(1 << 20).decode("utf-8", "replace"))
    own = told.get("License-Expression") or told.get("License") or ""
    return Package("pypi", told["Name"].lower(), told.get("Version", ""), license=own if len(own) < 80 and "\n" not in own else "",
                   installed_bytes=total)


def _docker(source: BinaryIO, size: int) -> Package | None:
    total = archives.unpacked_bytes(source.read(512), size, source)
    if total is None:
        raise ValueError("not a tar archive that can be read")
    source.seek(0)
    with tarfile.open(fileobj=source, mode="r:") as archive:
        for member in archive:
            held = archive.extractfile(member) if member.isfile() and member.name == "manifest.json" else None
            if held is not None:
                tags = (json.loads(held.read(1 << 20))[0].get("RepoTags") or [""])[0]
                name, _, tag = tags.rpartition(":")
                return Package("docker", name or tags, tag if name else "", installed_bytes=total) if tags else None
    return None


def _run(source: BinaryIO, path: Path) -> Package:
    found = _UNPACKED.search(source.read(64 << 10))
    return _by_name(path, int(found[1]) << 10 if found else None)


def image_names(index_json: Path) -> list[str]:
    """The names that an OCI image layout's index gives its images; empty where it gives none.

    Raises:
        OSError: it cannot be read.
    """
    with contextlib.suppress(ValueError, AttributeError, TypeError, RecursionError):
        listed = json.loads(index_json.read_bytes()[: 4 << 20]).get("manifests") or []
        names = [(one.get("annotations") or {}).get("org.opencontainers.image.ref.name") for one in listed]
        return [str(name) for name in names if name]
    return []


def image_findings(files: Sequence[tuple[str, Path]]) -> list[tuple[str, str]]:
    """(path, what is wrong) where an OCI image layout lacks what its index leads to, or holds it in another size."""
    known, found = dict(files), []
    for path, _ in files:
        if path.rpartition("/")[2] == "oci-layout":
            folder = path.rpartition("/")[0]
            found += _followed(folder, f"{folder}/index.json", known, set(), 0)
    return found


def _followed(folder: str, path: str, known: Mapping[str, Path], seen: set[str], depth: int) -> list[tuple[str, str]]:
    """Findings on one document of an image, and on those that it leads to: indexes to manifests, manifests to layers."""
    if path in seen or depth > MAX_IMAGE_DEPTH:
        return []
    seen.add(path)
    told = _document(known[path]) if path in known else None
    if told is None:
        return [(path, N_("the image's description is not there, or cannot be read"))]
    found = []
    further = [told["config"]] if isinstance(told.get("config"), dict) else []
    for inner, deeper in [*((one, True) for one in told.get("manifests") or []), *((one, False) for one in [*further, *(told.get("layers") or [])])]:
        digest, size = (inner.get("digest"), inner.get("size")) if isinstance(inner, dict) else (None, None)
        if not isinstance(digest, str) or inner.get("urls"):
            continue
        place = f"{folder}/blobs/{digest.replace(':', '/')}"
        if place not in known:
            found.append((place, N_("the image names this part, and it is not there")))
        elif isinstance(size, int) and known[place].stat().st_size != size:
            found.append((place, N_("the image names this part with another size")))
        elif deeper:
            found += _followed(folder, place, known, seen, depth + 1)
    return found


def _document(file: Path) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError, RecursionError), open(file, "rb") as source:
        told = json.loads(source.read(4 << 20))
        lists = all(isinstance(told.get(name) or [], list) for name in ("manifests", "layers")) if isinstance(told, dict) else False
        return told if lists else None
    return None
