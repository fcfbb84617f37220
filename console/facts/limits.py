"""Limits of the account's processes, and shared memory."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import file_fact
from console.facts.grammar import Page, clean, whole

_ROW = re.compile(r"(Max [a-z ]+?)\s{2,}(unlimited|\d+)\s+(unlimited|\d+)(?:\s+(\w+))?")
_NAMES = {"Max open files": "open_files", "Max processes": "processes", "Max locked memory": "locked_memory_bytes",
          "Max stack size": "stack_bytes", "Max address space": "address_space_bytes",
          "Max core file size": "core_bytes"}


def _limits(text: str) -> dict[str, dict[str, Any]]:
    """``/proc/self/limits``: by name ``soft`` and ``hard``; ``"unlimited"`` stays a word."""
    page, found = Page(clean(text), "/proc/self/limits"), {}
    for _, line in page.numbered(1):
        match = _ROW.match(line)
        if match and match[1] in _NAMES:
            soft, hard = (value if value == "unlimited" else whole(value) for value in (match[2], match[3]))
            found[_NAMES[match[1]]] = {"soft": soft, "hard": hard}
    if not found:
        page.empty()
    return found


FACTS = [file_fact("limits", "/proc/self/limits", _limits)]
