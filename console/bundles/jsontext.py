"""JSON files of models, checked to be JSON and looked through for a few keys, in little memory whatever they hold.

A value of small pieces takes twenty times the memory of its text. So what would be large as a value is read token by token.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from console.trust.canonical import value_bytes

MAX_BYTES = 64 << 20
"""The largest that is known, a tokenizer of 262,144 entries, has 33 MB."""
MAX_VALUE_BYTES = 220 << 20
MAX_PIECES = 4_000_000
"""That same tokenizer has 2.4 million."""
MAX_DEPTH = 200
_TOKEN = re.compile(rb"""[ \t\r\n]*(?:(?P<sign>[\[\]{},:])|(?P<text>"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+")|"""
                    rb"""(?P<plain>-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|NaN|-?Infinity))""")
_one_at_a_time = threading.Lock()


class TooLong(Exception):
    """Larger or deeper than any model's."""


def find(source: BinaryIO, size: int, keys: Sequence[str]) -> dict[str, list[Any]]:
    """By each of ``keys``, its values wherever it stands in an object of the text.

    Raises:
        ValueError: it is not JSON. TooLong.
    """
    if size > MAX_BYTES:
        raise TooLong
    with _one_at_a_time:  # several large ones at once would add up
        raw = source.read(size)
        if sum(map(raw.count, (b"[", b"{", b",", b":"))) > MAX_PIECES:
            raise TooLong
        found: dict[str, list[Any]] = {key: [] for key in keys}
        if value_bytes(raw) <= MAX_VALUE_BYTES:
            try:
                _collect(json.loads(raw), found)
            except RecursionError:
                raise TooLong from None
        else:
            _read_through(raw, found)
        return found


def _collect(value: Any, found: dict[str, list[Any]]) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        for one in level:
            if isinstance(one, dict):
                for key in found.keys() & one.keys():
                    found[key].append(one[key])
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
                 if isinstance(inner, dict | list)]
        if not level:
            return
    raise TooLong


def _tokens(raw: bytes) -> Iterator[tuple[str, bytes, int]]:
    """(kind, text, end) of every token."""
    at, end = 0, len(raw.rstrip(b" \t\r\n"))
    while at < end:
        token = _TOKEN.match(raw, at)
        if token is None or token.lastgroup is None:
            raise ValueError("not JSON")
        at = token.end()
        yield token.lastgroup, token[token.lastgroup], at


def _read_through(raw: bytes, found: dict[str, list[Any]]) -> None:
    raw.decode("utf-8")
    wanted = {json.dumps(key).encode(): key for key in found}
    stack: list[bytes] = []
    # What may come next: v a value, e a value or the end of a list, k a key, f a key or the end of an object, c a colon, n a comma or an end.
    state, took = "v", b""
    pending: list[tuple[str, int, int]] = []  # key, depth at which its value began, where
    for kind, text, end in _tokens(raw):
        if state in "kf" and kind == "text":
            took, state = text, "c"
            continue
        if state == "c" and text == b":":
            state = "v"
            name = wanted.get(took) or (json.loads(took) if b"\\" in took else None)
            if name in found:
                pending.append((name, len(stack), end))
            continue
        if state in "ve" and (kind != "sign" or text in (b"[", b"{")):
            if kind == "sign":
                stack.append(text)
                if len(stack) > MAX_DEPTH:
                    raise TooLong
                state = "e" if text == b"[" else "f"
            else:
                state = "n"
        elif text in (b"]", b"}") and stack and stack[-1] == {b"]": b"[", b"}": b"{"}[text] and state in ("ne" if text == b"]" else "nf"):
            stack.pop()
            state = "n"
        elif text == b"," and stack and state == "n":
            state = "v" if stack[-1] == b"[" else "k"
            continue
        else:
            raise ValueError("not JSON")
        if state == "n" and pending and pending[-1][1] == len(stack):
            name, _, begun = pending.pop()
            if end - begun > 16 << 20:
                raise TooLong
            found[name].append(json.loads(raw[begun:end]))
    if stack or state != "n":
        raise ValueError("not JSON")
