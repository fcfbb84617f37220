"""Python interpreters on the server."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import Fact
from console.facts.grammar import clean

_SCRIPT = r"""for p in python3 python3.8 python3.9 python3.10 python3.11 python3.12 python3.13 python3.14 \
/opt/*/bin/python3; do
f=$(command -v "$p" 2>/dev/null) || continue; [ -x "$f" ] || continue
printf '%s|%s|%s\n' "$f" "$("$f" -V 2>&1 | head -n 1)" \
"$("$f" -c 'import ensurepip, venv; print("venv")' 2>/dev/null)"; done; exit 0"""


def _versions(text: str) -> list[dict[str, Any]]:
    """``path``, ``version``, and ``venv``: whether virtual environments can be made with pip."""
    found: dict[str, dict[str, Any]] = {}
    for line in clean(text).splitlines():
        cells = line.split("|")
        version = re.match(r"Python (\d+\.\d+\.\d+\S*)", cells[1]) if len(cells) == 3 else None
        if version:
            found.setdefault(cells[0], {"path": cells[0], "version": version[1], "venv": cells[2] == "venv"})
    return list(found.values())


FACTS = [Fact("python.versions", ("sh", "-c", _SCRIPT), 30, _versions)]
