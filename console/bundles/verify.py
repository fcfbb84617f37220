"""Checks a bundle on its drives: signatures, index, every byte, contents. Lists everything that it can know."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from console.bundles import layout, manifest, publishers, screening
from console.bundles.inspection import SAID, Inspection, Judge, check_hint, document, inspect
from console.bundles.manifest import FileEntry
from console.bundles.media import GONE, ChunkedFile, Unsafe, digest_of, linked_folders, open_plain, read_small
from console.bundles.screening import REMARK
from console.bundles.workers import in_step
from console.i18n import N_, Said
from console.jobs.job import Context
from console.trust import oms
from console.trust.keys import PublicKey

REPAIR_DATA = "repair data"
PART_BYTES, PART_OBJECTS, BLOCK_BYTES = 8 << 20, 64, 1 << 20
_FOLDER = re.compile(rf"{layout.OBJECTS}(/[0-9a-f]{{2}})?|{layout.OMS}|{layout.TRUST}")
SMALL_BYTES = 1 << 18
"""A file of one chunk up to this is hashed and screened in one go, from memory."""
_T, _A = TypeVar("_T"), TypeVar("_A")
Problem = tuple[str, Path | None]
Screened = list[screening.Finding]


def verify(ctx: Context, places: Sequence[Path], by: Mapping[str, tuple[PublicKey, str]] | Judge, threshold: int = 1) -> dict[str, Any]:
    """The contract's verdict document; ``verified`` only when every byte was hashed and the signatures count.

    With some volumes of several, those are checked in full and the verdict is at best ``unverified``.

    Raises:
        InputError: ``bundle.not-found``, ``bundle.several``. WorldError: ``bundle.media-removed``. Cancelled.
    """
    ctx.phase(N_("Check the signature"))
    seen = inspect(places, by, threshold)
    hashed = 0
    try:
        ctx.phase(N_("Hash every byte"))
        if seen.index is not None:
            hashed = _Check(ctx, seen).run()
            _check_signatures_of_models(seen)
            _check_publishers(seen)
        else:
            _hash_by_name(ctx, seen)
        _look_for_extras(seen)
    except OSError as problem:
        place = problem.filename or str(seen.media.volumes[0].folder)
        raise GONE(place=place, reason=problem.strerror or "?") from None
    return document(seen, hashed)


# Every byte ----------------------------------------------------------------------------------------------------------


@dataclass
class _Told:
    """What one run of objects came to: of each, where it lies and what is wrong; and the small files that were screened on the way."""

    objects: list[tuple[str, int, list[Path], list[Problem]]] = field(default_factory=list)
    screened: list[tuple[int, Screened]] = field(default_factory=list)


class _Check:
    """Hashes each object that is there once, every copy of it, and screens each file as soon as its bytes are known to be right: they are
    in the page cache then, so that a slow drive is read once."""

    def __init__(self, ctx: Context, seen: Inspection):
        self._ctx, self._seen = ctx, seen
        statement = seen.statement
        self._kinds = {c.id: c.type for c in statement.components} if statement is not None else {}
        self._sizes = {f.path: f.size for f in seen.files}
        self._small: dict[str, list[int]] = {}
        for number, entry in enumerate(seen.files):
            if entry.size <= SMALL_BYTES and len(entry.chunks) == 1:
                self._small.setdefault(entry.chunks[0][0], []).append(number)
        self._bad_places: set[Path] = set()
        self._external = self._named_data()
        self._held: dict[Path, int] = dict.fromkeys((v.folder for v in seen.media.volumes), 0)
        self._bad: dict[str, list[Problem]] = {}
        self._lost: set[str] = set()  # no copy of them is in order
        self._found: dict[int, Screened] = {}

    def run(self) -> int:
        """The bytes of those objects that are what the index says."""
        objects = self._seen.objects
        total, done, good = sum(objects.values()), 0, 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for answer in in_step(pool, self._work(objects)):
                if isinstance(answer, tuple):
                    self._found[answer[0]] = answer[1]
                    continue
                for digest, length, places, problems in answer.objects:
                    done += length
                    good += length if self._enter(digest, places, problems) else 0
                self._found |= answer.screened
                self._ctx.progress(done, total, "bytes")
        self._tell_bad_objects()
        for number in sorted(self._found):
            for item in self._found[number]:
                self._seen.found(REMARK if item.remark else item.code, item.path, item.message, item.params)
        if good == total:
            # Every object is here: then no volume is lacking, whatever the hints say.
            self._seen.findings = [f for f in self._seen.findings if not f.get("pending")]
        elif self._seen.media.missing_volumes():
            self._compare_counts()
        return good

    def _kind(self, entry: FileEntry) -> str:
        # What nobody says of which kind it is can only be held to the rules that hold for all.
        return self._kinds.get(entry.component, "runtime")

    def _open(self, entry: FileEntry) -> io.BufferedReader:
        return io.BufferedReader(ChunkedFile(self._seen.media, entry, self._bad_places), BLOCK_BYTES)

    def _named_data(self) -> frozenset[str]:
        """Files that ONNX models name as their data."""
        named: set[str] = set()
        for entry in self._seen.files:
            if self._kind(entry) == "model" and entry.path.lower().endswith(".onnx"):
                with contextlib.suppress(Unsafe), self._open(entry) as source:
                    named |= screening.external_data(entry.path, entry.size, source)
        return frozenset(named)

    def _work(self, objects: Mapping[str, int]) -> Iterator[Callable[[], Any]]:
        """Runs of objects to hash, and between them the files that are complete by then."""
        ends, known = [], set[str]()
        for entry in self._seen.files:
            known.update(d for d, _ in entry.chunks)
            ends.append(len(known))  # objects are in the files' order
        del known
        passed = following = 0
        for part in [*_parts(objects), []]:
            if part:
                yield lambda part=part: self._hash(part)
            passed += len(part)
            reached = bisect_right(ends, passed)
            for number in range(following, reached):
                if not self._in_passing(self._seen.files[number]):
                    yield lambda number=number: self._screen(number)
            following = reached

    def _in_passing(self, entry: FileEntry) -> bool:
        return entry.size <= SMALL_BYTES and len(entry.chunks) == 1

    def _hash(self, part: list[tuple[str, int]]) -> _Told:
        buffer, told, screened = memoryview(bytearray(BLOCK_BYTES)), _Told(), set[str]()
        for digest, length in part:
            self._ctx.checkpoint()
            places = self._seen.media.object_files(digest)
            problems: list[Problem] = [] if places else [("object-missing", None)]
            for place in places:
                kept = bytearray() if digest in self._small else None
                real, problem = digest_of(place, length, buffer, kept)
                if problem is not None or real != digest:
                    problems.append((problem or "object-digest", place))
                elif kept is not None and digest not in screened:
                    screened.add(digest)
                    told.screened += [(n, self._screen_bytes(n, bytes(kept))) for n in self._small[digest]]
            told.objects.append((digest, length, places, problems))
        return told

    def _screen_bytes(self, number: int, data: bytes) -> Screened:
        entry = self._seen.files[number]
        return screening.screen(self._kind(entry), entry.path, entry.size, io.BytesIO(data), self._sizes, self._external)

    def _screen(self, number: int) -> tuple[int, Screened]:
        self._ctx.checkpoint()
        entry = self._seen.files[number]
        try:
            with self._open(entry) as source:
                return number, screening.screen(self._kind(entry), entry.path, entry.size, source, self._sizes, self._external)
        except Unsafe:
            return number, []  # a chunk of it is not there, or is no file: that is told for itself

    def _enter(self, digest: str, places: list[Path], problems: list[Problem]) -> bool:
        for place in places:
            self._held[place.parents[2]] += 1
        if problems:
            self._bad[digest] = problems
            self._bad_places.update(place for _, place in problems if place is not None)
            if len(problems) >= len(places):
                self._lost.add(digest)
        return not problems

    def _tell_bad_objects(self) -> None:
        """Note what is damaged or not there, and whether the repair data brings it back."""
        if not self._bad:
            return
        seen, partial = self._seen, bool(self._seen.media.missing_volumes())
        group_of = {d: g for g in seen.parity for d in g.of}
        named = {d: f.path for f in reversed(seen.files) for d, _ in f.chunks if d in self._bad}  # the rest is repair data
        for digest, problems in self._bad.items():
            group = group_of.get(digest)
            repairable = digest not in self._lost or digest not in named or (
                group is not None and self._lost.intersection((group.object[0], *group.of)) == {digest})
            for problem, place in problems:
                if problem == "object-missing" and partial:
                    continue  # on a volume that is not here, which is told apart
                volume = next((v for v in seen.media.volumes if place is not None and v.folder == place.parents[2]), None)
                text, params = N_("{problem} ({digest}…)"), {"problem": Said(SAID[problem]), "digest": digest[:16]}
                if volume is not None and volume.of > 1:
                    text, params = N_("{problem} ({digest}…) (volume {number})"), params | {"number": volume.number}
                seen.found("object-missing" if problem == "object-unreadable" else problem, named.get(digest, REPAIR_DATA), text, params,
                           **({"repairable": True} if repairable else {}))
        for number, entry in enumerate(seen.files):
            if any(d in self._lost for d, _ in entry.chunks):
                self._found.pop(number, None)  # it is told for its chunk; what was read out of it says nothing
            elif any(d in self._bad for d, _ in entry.chunks) and not self._in_passing(entry):
                self._found[number] = self._screen(number)[1]  # once more, out of the copies that are right

    def _compare_counts(self) -> None:
        """Whether each volume that is here holds as many objects as it says, while others are elsewhere."""
        for volume in self._seen.media.volumes:
            if volume.objects is None or self._held[volume.folder] < volume.objects:
                self._seen.states[volume.folder] = "damaged"
                self._seen.found("object-missing", str(volume.folder), N_("the volume holds {held} chunks, and it should hold {told}"),
                                 {"held": self._held[volume.folder], "told": "?" if volume.objects is None else volume.objects})


def _parts(objects: Mapping[str, int]) -> Iterator[list[tuple[str, int]]]:
    """The objects in runs that are worth a thread's while: one of them costs as much to hand over as to hash 100 KiB."""
    part: list[tuple[str, int]] = []
    held = 0
    for digest, length in objects.items():
        part.append((digest, length))
        held += length
        if held >= PART_BYTES or len(part) >= PART_OBJECTS:
            yield part
            part, held = [], 0
    if part:
        yield part


def _hash_by_name(ctx: Context, seen: Inspection) -> None:
    """Where there is no index to go by, an object's name still says what it must be."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    for volume in seen.media.volumes:
        linked = linked_folders(volume.folder)
        for folder in sorted((volume.folder / layout.OBJECTS).glob("*")):
            if folder in linked or not folder.is_dir():
                continue
            for place in sorted(folder.iterdir()):
                ctx.checkpoint()
                if place.name[:2] != folder.name or not layout.HEX64.fullmatch(place.name):
                    continue
                size = place.lstat().st_size
                real, problem = ("", "object-size") if size > layout.CHUNK_MAX else digest_of(place, size, buffer)
                if problem is not None or real != place.name:
                    problem = problem or "object-digest"
                    seen.found("object-missing" if problem == "object-unreadable" else problem, str(place), SAID[problem])


# What else lies there ------------------------------------------------------------------------------------------------


def _look_for_extras(seen: Inspection) -> None:
    wanted = seen.objects
    statement = seen.statement
    signatures = {c.oms for c in statement.components if c.oms} if statement is not None else set()
    allowed = {layout.RELEASE, layout.INDEX, layout.VOLUME, layout.SEALED, *signatures}
    for volume in seen.media.volumes:
        check_hint(seen, volume)
        linked = linked_folders(volume.folder)
        for base, folders, files in os.walk(volume.folder):
            odd = [f for f in folders if not _FOLDER.fullmatch(Path(base, f).relative_to(volume.folder).as_posix()) or (
                os.path.islink(os.path.join(base, f)) and Path(base, f) not in linked)]
            for name in [*files, *odd]:
                path = Path(base, name).relative_to(volume.folder).as_posix()
                if path == f"{layout.OBJECTS}/{name[:2]}/{name}" and (name in wanted or (seen.index is None and layout.HEX64.fullmatch(name))):
                    continue
                if path == layout.SEALED or path in signatures or (statement is None and layout.OMS_FILE.fullmatch(path)):
                    _must_be_plain(seen, Path(base, name))
                elif path not in allowed and not (layout.ROOT_FILE.fullmatch(path) and (
                        statement is None or int(name.split(".")[1]) <= statement.root_version)):
                    seen.found("extra", str(Path(base, name)), N_("the file is not part of the bundle"))


def _must_be_plain(seen: Inspection, path: Path) -> None:
    try:
        with open_plain(path) as source:
            size = os.fstat(source.fileno()).st_size
    except Unsafe as problem:
        seen.found(problem.code, str(path), SAID.get(problem.code, problem.code))
        return
    if path.name == layout.SEALED and size:
        seen.found("extra", str(path), N_("the mark of a finished volume is not empty"))


def _check_signatures_of_models(seen: Inspection) -> None:
    for component in seen.statement.components if seen.statement else ():
        if component.oms is not None:
            _check_model(seen, component, [key for key, _ in seen.beliefs.keys.values()])
        elif component.type == "model":
            seen.found("missing", component.path, N_("the model carries no signature of its own"))


def _check_publishers(seen: Inspection) -> None:
    """Signatures that publishers laid beside their models; of those whose bytes are all here and right."""
    broken, entries = {f["path"] for f in seen.findings}, {f.path: f for f in seen.files}

    def read(path: str) -> bytes:
        with ChunkedFile(seen.media, entries[path]) as source:
            return io.BufferedReader(source).read(oms.MAX_SIGNATURE_BYTES + 1)

    for component in seen.statement.components if seen.statement else ():
        digests = {f.path: f.sha256 for f in seen.files if f.component == component.id}
        if component.type == "model" and not broken.intersection(publishers.beside(component.path, digests)):
            with contextlib.suppress(Unsafe):  # not on the drives that are here
                for checked in publishers.check(component.path, digests, read, seen.beliefs.publishers):
                    seen.publishers.append({"component": component.id} | checked.as_json())
                    for item in checked.findings:
                        seen.found(item.code, item.path, item.message, item.params)


def _check_model(seen: Inspection, component: manifest.Component, keys: list[PublicKey]) -> None:
    raw = None
    for volume in seen.media.volumes:
        place = volume.folder / str(component.oms)
        try:
            own = read_small(place, oms.MAX_SIGNATURE_BYTES)
        except Unsafe as problem:
            code = "missing" if problem.code == "object-missing" else problem.code
            seen.found(code, str(place), SAID[code])
            continue
        if hashlib.sha256(own).hexdigest() != component.oms_sha256:
            seen.found("digest", str(place), N_("the model's signature is not the one that was signed with the bundle"))
        else:
            raw = own
    if raw is None:
        return
    files = {f.path.removeprefix(component.path + "/"): f.sha256 for f in seen.files if f.component == component.id}
    for found in oms.check_listing(raw, files, keys).findings:
        # Who signed the model is shown; that the signature is this one is vouched for by the release.
        seen.found(REMARK if found.code == "key" else found.code,
                   f"{component.oms}: {found.path}" if found.path else str(component.oms), found.message)
