"""Headers of weight files, read as hostile input: safetensors, GGUF. Nothing is believed that the file's size contradicts."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import BinaryIO

from console.errors import SealiftError, VerdictError, code
from console.i18n import N_
from console.trust.canonical import decode

HEADER = code("bundle.header", VerdictError, N_("The header of {path} is refused: {reason}."),
              N_("The file is damaged or lies about its contents; get it anew from its publisher."))

MAX_SAFETENSORS_HEADER = 100_000_000
DTYPE_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
              "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
              "I64": 64, "U64": 64, "F64": 64, "C64": 64}


@dataclass(frozen=True)
class Tensor:
    """One tensor: where it lies in the file (bytes from its start) and what it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def safetensors(source: BinaryIO, size: int, path: str) -> tuple[int, list[Tensor], dict[str, str]]:
    """(bytes of the header, tensors by position, metadata).

    Raises:
        VerdictError: ``bundle.header``.
    """
    def refuse(reason: str) -> SealiftError:
        return HEADER(path=path, reason=reason)

    prefix = source.read(8)
    if len(prefix) < 8:
        raise refuse("the file ends inside it")
    length = struct.unpack("<Q", prefix)[0]
    if length > MAX_SAFETENSORS_HEADER or 8 + length > size:
        raise refuse("it is longer than the file")
    raw = source.read(length)
    if len(raw) != length or not raw.startswith(b"{"):
        raise refuse("it does not begin as it must")
    try:
        header = decode(raw.rstrip(b" "), max_bytes=MAX_SAFETENSORS_HEADER, max_depth=4, wide_numbers=True, what="header")
    except SealiftError as problem:
        raise refuse(str(problem.params.get("reason", problem))) from None
    if not isinstance(header, dict):
        raise refuse("it is not an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise refuse("its metadata holds something other than text")
    base = 8 + length
    tensors = sorted((_safetensor(name, item, base, refuse) for name, item in header.items()), key=lambda t: (t.start, t.end))
    at = base
    for tensor in tensors:
        if tensor.start != at:
            raise refuse(f"the data of {tensor.name[:80]} does not follow on the one before it")
        at = tensor.end
    if at != size:
        raise refuse("its tensors do not fill the file")
    return base, tensors, metadata


def _safetensor(name: str, item: object, base: int, refuse) -> Tensor:
    if not name.isprintable():
        raise refuse("a tensor's name has control characters")
    if not isinstance(item, dict) or set(item) != {"dtype", "shape", "data_offsets"}:
        raise refuse(f"{name[:80]} has other fields than dtype, shape, data_offsets")
    dtype, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
    if dtype not in DTYPE_BITS:
        raise refuse(f"{name[:80]} has the unknown dtype {str(dtype)[:40]}")
    if not isinstance(shape, list) or len(shape) > 16 or not all(_whole(n) for n in shape):
        raise refuse(f"{name[:80]} has a malformed shape")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_whole(n) for n in offsets) or offsets[0] > offsets[1]:
        raise refuse(f"{name[:80]} has malformed offsets")
    bits = math.prod(shape) * DTYPE_BITS[dtype]
    if bits >= 1 << 63 or bits % 8 or bits // 8 != offsets[1] - offsets[0]:
        raise refuse(f"the shape of {name[:80]} does not fit its data")
    return Tensor(name, dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


# GGUF: block size in values and bytes of a block, by tensor type (ggml's table of types).
GGML_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17)}
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
MAX_GGUF_COUNT, MAX_GGUF_ITEMS = 1_000_000, 10_000_000


class _Reader:
    """Reads little-endian values and never beyond the file."""

    def __init__(self, source: BinaryIO, size: int, refuse):
        self._source, self.left, self._refuse, self.at, self.items = source, size, refuse, 0, 0

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise self._refuse("the file ends inside it")
        raw = self._source.read(count)
        if len(raw) != count:
            raise self._refuse("the file ends inside it")
        self.left -= count
        self.at += count
        return raw

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def text(self) -> str:
        length = self.number(8)
        if length > min(self.left, 64 << 20):
            raise self._refuse("a text in it is longer than the file")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise self._refuse("a text in it is not UTF-8") from None

    def skip(self, count: int) -> None:
        if count > self.left:
            raise self._refuse("the file ends inside it")
        self._source.seek(count, 1)
        self.left -= count
        self.at += count

    def value(self, kind: int, depth: int = 0) -> object:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY or depth >= 4:
            raise self._refuse(f"it holds a value of the unknown kind {kind}")
        inner, count = self.number(4), self.number(8)
        if inner in _SCALARS:
            self.skip(count * _SCALARS[inner])
        else:
            self.items += count
            if count > self.left // 8 or self.items > MAX_GGUF_ITEMS:
                raise self._refuse("a list in it is longer than the file, or than any model's")
            for _ in range(count):
                self.value(inner, depth + 1)
        return None


def gguf(source: BinaryIO, size: int, path: str) -> tuple[int, list[Tensor], dict[str, str]]:
    """(bytes before the tensors' data, tensors by position, metadata of text form).

    Raises:
        VerdictError: ``bundle.header``.
    """
    def refuse(reason: str) -> SealiftError:
        return HEADER(path=path, reason=reason)

    reader = _Reader(source, size, refuse)
    if reader.take(4) != b"GGUF" or reader.number(4) not in (2, 3):
        raise refuse("it is not GGUF of version 2 or 3, little-endian")
    tensor_count, pair_count = reader.number(8), reader.number(8)
    if tensor_count > MAX_GGUF_COUNT or pair_count > MAX_GGUF_COUNT:
        raise refuse("it counts more than a million entries")
    metadata: dict[str, str] = {}
    keys: set[str] = set()
    alignment = 32
    for _ in range(pair_count):
        key, kind = reader.text(), 0
        if key in keys:
            raise refuse(f"{key[:80]} stands twice in it")
        keys.add(key)
        kind = reader.number(4)
        value = reader.value(kind)
        if key == "general.alignment":
            alignment = value if isinstance(value, int) else 0
        elif isinstance(value, str):
            metadata[key] = value
    if not 0 < alignment <= 4096 or alignment & (alignment - 1):
        raise refuse("its alignment is not a power of two up to 4096")
    found = [_gguf_tensor(reader, refuse) for _ in range(tensor_count)]
    if len({name for name, *_ in found}) != len(found):
        raise refuse("a tensor stands twice in it")
    base = (reader.at + alignment - 1) // alignment * alignment
    tensors, at = [], base
    for name, dtype, shape, offset, length in found:
        start = base + offset
        if offset % alignment or start < at or start + length > size:
            raise refuse(f"the data of {name[:80]} overlaps another's or lies outside the file")
        at = start + length
        tensors.append(Tensor(name, dtype, shape, start, at))
    if base > size and tensors:
        raise refuse("the file ends before its data")
    return min(base, size), tensors, metadata


def _gguf_tensor(reader: _Reader, refuse) -> tuple[str, str, tuple[int, ...], int, int]:
    name, dims = reader.text(), reader.number(4)
    if not name.isprintable() or not 1 <= dims <= 4:
        raise refuse("a tensor has a malformed name or shape")
    shape = tuple(reader.number(8) for _ in range(dims))
    kind, offset = reader.number(4), reader.number(8)
    if kind not in GGML_TYPES:
        raise refuse(f"{name[:80]} is of the unknown type {kind}")
    label, block, block_bytes = GGML_TYPES[kind]
    count = math.prod(shape)
    if count >= 1 << 63 or shape[0] % block or offset >= 1 << 63:
        raise refuse(f"the shape of {name[:80]} does not fit its type")
    return name, label, shape, offset, count // block * block_bytes
