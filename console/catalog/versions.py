"""Versions compared field by field as integers, never as text: 570.124 is newer than 570.26."""

from __future__ import annotations

import re
from functools import total_ordering

_PARTS = re.compile(r"\d+|[A-Za-z]+")
_PRE = {"dev": -4, "alpha": -3, "a": -3, "beta": -2, "b": -2, "rc": -1, "c": -1}


@total_ordering
class Version:
    """A version such as ``580.65.06``, ``9.1.0``, ``8.3.RC1`` or ``2.7.1.post1``. RC, alpha and beta come before, post after."""

    def __init__(self, text: str):
        """Raises ValueError: there is no number in it."""
        self.text = str(text).strip()
        words = _PARTS.findall(self.text.partition("+")[0].lstrip("vV"))
        if not any(word.isdigit() for word in words) or len(words) > 20 or any(len(word) > 18 for word in words):
            raise ValueError(f"not a version: {text!r}")
        self._key = tuple(int(w) if w.isdigit() else _PRE.get(w.lower(), 0) for w in words)

    def _padded(self, other: Version) -> tuple[tuple[int, ...], tuple[int, ...]]:
        size = max(len(self._key), len(other._key))
        return tuple(self._key + (0,) * (size - len(self._key))), tuple(other._key + (0,) * (size - len(other._key)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Version):
            return NotImplemented
        mine, theirs = self._padded(other)
        return mine == theirs

    def __lt__(self, other: Version) -> bool:
        mine, theirs = self._padded(other)
        return mine < theirs

    def __hash__(self) -> int:
        return hash(tuple(self._key))

    def __repr__(self) -> str:
        return f"Version({self.text!r})"

    @property
    def major(self) -> int:
        """The first number."""
        return next((n for n in self._key if n >= 0), 0)


def version(text: str | None) -> Version | None:
    """The version in ``text``, None where there is none."""
    try:
        return Version(text) if text else None
    except ValueError:
        return None


def matches(text: str, pattern: str) -> bool:
    """Whether a version fits a pattern in which ``X`` stands for any number: ``25.3.RC1`` fits ``25.3.X``."""
    head, mark, _ = pattern.upper().partition(".X")
    mine = text.upper().strip()
    if mark:
        return mine == head or mine.startswith(head + ".")
    first, second = version(mine), version(pattern)
    return first is not None and first == second
