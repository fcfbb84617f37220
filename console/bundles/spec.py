"""What a bundle builder writes down: a short YAML file, or nothing but a folder, or one file of weights or packages.

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
        exclude: ["*.py", "original/*"]        # files that stay out
        license: MIT           # what the model's card says when left out
        publisher: ./publisher.pem   # key or certificate authority that the signature beside the model must be of
        source: {uri: "hf:deepseek-ai/DeepSeek-R1-Distill-Llama-8B", revision: abc123}   # what the download says when left out
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from console import plainyaml, units
from console.bundles import downloads, layout
from console.errors import InputError, SealiftError, VerdictError, code, why
from console.i18n import N_, Said

BAD_SPEC = code("bundle.bad-spec", InputError, N_("The bundle's description {path} is wrong: {reason}."),
                N_("Correct it; the manual shows an example."))
UNREADABLE = code("bundle.source-unreadable", InputError, N_("{path} cannot be read: {reason}."),
                  N_("Check the path and the rights."))
SPECIAL = code("bundle.source-special", VerdictError, N_("{path} is a link or a special file, which a bundle cannot carry."),
               N_("Put a copy of the file in its place (a snapshot's links can be followed with cp -rL), then build again."))

MAX_SPEC_BYTES = 1 << 20
MAX_COMPONENTS, MAX_LISTED = 1000, 1024
IGNORED = (".git", ".cache", ".huggingface", "__pycache__", ".DS_Store", "Thumbs.db", ".gitattributes", ".gitignore", ".msc", ".mv", ".mdl",
           "._____temp")
"""What version control, desktops and download tools leave beside a model; ModelScope's notes are pickles."""
_TOP = {"title", "channel", "sequence", "min_sequence", "revoked", "expires_at", "audience", "components", "parity"}
_PART = {"id", "type", "version", "path", "from", "format", "license", "source", "installed_bytes", "exclude", "publisher"}
_WEIGHTS = (".safetensors", ".gguf", ".onnx")
_PACKAGES = (".whl", ".deb", ".rpm", ".run", ".tar", ".tgz", ".gz", ".xz", ".zst", ".zip")
Wrong = Callable[..., SealiftError]


@dataclass(frozen=True)
class Part:
    """A component as asked for; ``files`` are (path in the bundle, file on disk), ``upstream`` the SHA-256 that the
    publisher's download names for a path, where it does; ``left_out`` what lay there and stays out."""

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
    left_out: tuple[str, ...] = ()
    origin: Path | None = None
    publisher: Path | None = None


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


def read(path: Path, exclude: Sequence[str] = ()) -> Spec:
    """The description at ``path``: a YAML file, or a folder or file that becomes one component.

    Args:
        exclude: patterns of files that stay out of every component.

    Raises:
        InputError: ``bundle.bad-spec``, ``bundle.source-unreadable``. VerdictError: ``bundle.source-special``, all of them in
        ``findings`` of its ``params``.
    """
    try:
        if path.is_dir() or path.name.lower().endswith((*_WEIGHTS, *_PACKAGES)):
            document: Any = _described(path)
        else:
            with open(path, "rb") as source:
                raw = source.read(MAX_SPEC_BYTES + 1)
            if len(raw) > MAX_SPEC_BYTES:
                raise BAD_SPEC(path=str(path), reason=N_("it is too large"))
            document = plainyaml.load(raw)
        return _spec(document, path, exclude)
    except OSError as problem:
        raise UNREADABLE(path=problem.filename or str(path), reason=problem.strerror or "?") from None
    except ValueError as problem:
        raise BAD_SPEC(path=str(path), reason=why(problem)) from None


def _described(path: Path) -> dict[str, Any]:
    """The description of something that nobody described."""
    whole = path.resolve()
    known = downloads.repository(whole)
    title = known.name if known is not None else whole.name if whole.is_dir() else whole.stem
    name = _plain(title)
    return {"title": title[:200], "channel": name, "components": [
        {"id": name, "type": kind_of(whole), "version": "1", "path": name, "from": str(whole)}]}


def kind_of(path: Path) -> str:
    """The type of a folder or file that nobody described: by what lies in it."""
    if path.is_dir():
        endings = {file.suffix.lower() for file in path.rglob("*") if file.is_file()}
        if endings & set(_WEIGHTS) or (path / "config.json").is_file():
            return "model"
        return "runtime" if endings & set(_PACKAGES) or (path / "oci-layout").is_file() else "config"
    return "model" if path.name.lower().endswith(_WEIGHTS) else "runtime"


def _plain(name: str) -> str:
    text = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name.lower()).strip("._-")
    return text[:64] or "bundle"


# Fields --------------------------------------------------------------------------------------------------------------


def _text(value: Any, name: str, wrong: Wrong, most: int, otherwise: str = "") -> str:
    """A text; numbers and dates that YAML made of what was meant as one are taken as they are written."""
    if value is None:
        return otherwise
    if not isinstance(value, str | int | float | date) or isinstance(value, bool):
        raise wrong(N_("{name} is not a text"), name=name)
    text = str(value)
    if len(text) > most:
        raise wrong(N_("{name} is longer than {count} characters"), name=name, count=most)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise wrong(N_("{name} is not Unicode"), name=name) from None
    return text


def _whole(value: Any, name: str, wrong: Wrong, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 53:
        raise wrong(N_("{name} is not a whole number from {least}"), name=name, least=least)
    return value


def _list(value: Any, name: str, wrong: Wrong) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_LISTED or not all(isinstance(item, str) for item in value):
        raise wrong(N_("{name} is not a list of texts"), name=name)
    return value


def _spec(document: Any, path: Path, exclude: Sequence[str]) -> Spec:
    def wrong(reason: str, **params: Any) -> SealiftError:
        return BAD_SPEC(path=str(path), reason=Said(reason, **params))

    if not isinstance(document, dict) or not isinstance(document.get("components"), list) or not document["components"]:
        raise wrong(N_("it lists no components"))
    if len(document["components"]) > MAX_COMPONENTS:
        raise wrong(N_("it lists more than {count} components"), count=MAX_COMPONENTS)
    if unknown := sorted(map(str, set(document) - _TOP)):
        raise wrong(N_("the field {name} is not known"), name=unknown[0][:80])
    title = _text(document.get("title"), "title", wrong, 200, path.stem[:200])
    channel = _text(document.get("channel"), "channel", wrong, 64, _plain(title))
    if not layout.CHANNEL.fullmatch(channel):
        raise wrong(N_("{value} is not a name for a channel"), value=repr(channel))
    sequence = _whole(document.get("sequence", 1), "sequence", wrong, 1)
    least = _whole(document.get("min_sequence", 0), "min_sequence", wrong, 0)
    if least > sequence:
        raise wrong(N_("min_sequence is above sequence"))
    revoked, audience = (_list(document.get(name) or [], name, wrong) for name in ("revoked", "audience"))
    if not all(layout.HEX64.fullmatch(r) for r in revoked):
        raise wrong(N_("revoked lists something else than release ids"))
    if odd := [a for a in audience if a != "*" and not layout.SITE_ID.fullmatch(a)]:
        raise wrong(N_("{value} is not the id of a site"), value=repr(odd[0][:80]))
    base = path if path.is_dir() else path.parent
    odd_files: list[dict[str, str]] = []
    parts = tuple(_part(item, base, wrong, exclude, odd_files) for item in document["components"])
    if odd_files:
        problem = SPECIAL(path=odd_files[0]["path"])
        problem.params["findings"] = odd_files
        raise problem
    _apart(parts, wrong)
    return Spec(title, channel, sequence, least, tuple(revoked), _time(document.get("expires_at"), wrong), tuple(audience or ["*"]), parts,
                _parity(document.get("parity"), wrong))


def _apart(parts: Sequence[Part], wrong: Wrong) -> None:
    if len({p.id for p in parts}) != len(parts):
        raise wrong(N_("two components have one id"))
    folders = sorted((layout.fold(part.path) + "/", part.id) for part in parts)
    for (outer, first), (inner, second) in zip(folders, folders[1:], strict=False):
        if inner.startswith(outer):
            raise wrong(N_("the components {first} and {second} share a folder"), first=first, second=second)


def _parity(value: Any, wrong: Wrong) -> str | int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
        raise wrong(N_("parity is neither `volume` nor a number"))
    return value


def _time(value: Any, wrong: Wrong) -> str | None:
    """A time of the description, which YAML may have read already, in the form that documents hold."""
    if value is None:
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong(N_("expires_at is not a time such as 2027-01-31T12:00:00Z")) from None
    return f"{moment.year:04}" + moment.strftime("-%m-%dT%H:%M:%S.%fZ")


# Components ----------------------------------------------------------------------------------------------------------


def _part(item: Any, base: Path, wrong: Wrong, exclude: Sequence[str], odd: list[dict[str, str]]) -> Part:
    if not isinstance(item, dict):
        raise wrong(N_("a component is not a mapping"))
    if unknown := sorted(map(str, set(item) - _PART)):
        raise wrong(N_("the field {name} of a component is not known"), name=unknown[0][:80])
    identity = _text(item.get("id"), "id", wrong, 64)
    if not layout.COMPONENT_ID.fullmatch(identity):
        raise wrong(N_("{value} is not an id for a component"), value=repr(identity))
    kind = item.get("type")
    if kind not in layout.COMPONENT_TYPES:
        raise wrong(N_("{name} is none of {choices}"), name=f"type ({identity})", choices=", ".join(layout.COMPONENT_TYPES))
    where = _text(item.get("path"), f"path ({identity})", wrong, layout.MAX_PATH_BYTES, identity)
    if problem := layout.path_problem(where):
        raise wrong(N_("the path of {name} is refused: {reason}"), name=identity, reason=problem)
    asked = _text(item.get("from"), f"from ({identity})", wrong, 4096, where)
    patterns = [*_list(item.get("exclude") or [], f"exclude ({identity})", wrong), *exclude]
    origin = downloads.snapshot((base / Path(asked).expanduser()).resolve())
    files, left_out = _files(origin, where, patterns, odd)
    if not files and not odd:
        raise wrong(N_("{name} has no files"), name=identity)
    form = _text(item.get("format"), f"format ({identity})", wrong, 20, _format(files))
    if form not in layout.FORMATS:
        raise wrong(N_("{name} is none of {choices}"), name=f"format ({identity})", choices=", ".join(layout.FORMATS))
    maker = _text(item.get("publisher"), f"publisher ({identity})", wrong, 4096)
    licence = _text(item.get("license"), f"license ({identity})", wrong, 400, downloads.licence(origin) if kind == "model" else "")
    return Part(identity, kind, _text(item.get("version"), f"version ({identity})", wrong, 200, "1"), where, form, licence,
                _source(item.get("source"), identity, origin, wrong), files, _installed(item.get("installed_bytes"), identity, wrong),
                downloads.digests(origin, where, files), left_out, origin, base / Path(maker).expanduser() if maker else None)


def _source(value: Any, identity: str, origin: Path, wrong: Wrong) -> dict[str, str]:
    if value is None:
        known = downloads.repository(origin)
        return {"uri": f"hf:{known.id}", "revision": known.revision} if known is not None else {}
    if not isinstance(value, dict) or not all(isinstance(key, str) and layout.FIELD.fullmatch(key) for key in value):
        raise wrong(N_("the source of {name} is not a mapping of plain names, such as uri and revision"), name=identity)
    return {key: _text(text, f"{key} ({identity})", wrong, 1000) for key, text in value.items()}


def _installed(value: Any, identity: str, wrong: Wrong) -> int | None:
    if isinstance(value, str):
        try:
            value = units.parse_size(value)
        except ValueError:
            raise wrong(N_("{name} is not a size such as 3GiB"), name=f"installed_bytes ({identity})") from None
    return None if value is None else _whole(value, f"installed_bytes ({identity})", wrong, 0)


def _format(files: Sequence[tuple[str, Path]]) -> str:
    names = [path.lower() for path, _ in files]
    for ending, form in ((".safetensors", "safetensors"), (".gguf", "gguf"), (".onnx", "onnx"), (".whl", "wheel"), (".deb", "deb"),
                         (".rpm", "rpm"), (".run", "run")):
        if any(n.endswith(ending) for n in names):
            return form
    return "oci" if any(n.endswith("/oci-layout") or n.endswith("/manifest.json") for n in names) else "other"


def _files(source: Path, where: str, exclude: Sequence[str], odd: list[dict[str, str]]) -> tuple[tuple[tuple[str, Path], ...], tuple[str, ...]]:
    """Files of a folder or file with their paths in the bundle, and what was left out. Links and special files go into ``odd``."""
    mode = os.lstat(source).st_mode
    if stat.S_ISREG(mode):
        return ((f"{where}/{source.name}", source),), ()
    found: list[tuple[str, Path]] = []
    left_out: list[str] = []
    stack = [(source, where)] if stat.S_ISDIR(mode) else []
    if not stack:
        odd.append(_odd(source, mode))
    while stack:
        folder, prefix = stack.pop()
        for entry in sorted(os.scandir(folder), key=lambda e: e.name):
            path = f"{prefix}/{entry.name}"
            inside = path.removeprefix(where + "/")
            if entry.name in IGNORED or any(fnmatchcase(inside, p) or fnmatchcase(entry.name, p) for p in exclude):
                left_out.append(path)
            elif entry.is_dir(follow_symlinks=False):
                stack.append((Path(entry.path), path))
            elif entry.is_file(follow_symlinks=False):
                found.append((path, Path(entry.path)))
            elif entry.is_symlink() and (blob := downloads.blob(Path(entry.path), source)) is not None:
                found.append((path, blob))
            else:
                odd.append(_odd(Path(entry.path), entry.stat(follow_symlinks=False).st_mode))
    return tuple(found), tuple(left_out)


def _odd(path: Path, mode: int) -> dict[str, str]:
    link = stat.S_ISLNK(mode)
    message = N_("it is a link that leads out of what is bundled") if link else N_("it is neither a file nor a folder")
    return {"code": "symlink" if link else "special-file", "path": str(path), "message": message}
