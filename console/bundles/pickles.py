"""Whether bytes would run as a pickle: their opcodes are walked, none of them is carried out.

Opcodes and their arguments: the pickle module's protocols 0 to 5 (Python 3.13, pickletools). The walk forgives more than the
real reader does, so what that one would run is noticed; what keeps plain text apart is that the stack has to fit at every step.
"""

from __future__ import annotations

from typing import BinaryIO

MAX_OPCODES = 20_000
"""A file that reads as a pickle for so long is one, whatever comes after."""
MAX_LINE_BYTES = 64 << 20
"""Bytes of arguments that end with their line, in all. No text that belongs to a model is a line of so many."""
MIN_OPCODES = 8
"""A pickle of plain data that is shorter than this is taken for the text that it may be."""

# Bytes of an argument of fixed length, and width of the length that goes before an argument of any.
_FIXED = {b"J": 4, b"K": 1, b"M": 2, b"G": 8, b"h": 1, b"j": 4, b"q": 1, b"r": 4, b"\x82": 1, b"\x83": 2, b"\x84": 4, b"\x80": 1, b"\x95": 8}
_COUNTED = {b"T": 4, b"U": 1, b"B": 4, b"C": 1, b"X": 4, b"\x8a": 1, b"\x8b": 4, b"\x8c": 1, b"\x8d": 8, b"\x8e": 8, b"\x96": 8}
_LINES = {b"I": 1, b"L": 1, b"S": 1, b"V": 1, b"F": 1, b"P": 1, b"g": 1, b"p": 1, b"c": 2, b"i": 2}
# What each takes from the stack and puts there; what works on everything down to a mark stands apart.
_PUSHES = frozenset(bytes([byte]) for byte in b"IJKMLSTUBCNVXFGg\x88\x89\x8a\x8b\x8c\x8d\x8e\x96\x97]})\x8f\x82\x83\x84cPhj")
_POPS = {b"a": (2, 1), b"s": (3, 1), b"0": (1, 0), b"2": (1, 2), b"\x85": (1, 1), b"\x86": (2, 1), b"\x87": (3, 1), b"\x93": (2, 1), b"R": (2, 1),
         b"b": (2, 1), b"\x81": (2, 1), b"\x92": (3, 1), b"Q": (1, 1), b"\x94": (1, 1), b"\x98": (1, 1), b"p": (1, 1), b"q": (1, 1), b"r": (1, 1),
         b"\x80": (0, 0), b"\x95": (0, 0)}
_TO_MARK = {b"e": (1, 1), b"u": (1, 1), b"\x90": (1, 1), b"l": (0, 1), b"t": (0, 1), b"d": (0, 1), b"\x91": (0, 1), b"1": (0, 0), b"i": (0, 1),
            b"o": (0, 1)}
_NAMES = frozenset((b"c", b"i", b"\x93", b"\x82", b"\x83", b"\x84"))
_CALLS = frozenset((b"R", b"b", b"\x81", b"\x92", b"o", b"i"))


class _End(Exception):
    """The bytes ran out, or are no pickle any more."""


class _Long(Exception):
    """A line longer than any honest one."""


def is_pickle(source: BinaryIO, size: int, *, patient: bool = True) -> bool:
    """Whether the ``size`` bytes of ``source``, which stands at its start, would run, or load, as a pickle.

    Args:
        patient: take for a pickle too what begins as one and then goes on for longer than :data:`MAX_LINE_BYTES` without a line's
            end. Not for data that may be any bytes.
    """
    walk = _Walk(source, size)
    try:
        return walk.run()
    except _End:
        return False
    except _Long:
        return patient


class _Walk:
    def __init__(self, source: BinaryIO, size: int):
        self._source, self._size, self._left = source, size, MAX_LINE_BYTES
        self._marks: list[int] = []  # heights of the stack at its marks
        self._height = 0
        self._named = False

    def run(self) -> bool:
        for count in range(MAX_OPCODES):
            opcode = self._source.read(1)
            if opcode == b"P" and not count:
                return False  # of a reader that knows nothing of persistent ids yet, and of zip archives the first byte
            if opcode == b".":
                return self._height == 1 and not self._marks and (self._named or count > MIN_OPCODES)
            self._argument(opcode)
            self._stack(opcode)
            self._named = self._named or opcode in _NAMES
            if self._named and opcode in _CALLS:
                return True
        return True

    def _argument(self, opcode: bytes) -> None:
        if opcode in _LINES:
            for _ in range(_LINES[opcode]):
                line = self._line()
                # Names of modules and of what is in them; a text whose lines are single words is kept apart by the stack.
                if opcode in _NAMES and not line.replace(b".", b"_").decode("utf-8", "replace").isidentifier():
                    raise _End
        elif opcode in _FIXED:
            self._pass_over(_FIXED[opcode])
        elif opcode in _COUNTED:
            width = _COUNTED[opcode]
            length = self._source.read(width)
            if len(length) != width:
                raise _End
            self._pass_over(int.from_bytes(length, "little"))

    def _pass_over(self, count: int) -> None:
        target = self._source.tell() + count
        if target > self._size:
            raise _End
        self._source.seek(target)

    def _line(self) -> bytes:
        line = self._source.readline(1 << 16)
        kept = line
        while line and not line.endswith(b"\n"):
            self._left -= len(line)
            if self._left <= 0:
                raise _Long
            line = self._source.readline(1 << 16)
        if not line:
            raise _End
        return kept.rstrip(b"\n").strip()

    def _stack(self, opcode: bytes) -> None:
        if opcode == b"(":
            self._marks.append(self._height)
            return
        if opcode in _TO_MARK:
            if not self._marks:
                raise _End
            self._height = self._marks.pop()
        taken, put = _TO_MARK.get(opcode) or _POPS.get(opcode) or (0, 1 if opcode in _PUSHES else None)
        floor = self._marks[-1] if self._marks else 0
        if put is None or self._height - taken < floor:
            raise _End
        self._height += put - taken
