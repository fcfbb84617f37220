"""What a bundle builder writes down: a short YAML file, or nothing but a folder with one model.

::

    title: DeepSeek-R1 distilled, 8B
    channel: deepseek-r1-distill-8b
    sequence: 3
    parity: volume             # a drive of repair data; or 10: one repair object to every ten; none when left out
    components:
      - id: weights
        type: model            # model, runtime, playbook, catalog, config or docs
        version: "2025-01-20"
        from: ./DeepSeek-R1-Distill-Llama-8B   # folder or file beside this spec; `path` when left out
        path: model            # where it lies in the bundle; the id when left out
        license: MIT
        source: {uri: "hf:deepseek-ai/DeepSeek-R1-Distill-Llama-8B", revision: abc123}
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from console.bundles import layout
from console.errors import InputError, code
from console.i18n import N_

BAD_SPEC = code("bundle.bad-spec", InputError, N_("The bundle's description {path} is wrong: {reason}."),
                N_("Correct it; the manual shows an example."))
UNREADABLE = code("bundle.source-unreadable", InputError, N_("{path} cannot be read: {reason}."),
                  N_("Check the path and the rights."))
SPECIAL = code("bundle.source-special", InputError, N_("{path} is a link or a special file, which a bundle cannot carry."),
               N_("Put a copy of the file in its place (a snapshot's links can be followed with cp -rL), then build again."))

MAX_SPEC_BYTES = 1 << 20
_HEX64 = re.compile(r"[0-9a-f]{64}")
IGNORED = (".git", ".cache", "__pycache__", ".DS_Store", "Thumbs.db", ".gitattributes", ".gitignore")
_TOP = {"title", "channel", "sequence", "min_sequence", "revoked", "expires_at", "audience", "components", "parity"}
_PART = {"id", "type", "version", "path", "from", "format", "license", "source", "installed_bytes"}


@dataclass(frozen=True)
class Part:
    """A component as asked for; ``files`` are (path in the bundle, file on disk), ``upstream`` the SHA-256 that the
    publisher's download names for a path, where it does."""

    id: str
    type: str
    version: str
    path: str
    format: str
    license: str
    source: dict[str, str]
    files: tuple[tuple[str, Path], ...]
    installed_bytes: int | None = None
    upstream: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """A whole description, its files found."""

    title: str
    channel: str
    sequence: int
    min_sequence: int
    revoked: tuple[str, ...]
    expires_at: str | None
    audience: tuple[str, ...]
    parts: tuple[Part, ...] = field(default=())
    parity: str | int | None = None


def read(path: Path) -> Spec:
    """The description at ``path``: a YAML file, or a folder that becomes one component.

    Raises:
        InputError: ``bundle.bad-spec``, ``bundle.source-unreadable``, ``bundle.source-special``.
    """
    if path.is_dir():
        name = _plain(path.resolve().name)
        kind = _kind(path)
        document: Any = {"title": path.resolve().name, "channel": name, "components": [
            {"id": name, "type": kind, "version": "1", "path": name, "from": str(path.resolve())}]}
    else:
        try:
            raw = path.read_bytes()
        except OSError as problem:
            raise UNREADABLE(path=str(path), reason=problem.strerror or "?") from None
        if len(raw) > MAX_SPEC_BYTES:
            raise BAD_SPEC(path=str(path), reason="it is too large")
        try:
            document = yaml.safe_load(raw)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as problem:
            raise BAD_SPEC(path=str(path), reason=str(problem).replace("\n", " ")[:300]) from None
    return _spec(document, path)


def _kind(folder: Path) -> str:
    """The type of a folder that nobody described: by what lies in it."""
    endings = {p.suffix.lower() for p in folder.rglob("*") if p.is_file()}
    if endings & {".safetensors", ".gguf", ".onnx"} or (folder / "config.json").is_file():
        return "model"
    packages = {".whl", ".deb", ".rpm", ".run", ".tar", ".tgz", ".gz", ".xz", ".zst", ".zip"}
    return "runtime" if endings & packages or (folder / "oci-layout").is_file() else "config"


def _plain(name: str) -> str:
    text = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name.lower()).strip("._-")
    return text[:64] or "bundle"


def _spec(document: Any, path: Path) -> Spec:
    def wrong(reason: str) -> Exception:
        return BAD_SPEC(path=str(path), reason=reason)

    if not isinstance(document, dict) or not isinstance(document.get("components"), list) or not document["components"]:
        raise wrong("it lists no components")
    if unknown := sorted(map(str, set(document) - _TOP)):
        raise wrong(f"unknown field {unknown[0]}")
    title = str(document.get("title") or path.stem)
    channel = str(document.get("channel") or _plain(title))
    if not layout.CHANNEL.fullmatch(channel):
        raise wrong(f"{channel} is not a name for a channel")
    sequence, least = document.get("sequence", 1), document.get("min_sequence", 0)
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (sequence, least)) or sequence < 1 or least < 0:
        raise wrong("sequence and min_sequence are whole numbers")
    revoked, audience = document.get("revoked") or [], document.get("audience") or ["*"]
    if not all(isinstance(r, str) and layout.HEX64.fullmatch(r) for r in revoked) or not all(isinstance(a, str) for a in audience):
        raise wrong("revoked lists release ids, audience lists site ids")
    if odd := [a for a in audience if a != "*" and not layout.SITE_ID.fullmatch(a)]:
        raise wrong(f"{odd[0]} is not the id of a site")
    if least > sequence:
        raise wrong("min_sequence is above sequence")
    base = path if path.is_dir() else path.parent
    parts = tuple(_part(item, base, wrong) for item in document["components"])
    if len({p.id for p in parts}) != len(parts):
        raise wrong("two components have one id")
    return Spec(title[:200], channel, sequence, least, tuple(revoked), _time(document.get("expires_at"), wrong),
                tuple(audience), parts, _parity(document.get("parity"), wrong))


def _parity(value: Any, wrong) -> str | int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
        raise wrong("parity is neither `volume` nor a number")
    return value


def _time(value: Any, wrong) -> str | None:
    """A time of the description, which YAML may have read already, in the form that documents hold."""
    if value is None:
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise wrong("expires_at is not a time such as 2027-01-31T12:00:00Z") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _part(item: Any, base: Path, wrong) -> Part:
    if not isinstance(item, dict):
        raise wrong("a component is not a mapping")
    if unknown := sorted(map(str, set(item) - _PART)):
        raise wrong(f"unknown field {unknown[0]} in a component")
    identity = str(item.get("id", ""))
    if not layout.COMPONENT_ID.fullmatch(identity):
        raise wrong(f"{identity!r} is not an id for a component")
    kind = item.get("type")
    if kind not in layout.COMPONENT_TYPES:
        raise wrong(f"the type of {identity} is none of {', '.join(layout.COMPONENT_TYPES)}")
    where = str(item.get("path") or identity)
    if problem := layout.path_problem(where):
        raise wrong(f"the path of {identity}: {problem}")
    source = item.get("source") or {}
    if not isinstance(source, dict):
        raise wrong(f"the source of {identity} is not a mapping")
    origin = base / str(item.get("from") or item.get("path") or identity)
    files = tuple(_files(origin, where))
    if not files:
        raise wrong(f"{identity} has no files")
    form = str(item.get("format") or _format(files))
    if form not in layout.FORMATS:
        raise wrong(f"the format of {identity} is none of {', '.join(layout.FORMATS)}")
    return Part(identity, kind, str(item.get("version", "1")), where, form, str(item.get("license", "")),
                {str(k): str(v) for k, v in source.items()}, files, item.get("installed_bytes"),
                _upstream(origin, where, files))


def _upstream(origin: Path, where: str, files: tuple[tuple[str, Path], ...]) -> dict[str, str]:
    """What a Hugging Face download says of its files: a cache names large files by their SHA-256, and a download into a
    plain folder keeps it as the second line of a file of its own (huggingface_hub 0.23 and later)."""
    told = {path: file.name for path, file in files if file.parent.name == "blobs" and _HEX64.fullmatch(file.name)}
    notes = origin / ".cache" / "huggingface" / "download"
    if notes.is_dir():
        for path, _ in files:
            note = notes / (path.removeprefix(where + "/") + ".metadata")
            lines = note.read_text(encoding="utf-8", errors="replace").splitlines() if note.is_file() else []
            if len(lines) > 1 and _HEX64.fullmatch(lines[1].strip()):
                told[path] = lines[1].strip()
    return told


def _format(files: tuple[tuple[str, Path], ...]) -> str:
    names = [path.lower() for path, _ in files]
    for ending, form in ((".safetensors", "safetensors"), (".gguf", "gguf"), (".onnx", "onnx"), (".whl", "wheel"), (".deb", "deb"),
                         (".rpm", "rpm"), (".run", "run")):
        if any(n.endswith(ending) for n in names):
            return form
    return "oci" if any(n.endswith("/oci-layout") or n.endswith("/manifest.json") for n in names) else "other"


def _blob(link: Path, source: Path) -> Path | None:
    """The file behind a link of a Hugging Face cache (``snapshots/<revision>/x`` to ``blobs/<digest>``), else None."""
    blobs = source.resolve().parent.parent / "blobs"
    target = link.resolve()
    return target if target.parent == blobs and target.is_file() and not target.is_symlink() else None


def _files(source: Path, where: str):
    try:
        mode = os.lstat(source).st_mode
    except OSError as problem:
        raise UNREADABLE(path=str(source), reason=problem.strerror or "?") from None
    if stat.S_ISREG(mode):
        yield f"{where}/{source.name}", source
        return
    if not stat.S_ISDIR(mode):
        raise SPECIAL(path=str(source))
    stack = [(source, where)]
    while stack:
        folder, prefix = stack.pop()
        for entry in sorted(os.scandir(folder), key=lambda e: e.name):
            if entry.name in IGNORED:
                continue
            path = f"{prefix}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                stack.append((Path(entry.path), path))
            elif entry.is_file(follow_symlinks=False):
                yield path, Path(entry.path)
            elif entry.is_symlink() and (blob := _blob(Path(entry.path), source)) is not None:
                yield path, blob
            else:
                raise SPECIAL(path=entry.path)
