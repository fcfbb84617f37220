"""The bundle's bill of materials in CycloneDX 1.6 JSON: every component, every package in it, every file with its SHA-256.

Made at build and carried inside the bundle, so that it is signed with it. Equal contents give equal bytes: no time stands in it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from console import __version__
from console.bundles import packages
from console.bundles.manifest import FileEntry
from console.bundles.spec import Part, Spec

COMPONENT, FILE = "sbom", "bom.cdx.json"
_TYPES = {"model": "machine-learning-model", "runtime": "application", "playbook": "data", "catalog": "data", "config": "data",
          "docs": "data"}


def make(asked: Spec, entries: Mapping[str, FileEntry], installed: Mapping[str, int]) -> bytes:
    """The document.

    Args:
        entries: of every file, by path. installed: unpacked bytes by component id.
    """
    # Put together file by file: as one value, the document of a hundred thousand files would take half a gigabyte.
    parts = b",\n".join(b'%s,"components":[\n%s]}' % (_text(_part(part, installed[part.id]))[:-1], b",\n".join(
        _text(_file(part, entries[path], file)) for path, file in part.files)) for part in asked.parts)
    digest = hashlib.sha256(parts).digest()
    top = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
           "metadata": {"tools": {"components": [{"type": "application", "name": "sealift", "version": __version__}]},
                        "component": {"type": "application", "bom-ref": "bundle", "name": asked.title, "version": str(asked.sequence),
                                      "group": asked.channel}},
           "dependencies": [{"ref": "bundle", "dependsOn": [part.id for part in asked.parts]}]}
    return b'%s,"components":[\n%s]}\n' % (_text(top)[:-1], parts)


def _text(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _part(part: Part, installed_bytes: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "type": "container" if part.format == "oci" else _TYPES[part.type], "bom-ref": part.id, "name": part.id, "version": part.version,
        "properties": [{"name": "sealift:format", "value": part.format}, {"name": "sealift:type", "value": part.type},
                       {"name": "sealift:path", "value": part.path}, {"name": "sealift:installed_bytes", "value": str(installed_bytes)}]}
    if part.license:
        told["licenses"] = _licence(part.license)
    uri, revision = part.source.get("uri", ""), part.source.get("revision", "")
    if uri.startswith("hf:"):
        told["purl"] = f"pkg:huggingface/{quote(uri[3:])}@{quote(revision or part.version)}"
    if uri:
        told["externalReferences"] = [{"type": "distribution", "url": uri} | ({"comment": f"revision {revision}"} if revision else {})]
    return told


def _licence(name: str) -> list[dict[str, Any]]:
    # Whether a name is one of SPDX's cannot be looked up offline; as a name it is right in either case.
    return [{"license": {"name": name}}]


def _file(part: Part, entry: FileEntry, file: Path) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "file", "bom-ref": f"{part.id}:{entry.path}", "name": entry.path,
                            "hashes": [{"alg": "SHA-256", "content": entry.sha256}],
                            "properties": [{"name": "sealift:bytes", "value": str(entry.size)}]}
    package = packages.identify(file) if part.type != "model" else None
    if package is not None and package.name:
        held: dict[str, Any] = {"type": "container" if package.kind == "docker" else "library", "bom-ref": f"{told['bom-ref']}#package",
                                "name": package.name, "purl": _purl(package)}
        if package.version:
            held["version"] = package.version
        if package.license:
            held["licenses"] = _licence(package.license)
        told["components"] = [held]
    return told


def _purl(package: packages.Package) -> str:
    version = f"@{quote(package.version, safe='.-_~+:')}" if package.version else ""
    arch = f"?arch={quote(package.arch)}" if package.arch and package.kind in ("deb", "rpm") else ""
    return f"pkg:{package.kind}/{quote(package.name, safe='/')}{version}{arch}"
