"""Where a file is cut: at fixed places, or along its tensors, so that an update shares all that did not change."""

from __future__ import annotations

from itertools import groupby
from typing import BinaryIO

from console.bundles import gguf, headers
from console.bundles.headers import Tensor
from console.bundles.layout import CHUNK_MAX


def fixed(size: int, chunk_max: int = CHUNK_MAX) -> list[int]:
    """Chunk sizes of a file without known structure."""
    return [chunk_max] * (size // chunk_max) + ([size % chunk_max] if size % chunk_max else [])


def along_tensors(header: int, tensors: list[Tensor], size: int, chunk_max: int = CHUNK_MAX) -> list[int]:
    """Chunk sizes with the header apart and cuts between tensors.

    Tensors of one module are kept together while they fit; a larger tensor is cut from its own start. Modules are taken
    as coarse as it needs for at most about twice the chunks of fixed cuts.
    """
    limit = 2 * len(fixed(size, chunk_max)) + 2
    for drop in range(1, 12):
        sizes = fixed(header, chunk_max) + _grouped(header, tensors, size, chunk_max, drop)
        if len(sizes) <= limit:
            return sizes
    return fixed(header, chunk_max) + fixed(size - header, chunk_max)


def _grouped(header: int, tensors: list[Tensor], size: int, chunk_max: int, drop: int) -> list[int]:
    if not tensors:
        return fixed(size - header, chunk_max)
    sizes: list[int] = []
    ends = [t.start for t in tensors[1:]] + [size]  # padding behind a tensor belongs to it
    spans = [(t.name.rsplit(".", drop)[0], t.start if i else header, end)
             for i, (t, end) in enumerate(zip(tensors, ends, strict=True))]
    for _, group in groupby(spans, key=lambda span: span[0]):
        sizes += _module([end - start for _, start, end in group], chunk_max)
    return sizes


def _module(lengths: list[int], chunk_max: int) -> list[int]:
    sizes, held = [], 0
    for length in lengths:
        if held and held + length > chunk_max:
            sizes.append(held)
            held = 0
        if length > chunk_max:
            sizes += fixed(length, chunk_max)
        else:
            held += length
    return sizes + ([held] if held else [])


def plan(source: BinaryIO, size: int, path: str) -> tuple[list[int], list[Tensor], dict[str, str]]:
    """(chunk sizes, tensors, metadata) of a file by what it is; leaves ``source`` anywhere.

    Raises:
        VerdictError: ``bundle.header`` for a weights file whose header is refused.
    """
    kind = headers.safetensors if path.endswith(".safetensors") else gguf.read if path.endswith(".gguf") else None
    if kind is None or size == 0:
        return fixed(size), [], {}
    header, tensors, metadata = kind(source, size, path)
    return along_tensors(header, tensors, size), tensors, metadata
