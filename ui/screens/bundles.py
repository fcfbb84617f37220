"""What the library screen asks of the engine: bundles on drives before they are trusted, room, jobs on them."""

from __future__ import annotations

import glob
import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from console.bundles.library import Room
from console.errors import WorldError
from console.jobs.job import JobSpec
from ui.screens.tasks import changing

Say = Callable[..., str]

FILE_SYSTEM_SHARE = 0.98
"""Part of a drive's free room that a volume may take: file systems need the rest for themselves."""

FAT32_VOLUME = 4 << 30
"""A volume that also fits where one file may have no more than 4 GiB, as in a disk image on FAT32."""


@dataclass(frozen=True)
class FoundBundle:
    """A bundle on one or more drives, inspected and not trusted.

    Attributes:
        folders: its volumes' folders.
        told: what the inspection says, as the command line prints it.
        files: path, size and SHA-256 of every file that its index lists.
        imported: whether this very release is in the library.
    """

    folders: tuple[Path, ...]
    told: dict[str, Any]
    files: tuple[Any, ...] = ()
    room: Room | None = None
    imported: bool = False

    @property
    def id(self) -> str:
        """The bundle's id."""
        return self.told["bundle_id"]

    @property
    def here(self) -> dict[int, dict[str, Any]]:
        """By number, the volumes that are here."""
        return {volume["number"]: volume for volume in self.told["volumes"]}

    @property
    def volumes(self) -> tuple[int, int]:
        """How many of its volumes are here, and how many there are."""
        return len(self.here), max((v["of"] for v in self.told["volumes"]), default=1)


def find(engine: Any, places: Iterable[Path]) -> list[FoundBundle]:
    """The bundles at ``places``, inspected but not verified. A drive that was pulled meanwhile is passed over."""
    from console.bundles import media

    found, known = [], {release.release_id for release in engine.library.list()}
    for one in media.find([place for place in places if place.is_dir()]):
        try:
            found.append(_look(engine, tuple(volume.folder for volume in one.volumes), known))
        except WorldError:
            continue
    return found


def _look(engine: Any, folders: tuple[Path, ...], known: set[str]) -> FoundBundle:
    from console.bundles.acceptance import Site
    from console.bundles.inspection import document, inspect

    seen = inspect(folders, Site(engine))
    told = document(seen, None)
    return FoundBundle(folders, told, seen.files, engine.library.room(seen), told.get("release_id") in known)


def verify(engine: Any, say: Say, folders: tuple[Path, ...]) -> JobSpec:
    """Check every byte of a bundle; changes nothing."""
    def run(ctx: Any) -> dict[str, Any]:
        from console.bundles.acceptance import Site
        from console.bundles.verify import verify as check

        return check(ctx, folders, Site(engine))

    return JobSpec("bundle.verify", say("Verify the bundle"), run, changed=frozenset({"jobs"}))


def bring_in(engine: Any, say: Say, folders: tuple[Path, ...], overrides: frozenset[str] = frozenset()) -> JobSpec:
    """Check and copy a bundle into the library."""
    return engine.library.import_job(folders, say("Bring the bundle in"), overrides)


def recheck(engine: Any, say: Say, release: Any) -> JobSpec:
    """Hash a release's files in the library again."""
    return JobSpec("bundle.check", say("Hash the library's files again"),
                   lambda ctx: engine.library.verify(ctx, release), changed=frozenset({"jobs"}))


def write_receipt(engine: Any, release: Any, path: Path) -> None:
    """Write an import's signed receipt to ``path``.

    Raises:
        WorldError: ``bundle.library-damaged``, ``bundle.receipt-unwritable``.
    """
    engine.library.write_receipt(release, path)


# Building ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draft:
    """A bundle that is being described in the builder.

    ``components`` are as a description file has them: id, type, version, from, license, exclude.
    """

    title: str
    channel: str
    sequence: int
    components: tuple[dict[str, Any], ...]

    def text(self) -> str:
        """The description file."""
        return yaml.safe_dump({"title": self.title, "channel": self.channel, "sequence": self.sequence,
                               "components": list(self.components)}, allow_unicode=True, sort_keys=False)


def without(draft: Draft, paths: Iterable[str]) -> Draft:
    """A draft that leaves these files of the bundle out."""
    parts = []
    for part in draft.components:
        inside = [glob.escape(path.removeprefix(part["id"] + "/")) for path in paths if path.startswith(part["id"] + "/")]
        parts.append(part | {"exclude": [*part.get("exclude", ()), *inside]} if inside else part)
    return replace(draft, components=tuple(parts))


@dataclass(frozen=True)
class Weight:
    """What a draft comes to: files, their bytes, and what is known of each component, by its id."""

    files: int
    bytes: int
    parts: dict[str, tuple[int, int, str]]


def describe(path: Path) -> dict[str, str]:
    """The component that a dropped folder or file most likely is.

    Raises:
        InputError, VerdictError: of the description.
    """
    from console.bundles import spec

    if path.is_dir():
        part = spec.read(path).parts[0]
        return {"id": part.id, "type": part.type, "version": part.version, "from": str(path), "license": part.license}
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in path.stem.lower()).strip("._-")
    kind = {".gguf": "model", ".onnx": "model", ".safetensors": "model", ".yaml": "playbook", ".yml": "playbook",
            ".md": "docs", ".txt": "docs", ".pdf": "docs"}.get(path.suffix.lower(), "runtime")
    return {"id": stem[:64] or "part", "type": kind, "version": "1", "from": str(path), "license": ""}


def weigh(draft: Draft) -> Weight:
    """Read a draft as the build will, without hashing.

    Raises:
        InputError: ``bundle.bad-spec``, ``bundle.source-unreadable``, ``bundle.source-special``.
    """
    from console.bundles import spec

    with tempfile.TemporaryDirectory(prefix="sealift-draft-") as scratch:
        file = Path(scratch) / "bundle.yaml"
        file.write_text(draft.text(), encoding="utf-8")
        asked = spec.read(file)
    parts = {part.id: (len(part.files), sum(source.stat().st_size for _path, source in part.files), part.format)
             for part in asked.parts}
    return Weight(sum(files for files, _size, _form in parts.values()),
                  sum(size for _files, size, _form in parts.values()), parts)


def repair_bytes(content_bytes: int, volume_bytes: int | None, parity: str | int) -> int:
    """About what repair data takes: a volume's worth to replace any one volume, or one object to so many others."""
    if isinstance(parity, int):
        return math.ceil(content_bytes / parity)
    return min(content_bytes, volume_bytes or content_bytes)


def build(say: Say, draft: Draft, out: Path, key: Any, volume_bytes: int | None, parity: str | int | None = None) -> JobSpec:
    """Build and sign a draft below ``out``; ``key`` is the private key, ``parity`` the engine's word for repair data."""
    def run(ctx: Any) -> Any:
        from console.bundles.build import build as write

        with tempfile.TemporaryDirectory(prefix="sealift-draft-") as scratch:
            file = Path(scratch) / "bundle.yaml"
            file.write_text(draft.text(), encoding="utf-8")
            return write(ctx, file, out, [key], volume_bytes, parity=parity)

    return changing(JobSpec("bundle.build", say("Build the bundle"), run), "drives")


def load_key(path: Path, passphrase: Any = None) -> Any:
    """The private key in a file.

    Raises:
        InputError: ``key.locked`` when a passphrase is needed, and others.
    """
    from console.trust.keys import load_private

    return load_private(path, passphrase)


def new_key(path: Path, passphrase: Any) -> Any:
    """Make a signing key, with its public half beside it under the same name ending in ``.pub``.

    Raises:
        InputError: ``key.exists``. WorldError: ``key.unwritable``.
    """
    from console.trust.keys import UNWRITABLE, PrivateKey

    key = PrivateKey.generate()
    key.save(path, passphrase)
    try:
        path.with_suffix(".pub").write_bytes(key.public.pem)
    except OSError as problem:
        raise UNWRITABLE(path=str(path.with_suffix(".pub")), reason=problem.strerror or "?") from None
    return key
