"""Where the files that ship beside the code lie, from source and frozen alike."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path


@cache
def root() -> Path:
    """The folder that holds ``assets/`` and ``playbooks/``."""
    frozen = getattr(sys, "_MEIPASS", None)
    return Path(frozen) if frozen else Path(__file__).resolve().parent.parent


def asset(name: str) -> Path:
    """Path of ``assets/<name>``."""
    return root() / "assets" / name


def playbooks() -> Path:
    """The folder of the playbooks that ship with the program."""
    return root() / "playbooks"
