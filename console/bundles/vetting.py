"""Judges what is to be bundled before it is read through: by the rules that the site will hold it to, and by what the download says.

All findings are listed, not only the first, so that nobody has to build ten times to learn of ten.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from console.bundles import describe, downloads, headers, layout, manifest, packages, publishers, screening, spec
from console.bundles.screening import Finding
from console.bundles.workers import in_step
from console.errors import InputError, VerdictError, code
from console.i18n import N_, tr
from console.jobs.job import Context
from console.units import size as shown_size

REFUSED = code("bundle.content-refused", VerdictError, N_("{path} may not go into a bundle: {reason}."),
               N_("{remedy}"))
INSIDE = code("bundle.out-in-source", InputError, N_("{out} lies inside of {source}, which goes into the bundle."),
              N_("Name a drive or folder outside of it: the source is only read."))
AGAIN = N_("Download the model again and compare its files with the publisher's.")
CONVERT = N_("On a machine that you can lose, convert it: python3 -c \"import torch; from safetensors.torch import save_file; "
             "save_file(torch.load('pytorch_model.bin', map_location='cpu', weights_only=True), 'model.safetensors')\". Or leave it out, "
             "with --exclude or `exclude` in the description.")
SKIP = N_("Leave the file out, with --exclude or `exclude` in the description, or carry it in a component of another type.")
SAME_NAME = N_("it is one name with {first} on some drives")
LEFT_OUT = N_("Left out: {paths}")
REMEDIES = {screening.WHY_PICKLE: CONVERT, screening.WHY_POINTER: AGAIN}


def must_lie_apart(asked: spec.Spec, places: Sequence[Path]) -> None:
    """Raises ``bundle.out-in-source`` where a bundle would be written into what goes into it."""
    for place in places:
        for part in asked.parts:
            if part.origin is not None and part.origin.is_dir() and place.resolve().is_relative_to(part.origin):
                raise INSIDE(out=str(place), source=str(part.origin))


@contextlib.contextmanager
def source_errors() -> Iterator[None]:
    """Turns the failing of a source file into an error of ours."""
    try:
        yield
    except OSError as problem:
        raise spec.UNREADABLE(path=str(problem.filename or "?"), reason=problem.strerror or "?") from None


def check_origin(asked: spec.Spec, digests: Mapping[str, str]) -> None:
    """Every file's SHA-256, by path, against the one that its publisher names.

    Raises:
        VerdictError: ``bundle.content-refused``.
    """
    refuse([Finding("digest", path, N_("it is not the file that its publisher names")) for part in asked.parts
             for path, digest in sorted(part.upstream.items()) if digests[path] != digest])


def check_publishers(asked: spec.Spec, digests: Mapping[str, str]) -> list[str]:
    """Signatures that publishers laid beside their models, against the files; what is said of each.

    Raises:
        VerdictError: ``bundle.content-refused``, where one does not fit, or is not of the publisher that the description names.
    """
    bad, told = [], []
    for part in (p for p in asked.parts if p.type == "model"):
        inside = dict(part.files)
        own = {path: digests[path] for path in inside}
        who = publishers.load(part.publisher) if part.publisher is not None else publishers.NOBODY
        checked = list(publishers.check(part.path, own, lambda path, inside=inside: inside[path].read_bytes(), who, part.left_out))
        bad += [f for one in checked for f in one.findings if not f.remark]
        told += [f"{one.path}: {publishers.summary(one)}" for one in checked]
        if part.publisher is not None and not any(one.verdict == "verified" for one in checked):
            bad.append(Finding("key", part.path, N_("no signature beside it is of the publisher that the description names")))
    refuse(bad)
    return told


def refuse(found: Sequence[Finding]) -> None:
    """Refuse what was found, if anything; the text is of the first, and all are listed."""
    if not found:
        return
    first = found[0]
    if first.code == "path":
        problem = manifest.PATH(path=first.path, reason=first.message)
    elif first.code == "dup-name":
        problem = manifest.DUPLICATE(first=first.params["first"], second=first.path)
    else:
        problem = REFUSED(path=first.path, reason=first.text,
                          remedy=REMEDIES.get(first.message, SKIP if first.code == "content-refused" else AGAIN))
    problem.params["findings"] = [f.told() for f in found]
    raise problem


def bad_paths(paths: Sequence[str]) -> list[Finding]:
    """What is wrong with names, each by itself and all together."""
    found = [Finding("path", path, problem) for path in paths if (problem := layout.path_problem(path))]
    found += [Finding("dup-name", second, SAME_NAME, params={"first": first}) for first, second in layout.collisions(dict.fromkeys(paths))]
    if len(paths) > layout.MAX_FILES:
        found.append(Finding("size", paths[-1], N_("a bundle may hold {count} files at the most"), params={"count": str(layout.MAX_FILES)}))
    return found


def screen_sources(ctx: Context, asked: spec.Spec) -> list[str]:
    """Everything that can be judged before the long reading; what people should know of it."""
    sizes = {path: file.stat().st_size for part in asked.parts for path, file in part.files}
    refused, remarks = bad_paths(list(sizes)), []
    if sum(sizes.values()) > layout.MAX_TOTAL_BYTES:
        refused.append(Finding("size", next(iter(sizes)), N_("a bundle may hold {size} at the most"),
                               params={"size": shown_size(layout.MAX_TOTAL_BYTES)}))
    external = _external_data(asked, sizes)

    def judged(part: spec.Part, path: str, file: Path) -> list[Finding]:
        ctx.checkpoint()
        with open(file, "rb", buffering=1 << 16) as source:
            return screening.screen(part.type, path, sizes[path], source, sizes, external)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        work = (lambda p=part, path=path, file=file: judged(p, path, file) for part in asked.parts for path, file in part.files)
        for done, found in enumerate(in_step(pool, work), 1):
            for one in found:
                (remarks if one.remark else refused).append(one)
            ctx.progress(done, len(sizes), "files")
    known = {f.path for f in refused}
    for part in asked.parts:
        refused += _part_findings(part, known)
    refuse(refused)
    left_out = [path for part in asked.parts for path in part.left_out]
    return [*(f"{f.path}: {f.text}" for f in remarks), *([tr(LEFT_OUT, "en", paths=", ".join(left_out[:20]))] if left_out else [])]


def _external_data(asked: spec.Spec, sizes: Mapping[str, int]) -> frozenset[str]:
    named: set[str] = set()
    for part in asked.parts:
        for path, file in part.files if part.type == "model" else ():
            if path.lower().endswith(".onnx"):
                with open(file, "rb") as source:
                    named |= screening.external_data(path, sizes[path], source)
    return frozenset(named)


def _part_findings(part: spec.Part, refused: Collection[str]) -> list[Finding]:
    """What does not fit together in a component: shards, a list of digests, the parts of an image."""
    found = []
    if part.type == "model" and any(path.endswith(describe.INDEX_ENDING) for path, _ in part.files):
        held: dict[str, set[str]] = {}
        for path, file in part.files:
            if path.endswith(".safetensors") and path not in refused:
                with open(file, "rb") as source:
                    held[path] = {t.name for t in headers.safetensors(source, file.stat().st_size, path)[1]}
        found += [Finding("header", path, reason, params=params) for path, reason, params in describe.index_findings(part.files, held)
                  if path not in refused]
    found += [Finding("missing", path, reason) for path, reason in packages.image_findings(part.files)]
    if part.origin is not None:
        found += [Finding("missing", f"{part.path}/{name}", N_("the list of digests names it, and it is not there"))
                  for name in downloads.listed_and_missing(part.origin, part.path, part.files, part.left_out)]
    return found
