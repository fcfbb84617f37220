"""Which wheels fit a Python: names read after the wheel standard (PyPA, binary distribution format and platform
compatibility tags, manylinux after PEP 600), pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_FILE = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9._!+]+)(?:-\d[A-Za-z0-9._]*)?"
                   r"-([a-z0-9._]+)-([a-z0-9._]+)-([A-Za-z0-9._]+)\.whl")
_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


@dataclass(frozen=True)
class Wheel:
    """One wheel file: its path in the runtime component, digest and tags."""

    path: str
    sha256: str
    name: str
    version: str
    pythons: tuple[str, ...]
    abis: tuple[str, ...]
    platforms: tuple[str, ...]


def parse(path: str, sha256: str) -> Wheel | None:
    """The wheel at ``path``; None when its name is not a wheel's."""
    match = _FILE.fullmatch(path.rsplit("/", 1)[-1])
    if not match:
        return None
    name = re.sub(r"[-_.]+", "-", match[1]).lower()
    return Wheel(path, sha256, name, match[2], *(tuple(match[n].split(".")) for n in (3, 4, 5)))


def choose(wheels: Iterable[Wheel], python: Mapping[str, Any]) -> tuple[list[Wheel], list[str]]:
    """For each distribution the newest wheel that fits; and the names of those of which none fits."""
    best: dict[str, Wheel | None] = {}
    for wheel in wheels:
        known = best.setdefault(wheel.name, None)
        if fits(wheel, python) and (known is None or _order(wheel.version) > _order(known.version)):
            best[wheel.name] = wheel
    return [w for _, w in sorted(best.items()) if w], sorted(name for name, w in best.items() if w is None)


def fits(wheel: Wheel, python: Mapping[str, Any]) -> bool:
    """Whether ``python`` (version, machine, libc as the server told) can install it."""
    major, minor = python["version"]
    exact = f"cp{major}{minor}"
    for tag in wheel.pythons:
        if tag in (f"py{major}", f"py{major}{minor}", exact) and any(a in ("none", "abi3", exact) for a in wheel.abis):
            return any(_platform(p, python) for p in wheel.platforms)
        older = re.fullmatch(rf"cp{major}(\d+)", tag)
        if older and int(older[1]) <= minor and "abi3" in wheel.abis:
            return any(_platform(p, python) for p in wheel.platforms)
    return False


def _platform(tag: str, python: Mapping[str, Any]) -> bool:
    if tag == "any":
        return True
    kind, version = (list(python.get("libc") or ()) + ["", ""])[:2]
    match = re.fullmatch(r"(manylinux1|manylinux2010|manylinux2014|manylinux_(\d+)_(\d+)|linux)_(\w+)", tag)
    if not match or match[4] != python["machine"] or kind != "glibc":
        return False
    if match[1] == "linux":
        return True
    need = _LEGACY.get(match[1]) or (int(match[2]), int(match[3]))
    have = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    return len(have) == 2 and have >= need


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version.split("+")[0]))
