"""Every name in the bundle format, and the rules for paths inside a bundle. Nowhere else are they written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from console.i18n import N_, Said

BUNDLES = "BUNDLES"
RELEASE, INDEX, VOLUME, SEALED = "release.dsse.json", "index.json", "volume.json", "SEALED"
OBJECTS, OMS, TRUST = "objects", "oms", "trust"

CHUNK_MAX = 16_777_216
"""Small enough to resume and to relay, large enough for an index that fits in memory."""

MAX_INDEX_BYTES, MAX_FILES, MAX_TOTAL_BYTES = 64 << 20, 200_000, 16 << 40
MAX_RELEASE_BYTES = 1 << 20
MAX_PATH_BYTES, MAX_PARTS, MAX_PART_BYTES = 1024, 32, 240

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:sealift:release:v1"
ROOT_TYPE = "application/vnd.sealift.root+json"

HEX64 = re.compile(r"[0-9a-f]{64}")
BUNDLE_ID = re.compile(r"[0-9a-f]{32}")
OMS_FILE = re.compile(r"oms/[a-z0-9][a-z0-9._-]{0,63}\.oms\.sig")
ROOT_FILE = re.compile(r"trust/root\.[1-9][0-9]{0,5}\.dsse\.json")
FIELD = re.compile(r"[a-z0-9_]{1,64}")
CHANNEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
COMPONENT_ID = SITE_ID = CHANNEL
_FORBIDDEN = re.compile(r'[\\<>:"|?*\x00-\x1f\x7f]')
_WINDOWS = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$|clock\$) *(\.|$)", re.IGNORECASE)
_PLAIN = re.compile(r"(?:(?!(?:con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$|clock\$) *(?:[./]|$))[ !#-)+-.0-9;=@-\[\]-{}~]{0,239}"
                    r"[!#-)+\-,0-9;=@-\[\]-{}~](?:/(?!$)|$))+", re.IGNORECASE)
"""Most paths: of printable ASCII that every drive takes. Only what is not of this form is looked at part by part."""
COMPONENT_TYPES = ("model", "runtime", "playbook", "catalog", "config", "docs")
FORMATS = ("safetensors", "gguf", "onnx", "wheel", "deb", "rpm", "run", "oci", "other")


def object_path(folder: Path, digest: str) -> Path:
    """Where the chunk with this digest lies in a bundle's folder."""
    return Path(f"{folder}/{OBJECTS}/{digest[:2]}/{digest}")


def path_problem(path: str) -> str | None:
    """Why ``path`` may not stand in a bundle, or None."""
    if len(path) <= MAX_PATH_BYTES and path.count("/") < MAX_PARTS and _PLAIN.fullmatch(path):
        return None
    try:
        raw = path.encode("utf-8")
    except UnicodeEncodeError:
        return N_("it is not Unicode")
    if unicodedata.normalize("NFC", path) != path:
        return N_("it is not in Unicode form NFC")
    if len(raw) > MAX_PATH_BYTES:
        return Said(N_("it is longer than {count} bytes"), count=MAX_PATH_BYTES)
    parts = path.split("/")
    if len(parts) > MAX_PARTS:
        return Said(N_("it has more than {count} parts"), count=MAX_PARTS)
    for part in parts:
        if problem := _part_problem(part):
            return problem
    return None


def _part_problem(part: str) -> str | None:
    if part in ("", ".", ".."):
        return N_("a part of it is empty, . or ..")
    if len(part.encode("utf-8")) > MAX_PART_BYTES:
        return Said(N_("a part of it is longer than {count} bytes"), count=MAX_PART_BYTES)
    if _FORBIDDEN.search(part):
        return N_("it has a character that a drive or Windows does not take")
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in part):
        return N_("it has an invisible or direction-changing character")
    if part[-1] in " .":
        return N_("a part of it ends in a space or a dot")
    if _WINDOWS.match(part):
        return N_("a part of it is a Windows device name")
    return None


def collisions(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of paths that are one name on some drive (case, Unicode form), or of which one is the other's folder."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    for path in paths:
        key = fold(path)
        if key in seen:
            found.append((seen[key], path))
        seen.setdefault(key, path)
        parts, own = key.split("/"), path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            spelled = "/".join(own[:depth])
            if folders.setdefault(folder, spelled) != spelled:
                found.append((folders[folder], spelled))
    found += [(seen[folder], path) for folder, path in folders.items() if folder in seen]
    return found


def fold(path: str) -> str:
    """``path`` as a drive that ignores case and Unicode form sees it."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
