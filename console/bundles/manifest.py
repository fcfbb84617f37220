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
from functools import cached_property
from itertools import pairwise
from typing import Any, BinaryIO

from console.bundles import layout
from console.bundles.parity import MAX_GROUP, Group
from console.errors import SealiftError, VerdictError, code, shown
from console.i18n import N_, Said
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
MAX_PROBLEMS = 1000
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
    chunk_max: int = layout.CHUNK_MAX

    @cached_property
    def objects(self) -> dict[str, int]:
        """Bytes of every object by digest: chunks of files first, in the files' order, then parity objects."""
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
    made = bytearray(b'{"chunk_max":%d,"files":[' % layout.CHUNK_MAX)
    for number, f in enumerate(sorted(files, key=lambda f: f.path)):
        made += b"," if number else b""
        made += encode({"path": f.path, "size": f.size, "sha256": f.sha256, "component": f.component, "exec": f.exec,
                        "chunks": [list(c) for c in f.chunks]})
    made += b'],"hash":"sha256"'
    for number, group in enumerate(parity):
        made += b"," if number else b',"parity":['
        made += encode({"object": list(group.object), "of": list(group.of)})
    made += b'],"v":1}' if parity else b',"v":1}'
    return bytes(made)


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
            raise kind(reason=Said(N_("{where} is not an object"), where=Said(where)))
        self._value = value

    def take(self, name: str, types: type | tuple[type, ...], good: Any = None) -> Any:
        if name not in self._value:
            raise self._kind(reason=Said(N_("{where} has no {name}"), where=Said(self._where), name=name))
        value = self._value[name]
        wrong_bool = isinstance(value, bool) and bool not in (types if isinstance(types, tuple) else (types,))
        if wrong_bool or not isinstance(value, types) or (good is not None and not good(value)):
            raise self._kind(reason=Said(N_("{name} of {where} is {value}"), name=name, where=Said(self._where), value=repr(str(value)[:80])))
        return value

    def only(self, *names: str) -> None:
        if extra := sorted(set(self._value) - set(names)):
            raise self._kind(reason=Said(N_("{where} has the unknown field {name}"), where=Said(self._where), name=repr(extra[0][:80])))


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
    index, problems = judge_index(raw)
    if index is None or problems:
        raise problems[0]
    return index


def judge_index(raw: bytes) -> tuple[Index | None, list[SealiftError]]:
    """An index as far as it can be read, and everything that is wrong with it; None where it cannot be gone by."""
    problems: list[SealiftError] = []
    try:
        chunk_max, files, parity = _plain_parts(raw, problems) or _any_parts(raw, problems)
        if not files:
            raise INDEX(reason=N_("none of its files is in order"))
        _judge_files(files, problems)
        sizes = _sizes(files)
        return Index(tuple(files), _parity(parity, sizes) if parity is not None else (), chunk_max), problems
    except SealiftError as problem:
        return None, [*problems, problem]


def _judge_files(files: list[FileEntry], problems: list[SealiftError]) -> None:
    if any(before.path >= after.path for before, after in pairwise(files)):
        problems.append(INDEX(reason=N_("its files are not in order, or one is named twice")))
    if sum(f.size for f in files) > layout.MAX_TOTAL_BYTES:
        problems.append(INDEX(reason=N_("its files are larger than a bundle may be")))
    clashes = layout.collisions(dict.fromkeys(f.path for f in files))
    problems += [DUPLICATE(first=first, second=second) for first, second in clashes[:MAX_PROBLEMS]]


_CHUNK = re.compile(rb'\["([0-9a-f]{64})",([1-9]\d{0,7})\]')
_FILE = re.compile(rb'\{"chunks":\[((?:CHUNK(?:,CHUNK)*+)?)\],"component":"([^"\\\x00-\x1f]*)","exec":(true|false),"path":"([^"\\\x00-\x1f]*)",'
                   rb'"sha256":"([0-9a-f]{64})","size":(0|[1-9]\d{0,14})\}([,\]])'.replace(b"CHUNK", rb'\["[0-9a-f]{64}",[1-9]\d{0,7}\]'))
_GROUP = re.compile(rb'\{"object":\["([0-9a-f]{64})",([1-9]\d{0,7})\],"of":\[((?:HEX(?:,HEX)*+)?)\]\}([,\]])'.replace(b"HEX", rb'"[0-9a-f]{64}"'))
_START = re.compile(rb'\{"chunk_max":([1-9]\d{0,7}),"files":\[')
_PARITY, _REST, _END = b',"hash":"sha256","parity":[', b',"hash":"sha256"', b',"v":1}'


def _plain_parts(raw: bytes, problems: list[SealiftError]) -> tuple[int, list[FileEntry], list[Any] | None] | None:
    """Largest chunk, files and repair data of an index that is written just as ours are, taken apart file by file: as one value, that of a large
    bundle would take ten times the memory of its bytes. None for what has to be looked at more closely."""
    start, noted = _START.match(raw), len(problems)
    if start is None or not len(raw) <= layout.MAX_INDEX_BYTES or int(start[1]) > layout.CHUNK_MAX:
        return None
    files, at, more = [], start.end(), True
    while more and len(files) + len(problems) < layout.MAX_FILES and (found := _FILE.match(raw, at)):
        try:
            path, component = found[4].decode("utf-8"), found[2].decode("utf-8")
        except UnicodeDecodeError:
            break
        entry = _judged((path, int(found[6]), found[5].decode(), component, found[3] == b"true", _chunks(found[1])), int(start[1]), problems)
        files += [entry] if entry is not None else []
        at, more = found.end(), found[7] == b","
    if more and len(files) + len(problems) >= layout.MAX_FILES:
        raise INDEX(reason=Said(N_("it lists more than {count} files"), count=layout.MAX_FILES))
    groups: list[Any] | None = None
    if not more and raw.startswith(_PARITY, at):
        groups, at, more = [], at + len(_PARITY), True
        while more and len(groups) < MAX_GROUPS and (found := _GROUP.match(raw, at)):
            groups.append({"object": [found[1].decode(), int(found[2])], "of": [d.strip('"') for d in found[3].decode().split(",") if d]})
            at, more = found.end(), found[4] == b","
    elif raw.startswith(_REST, at):
        at += len(_REST)
    if more or raw[at:] != _END:
        del problems[noted:]
        return None
    return int(start[1]), files, groups


def _chunks(raw: bytes) -> list[tuple[str, int]]:
    return [(found[1].decode(), int(found[2])) for found in _CHUNK.finditer(raw)]


def _any_parts(raw: bytes, problems: list[SealiftError]) -> tuple[int, list[FileEntry], list[Any] | None]:
    """The same of any index; mostly it says why one is refused."""
    value = decode(raw, max_bytes=layout.MAX_INDEX_BYTES, what=layout.INDEX)
    top = _Fields(value, INDEX, N_("the index"))
    top.only("v", "hash", "chunk_max", "files", "parity")
    if top.take("v", int) != 1 or top.take("hash", str) != "sha256":
        raise INDEX(reason=N_("it is of another version"))
    chunk_max = top.take("chunk_max", int, lambda n: 1 <= n <= layout.CHUNK_MAX)
    listed = top.take("files", list, lambda f: 0 < len(f) <= layout.MAX_FILES)
    parity = top.take("parity", list, lambda g: 0 < len(g) <= MAX_GROUPS) if "parity" in value else None
    if not _canonical(value, raw):
        problems.append(INDEX(reason=N_("it is not in canonical form")))
    files = []
    for item in listed:
        try:
            entry = _judged(_fields_of(item), chunk_max, problems)
        except SealiftError as problem:
            _note(problem, problems)
        else:
            files += [entry] if entry is not None else []
    return chunk_max, files, parity


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
            problems: list[SealiftError] = []
            if (entry := _judged(_fields_of(item), layout.CHUNK_MAX, problems)) is None:
                raise problems[0]
            files.append(entry)
            if after == "]":
                return tuple(files)
            if after != ",":
                raise ValueError
            at = end + 1
    except (ValueError, IndexError, RecursionError):
        raise INDEX(reason=N_("it is not the one that was imported")) from None


def _canonical(value: Any, raw: bytes) -> bool:
    try:
        return encode(value) == raw
    except ValueError:
        return False


def _fields_of(item: Any) -> tuple[str, int, str, str, bool, list[tuple[str, int]]]:
    fields = _Fields(item, INDEX, N_("a file"))
    fields.only("path", "size", "sha256", "component", "exec", "chunks")
    path, size, sha256 = fields.take("path", str), fields.take("size", int, _natural), fields.take("sha256", str, _digest)
    chunks = []
    for chunk in fields.take("chunks", list):
        if not (isinstance(chunk, list) and len(chunk) == 2 and isinstance(chunk[0], str) and _digest(chunk[0])
                and isinstance(chunk[1], int) and not isinstance(chunk[1], bool)):
            raise INDEX(reason=Said(N_("a chunk of {path} is malformed"), path=shown(path)))
        chunks.append((chunk[0], chunk[1]))
    return path, size, sha256, fields.take("component", str), fields.take("exec", bool), chunks


def _note(problem: SealiftError, problems: list[SealiftError]) -> None:
    problems.append(problem)
    if len(problems) > MAX_PROBLEMS:
        raise problem


def _judged(told: tuple[str, int, str, str, bool, list[tuple[str, int]]], chunk_max: int, problems: list[SealiftError]) -> FileEntry | None:
    """One file's entry when it keeps the rules; each that it breaks is noted."""
    path, size, sha256, component, executable, chunks = told
    before = len(problems)
    if reason := layout.path_problem(path):
        _note(PATH(path=path, reason=reason), problems)
    if not layout.COMPONENT_ID.fullmatch(component):
        _note(INDEX(reason=Said(N_("{name} of {where} is {value}"), name="component", where=shown(path), value=repr(component[:80]))), problems)
    if not all(1 <= length <= chunk_max for _, length in chunks):
        _note(INDEX(reason=Said(N_("a chunk of {path} is malformed"), path=shown(path))), problems)
    elif sum(length for _, length in chunks) != size:
        _note(INDEX(reason=Said(N_("the chunks of {path} do not add up to its size"), path=shown(path))), problems)
    elif len(chunks) < 2 and sha256 != (chunks[0][0] if chunks else EMPTY_SHA256):
        _note(INDEX(reason=Said(N_("the digest of {path} is not that of its only chunk"), path=shown(path))), problems)
    if len(problems) > before:
        return None
    # A file of one chunk has its digest: once in memory is enough.
    listed = ((sha256, size),) if len(chunks) == 1 else tuple(chunks)
    return FileEntry(path, size, sha256, sys.intern(component), executable, listed)


def _sizes(files: Sequence[FileEntry]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for entry in files:
        for digest, length in entry.chunks:
            if sizes.setdefault(digest, length) != length:
                raise INDEX(reason=Said(N_("the chunk {digest}… has two sizes"), digest=digest[:12]))
    return sizes


def _parity(listed: list[Any], chunks: dict[str, int]) -> tuple[Group, ...]:
    """Groups of repair data: each chunk in one of them at most, and as long as their longest."""
    groups, grouped, sizes = [], set[str](), dict(chunks)
    for item in listed:
        fields = _Fields(item, INDEX, N_("a group of repair data"))
        fields.only("object", "of")
        members = fields.take("of", list, lambda of: 0 < len(of) <= MAX_GROUP)
        if not all(isinstance(d, str) and d in chunks and d not in grouped for d in members) or len(set(members)) != len(members):
            raise INDEX(reason=N_("a group of repair data names a chunk that is not there, or that another group names too"))
        grouped.update(members)
        digest, length = fields.take("object", list, lambda o: len(o) == 2)
        longest = max(sizes[d] for d in members)
        if not isinstance(digest, str) or not _digest(digest) or isinstance(length, bool) or length != longest:
            raise INDEX(reason=N_("an object of repair data is malformed"))
        if sizes.setdefault(digest, length) != length:
            raise INDEX(reason=Said(N_("the chunk {digest}… has two sizes"), digest=digest[:12]))
        groups.append(Group((digest, length), tuple(members)))
    return tuple(groups)


def read_statement(payload: bytes) -> Statement:
    """The statement of a payload whose signatures have passed.

    Raises:
        VerdictError: ``trust.json``, ``bundle.statement``.
    """
    value = decode(payload, max_bytes=layout.MAX_RELEASE_BYTES, what=N_("release"))
    top = _Fields(value, STATEMENT, N_("the statement"))
    top.only("_type", "predicateType", "subject", "predicate")
    if top.take("_type", str) != layout.STATEMENT_TYPE or top.take("predicateType", str) != layout.PREDICATE_TYPE:
        raise STATEMENT(reason=N_("it is of another kind"))
    subject = top.take("subject", list, lambda s: len(s) == 1)[0]
    if not _canonical(value, payload):
        raise STATEMENT(reason=N_("it is not in canonical form"))
    named = _Fields(subject, STATEMENT, N_("the subject"))
    named.only("name", "digest")
    if named.take("name", str) != layout.INDEX:
        raise STATEMENT(reason=N_("its subject is not the index"))
    index = _Fields(named.take("digest", dict), STATEMENT, N_("the subject's digest")).take("sha256", str, _digest)
    p = _Fields(top.take("predicate", dict), STATEMENT, N_("the predicate"))
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
        raise STATEMENT(reason=N_("two components have one id"))
    paths = [c.path + "/." for c in components]
    for first in components:
        # Each a folder of its own, so that a file belongs to one component and to no other.
        if sum(path.startswith(first.path + "/") for path in paths) != 1:
            raise STATEMENT(reason=Said(N_("the component {name} shares its folder with another"), name=first.id))


def is_time(text: str) -> bool:
    """Whether ``text`` is a time as every document holds it."""
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError:
        return False
    return bool(_TIME.fullmatch(text))


def _bundle(value: dict[str, Any]) -> dict[str, Any]:
    fields = _Fields(value, STATEMENT, N_("the bundle's description"))
    fields.only("title", "kind", "bytes", "files", "objects", "chunk_max")
    fields.take("title", str, _text(200))
    fields.take("kind", str, lambda k: k in ("full", "delta"))
    for name in ("bytes", "files", "objects", "chunk_max"):
        fields.take(name, int, _natural)
    return value


def _component(value: Any) -> Component:
    f = _Fields(value, STATEMENT, N_("a component"))
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
