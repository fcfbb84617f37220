"""What an import keeps beside the files that it copies, for when it is cut off or waits for a volume."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from console.bundles.inspection import Inspection
from console.bundles.manifest import Statement

VOLUMES_READ, PASSES = "volumes.json", "passes.json"


def held_bytes(folder: Path) -> int:
    """What the files of a folder take on the disk; those that are not written to their end take less than their size."""
    with contextlib.suppress(OSError):
        return sum(f.stat().st_blocks * 512 if os.name == "posix" else f.stat().st_size for f in folder.glob("*") if f.is_file())
    return 0


def volumes_read(staging: Path) -> dict[int, list[str]]:
    """By number, the volumes that earlier passes of this import have read, with the chunks that were damaged there. The
    numbers are of unsigned hints: they decide only which drive is asked for."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return {int(number): list(digests) for number, digests in json.loads((staging / VOLUMES_READ).read_bytes()).items()}
    return {}


@dataclass
class Passes:
    """What an import has read so far, with one drive after the other: its receipt tells of all of them.

    The numbers and labels of volumes are of unsigned hints.
    """

    media: list[dict[str, Any]]
    copied: int = 0
    rebuilt: int = 0
    title: str = ""

    @classmethod
    def read(cls, staging: Path) -> Passes:
        """Of the passes before."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            told = json.loads((staging / PASSES).read_bytes())
            return cls([{"number": int(v["number"]), "label": str(v["label"])} for v in told["media"]], int(told["copied"]), int(told["rebuilt"]),
                       str(told["title"]))
        return cls([])

    @classmethod
    def of(cls, staging: Path, seen: Inspection, statement: Statement) -> Passes:
        """Of the passes before, with the volumes that are here now."""
        found = cls.read(staging)
        found.title = statement.bundle["title"]
        volumes = {v["number"]: v for v in found.media} | {v.number: {"number": v.number, "label": v.label} for v in seen.media.volumes}
        found.media = [volumes[number] for number in sorted(volumes)]
        return found

    def write(self, staging: Path) -> None:
        """For the next pass."""
        write_whole(staging / PASSES, json.dumps(asdict(self)).encode())


def write_whole(path: Path, data: bytes) -> None:
    """Replace a small file by ``data``, wholly or not at all, and flush it."""
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)
