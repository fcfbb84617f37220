"""The site's library: accepted releases, their files kept once each under their digest, checkable at rest.

Import copies and hashes in one go: what was hashed is what was written, and nothing is read from the drive twice. A
refusal keeps nothing. A drive that was pulled, or a volume that is not there yet, keeps what was checked so far. What a
power cut leaves in the midst of an import or a removal is cleared away when the library is next changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from console.bundles import layout, manifest, publishers, receipts, screening
from console.bundles.acceptance import Site, accept, refused
from console.bundles.copying import LIBRARY, SPACE, Copying
from console.bundles.inspection import STATES, Inspection, inspect
from console.bundles.manifest import Component, FileEntry, Statement
from console.bundles.media import Unsafe, read_small
from console.bundles.staging import VOLUMES_READ, Passes, held_bytes, volumes_read, write_whole
from console.bundles.workers import in_step
from console.bundles.writing import sync_folder
from console.errors import InputError, SealiftError, VerdictError, WorldError, code
from console.events import Changed
from console.i18n import N_, Said
from console.jobs.job import Context, JobSpec
from console.store import library as table
from console.trust import dsse, oms
from console.units import size as shown_size
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine

VOLUMES = code("bundle.volume-missing", WorldError,
               N_("Chunks of this bundle lie on a drive that is not here (volume {volumes} of {of})."),
               N_("Plug that drive in and import again with it; what was copied and checked is not copied again."),
               retryable=True)
BAD_VOLUME = code("bundle.volume-damaged", WorldError,
                  N_("Volume {volumes} of {of} is damaged where {path} lies, and the repair data cannot make up for it."),
                  N_("Have that volume written anew on a good drive and import again with it; what was copied and checked is not "
                     "copied again."), retryable=True)
UNKNOWN = code("bundle.unknown-release", InputError, N_("There is no release {name} in the library."),
               N_("`sealift bundle list` shows the releases."))
AMBIGUOUS = code("bundle.ambiguous-release", InputError, N_("Several releases are called {name}: {found}."),
                 N_("Give the release's id."))
RUNNING = code("bundle.import-running", InputError, N_("{name} is being brought in just now."), N_("Cancel that import first."))
IN_USE = code("bundle.in-use", InputError, N_("The release {name} is part of a deployment on {servers}."),
              N_("Retire that deployment first."))
NO_FILE = code("bundle.no-file", InputError, N_("The release has no file {path}."),
               N_("`sealift bundle inspect` lists the files."))
DAMAGED = code("bundle.library-damaged", WorldError, N_("The library's copy of {path} is missing or damaged."),
               N_("Import the bundle again from its drive; only what is damaged is copied."))

SPARE = 1.05
LOST = N_("the library's copy is missing or damaged")
CHANGING = "changing"
"""A file that lies in the library as long as its files and the table of releases differ; it holds the release that is brought in, or nothing."""
RECEIPT = "receipt.dsse.json"


@dataclass(frozen=True)
class Release:
    """An imported release."""

    release_id: str
    bundle_id: str
    title: str
    channel: str
    sequence: int
    issued_at: str
    imported_at: str
    components: tuple[Component, ...]
    files: tuple[FileEntry, ...]
    signers: tuple[dict[str, str], ...]

    @property
    def bytes(self) -> int:
        """Sum of its files' sizes."""
        return sum(f.size for f in self.files)


@dataclass(frozen=True)
class Unfinished:
    """An import that was cut off, or waits for a volume: its ``bytes`` are kept for when it goes on."""

    release_id: str
    title: str
    bytes: int
    changed_at: str


@dataclass(frozen=True)
class Room:
    """What an import needs of the library's disk, in bytes.

    Attributes:
        new: of the bundle's files that are not here yet. kept: of those that are, from other releases.
        staged: what an earlier try of the same import has copied already.
        needed: what still has to be free: the rest, and something to spare. free: what is.
    """

    new: int
    kept: int
    staged: int
    needed: int
    free: int

    @property
    def enough(self) -> bool:
        """Whether the import can begin."""
        return self.needed <= self.free


@dataclass(frozen=True)
class Imported:
    """The outcome of an import: the release, what was copied, found here already and rebuilt, and the receipt."""

    release: Release
    bytes_copied: int
    bytes_reused: int
    receipt: dict[str, Any]
    bytes_rebuilt: int = 0


class Library:
    """``engine.library``. Files lie under ``library/files/<hh>/<sha256>``, statements under ``library/releases/<id>``."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.root = engine.workspace / "library"
        self._files = f"{self.root}/files"  # joined as text: a hundred thousand paths are built several times over
        self._changing = threading.Lock()
        self._running: set[str] = set()

    # Reading ---------------------------------------------------------------------------------------------------------

    def list(self) -> list[Release]:
        """All releases, newest import first."""
        return [self._load(row) for row in table.releases(self._engine.store)]

    def get(self, name: str) -> Release:
        """A release by its id (or the beginning of it), bundle id or title.

        Raises:
            InputError: ``bundle.unknown-release``, ``bundle.ambiguous-release``.
        """
        plain = "".join(name.split()).lower()
        rows = [r for r in table.releases(self._engine.store)
                if r["title"] == name or (len(plain) >= 8 and (r["release_id"].startswith(plain) or r["bundle_id"].startswith(plain)))]
        if not rows:
            raise UNKNOWN(name=name)
        if len(rows) > 1:
            raise AMBIGUOUS(name=name, found=", ".join(r["release_id"][:16] for r in rows))
        return self._load(rows[0])

    def open_file(self, release: Release, path: str) -> Path:
        """Where a release's file lies on this desktop.

        Raises:
            InputError: ``bundle.no-file``. WorldError: ``bundle.library-damaged``.
        """
        entry = next((f for f in release.files if f.path == path), None)
        if entry is None:
            raise NO_FILE(path=path)
        place = self.file(entry.sha256)
        if not place.is_file() or place.stat().st_size != entry.size:
            raise DAMAGED(path=path)
        return place

    def file(self, sha256: str) -> Path:
        """Where the file with this digest lies, or would lie."""
        return Path(f"{self._files}/{sha256[:2]}/{sha256}")

    def _load(self, row: dict[str, Any]) -> Release:
        folder = self.root / "releases" / row["release_id"]
        try:
            statement = manifest.read_statement(dsse.parse((folder / layout.RELEASE).read_bytes(), layout.PAYLOAD_TYPE).payload)
            digest, size = oms.file_digest(folder / layout.INDEX)
            if statement.release_id != row["release_id"] or digest != statement.index_sha256 or size > layout.MAX_INDEX_BYTES:
                raise DAMAGED(path=str(folder))
            with open(folder / layout.INDEX, "rb") as index:
                files = manifest.known_files(index)
        except OSError:
            raise DAMAGED(path=str(folder)) from None
        return Release(row["release_id"], row["bundle_id"], row["title"], statement.channel, statement.sequence, statement.issued_at,
                       row["imported_at"], statement.components, files, tuple(row["signers"]))

    def verify(self, ctx: Context, release: Release) -> list[dict[str, str]]:
        """Hash a release's files at rest, with a thread a core; findings, empty when all is well."""
        findings, done, total = [], 0, release.bytes

        def good(entry: FileEntry) -> bool:
            ctx.checkpoint()
            with contextlib.suppress(OSError):
                return oms.file_digest(self.file(entry.sha256)) == (entry.sha256, entry.size)
            return False

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            answers = in_step(pool, (lambda entry=entry: good(entry) for entry in release.files))
            for entry, whole in zip(release.files, answers, strict=True):
                if not whole:
                    findings.append({"code": "digest", "path": entry.path, "message": LOST})
                done += entry.size
                ctx.progress(done, total, "bytes")
        return findings

    # Importing -------------------------------------------------------------------------------------------------------

    def import_job(self, media: Sequence[Path], title: str = "", overrides: frozenset[str] = frozenset()) -> JobSpec:
        """The job that imports."""
        return JobSpec("bundle.import", title or N_("Import a bundle"),
                       lambda ctx: self.import_(ctx, list(media), overrides),
                       params={"media": [str(p) for p in media]}, changed=frozenset({"library", "audit", "jobs"}))

    def import_(self, ctx: Context, media: Sequence[Path], overrides: frozenset[str] = frozenset()) -> Imported:
        """Check and copy a bundle into the library.

        Args:
            overrides: of ``acceptance.OVERRIDES``: what may be let pass once, under somebody's name.

        Raises:
            VerdictError: refused; nothing is kept. WorldError: no space, a drive that is gone or missing; what was
            checked is kept for the next try. DeniedError: not an operator, or the policy wants a second person.
        """
        self._engine.require("operator")
        self._engine.site.need()
        ctx.phase(N_("Check the signature"))
        seen = inspect(media, Site(self._engine))
        try:
            statement = accept(self._engine, ctx, seen, overrides)
            self._engine.trust.follow([seen.roots[version] for version in sorted(seen.roots)])
            self._check_root(statement)
        except VerdictError as refusal:
            self._record_refusal(seen, refusal)
            raise
        for volume in seen.media.strangers:
            state = seen.states.get(volume.folder, "foreign")
            ctx.warn(N_("{folder} is not part of this bundle ({state}) and is left alone."), folder=str(volume.folder),
                     state=Said(STATES.get(state, state)))
        with _library_errors(self.root):
            self._settle(statement.release_id)
            room = self.room(seen)
        if not room.enough:
            raise SPACE(free=shown_size(room.free), needed=shown_size(room.needed))
        self._ask_approval(statement)
        obj = {"kind": "release", "id": statement.release_id, "digest": statement.release_id}
        detail = {"title": statement.bundle["title"], "channel": statement.channel, "sequence": statement.sequence,
                  "signers": [s["key_id"] for s in seen.signers], "media": [str(v.folder) for v in seen.media.volumes]}
        with self._engine.act("bundle.import", obj, detail) as told:
            try:
                with self._alone(statement):
                    imported = self._copy_in(ctx, seen, statement)
            except VerdictError as refusal:
                shutil.rmtree(self._staging(statement), ignore_errors=True)
                self._record_refusal(seen, refusal)
                raise
            told |= {"copied": imported.bytes_copied, "reused": imported.bytes_reused,
                     "rebuilt": imported.bytes_rebuilt, "channel": statement.channel,
                     "highest_sequence": statement.sequence}
        self._engine.events.publish(Changed(None, frozenset({"library"})))
        return imported

    def _check_root(self, statement: Statement) -> None:
        root = self._engine.trust.root()
        if root is not None and statement.root_version > root.version:
            raise refused([{"code": "root-chain", "path": layout.TRUST, "message": N_("the bundle names a trust root that it does not carry")}])

    def _record_refusal(self, seen: Inspection, refusal: SealiftError) -> None:
        identity = seen.statement.release_id if seen.statement else seen.media.bundle_id
        self._engine.audit.append("bundle.refuse", outcome="denied",
                                  obj={"kind": "bundle", "id": identity, "digest": None}, reason=refusal.code,
                                  detail={"message": str(refusal), "findings": refusal.params.get("findings", seen.findings)[:20]})

    @contextlib.contextmanager
    def _alone(self, statement: Statement) -> Iterator[None]:
        """Keep a second import of the same release out."""
        with self._changing:
            if statement.release_id in self._running:
                raise RUNNING(name=statement.bundle["title"])
            self._running.add(statement.release_id)
        try:
            yield
        finally:
            with self._changing:
                self._running.discard(statement.release_id)

    def room(self, seen: Inspection) -> Room:
        """What bringing a bundle in takes of the disk, and what is free.

        Raises:
            OSError: the library cannot be looked into.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        sizes = {f.sha256: f.size for f in seen.files}
        new = sum(size for sha256, size in sizes.items() if not self.file(sha256).is_file())
        staged = held_bytes(self._staging(seen.statement)) if seen.statement else 0
        # With drives coming one by one, repair data waits here for the volume that it may have to stand in for.
        spare = sum(g.object[1] for g in seen.parity) if seen.media.missing_volumes() else 0
        return Room(new, sum(sizes.values()) - new, staged, max(0, int(new * SPARE) + spare - staged), shutil.disk_usage(self.root).free)

    # What is unfinished ----------------------------------------------------------------------------------------------

    def unfinished(self) -> list[Unfinished]:
        """Imports that were cut off or wait for a volume, the last one first; those that are under way are none."""
        found = []
        for folder in (self.root / "staging").glob("*"):
            if layout.HEX64.fullmatch(folder.name) and folder.name not in self._running:
                with contextlib.suppress(OSError):
                    changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                    found.append(Unfinished(folder.name, Passes.read(folder).title, held_bytes(folder), changed))
        return sorted(found, key=lambda one: one.changed_at, reverse=True)

    def discard(self, name: str) -> Unfinished:
        """Throw away what an unfinished import has copied.

        Args:
            name: the release's id or the beginning of it, or its title.

        Raises:
            InputError: ``bundle.unknown-release``, ``bundle.ambiguous-release``, ``bundle.import-running``. DeniedError.
        """
        self._engine.require("operator", "admin")
        plain = "".join(name.split()).lower()
        found = [one for one in self.unfinished() if one.title == name or (len(plain) >= 8 and one.release_id.startswith(plain))]
        if not found:
            raise UNKNOWN(name=name)
        if len(found) > 1:
            raise AMBIGUOUS(name=name, found=", ".join(one.release_id[:16] for one in found))
        one = found[0]
        obj = {"kind": "release", "id": one.release_id, "digest": one.release_id}
        with self._changing, self._engine.act("bundle.remove", obj, {"title": one.title, "unfinished": True}):
            if one.release_id in self._running:
                raise RUNNING(name=one.title)
            shutil.rmtree(self.root / "staging" / one.release_id, ignore_errors=True)
        self._engine.events.publish(Changed(None, frozenset({"library"})))
        return one

    def _settle(self, coming: str = "") -> None:
        """Clear away what a power cut left when the library was being changed: files that no release needs. Those of the release that is
        ``coming`` stay, for they were checked when they were copied and are hashed again before they count.

        Raises:
            OSError.
        """
        with self._changing:
            self._clear_away(coming)

    def _clear_away(self, coming: str = "") -> None:
        marker = self.root / CHANGING
        try:
            held = marker.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return
        if held and held == coming:
            return
        needed, known = table.files(self._engine.store), {row["release_id"] for row in table.releases(self._engine.store)}
        for file in (self.root / "files").glob("*/*"):
            if file.name not in needed:
                file.unlink()
        for folder in (self.root / "releases").glob("*"):
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        marker.unlink()

    def _ask_approval(self, statement: Statement) -> None:
        """Before the long copy; the yes is spent when the release is entered, so that a pulled drive costs none."""
        approvals, title = self._engine.approvals, statement.bundle["title"]
        if approvals.required() and approvals.granted("import", statement.release_id) is None:
            approvals.request("import", title, statement.release_id)
            approvals.use("import", title, statement.release_id)

    def _staging(self, statement: Statement) -> Path:
        return self.root / "staging" / statement.release_id

    def _copy_in(self, ctx: Context, seen: Inspection, statement: Statement) -> Imported:
        staging = self._staging(statement)
        with _library_errors(staging):
            staging.mkdir(mode=0o700, parents=True, exist_ok=True)
            passes = Passes.of(staging, seen, statement)
            passes.write(staging)
        ctx.phase(N_("Copy and check"))
        copying = Copying(ctx, staging, seen.media, self.file, manifest.Index(seen.files, seen.parity))
        try:
            copying.run()
        finally:
            passes.copied += copying.copied
            passes.rebuilt += copying.rebuilt
            with contextlib.suppress(OSError):  # of a full disk something else is told
                passes.write(staging)
        if copying.missing:
            with _library_errors(staging):
                raise self._waiting(seen, staging, copying)
        ctx.phase(N_("Screen the contents"))
        self._screen(ctx, seen, statement, staging)
        self._check_model_signatures(seen, statement)
        self._check_publishers(ctx, seen, statement, staging)
        with _library_errors(self.root):
            return self._enter(ctx, seen, statement, staging, copying, passes)

    def _waiting(self, seen: Inspection, staging: Path, copying: Copying) -> SealiftError:
        """What is said when chunks are lacking: which drive comes next, or that none can help."""
        here = {v.number: [d for d, folder in copying.damaged.items() if folder == v.folder] for v in seen.media.volumes}
        read, of = volumes_read(staging) | here, max(v.of for v in seen.media.volumes)
        damaged = sorted(n for n, digests in read.items() if copying.missing.intersection(digests))
        elsewhere = sorted(set(range(1, of + 1)) - set(read))
        if not elsewhere and not damaged and seen.media.missing_volumes():
            # All were here once, and what was staged of one of them is gone since: each may be the one.
            elsewhere, read = seen.media.missing_volumes(), here
        if elsewhere:
            write_whole(staging / VOLUMES_READ, json.dumps(read).encode())
            return VOLUMES(volumes=", ".join(map(str, elsewhere)), of=of)
        lacking = next(f.path for f in seen.files if copying.missing.intersection(d for d, _ in f.chunks))
        if damaged:
            write_whole(staging / VOLUMES_READ, json.dumps({n: digests for n, digests in read.items() if n not in damaged}).encode())
            return BAD_VOLUME(volumes=", ".join(map(str, damaged)), of=of, path=lacking)
        return refused([{"code": "object-missing", "path": lacking, "message": N_("a chunk of it lies on none of the drives")}])

    def _screen(self, ctx: Context, seen: Inspection, statement: Statement, staging: Path) -> None:
        """Every file of it, with a thread a core; all findings are told, not only the first."""
        kinds, sizes = {c.id: c.type for c in statement.components}, {f.path: f.size for f in seen.files}

        def opened(entry: FileEntry) -> BinaryIO:
            staged = f"{staging}/{entry.sha256}"
            return open(staged if os.path.isfile(staged) else self.file(entry.sha256), "rb", buffering=1 << 16)

        def judged(entry: FileEntry) -> list[screening.Finding]:
            ctx.checkpoint()
            with opened(entry) as source:
                return screening.screen(kinds[entry.component], entry.path, entry.size, source, sizes, external)

        named: set[str] = set()
        for entry in seen.files:
            if kinds[entry.component] == "model" and entry.path.lower().endswith(".onnx"):
                with opened(entry) as source:
                    named |= screening.external_data(entry.path, entry.size, source)
        external, bad = frozenset(named), []
        with ThreadPoolExecutor(os.cpu_count()) as pool, _library_errors(staging):
            for found in in_step(pool, (lambda entry=entry: judged(entry) for entry in seen.files)):
                bad += [f.told() for f in found if not f.remark]
                for remark in (f for f in found if f.remark):
                    ctx.note(N_("{path}: {message}"), path=remark.path, message=remark.text)
        if bad:
            raise refused(bad)

    def _check_model_signatures(self, seen: Inspection, statement: Statement) -> None:
        """Each model's own signature must be the one of the release, and list exactly the bundle's files of it."""
        bad = [told for component in statement.components for told in self._model_findings(seen, component)]
        if bad:
            raise refused(bad)

    def _check_publishers(self, ctx: Context, seen: Inspection, statement: Statement, staging: Path) -> None:
        """Signatures that publishers laid beside their models; what does not fit is refused, who signed is told."""
        entries, bad = {f.path: f for f in seen.files}, []

        def read(path: str) -> bytes:
            staged = staging / entries[path].sha256
            return (staged if staged.is_file() else self.file(entries[path].sha256)).read_bytes()

        for component in (c for c in statement.components if c.type == "model"):
            digests = {f.path: f.sha256 for f in seen.files if f.component == component.id}
            with _library_errors(staging):
                for checked in publishers.check(component.path, digests, read, seen.beliefs.publishers):
                    seen.publishers.append({"component": component.id} | checked.as_json())
                    ctx.note(N_("{path}: {message}"), path=checked.path, message=publishers.summary(checked))
                    bad += [f.told() for f in checked.findings if not f.remark]
        if bad:
            raise refused(bad)

    def _model_findings(self, seen: Inspection, component: Component) -> list[dict[str, str]]:
        def told(code: str, path: str, message: str) -> list[dict[str, str]]:
            return [{"code": code, "path": path, "message": message}]

        if component.oms is None:
            return told("missing", component.path, N_("the model carries no signature of its own")) if component.type == "model" else []
        try:
            raw = read_small(seen.media.first / component.oms, oms.MAX_SIGNATURE_BYTES)
        except Unsafe as problem:
            return told("missing" if problem.code == "object-missing" else problem.code, component.oms, N_("the model's signature is not there"))
        if hashlib.sha256(raw).hexdigest() != component.oms_sha256:
            return told("digest", component.oms, N_("the model's signature is another one"))
        prefix = component.path + "/"
        files = {f.path.removeprefix(prefix): f.sha256 for f in seen.files if f.component == component.id}
        keys = [key for key, _ in seen.beliefs.keys.values()]
        # Who signed the model is shown; the release vouches for the signature.
        return [one for found in oms.check_listing(raw, files, keys).findings if found.code != "key"
                for one in told(found.code, f"{component.oms}: {found.path}", found.message)]

    def _enter(self, ctx: Context, seen: Inspection, statement: Statement, staging: Path, copying: Copying,
               passes: Passes) -> Imported:
        ctx.checkpoint()
        title = statement.bundle["title"]
        approvers = tuple(self._engine.approvals.use("import", title, statement.release_id))
        with self._changing:
            self._clear_away(statement.release_id)
            self._must_be_whole(seen, staging)
            write_whole(self.root / CHANGING, statement.release_id.encode())
            sync_folder(self.root)
            receipt = self._put(seen, statement, staging, copying, approvers, passes)
            (self.root / CHANGING).unlink(missing_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        return Imported(self.get(statement.release_id), passes.copied, copying.reused, receipt, passes.rebuilt)

    def _put(self, seen: Inspection, statement: Statement, staging: Path, copying: Copying, approvers: tuple[str, ...],
             passes: Passes) -> dict[str, Any]:
        """Move the files to their places and enter the release; its receipt."""
        title = statement.bundle["title"]
        self._move_in(seen, staging)
        receipt = self._receipt(seen, statement, copying, approvers, passes)
        folder = self.root / "releases" / statement.release_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sealed = receipts.seal(receipt, self._engine.audit.key())
        for name, raw in ((layout.RELEASE, seen.envelope_raw), (layout.INDEX, seen.index_raw), (RECEIPT, sealed)):
            write_whole(folder / name, raw)
        sync_folder(folder)
        sync_folder(folder.parent)
        row = {"release_id": statement.release_id, "bundle_id": seen.media.bundle_id, "title": title,
               "imported_by": self._engine.actor.id, "signers": seen.signers, "receipt": receipt}
        state = {"channel": statement.channel, "highest_sequence": statement.sequence,
                 "release_id": statement.release_id, "min_sequence": statement.min_sequence,
                 "time_floor": statement.issued_at}
        table.put_release(self._engine.store, row, {f.sha256 for f in seen.files}, state, statement.revoked)
        return receipt

    def _must_be_whole(self, seen: Inspection, staging: Path) -> None:
        """A file that was here when the copying began may have gone with another release since."""
        for entry in seen.files:
            if not os.path.isfile(f"{staging}/{entry.sha256}") and not os.path.isfile(self.file(entry.sha256)):
                raise DAMAGED(path=entry.path)

    def _move_in(self, seen: Inspection, staging: Path) -> None:
        folders: dict[str, Path] = {}
        for sha256 in {f.sha256 for f in seen.files}:
            staged, place = f"{staging}/{sha256}", self.file(sha256)
            if os.path.isfile(staged):
                if sha256[:2] not in folders:
                    folders[sha256[:2]] = place.parent
                    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.chmod(staged, 0o400)
                os.replace(staged, place)
        for folder in folders.values():
            sync_folder(folder)

    def _receipt(self, seen: Inspection, statement: Statement, copying: Copying, approvers: tuple[str, ...],
                 passes: Passes) -> dict[str, Any]:
        return {"v": 1, "site": self._engine.site.need().site_id, "release_id": statement.release_id,
                "bundle_id": seen.media.bundle_id, "title": statement.bundle["title"], "channel": statement.channel,
                "sequence": statement.sequence, "index_sha256": statement.index_sha256, "imported_at": utc_now(),
                "imported_by": self._engine.actor.id, "approvers": list(approvers),
                "media": passes.media, "verdict": "verified",
                "signers": seen.signers, "publishers": seen.publishers, "files": len(seen.files), "bytes": sum(f.size for f in seen.files),
                "bytes_copied": passes.copied, "bytes_reused": copying.reused, "bytes_rebuilt": passes.rebuilt}

    def receipt(self, release: Release) -> bytes:
        """The import's receipt, signed with this console's key, fit to travel back on the drive.

        Raises:
            WorldError: ``bundle.library-damaged``.
        """
        path = self.root / "releases" / release.release_id / RECEIPT
        try:
            return path.read_bytes()
        except OSError:
            raise DAMAGED(path=str(path)) from None

    def write_receipt(self, release: Release, place: Path) -> Path:
        """Write it to a file, or into ``RECEIPTS`` of a folder or drive; where it is now.

        Raises:
            WorldError: ``bundle.library-damaged``, ``bundle.receipt-unwritable``.
        """
        row = next(r for r in table.releases(self._engine.store) if r["release_id"] == release.release_id)
        return receipts.write(self.receipt(release), row["receipt"], place)

    def remove(self, name: str) -> Release:
        """Take a release out of the library; files that another release needs stay.

        Raises:
            InputError: ``bundle.unknown-release``, ``bundle.in-use``. WorldError: ``bundle.library-unwritable``. DeniedError.
        """
        self._engine.require("operator", "admin")
        release = self.get(name)
        using = sorted({s["server"] for d in self._engine.deployments.list() if d.get("release_id") == release.release_id
                        for s in d.get("servers", []) if s.get("state") == "serving"})
        if using:
            raise IN_USE(name=release.title, servers=", ".join(using))
        obj = {"kind": "release", "id": release.release_id, "digest": release.release_id}
        with self._changing, self._engine.act("bundle.remove", obj, {"title": release.title}), _library_errors(self.root):
            self._clear_away()
            write_whole(self.root / CHANGING, b"")
            sync_folder(self.root)
            for sha256 in table.drop_release(self._engine.store, release.release_id):
                self.file(sha256).unlink(missing_ok=True)
            shutil.rmtree(self.root / "releases" / release.release_id, ignore_errors=True)
            (self.root / CHANGING).unlink(missing_ok=True)
        self._engine.events.publish(Changed(None, frozenset({"library"})))
        return release


def as_json(release: Release) -> dict[str, Any]:
    """A release as the command line prints it."""
    return {"release_id": release.release_id, "bundle_id": release.bundle_id, "title": release.title, "channel": release.channel,
            "sequence": release.sequence, "issued_at": release.issued_at, "imported_at": release.imported_at,
            "files": len(release.files), "bytes": release.bytes, "signers": list(release.signers),
            "components": [asdict(c) | {"summary": {k: v for k, v in c.summary.items() if k != "config"}}
                           for c in release.components]}


@contextlib.contextmanager
def _library_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise LIBRARY(path=problem.filename or str(place), reason=problem.strerror or "?") from None
