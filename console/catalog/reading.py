"""Reads a file of the catalog, strictly: what is not in the schema is refused, naming file and entry.

Every entry carries its sources (a title and a date each), a grade and a confidence. Grades: *documented*, the maker or
project says so; *reported*, others say so; *derived*, worked out from documented values; *unknown*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from console.errors import InputError, code
from console.i18n import N_

MALFORMED = code(
    "catalog.malformed", InputError, N_("The catalog file {file} is malformed at {entry}: {reason}."),
    N_("Correct the file, or take the one that came with the program."))

MAX_BYTES = 4 << 20
GRADES = ("documented", "reported", "derived", "unknown")
CONFIDENCES = ("high", "medium", "low")
SUPPORT = ("native", "emulated", "weak", "none")
PRECISIONS = ("fp16", "bf16", "int8", "fp8", "fp4")

_TEXT, _NUMBER, _WHOLE, _LIST, _MAP, _FLAG = str, (int, float), int, list, dict, bool
_COMMON: dict[str, tuple[Any, bool]] = {
    "name": (_TEXT, True), "source": (_LIST, True), "grade": (_TEXT, True), "confidence": (_TEXT, True),
    "date": (_TEXT, False), "note": (_TEXT, False)}
_NONE = type(None)
SECTIONS: dict[str, dict[str, dict[str, tuple[Any, bool]]]] = {
    "devices": {"entries": {
        "aliases": (_LIST, False), "loose": (_LIST, False), "pci": (_LIST, True), "family": (_TEXT, True),
        "level": (_TEXT, True), "memory_gb": (_NUMBER, True), "memory_mib": ((int, _NONE), True),
        "framework_gib": (_NUMBER, False), "unified": (_FLAG, False), "bandwidth_gb_s": (_NUMBER, False),
        "link_gb_s": (_NUMBER, False), "per_server": (_WHOLE, False), "per_card": (_WHOLE, False),
        "precision": (_MAP, True)}},
    "models": {
        "architectures": {"config": (_MAP, True)},
        "entries": {
            "aliases": (_LIST, False), "architecture": (_TEXT, True), "total_b": (_NUMBER, True),
            "active_b": (_NUMBER, False), "engram_b": (_NUMBER, False), "precision": (_TEXT, True),
            "bytes": ((int, _NONE), True), "exact": (_FLAG, False), "bytes_by_precision": (_MAP, False),
            "context": (_WHOLE, True), "released": (_TEXT, False), "license": (_TEXT, False),
            "floor_gb": (_MAP, False), "verified_on": (_LIST, False)},
        "warnings": {"text": (_TEXT, True), "name": (_TEXT, False)}},
    "rules": {"entries": {"values": (_MAP, True)}},
    "thresholds": {"entries": {"values": (_MAP, True)}},
    "serving": {
        "entries": {"aliases": (_LIST, False), "title": (_TEXT, True), "vendors": (_LIST, True), "port": (_WHOLE, True),
                    "health": (_TEXT, True), "families_excluded": (_LIST, False)},
        "support": {"framework": (_TEXT, True), "architectures": (_LIST, True), "families": (_LIST, False),
                    "devices": (_LIST, False), "precisions": (_LIST, False), "hidden_size": (_WHOLE, False),
                    "verdict": (_TEXT, True), "min_version": (_TEXT, False)},
        "minimum": {"models": (_TEXT, True), "hardware": (_TEXT, True)}},
    "stacks": {"entries": {
        "type": (_TEXT, True), "cuda": (_TEXT, False), "cuda_below": (_TEXT, False), "driver": (_TEXT, False),
        "branch": (_WHOLE, False), "kind": (_TEXT, False), "ends": (_TEXT, False), "framework": (_TEXT, False),
        "from": (_TEXT, False), "below": ((str, _NONE), False), "families": (_LIST, False),
        "vllm_ascend": (_TEXT, False), "vllm": (_TEXT, False), "python": ((str, _NONE), False), "cann": (_TEXT, False),
        "torch": ((str, _NONE), False), "torch_npu": ((str, _NONE), False), "triton_ascend": ((str, _NONE), False),
        "good": (_LIST, False), "bad": (_LIST, False), "mindie": (_TEXT, False), "rocm": ((str, list), False),
        "glibc": (_TEXT, False), "amdgpu": (_TEXT, False), "os": (_TEXT, False), "versions": (_LIST, False)}},
}
"""By kind and section the fields beside the common ones: type, and whether the field must be there."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """A safe loader that refuses a key twice in one mapping."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value]
        if len(set(map(str, keys))) != len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Entry:
    """One graded statement.

    Attributes:
        section: ``entries``, or the name of another section of its file.
        fields: what the kind adds; read with ``entry["memory_mib"]`` or ``entry.get``.
        sources: (title, date) of each source. date: of the entry, else of its newest source.
    """

    kind: str
    section: str
    name: str
    fields: Mapping[str, Any]
    sources: tuple[tuple[str, str], ...]
    grade: str
    confidence: str
    date: str
    note: str
    file: str
    vendor: str | None = None

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    def get(self, key: str, default: Any = None) -> Any:
        """A field that may be missing."""
        return self.fields.get(key, default)

    @property
    def source(self) -> str:
        """The sources in one line."""
        return "; ".join(f"{title} ({date})" for title, date in self.sources)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": self.kind, "section": self.section, "name": self.name, **dict(self.fields),
                "sources": [{"title": title, "date": date} for title, date in self.sources], "grade": self.grade,
                "confidence": self.confidence, "date": self.date, "note": self.note}


def read_file(path: Path) -> tuple[Entry, ...]:
    """All entries of a file.

    Raises:
        InputError: ``catalog.malformed``.
    """
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise MALFORMED(file=str(path), entry="–", reason=problem.strerror or "unreadable") from None
    return read(raw, path.name)


def read(raw: bytes, file: str) -> tuple[Entry, ...]:
    """All entries of a file's bytes.

    Raises:
        InputError: ``catalog.malformed``, naming the file and the entry.
    """
    if len(raw) > MAX_BYTES:
        raise MALFORMED(file=file, entry="–", reason="it is too large")
    try:
        document = yaml.load(raw.decode("utf-8"), _Loader)  # noqa: S506 - a safe loader, made stricter
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise MALFORMED(file=file, entry="–", reason=" ".join(str(problem).split())[:300]) from None
    return _Document(file, document).entries()


class _Document:
    def __init__(self, file: str, document: Any):
        self.file, self.document = file, document
        self.need(isinstance(document, dict), "the top", "it is not a mapping")
        self.need(document.get("schema") == 1, "schema", "only schema 1 is known")
        self.kind = document.get("kind")
        self.need(self.kind in SECTIONS, "kind", "it must be one of " + ", ".join(SECTIONS))
        self.vendor = document.get("vendor")
        self.need(self.kind != "devices" or self.vendor in ("nvidia", "ascend", "amd"), "vendor",
                  "it must be nvidia, ascend or amd")
        known = {"schema", "kind", "sources", *SECTIONS[self.kind], *(("vendor",) if self.kind == "devices" else ())}
        for key in document:
            self.need(key in known, str(key), "this key is not known")
        self.sources = self._sources()

    def need(self, good: Any, where: str, reason: str) -> None:
        if not good:
            raise MALFORMED(file=self.file, entry=where, reason=reason)

    def _sources(self) -> dict[str, tuple[str, str]]:
        listed = self.document.get("sources")
        self.need(isinstance(listed, dict) and listed, "sources", "there are none")
        for key, value in listed.items():
            good = (isinstance(value, dict) and set(value) == {"title", "date"}
                    and all(isinstance(v, str) and v for v in value.values()))
            self.need(good, f"sources.{key}", "title and date are wanted, as text")
        return {key: (value["title"], value["date"]) for key, value in listed.items()}

    def entries(self) -> tuple[Entry, ...]:
        found: list[Entry] = []
        for section, schema in SECTIONS[self.kind].items():
            listed = self.document.get(section, [])
            self.need(isinstance(listed, list), section, "it is not a list")
            entries = [self._entry(section, schema, number, one) for number, one in enumerate(listed, 1)]
            names = [entry.name for entry in entries]
            twice = next((name for name in names if names.count(name) > 1), None)
            self.need(twice is None, str(twice), "the name stands twice")
            found += entries
        return tuple(found)

    def _entry(self, section: str, schema: Mapping[str, tuple[Any, bool]], number: int, one: Any) -> Entry:
        where = f"{section}[{number}]"
        self.need(isinstance(one, dict), where, "it is not a mapping")
        where = f"{where} {one.get('name', '')}".strip()
        fields = _COMMON | schema
        for key in one:
            self.need(key in fields, where, f"the field {key} is not known")
        for key, (kind, required) in fields.items():
            self.need(key in one or not required, where, f"the field {key} is missing")
            self.need(key not in one or _is(one[key], kind), where, f"the field {key} is of another type")
        self.need(one["grade"] in GRADES, where, "grade must be one of " + ", ".join(GRADES))
        self.need(one["confidence"] in CONFIDENCES, where, "confidence must be one of " + ", ".join(CONFIDENCES))
        self.need(one["source"] and all(s in self.sources for s in one["source"]), where, "a source is not listed")
        self._special(where, one)
        sources = tuple(self.sources[key] for key in one["source"])
        own = {key: one[key] for key in one if key not in _COMMON}
        return Entry(self.kind, section, one.get("name") or f"{section}-{number}", MappingProxyType(own), sources, one["grade"],
                     one["confidence"], one.get("date") or max((date for _, date in sources), key=lambda d: d if d[:1].isdigit() else ""), one.get("note", ""),
                     self.file, self.vendor)

    def _special(self, where: str, one: dict[str, Any]) -> None:
        if self.kind == "devices":
            told = one["precision"]
            self.need(set(told) == set(PRECISIONS) and all(v in SUPPORT for v in told.values()), where,
                      f"precision must say one of {', '.join(SUPPORT)} for each of {', '.join(PRECISIONS)}")
            self.need(one["memory_gb"] > 0 and (one["memory_mib"] or 1) > 0, where, "memory must be above 0")
        for key in ("aliases", "loose", "pci", "vendors", "architectures", "families"):
            self.need(all(isinstance(v, str) for v in one.get(key, ())), where, f"{key} must hold texts")


def _is(value: Any, kind: Any) -> bool:
    wanted = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, bool):
        return bool in wanted
    return isinstance(value, wanted)
