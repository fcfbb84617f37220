"""Bytes, durations and rates: parsed and printed here and nowhere else.

GiB is 2^30 and GB is 10^9, on screen too.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
_SIZES = {"": 1, "B": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB, "KIB": KIB, "MIB": MIB, "GIB": GIB, "TIB": TIB,
          "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?(?:I?B)?)\s*", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of ``"4GiB"``, ``"4G"`` (binary), ``"4GB"`` (decimal) or ``"4096"``.

    Raises:
        ValueError: not a size.
    """
    match = _SIZE.fullmatch(text)
    if not match or match[2].upper() not in _SIZES:
        raise ValueError(f"not a size: {text!r}")
    return int(float(match[1]) * _SIZES[match[2].upper()])


def size(count_bytes: int | float | None) -> str:
    """``"1.5 GiB"``; ``"–"`` for an unknown size."""
    if count_bytes is None:
        return "–"
    value, sign = abs(count_bytes), "-" if count_bytes < 0 else ""
    for unit, step in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if value >= step:
            return f"{sign}{value / step:.1f} {unit}"
    return f"{sign}{int(value)} B"


def rate(bytes_per_s: float | None) -> str:
    """``"118.0 MiB/s"``."""
    return "–" if bytes_per_s is None else f"{size(bytes_per_s)}/s"


def duration(seconds: float | None) -> str:
    """``"850 ms"``, ``"12 s"``, ``"3 min 05 s"``, ``"2 h 04 min"``."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def utc_now() -> str:
    """The time as every document and record holds it: ``YYYY-MM-DDTHH:MM:SS.ffffffZ``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
