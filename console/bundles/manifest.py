"""The signed statement about a bundle and its index of files and chunks: made, and read strictly."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO

from console.bundles import layout
from console.bundles.parity import MAX_GROUP, Group
from console.errors import VerdictError, code
from console.i18n import N_
from console.trust.canonical import decode, encode

STATEMENT = code("bundle.statement", VerdictError, N_("The signed statement of the bundle is malformed: {reason}."),
                 N_("The bundle was not made by Sealift or is damaged; get it anew."))
INDEX = code("bundle.index", VerdictError, N_("The index of the bundle is malformed: {reason}."),
             N_("The bundle was not made by Sealift or is damaged; get it anew."))
PATH = code("bundle.path", VerdictError, N_("The bundle holds the path {path}, which is refused: {reason}."),
            N_("Refuse the bundle, and tell who built it."))
DUPLICATE = code("bundle.dup-name", VerdictError,
                 N_("The bundle's paths {first} and {second} are one name on some drives."),
                 N_("Refuse the bundle, and tell who built it."))

MAX_COMPONENTS = 1000
MAX_GROUPS = 1_000_000
READ_CHARS = 256 << 10
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file. ``chunks`` are (SHA-256 hex, bytes) in order; an empty file has none."""

    path: str
    size: int
    sha256: str
    component: str
    exec: bool
    chunks: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Index:
    """What lies on the drives: the files, and the repair data where the bundle has any."""

    files: tuple[FileEntry, ...]
    parity: tuple[Group, ...] = ()

    @property
    def objects(self) -> dict[str, int]:
        """Bytes of every object by digest: chunks of files first, then parity objects."""
        return {d: n for f in self.files for d, n in f.chunks} | {g.object[0]: g.object[1] for g in self.parity}


@dataclass(frozen=True)
class Component:
    """One part of a bundle. ``summary`` of a model holds what sizing needs; ``installed_bytes`` is the unpacked size."""

    id: str
    type: str
    version: str
    path: str
    format: str
    installed_bytes: int
    summary: dict[str, Any] = field(default_factory=dict)
    oms: str | None = None
    oms_sha256: str | None = None
    license: str = ""
    source: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Statement:
    """What was signed. ``release_id`` is the SHA-256 of the payload; the first 16 digits are shown to people."""

    release_id: str
    index_sha256: str
    channel: str
    sequence: int
    min_sequence: int
    revoked: tuple[str, ...]
    issued_at: str
    expires_at: str | None
    root_version: int
    audience: tuple[str, ...]
    bundle: dict[str, Any]
    base: tuple[str, ...]
    components: tuple[Component, ...]

    @property
    def shown_id(self) -> str:
        """The first 16 digits of the release id in groups of four."""
        return " ".join(self.release_id[i : i + 4] for i in range(0, 16, 4))


def bundle_id(index_raw: bytes) -> str:
    """The name of a bundle's folder: the first 32 digits of its index's digest."""
    return hashlib.sha256(index_raw).hexdigest()[:32]


def make_index(files: Sequence[FileEntry], parity: Sequence[Group] = ()) -> bytes:
    """index.json: canonical, files by path in code-point order. ``parity`` stands in it only where there is any, so that
    the same contents without it have the same bundle id whatever the version of Sealift."""
    # File by file: as one value, the index of a hundred thousand files would take a few hundred megabytes.
    listed = b",".join(encode({"path": f.path, "size": f.size, "sha256": f.sha256, "component": f.component, "exec": f.exec,
                               "chunks": [list(c) for c in f.chunks]}) for f in sorted(files, key=lambda f: f.path))
    more = b',"parity":[%s]' % b",".join(encode({"object": list(g.object), "of": list(g.of)}) for g in parity) if parity else b""
    return b'{"chunk_max":%d,"files":[%s],"hash":"sha256"%s,"v":1}' % (layout.CHUNK_MAX, listed, more)


def make_statement(index_raw: bytes, **predicate: Any) -> bytes:
    """The payload that is signed."""
    return encode({"_type": layout.STATEMENT_TYPE, "predicateType": layout.PREDICATE_TYPE,
                   "subject": [{"name": layout.INDEX, "digest": {"sha256": hashlib.sha256(index_raw).hexdigest()}}],
                   "predicate": predicate})


class _Fields:
    """Takes typed fields out of a parsed object and complains about the first that does not fit."""

    def __init__(self, value: Any, kind: Any, where: str):
        self._kind, self._where = kind, where
        if not isinstance(value, dict):
            raise kind(reason=f"{where} is not an object")
        self._value = value

    def take(self, name: str, types: type | tuple[type, ...], good: Any = None) -> Any:
        if name not in self._value:
            raise self._kind(reason=f"{self._where} has no {name}")
        value = self._value[name]
        wrong_bool = isinstance(value, bool) and bool not in (types if isinstance(types, tuple) else (types,))
        if wrong_bool or not isinstance(value, types) or (good is not None and not good(value)):
            raise self._kind(reason=f"{name} of {self._where} is {str(value)[:80]!r}")
        return value

    def only(self, *names: str) -> None:
        if extra := sorted(set(self._value) - set(names)):
            raise self._kind(reason=f"{self._where} has the unknown field {extra[0][:80]!r}")


def _text(limit: int = 4096) -> Any:
    return lambda value: len(value) <= limit


def _natural(value: int) -> bool:
    return value >= 0


def _digest(value: str) -> bool:
    return bool(layout.HEX64.fullmatch(value))


def read_index(raw: bytes) -> Index:
    """An index, after every rule of the format was checked.

    Raises:
        VerdictError: ``trust.size``, ``trust.json``, ``bundle.index``, ``bundle.path``, ``bundle.dup-name``.
    """
    value = decode(raw, max_bytes=layout.MAX_INDEX_BYTES, what=layout.INDEX)
    top = _Fields(value, INDEX, "the index")
    top.only("v", "hash", "chunk_max", "files", "parity")
    if top.take("v", int) != 1 or top.take("hash", str) != "sha256":
        raise INDEX(reason="it is of another version")
    chunk_max = top.take("chunk_max", int, lambda n: 1 <= n <= layout.CHUNK_MAX)
    listed = top.take("files", list, lambda f: 0 < len(f) <= layout.MAX_FILES)
    files = tuple(_file(item, chunk_max) for item in listed)
    if not _canonical(value, raw):
        raise INDEX(reason="it is not in canonical form")
    paths = [f.path for f in files]
    if paths != sorted(set(paths)):
        raise INDEX(reason="its files are not in order, or one is named twice")
    if sum(f.size for f in files) > layout.MAX_TOTAL_BYTES:
        raise INDEX(reason="its files are larger than a bundle may be")
    for first, second in layout.collisions(paths):
        raise DUPLICATE(first=first, second=second)
    sizes = _sizes(files)
    return Index(files, _parity(top.take("parity", list, lambda g: 0 < len(g) <= MAX_GROUPS), sizes) if "parity" in value else ())


def known_files(index: BinaryIO) -> tuple[FileEntry, ...]:
    """The files of an index that :func:`read_index` accepted once and whose digest was compared since. One at a time: as one
    value, the index of a hundred thousand files would take a few hundred megabytes.

    Raises:
        VerdictError: ``bundle.index``, ``bundle.path``: it is not such an index.
    """
    reader, parser, text, at = codecs.getreader("utf-8")(index), json.JSONDecoder(), "", 0
    files: list[FileEntry] = []
    try:
        while '"files":[' not in text:
            if not (more := reader.read(READ_CHARS)):
                raise ValueError
            text += more
        at = text.index('"files":[') + len('"files":[')
        while True:
            try:
                item, end = parser.raw_decode(text, at)
                after = text[end]
            except (ValueError, IndexError):
                # Perhaps only the piece ended and not the file.
                if not (more := reader.read(READ_CHARS)):
                    raise
                text, at = text[at:] + more, 0
                continue
            files.append(_file(item, layout.CHUNK_MAX))
            if after == "]":
                return tuple(files)
            if after != ",":
                raise ValueError
            at = end + 1
    except (ValueError, IndexError, RecursionError):
        raise INDEX(reason="it is not the one that was imported") from None


def _canonical(value: Any, raw: bytes) -> bool:
    try:
        return encode(value) == raw
    except ValueError:
        return False


def _file(item: Any, chunk_max: int) -> FileEntry:
    fields = _Fields(item, INDEX, "a file")
    fields.only("path", "size", "sha256", "component", "exec", "chunks")
    path = fields.take("path", str)
    if problem := layout.path_problem(path):
        raise PATH(path=path, reason=problem)
    size = fields.take("size", int, _natural)
    sha256 = fields.take("sha256", str, _digest)
    chunks = []
    for chunk in fields.take("chunks", list):
        if not (isinstance(chunk, list) and len(chunk) == 2 and isinstance(chunk[0], str) and _digest(chunk[0])
                and isinstance(chunk[1], int) and not isinstance(chunk[1], bool) and 1 <= chunk[1] <= chunk_max):
            raise INDEX(reason=f"a chunk of {path} is malformed")
        # A file of one chunk has its digest: once in memory is enough.
        chunks.append((sha256 if chunk[0] == sha256 else chunk[0], chunk[1]))
    if sum(length for _, length in chunks) != size:
        raise INDEX(reason=f"the chunks of {path} do not add up to its size")
    if len(chunks) < 2 and sha256 != (chunks[0][0] if chunks else EMPTY_SHA256):
        raise INDEX(reason=f"the digest of {path} is not that of its only chunk")
    return FileEntry(path, size, sha256, sys.intern(fields.take("component", str, layout.COMPONENT_ID.fullmatch)),
                     fields.take("exec", bool), tuple(chunks))


def _sizes(files: Sequence[FileEntry]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for entry in files:
        for digest, length in entry.chunks:
            if sizes.setdefault(digest, length) != length:
                raise INDEX(reason=f"the chunk {digest[:12]}… has two sizes")
    return sizes


def _parity(listed: list[Any], chunks: dict[str, int]) -> tuple[Group, ...]:
    """Groups of repair data: each chunk in one of them at most, and as long as their longest."""
    groups, grouped, sizes = [], set[str](), dict(chunks)
    for item in listed:
        fields = _Fields(item, INDEX, "a group of repair data")
        fields.only("object", "of")
        members = fields.take("of", list, lambda of: 0 < len(of) <= MAX_GROUP)
        if not all(isinstance(d, str) and d in chunks and d not in grouped for d in members) or len(set(members)) != len(members):
            raise INDEX(reason="a group of repair data names a chunk that is not there, or that another group names too")
        grouped.update(members)
        digest, length = fields.take("object", list, lambda o: len(o) == 2)
        longest = max(sizes[d] for d in members)
        if not isinstance(digest, str) or not _digest(digest) or isinstance(length, bool) or length != longest:
            raise INDEX(reason="an object of repair data is malformed")
        if sizes.setdefault(digest, length) != length:
            raise INDEX(reason=f"the chunk {digest[:12]}… has two sizes")
        groups.append(Group((digest, length), tuple(members)))
    return tuple(groups)


def read_statement(payload: bytes) -> Statement:
    """The statement of a payload whose signatures have passed.

    Raises:
        VerdictError: ``trust.json``, ``bundle.statement``.
    """
    value = decode(payload, max_bytes=layout.MAX_RELEASE_BYTES, what="release")
    top = _Fields(value, STATEMENT, "the statement")
    top.only("_type", "predicateType", "subject", "predicate")
    if top.take("_type", str) != layout.STATEMENT_TYPE or top.take("predicateType", str) != layout.PREDICATE_TYPE:
        raise STATEMENT(reason="it is of another kind")
    subject = top.take("subject", list, lambda s: len(s) == 1)[0]
    if not _canonical(value, payload):
        raise STATEMENT(reason="it is not in canonical form")
    named = _Fields(subject, STATEMENT, "the subject")
    named.only("name", "digest")
    if named.take("name", str) != layout.INDEX:
        raise STATEMENT(reason="its subject is not the index")
    index = _Fields(named.take("digest", dict), STATEMENT, "the subject's digest").take("sha256", str, _digest)
    p = _Fields(top.take("predicate", dict), STATEMENT, "the predicate")
    p.only("channel", "sequence", "min_sequence", "revoked", "issued_at", "expires_at", "root_version", "audience",
           "bundle", "base", "components")
    sequence = p.take("sequence", int, lambda n: n >= 1)
    components = tuple(_component(c) for c in p.take("components", list, lambda c: 0 < len(c) <= MAX_COMPONENTS))
    _components_apart(components)
    return Statement(
        hashlib.sha256(payload).hexdigest(), index, p.take("channel", str, layout.CHANNEL.fullmatch),
        sequence, p.take("min_sequence", int, lambda n: 0 <= n <= sequence),
        tuple(p.take("revoked", list, _digests)), p.take("issued_at", str, is_time),
        p.take("expires_at", (str, type(None)), lambda t: t is None or is_time(t)),
        p.take("root_version", int, _natural), tuple(p.take("audience", list, _sites)), _bundle(p.take("bundle", dict)),
        tuple(p.take("base", list, _digests)), components)


def _digests(value: list[Any]) -> bool:
    return len(value) <= 1024 and all(isinstance(x, str) and _digest(x) for x in value)


def _sites(value: list[Any]) -> bool:
    return 0 < len(value) <= 1024 and all(x == "*" or (isinstance(x, str) and layout.SITE_ID.fullmatch(x)) for x in value)


def _components_apart(components: Sequence[Component]) -> None:
    if len({c.id for c in components}) != len(components):
        raise STATEMENT(reason="two components have one id")
    paths = [c.path + "/." for c in components]
    for first in components:
        # Each a folder of its own, so that a file belongs to one component and to no other.
        if sum(path.startswith(first.path + "/") for path in paths) != 1:
            raise STATEMENT(reason=f"the component {first.id} shares its folder with another")


def is_time(text: str) -> bool:
    """Whether ``text`` is a time as every document holds it."""
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError:
        return False
    return bool(_TIME.fullmatch(text))


def _bundle(value: dict[str, Any]) -> dict[str, Any]:
    fields = _Fields(value, STATEMENT, "the bundle's description")
    fields.only("title", "kind", "bytes", "files", "objects", "chunk_max")
    fields.take("title", str, _text(200))
    fields.take("kind", str, lambda k: k in ("full", "delta"))
    for name in ("bytes", "files", "objects", "chunk_max"):
        fields.take(name, int, _natural)
    return value


def _component(value: Any) -> Component:
    f = _Fields(value, STATEMENT, "a component")
    f.only("id", "type", "version", "path", "format", "installed_bytes", "summary", "oms", "oms_sha256", "license",
           "source")
    path = f.take("path", str)
    if problem := layout.path_problem(path):
        raise PATH(path=path, reason=problem)
    source = f.take("source", dict, lambda s: all(isinstance(x, str) for x in s.values()))
    return Component(
        f.take("id", str, layout.COMPONENT_ID.fullmatch), f.take("type", str, lambda t: t in layout.COMPONENT_TYPES),
        f.take("version", str, _text(200)), path, f.take("format", str, lambda x: x in layout.FORMATS),
        f.take("installed_bytes", int, _natural), f.take("summary", dict),
        f.take("oms", (str, type(None)), lambda name: name is None or layout.OMS_FILE.fullmatch(name)),
        f.take("oms_sha256", (str, type(None)), lambda d: d is None or _digest(d)), f.take("license", str, _text(400)),
        source)
