"""ONNX files, read as hostile input: which files they point at and which operators of others they call.

Only the parts of the protocol buffer that answer this are read; tensors' bytes are passed over. Field numbers are those
of onnx.proto, IR version 10 (ONNX 1.16, 2024).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from console.bundles.headers import HEADER
from console.errors import SealiftError
from console.i18n import N_

MAX_DEPTH = 32
MAX_FIELDS = 5_000_000
MAX_TEXT = 1 << 16

# ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto, SparseTensorProto, FunctionProto, TrainingInfoProto.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION, _TRAINING = range(8)
_CHILDREN: dict[int, dict[int, int]] = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
    _TENSOR: {},
}
STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training",
                              "com.microsoft"})


@dataclass
class Outline:
    """What a model file points at: ``locations`` of external data with the bytes that each must have at least, operator
    ``domains`` that are not ONNX's own."""

    locations: dict[str, int] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)
    fields: int = 0
    graphs: int = 0


def outline(source: BinaryIO, size: int, path: str) -> Outline:
    """Read a model file of ``size`` bytes.

    Raises:
        VerdictError: ``bundle.header``.
    """
    found = Outline()
    _walk(Wire(source, path), _MODEL, size, 0, found)
    if not found.graphs:
        raise HEADER(path=path, reason=N_("it holds no graph"))
    return found


class Wire:
    """Protocol buffer fields, never beyond where their message ends."""

    def __init__(self, source: BinaryIO, path: str):
        self._source, self._path, self.at = source, path, 0

    def refuse(self, reason: str) -> SealiftError:
        return HEADER(path=self._path, reason=reason)

    def take(self, count: int) -> bytes:
        raw = self._source.read(count)
        if len(raw) != count:
            raise self.refuse(N_("the file ends inside it"))
        self.at += count
        return raw

    def skip(self, count: int) -> None:
        self._source.seek(count, 1)
        self.at += count

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
        raise self.refuse(N_("a number in it does not end"))

    def fields(self, end: int) -> Iterator[tuple[int, int | None]]:
        """(field number, length) of each field up to ``end``; length None for plain numbers, which are passed over.
        The caller must consume a field with a length."""
        while self.at < end:
            tag = self.varint()
            number, kind = tag >> 3, tag & 7
            if kind == 2:
                length = self.varint()
                if length > end - self.at:
                    raise self.refuse(N_("a field in it is longer than what holds it"))
                yield number, length
            elif kind in (0, 1, 5):
                self.varint() if kind == 0 else self.skip(8 if kind == 1 else 4)
                yield number, None
            else:
                raise self.refuse(N_("it is not a protocol buffer"))
        if self.at != end:
            raise self.refuse(N_("a field in it is longer than what holds it"))


def _walk(wire: Wire, kind: int, end: int, depth: int, found: Outline) -> None:
    if depth > MAX_DEPTH:
        raise wire.refuse(N_("it is nested too deeply"))
    found.graphs += kind == _GRAPH
    external: dict[str, str] = {}
    for number, length in wire.fields(end):
        found.fields += 1
        if found.fields > MAX_FIELDS:
            raise wire.refuse(N_("it has more fields than any model"))
        if length is None:
            continue
        child = _CHILDREN[kind].get(number)
        if child is not None:
            _walk(wire, child, wire.at + length, depth + 1, found)
        elif (kind == _NODE and number == 7) or (kind == _FUNCTION and number == 10):
            domain = _text(wire, length)
            if domain not in STANDARD_DOMAINS:
                found.domains.add(domain)
        elif kind == _TENSOR and number == 13:
            entry = {n: _text(wire, inner) for n, inner in wire.fields(wire.at + length) if inner is not None}
            external[entry.get(1, "")] = entry.get(2, "")
        else:
            wire.skip(length)
    if "location" in external:
        found.locations[external["location"]] = max(found.locations.get(external["location"], 0), _end(wire, external))


def _end(wire: Wire, external: dict[str, str]) -> int:
    """Where a tensor's data end in the file beside; with no length given, they begin there at least."""
    told = [external.get(name) or "0" for name in ("offset", "length")]
    if not all(text.isascii() and text.isdigit() and len(text) < 20 for text in told):
        raise wire.refuse(N_("it does not tell where in the file beside it its data lie"))
    return sum(map(int, told))


def _text(wire: Wire, length: int) -> str:
    if length > MAX_TEXT:
        raise wire.refuse(N_("a text in it is too long"))
    try:
        return wire.take(length).decode("utf-8")
    except UnicodeDecodeError:
        raise wire.refuse(N_("a text in it is not UTF-8")) from None
