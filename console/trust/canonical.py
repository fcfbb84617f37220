"""Canonical JSON: one text for one value, so that it can be hashed and signed. Strict on the way in.

Within its limits (keys ``[a-z0-9_]{1,64}`` or of an in-toto statement, integers below 2^53, no floats) it equals
RFC 8785. Maps keyed by data (key ids, channels) have their keys widened by the caller.
"""

from __future__ import annotations

import json
import re
from typing import Any

from console.errors import VerdictError, code, why
from console.i18n import N_, Said

BAD_JSON = code("trust.json", VerdictError, N_("{what} is not the JSON that it must be: {reason}."),
                N_("The file is damaged or was not made by Sealift; get it anew."))
TOO_LARGE = code("trust.size", VerdictError, N_("{what} is larger than {limit_bytes} bytes."),
                 N_("The file is damaged or was not made by Sealift; get it anew."))

MAX_DEPTH = 32
MAX_VALUE_BYTES = 200 << 20
"""About what a document may take in memory: one of nothing but small pieces takes twenty times its bytes."""
_KEY = re.compile(r"[a-z0-9_]{1,64}")
_WIDE_KEY = re.compile(r"[A-Za-z0-9:._-]{1,128}")
_ASTRAL, _WIDE = re.compile(rb"[\xf0-\xf4]"), re.compile(rb"[\xc4-\xf4]")
IN_TOTO_KEYS = frozenset({"_type", "predicateType", "payloadType", "mediaType"})


def encode(value: Any, *, wide_keys: bool = False) -> bytes:
    """The canonical bytes of ``value``.

    Raises:
        ValueError: a value that canonical JSON has no form for.
    """
    _check(value, _WIDE_KEY if wide_keys else _KEY, 0)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _check(value: Any, key_form: re.Pattern[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(N_("it is nested too deeply"))
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int):
        if abs(value) >= 1 << 53:
            raise ValueError(N_("it holds a number of 2^53 or more"))
    elif isinstance(value, str):
        value.encode("utf-8")  # a lone surrogate has no bytes: UnicodeEncodeError is a ValueError
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str) or not (key_form.fullmatch(key) or key in IN_TOTO_KEYS):
                raise ValueError(Said(N_("the key {key} may not stand in it"), key=repr(key)[:80]))
            _check(inner, key_form, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner, key_form, depth + 1)
    else:
        raise ValueError(Said(N_("a value of the kind {kind} may not stand in it"), kind=type(value).__name__))


def decode(raw: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH, floats: bool = False, wide_numbers: bool = False,
           what: str = N_("document")) -> Any:
    """The value of JSON text: UTF-8, no duplicate key at any level, no NaN, no float unless asked for.

    Args:
        what: a marked text, what the document is. wide_numbers: let whole numbers of 2^53 and more pass, for foreign headers that count in 64 bits.

    Raises:
        VerdictError: ``trust.size``, ``trust.json``.
    """
    if len(raw) > max_bytes:
        raise TOO_LARGE(what=Said(what), limit_bytes=max_bytes)
    if value_bytes(raw) > MAX_VALUE_BYTES:
        raise BAD_JSON(what=Said(what), reason=N_("it has more pieces than any such document"))
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refused,
                           parse_float=_finite if floats else _refused, parse_int=_wide if wide_numbers else _whole)
        _check_depth(value, max_depth)
        if "\\u" in text:
            # A lone surrogate can only be written as an escape; it has no UTF-8 and no place in a name.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as problem:
        raise BAD_JSON(what=Said(what), reason=why(problem)) from None
    return value


def value_bytes(raw: bytes) -> int:
    """About the bytes of memory that the value of a JSON text takes, and the text with it; the value is not made for this."""
    width = 4 if _ASTRAL.search(raw) else 2 if _WIDE.search(raw) else 1
    return len(raw) * (1 + width) + 90 * (raw.count(b"[") + raw.count(b"{")) + 74 * (raw.count(b",") + raw.count(b":"))


def _check_depth(value: Any, limit: int) -> None:
    # Level by level: what the parser has let through is walked without recursion of our own.
    level, depth = [value] if isinstance(value, dict | list) else [], 0
    while level:
        depth += 1
        if depth > limit:
            raise ValueError(N_("it is nested too deeply"))
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)
                 if isinstance(inner, dict | list)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(Said(N_("the key {key} stands twice in it"), key=repr(twice)[:80]))
    return found


def _whole(text: str) -> int:
    if len(text) > 17 or abs(number := int(text)) >= 1 << 53:
        raise ValueError(Said(N_("the number {number} may not stand in it"), number=text[:40]))
    return number


def _wide(text: str) -> int:
    return int(text) if len(text) <= 20 else _refused(text)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(Said(N_("the number {number} may not stand in it"), number=text[:40]))
    return number


def _refused(text: str) -> Any:
    raise ValueError(Said(N_("the number {number} may not stand in it"), number=text[:40]))
