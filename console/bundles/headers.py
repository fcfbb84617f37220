"""Headers of weight files, read as hostile input: safetensors here, GGUF in its own module. Nothing is believed that the file's
size contradicts, and a header is taken apart piece by piece: as one value, a large one would fill the memory."""

from __future__ import annotations

import math
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from console.errors import SealiftError, VerdictError, code, shown, why
from console.i18n import N_, Said
from console.trust.canonical import decode

HEADER = code("bundle.header", VerdictError, N_("The header of {path} is refused: {reason}."),
              N_("The file is damaged or lies about its contents; get it anew from its publisher."))

MAX_SAFETENSORS_HEADER = 100_000_000
MAX_TENSORS = 1_000_000
DTYPE_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
              "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
              "I64": 64, "U64": 64, "F64": 64, "C64": 64}
_ENTRY = re.compile(rb'[ \t\r\n]*("(?:[^"\\]|\\.)*+")[ \t\r\n]*:[ \t\r\n]*(\{(?:[^{}"]|"(?:[^"\\]|\\.)*+")*+\})[ \t\r\n]*([,}])', re.DOTALL)
# The same, as every writer has it: no escapes, the fields in this order. It is read several times as fast.
_USUAL = re.compile(rb'[ \t\r\n]*"([^"\\\x00-\x1f]+)"[ \t\r\n]*:[ \t\r\n]*\{[ \t\r\n]*"dtype"[ \t\r\n]*:[ \t\r\n]*"(\w{1,20})"[ \t\r\n]*,'
                    rb'[ \t\r\n]*"shape"[ \t\r\n]*:[ \t\r\n]*(\[[ \t\r\n]*(?:N(?:[ \t\r\n]*,[ \t\r\n]*N)*)?[ \t\r\n]*\])[ \t\r\n]*,[ \t\r\n]*"data_offsets"'
                    rb'[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*(N)[ \t\r\n]*,[ \t\r\n]*(N)[ \t\r\n]*\][ \t\r\n]*\}[ \t\r\n]*([,}])'
                    .replace(b"N", rb"(?:0|[1-9]\d{0,18})"))
_EMPTY = re.compile(rb"\{[ \t\r\n]*\}")
Refuse = Callable[..., SealiftError]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: where it lies in the file (bytes from its start) and what it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def refusal(path: str) -> Refuse:
    """Makes the error for one file from a reason: a marked text, and what stands in it."""
    return lambda reason, **params: HEADER(path=path, reason=Said(reason, **{name: shown(value) for name, value in params.items()}))


def safetensors(source: BinaryIO, size: int, path: str) -> tuple[int, list[Tensor], dict[str, str]]:
    """(bytes of the header, tensors by position, metadata).

    Raises:
        VerdictError: ``bundle.header``.
    """
    refuse = refusal(path)
    raw = _raw(source, size, refuse)
    metadata: dict[str, str] = {}
    tensors = list(_tensors(raw, refuse, metadata))
    tensors.sort(key=lambda t: (t.start, t.end))
    _must_fill(((t.start, t.end) for t in tensors), 8 + len(raw), size, refuse)
    return 8 + len(raw), tensors, metadata


def check_safetensors(source: BinaryIO, size: int, path: str) -> None:
    """The same judgement; nothing is kept of it, so that the largest header takes little more memory than its bytes.

    Raises:
        VerdictError: ``bundle.header``.
    """
    refuse = refusal(path)
    raw = _raw(source, size, refuse)
    spans = sorted(t.start << 64 | t.end for t in _tensors(raw, refuse, {}))
    _must_fill(((span >> 64, span & (1 << 64) - 1) for span in spans), 8 + len(raw), size, refuse)


def _raw(source: BinaryIO, size: int, refuse: Refuse) -> bytes:
    prefix = source.read(8)
    if len(prefix) < 8:
        raise refuse(N_("the file ends inside it"))
    length = struct.unpack("<Q", prefix)[0]
    if length > MAX_SAFETENSORS_HEADER or 8 + length > size:
        raise refuse(N_("it is longer than the file, or than any header may be"))
    raw = source.read(length)
    if len(raw) != length or not raw.startswith(b"{"):
        raise refuse(N_("it does not begin as it must"))
    return raw


def _must_fill(spans: Iterable[tuple[int, int]], at: int, size: int, refuse: Refuse) -> None:
    """The tensors' data, in order, must leave no hole, overlap or tail."""
    for start, end in spans:
        if start != at:
            raise refuse(N_("the data of the tensor at byte {start} does not follow on what is before it"), start=start)
        at = end
    if at != size:
        raise refuse(N_("its tensors do not fill the file"))


def _tensors(raw: bytes, refuse: Refuse, metadata: dict[str, str]) -> Iterator[Tensor]:
    """Every tensor in the order of the header; its metadata are put into ``metadata``."""
    names: set[int] = set()
    for name, item in _pairs(raw, refuse):
        key = hash(name)  # as good as the name, and a tenth of its memory
        if key in names:
            raise refuse(N_("{name} stands twice in it"), name=name[:80])
        names.add(key)
        if name != "__metadata__":
            yield _safetensor(name, item, 8 + len(raw), refuse)
        elif all(isinstance(v, str) for v in item.values()):
            metadata.update(item)
        else:
            raise refuse(N_("its metadata holds something other than text"))


def _pairs(raw: bytes, refuse: Refuse) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and value of each entry; behind the last one only blanks."""
    if empty := _EMPTY.match(raw):
        at, more = empty.end(), False
    else:
        at, more = 1, True
    while more:
        if usual := _USUAL.match(raw, at):
            name, dtype, shape, start, end, sign = usual.groups()
            at, more = usual.end(), sign == b","
            yield _decoded(name, refuse), {"dtype": dtype.decode("ascii", "replace"), "shape": [int(n) for n in shape[1:-1].split(b",") if n.strip()],
                                           "data_offsets": [int(start), int(end)]}
            continue
        found = _ENTRY.match(raw, at)
        if found is None:
            raise refuse(N_("it is not an object of objects"))
        at, more = found.end(), found[3] == b","
        yield _value(found[1], refuse), _value(found[2], refuse)
    if raw[at:].strip(b" "):
        raise refuse(N_("something stands behind its end"))


def _decoded(raw: bytes, refuse: Refuse) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise refuse(N_("it is not UTF-8")) from None


def _value(raw: bytes, refuse: Refuse) -> Any:
    try:
        return decode(raw, max_bytes=MAX_SAFETENSORS_HEADER, max_depth=2, wide_numbers=True, what=N_("header"))
    except SealiftError as problem:
        raise refuse(problem.params.get("reason", why(problem))) from None


def _safetensor(name: str, item: dict[str, Any], base: int, refuse: Refuse) -> Tensor:
    if not name.isprintable():
        raise refuse(N_("a tensor's name has control characters"))
    if set(item) != {"dtype", "shape", "data_offsets"}:
        raise refuse(N_("{name} has other fields than dtype, shape, data_offsets"), name=name[:80])
    dtype, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise refuse(N_("{name} has the unknown dtype {dtype}"), name=name[:80], dtype=str(dtype)[:40])
    if not isinstance(shape, list) or len(shape) > 16 or not all(_whole(n) for n in shape):
        raise refuse(N_("{name} has a malformed shape"), name=name[:80])
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_whole(n) for n in offsets) or offsets[0] > offsets[1]:
        raise refuse(N_("{name} has malformed offsets"), name=name[:80])
    bits = math.prod(shape) * DTYPE_BITS[dtype]
    if bits >= 1 << 63 or bits % 8 or bits // 8 != offsets[1] - offsets[0]:
        raise refuse(N_("the shape of {name} does not fit its data"), name=name[:80])
    return Tensor(name, sys.intern(dtype), tuple(shape), base + offsets[0], base + offsets[1])


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
