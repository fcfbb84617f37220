"""Hash trees of RFC 6962 over an append-only log, kept as their right edge: one hash for each bit set in the size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(record: bytes) -> bytes:
    """SHA-256(0x00 || record)."""
    return hashlib.sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Edge:
    """The right edge of a growing tree: enough to go on and to give the root, 32 bytes a bit of the size."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()):
        """Go on from a known edge, largest subtree first.

        Raises:
            ValueError: the number of hashes does not fit the size.
        """
        if len(hashes) != size.bit_count():
            raise ValueError("an edge has one hash for each bit set in its size")
        self.size, self.hashes = size, list(hashes)

    def add(self, leaf: bytes) -> None:
        """Append a leaf hash."""
        self.size += 1
        self.hashes.append(leaf)
        for _ in range((self.size & -self.size).bit_length() - 1):
            right = self.hashes.pop()
            self.hashes.append(node_hash(self.hashes.pop(), right))

    def root(self) -> bytes:
        """The root of all leaves so far."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    edge = Edge()
    for leaf in leaves:
        edge.add(leaf)
    return edge.root()


def _split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def consistency_proof(leaves: Sequence[bytes], old: int) -> list[bytes]:
    """RFC 6962, section 2.1.2: shows that the first ``old`` leaves are a prefix of ``leaves``.

    Raises:
        ValueError: ``old`` is not from 1 to the number of leaves.
    """
    if not 0 < old <= len(leaves):
        raise ValueError("no such old size")

    def prove(low: int, high: int, size: int, whole: bool) -> list[bytes]:
        if size == high - low:
            return [] if whole else [root_of(leaves[low:high])]
        middle = low + _split(high - low)
        if size <= middle - low:
            return [*prove(low, middle, size, whole), root_of(leaves[middle:high])]
        return [*prove(middle, high, size - (middle - low), False), root_of(leaves[low:middle])]

    return prove(0, len(leaves), old, True)


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """RFC 6962, section 2.1.1: the path from leaf ``index`` to the root."""

    def path(low: int, high: int, at: int) -> list[bytes]:
        if high - low == 1:
            return []
        middle = low + _split(high - low)
        if at < middle:
            return [*path(low, middle, at), root_of(leaves[middle:high])]
        return [*path(middle, high, at), root_of(leaves[low:middle])]

    if not 0 <= index < len(leaves):
        raise ValueError("no such leaf")
    return path(0, len(leaves), index)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``proof`` leads from ``leaf`` to ``root`` (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, value = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            value = node_hash(step, value)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            value = node_hash(value, step)
        at, last = at >> 1, last >> 1
    return last == 0 and value == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows the tree of ``old`` leaves to be a prefix of that of ``new`` (RFC 9162, section 2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    steps = list(proof)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, step)
        at, last = at >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root
