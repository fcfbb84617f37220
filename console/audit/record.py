"""The form of a record: what a value becomes in it, and where it comes from."""

from __future__ import annotations

import contextlib
import sys
import uuid
from pathlib import Path
from typing import Any

from console.trust.canonical import encode

MAX_RECORD_BYTES = 64 << 10
MAX_TEXT = 4 << 10
"""Bytes of UTF-8."""


def encoded(record: dict[str, Any]) -> bytes:
    """The record's canonical bytes; a detail that is too large for a record is left out and said to be."""
    raw = encode(record)
    if len(raw) > MAX_RECORD_BYTES:
        raw = encode(record | {"detail": {"dropped": "the detail was larger than a record may be"}})
    return raw


def plain(value: Any) -> Any:
    """``value`` in the forms that a record may hold: keys made fit, floats as text, long text cut."""
    if isinstance(value, dict):
        return {_key(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, bool) or value is None or (isinstance(value, int) and abs(value) < 1 << 53):
        return value
    text = str(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    raw = text.encode("utf-8")
    return text if len(raw) <= MAX_TEXT else raw[: MAX_TEXT - 3].decode("utf-8", "ignore") + "…"


def _key(key: Any) -> str:
    text = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in str(key).lower())
    return text[:64] or "_"


def boot_id() -> str:
    """What tells one start of this computer from the next; its monotonic clock counts within one."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    import psutil

    return f"{sys.platform}-{uuid.getnode():012x}-{int(psutil.boot_time())}"


def host() -> str:
    """This computer's name."""
    import socket

    return socket.gethostname()
