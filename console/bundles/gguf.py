"""GGUF files, read as hostile input: versions 2 and 3, little-endian. Layout and table of types: ggml's gguf.md, 2025."""

from __future__ import annotations

import math
import struct
from typing import BinaryIO

from console.bundles.headers import MAX_TENSORS, Refuse, Tensor, refusal
from console.i18n import N_

# Block size in values and bytes of a block, by tensor type.
TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17)}
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
MAX_COUNT, MAX_ITEMS = MAX_TENSORS, 10_000_000
MAX_NAME_BYTES, MAX_TEXT_BYTES, MAX_DEPTH = 1 << 16, 64 << 20, 4
KEPT_BYTES = 4 << 20
"""Texts of the metadata beyond this are passed over; chat templates beyond it are refused, for they are judged whole."""
TEMPLATE = "tokenizer.chat_template"
WINDOW_BYTES = 1 << 20
_LENGTH = struct.Struct("<Q").unpack_from


class _Reader:
    """Reads little-endian values through a window, and never beyond the file."""

    def __init__(self, source: BinaryIO, size: int, refuse: Refuse):
        self._source, self._size, self._refuse = source, size, refuse
        self._window, self._from, self._pos = b"", 0, 0
        self.items = 0

    @property
    def at(self) -> int:
        """Where it stands in the file."""
        return self._from + self._pos

    @property
    def left(self) -> int:
        """Bytes to the file's end."""
        return self._size - self.at

    def _fill(self, count: int) -> None:
        """Have ``count`` bytes in the window from where it stands."""
        if count > self.left:
            raise self._refuse(N_("the file ends inside it"))
        rest = self._window[self._pos :]
        self._from, self._pos = self.at, 0
        parts, have = [rest], len(rest)
        while have < count:
            data = self._source.read(max(WINDOW_BYTES, count - have))
            if not data:
                raise self._refuse(N_("the file ends inside it"))
            parts.append(data)
            have += len(data)
        self._window = b"".join(parts)

    def take(self, count: int) -> bytes:
        if self._pos + count > len(self._window):
            self._fill(count)
        self._pos += count
        return self._window[self._pos - count : self._pos]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def text(self, limit: int = MAX_TEXT_BYTES) -> str:
        length = self.number(8)
        if length > min(self.left, limit):
            raise self._refuse(N_("a text in it is longer than the file, or than it may be"))
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise self._refuse(N_("a text in it is not UTF-8")) from None

    def skip(self, count: int) -> None:
        if count > self.left:
            raise self._refuse(N_("the file ends inside it"))
        target = self.at + count
        if self._pos + count <= len(self._window):
            self._pos += count
            return
        self._source.seek(target)
        self._window, self._from, self._pos = b"", target, 0

    def value(self, kind: int, depth: int = 0) -> object:
        """A number or text; None for a list, which is only checked."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY or depth >= MAX_DEPTH:
            raise self._refuse(N_("it holds a value of the unknown kind {kind}"), kind=kind)
        inner, count = self.number(4), self.number(8)
        if inner in _SCALARS:
            self.skip(count * _SCALARS[inner])
            return None
        self.items += count
        if count > self.left // 8 or self.items > MAX_ITEMS:
            raise self._refuse(N_("a list in it is longer than the file, or than any model's"))
        if inner == _STRING:
            self._texts(count)
        else:
            for _ in range(count):
                self.value(inner, depth + 1)
        return None

    def _texts(self, count: int) -> None:
        """Pass over texts. A vocabulary has a few hundred thousand: those that the window holds are stepped through in it."""
        while count:
            window, pos, end = self._window, self._pos, len(self._window) - 8
            while count and pos <= end:
                following = pos + 8 + _LENGTH(window, pos)[0]
                if following > len(window):
                    break
                pos, count = following, count - 1
            self._pos = pos
            if count:
                self.text()
                count -= 1


def read(source: BinaryIO, size: int, path: str) -> tuple[int, list[Tensor], dict[str, str]]:
    """(bytes before the tensors' data, tensors by position, texts of the metadata).

    Raises:
        VerdictError: ``bundle.header``.
    """
    refuse = refusal(path)
    reader = _Reader(source, size, refuse)
    if reader.take(4) != b"GGUF" or reader.number(4) not in (2, 3):
        raise refuse(N_("it is not GGUF of version 2 or 3, little-endian"))
    tensor_count, pair_count = reader.number(8), reader.number(8)
    if tensor_count > MAX_COUNT or pair_count > MAX_COUNT:
        raise refuse(N_("it counts more than a million entries"))
    metadata, alignment = _metadata(reader, pair_count, refuse)
    found = [_tensor(reader, refuse) for _ in range(tensor_count)]
    if len({name for name, *_ in found}) != len(found):
        raise refuse(N_("a tensor stands twice in it"))
    found.reverse()
    base = (reader.at + alignment - 1) // alignment * alignment
    tensors, at = [], base
    while found:
        name, dtype, shape, offset, length = found.pop()
        start = base + offset
        if offset % alignment or start < at or start + length > size:
            raise refuse(N_("the data of {name} overlaps another's or lies outside the file"), name=name[:80])
        at = start + length
        tensors.append(Tensor(name, dtype, shape, start, at))
    if base > size and tensors:
        raise refuse(N_("the file ends before its data"))
    if size - at >= alignment:
        raise refuse(N_("something hangs on behind its tensors"))
    return min(base, size), tensors, metadata


def _metadata(reader: _Reader, count: int, refuse: Refuse) -> tuple[dict[str, str], int]:
    kept: dict[str, str] = {}
    keys: set[str] = set()
    room, alignment = {True: KEPT_BYTES, False: KEPT_BYTES}, 32
    for _ in range(count):
        key = reader.text(MAX_NAME_BYTES)
        if key in keys:
            raise refuse(N_("{name} stands twice in it"), name=key[:80])
        keys.add(key)
        value = reader.value(reader.number(4))
        if key == "general.alignment":
            alignment = value if isinstance(value, int) else 0
        elif isinstance(value, str):
            template = key.startswith(TEMPLATE)
            room[template] -= len(value)
            if room[template] >= 0:
                kept[key] = value
            elif template:
                raise refuse(N_("its chat templates are longer than any model's"))
    if not 0 < alignment <= 4096 or alignment & (alignment - 1):
        raise refuse(N_("its alignment is not a power of two up to 4096"))
    return kept, alignment


def _tensor(reader: _Reader, refuse: Refuse) -> tuple[str, str, tuple[int, ...], int, int]:
    name, dims = reader.text(MAX_NAME_BYTES), reader.number(4)
    if not name.isprintable() or not 1 <= dims <= 4:
        raise refuse(N_("a tensor has a malformed name or shape"))
    shape = tuple(reader.number(8) for _ in range(dims))
    kind, offset = reader.number(4), reader.number(8)
    if kind not in TYPES:
        raise refuse(N_("{name} is of the unknown type {kind}"), name=name[:80], kind=kind)
    label, block, block_bytes = TYPES[kind]
    count = math.prod(shape)
    if count >= 1 << 63 or shape[0] % block or offset >= 1 << 63:
        raise refuse(N_("the shape of {name} does not fit its type"), name=name[:80])
    return name, label, shape, offset, count // block * block_bytes
