"""Repair data: one parity object to a group of objects rebuilds any one of them that is lost or damaged.

The parity object is the exclusive or of its group, each member filled up with zeros to the longest. With the members of a
group on different volumes, any one volume may be lost. What was rebuilt counts only when it has the digest that was signed,
so repair data needs no trust of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

MAX_GROUP = 64
"""Members of a group: beyond that, one bad spot in so many is too likely to meet a second."""


@dataclass(frozen=True)
class Group:
    """``object`` (SHA-256 hex, bytes) is the exclusive or of the objects ``of``."""

    object: tuple[str, int]
    of: tuple[str, ...]


def xor(parts: Iterable[bytes], size: int) -> bytes:
    """The exclusive or of ``parts``, each filled up with zeros to ``size`` bytes."""
    total = 0
    for part in parts:
        # Whole numbers are as wide as need be, and the interpreter works through them a machine word at a time.
        total ^= int.from_bytes(part, "little")
    return total.to_bytes(size, "little")


def across(volumes: Sequence[Sequence[tuple[str, int]]]) -> list[list[str]]:
    """Groups of objects that lie on different volumes: the largest of each, then the next ones.

    Args:
        volumes: for each, (digest, bytes) of its objects.
    """
    ranked = [sorted(objects, key=lambda item: (-item[1], item[0])) for objects in volumes]
    return [[item[0] for item in row if item is not None] for row in zip_longest(*ranked)]


def every(objects: Sequence[tuple[str, int]], count: int) -> list[list[str]]:
    """Groups of ``count`` objects of about the same size; among equal ones by digest, so that neighbours on a drive are in
    different groups."""
    ranked = [digest for digest, _ in sorted(objects, key=lambda item: (-item[1], item[0]))]
    return [ranked[at : at + count] for at in range(0, len(ranked), count)]


def cost(groups: Iterable[Sequence[str]], sizes: dict[str, int]) -> int:
    """Bytes of the parity objects of these groups."""
    return sum(max(sizes[digest] for digest in group) for group in groups)
