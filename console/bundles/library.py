"""The site's library: accepted releases, their files kept once each under their digest, checkable at rest.

Import copies and hashes in one go: what was hashed is what was written, and nothing is read from the drive twice. A
refusal keeps nothing. A drive that was pulled, or a volume that is not there yet, keeps what was checked so far.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.bundles import layout, manifest, screening
from console.bundles.manifest import Component, FileEntry, Statement
from console.bundles.media import GONE, Media, Unsafe, open_plain, read_small
from console.bundles.verify import Inspection, inspect
from console.errors import InputError, SealiftError, VerdictError, WorldError, code
from console.events import Changed
from console.i18n import N_
from console.jobs.job import Context, JobSpec
from console.store import library as table
from console.trust import dsse, oms
from console.units import size as shown_size
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine

REFUSED = code("bundle.refused", VerdictError, N_("The bundle is refused: {path}: {message} ({finding})."),
               N_("Nothing of it was kept. Run `sealift bundle verify` for all findings, and tell who built it."))
AUDIENCE = code("bundle.audience", VerdictError, N_("The bundle is meant for {audience}, not for this site ({site})."),
                N_("Get the edition for this site."))
ROLLBACK = code("bundle.rollback", VerdictError,
                N_("The bundle is number {sequence} of {channel}, and number {highest} was imported already."),
                N_("An older release is not taken for a new one. Get a newer edition, or use the one in the library."))
REVOKED = code("bundle.revoked", VerdictError, N_("A later release has revoked this one."), N_("Get a newer edition."))
EXPIRED = code("bundle.expired", VerdictError, N_("The bundle expired at {expires_at}."), N_("Get a newer edition."))
SPACE = code("bundle.space", WorldError, N_("The library has {free} free and needs {needed} for this bundle."),
             N_("Remove a release that is not needed, or put the workspace on a larger disk."), retryable=True)
VOLUMES = code("bundle.volume-missing", WorldError, N_("Chunks of this bundle lie on a drive that is not here (volume {volumes} of {of})."),
               N_("Plug that drive in and import again with it; what was copied and checked is not copied again."), retryable=True)
UNKNOWN = code("bundle.unknown-release", InputError, N_("There is no release {name} in the library."),
               N_("`sealift bundle list` shows the releases."))
AMBIGUOUS = code("bundle.ambiguous-release", InputError, N_("Several releases are called {name}: {found}."), N_("Give the release's id."))
IN_USE = code("bundle.in-use", InputError, N_("The release {name} is part of a deployment on {servers}."),
              N_("Retire that deployment first."))
NO_FILE = code("bundle.no-file", InputError, N_("The release has no file {path}."), N_("`sealift bundle inspect` lists the files."))
DAMAGED = code("bundle.library-damaged", WorldError, N_("The library's copy of {path} is missing or damaged."),
               N_("Import the bundle again from its drive; only what is damaged is copied."))

SPARE = 1.05
SYNC_BYTES = 256 << 20


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
    index_raw: bytes
    envelope_raw: bytes
    signers: tuple[dict[str, str], ...]

    @property
    def bytes(self) -> int:
        """Sum of its files' sizes."""
        return sum(f.size for f in self.files)


@dataclass(frozen=True)
class Imported:
    """The outcome of an import: the release, what had to be copied, and the receipt."""

    release: Release
    bytes_copied: int
    bytes_reused: int
    receipt: dict[str, Any]


class Library:
    """``engine.library``. Files lie under ``library/files/<hh>/<sha256>``, statements under ``library/releases/<id>``."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.root = engine.workspace / "library"

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
        return self.root / "files" / sha256[:2] / sha256

    def _load(self, row: dict[str, Any]) -> Release:
        folder = self.root / "releases" / row["release_id"]
        try:
            envelope_raw, index_raw = (folder / layout.RELEASE).read_bytes(), (folder / layout.INDEX).read_bytes()
        except OSError:
            raise DAMAGED(path=str(folder)) from None
        statement = manifest.read_statement(dsse.parse(envelope_raw, layout.PAYLOAD_TYPE).payload)
        if statement.release_id != row["release_id"] or hashlib.sha256(index_raw).hexdigest() != statement.index_sha256:
            raise DAMAGED(path=str(folder))
        return Release(row["release_id"], row["bundle_id"], row["title"], statement.channel, statement.sequence, statement.issued_at,
                       row["imported_at"], statement.components, manifest.read_index(index_raw), index_raw, envelope_raw,
                       tuple(row["signers"]))

    def verify(self, ctx: Context, release: Release) -> list[dict[str, str]]:
        """Hash a release's files at rest; findings, empty when all is well."""
        findings, done = [], 0
        for entry in release.files:
            ctx.progress(done, release.bytes, "bytes")
            try:
                good = oms.file_digest(self.file(entry.sha256)) == (entry.sha256, entry.size)
            except OSError:
                good = False
            if not good:
                findings.append({"code": "digest", "path": entry.path, "message": "the library's copy is missing or damaged"})
            done += entry.size
        return findings

    # Importing -------------------------------------------------------------------------------------------------------

    def import_job(self, media: Sequence[Path], title: str = "") -> JobSpec:
        """The job that imports."""
        return JobSpec("bundle.import", title or N_("Import a bundle"), lambda ctx: self.import_(ctx, list(media)),
                       params={"media": [str(p) for p in media]}, changed=frozenset({"library", "audit", "jobs"}))

    def import_(self, ctx: Context, media: Sequence[Path]) -> Imported:
        """Check and copy a bundle into the library.

        Raises:
            VerdictError: refused; nothing is kept. WorldError: no space, a drive that is gone or missing; what was
            checked is kept for the next try. DeniedError: not an operator, or the policy wants a second person.
        """
        self._engine.require("operator")
        site = self._engine.site.need()
        ctx.phase(N_("Check the signature"))
        seen = inspect(media, self._engine.trust.believed(), site.policy.release_threshold, self._engine.trust.revoked())
        try:
            statement = self._accept(seen, site)
        except VerdictError as refusal:
            self._record_refusal(seen, refusal)
            raise
        self._check_space(seen)
        self._check_approval(statement)
        obj = {"kind": "release", "id": statement.release_id, "digest": statement.release_id}
        detail = {"title": statement.bundle["title"], "channel": statement.channel, "sequence": statement.sequence,
                  "signers": [s["key_id"] for s in seen.signers], "media": [str(v.folder) for v in seen.media.volumes]}
        with self._engine.act("bundle.import", obj, detail) as told:
            try:
                imported = self._copy_in(ctx, seen, statement)
            except VerdictError as refusal:
                shutil.rmtree(self._staging(statement), ignore_errors=True)
                self._record_refusal(seen, refusal)
                raise
            told |= {"copied": imported.bytes_copied, "reused": imported.bytes_reused, "highest_sequence": statement.sequence}
        self._engine.events.publish(Changed(None, frozenset({"library"})))
        return imported

    def _accept(self, seen: Inspection, site: Any) -> Statement:
        """The statement, when everything that can be judged before copying is in order."""
        unsealed = {str(v.folder / layout.SEALED) for v in seen.media.volumes if not v.sealed}
        for finding in seen.findings:
            if finding["path"] not in unsealed:
                raise REFUSED(path=finding["path"], message=finding["message"], finding=finding["code"])
        if unsealed:
            raise REFUSED(path=sorted(unsealed)[0], message="the volume was not written to its end", finding="missing")
        if not seen.trusted or seen.statement is None:
            raise REFUSED(path=layout.RELEASE, message="no key that this site trusts has signed it", finding="threshold")
        s, store = seen.statement, self._engine.store
        if "*" not in s.audience and site.site_id not in s.audience:
            raise AUDIENCE(audience=", ".join(s.audience), site=site.site_id)
        known = table.channel(store, s.channel)
        if known and s.release_id != known["release_id"] and s.sequence <= known["highest_sequence"]:
            raise ROLLBACK(sequence=s.sequence, channel=s.channel, highest=known["highest_sequence"])
        if table.is_revoked(store, s.release_id):
            raise REVOKED()
        now = max(utc_now(), table.time_floor(store))
        if s.expires_at is not None and s.expires_at < now:
            raise EXPIRED(expires_at=s.expires_at)
        if s.issued_at > (datetime.now(UTC) + timedelta(hours=24)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"):
            self._engine.audit.append("clock.back", obj={"kind": "release", "id": s.release_id, "digest": None},
                                      detail={"issued_at": s.issued_at, "clock": utc_now()}, severity=5)
        return s

    def _record_refusal(self, seen: Inspection, refusal: SealiftError) -> None:
        identity = seen.statement.release_id if seen.statement else seen.media.bundle_id
        self._engine.audit.append("bundle.refuse", outcome="denied", obj={"kind": "bundle", "id": identity, "digest": None},
                                  reason=refusal.code, detail={"message": str(refusal), "findings": seen.findings[:20]})

    def _check_space(self, seen: Inspection) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        needed = int(sum(f.size for f in {f.sha256: f for f in seen.files}.values() if not self.file(f.sha256).is_file()) * SPARE)
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise SPACE(free=shown_size(free), needed=shown_size(needed))

    def _check_approval(self, statement: Statement) -> None:
        approvals = self._engine.approvals
        if approvals.required() and approvals.granted("import", statement.release_id) is None:
            approvals.request("import", statement.bundle["title"], statement.release_id)
        approvals.use("import", statement.bundle["title"], statement.release_id)

    def _staging(self, statement: Statement) -> Path:
        return self.root / "staging" / statement.release_id

    def _copy_in(self, ctx: Context, seen: Inspection, statement: Statement) -> Imported:
        staging = self._staging(statement)
        staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        ctx.phase(N_("Copy and check"))
        distinct = {f.sha256: f for f in seen.files}
        total = sum(f.size for f in distinct.values())
        copied = reused = done = 0
        missing: set[str] = set()
        for entry in distinct.values():
            place = self.file(entry.sha256)
            if place.is_file() and place.stat().st_size == entry.size:
                reused += entry.size
            else:
                copied += _Copy(staging, entry, seen.media, missing).run(ctx, done, total)
            done += entry.size
            ctx.progress(done, total, "bytes")
        if missing:
            raise VOLUMES(volumes=", ".join(map(str, seen.media.missing_volumes())) or "?", of=max(v.of for v in seen.media.volumes))
        ctx.phase(N_("Screen the contents"))
        self._screen(ctx, seen, statement, staging)
        self._check_model_signatures(seen, statement)
        return self._enter(ctx, seen, statement, staging, copied, reused)

    def _staged(self, staging: Path, sha256: str) -> Path:
        staged = staging / sha256
        return staged if staged.is_file() else self.file(sha256)

    def _screen(self, ctx: Context, seen: Inspection, statement: Statement, staging: Path) -> None:
        kinds = {c.id: c.type for c in statement.components}
        for entry in seen.files:
            ctx.checkpoint()
            with open(self._staged(staging, entry.sha256), "rb") as source:
                for found in screening.screen(kinds[entry.component], entry.path, entry.size, source):
                    if not found.remark:
                        raise REFUSED(path=found.path, message=found.message, finding=found.code)

    def _check_model_signatures(self, seen: Inspection, statement: Statement) -> None:
        """Each model's own signature must be by a signer of the bundle, and list exactly the bundle's files of it."""
        keys = [key for key, _ in self._engine.trust.believed().values()]
        for component in statement.components:
            if component.oms is None:
                continue
            try:
                raw = read_small(seen.media.first / component.oms, oms.MAX_SIGNATURE_BYTES)
            except Unsafe as problem:
                raise REFUSED(path=component.oms, message="the model's signature is not there", finding=problem.code) from None
            if hashlib.sha256(raw).hexdigest() != component.oms_sha256:
                raise REFUSED(path=component.oms, message="the model's signature is another one", finding="digest")
            files = {f.path.removeprefix(component.path + "/"): f.sha256 for f in seen.files if f.component == component.id}
            for found in oms.check_listing(raw, files, keys):
                raise REFUSED(path=f"{component.oms}: {found.path}", message=found.message, finding=found.code)

    def _enter(self, ctx: Context, seen: Inspection, statement: Statement, staging: Path, copied: int, reused: int) -> Imported:
        ctx.checkpoint()
        for sha256 in {f.sha256 for f in seen.files}:
            staged, place = staging / sha256, self.file(sha256)
            if staged.is_file():
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                staged.chmod(0o400)
                staged.replace(place)
        folder = self.root / "releases" / statement.release_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, raw in ((layout.RELEASE, seen.envelope_raw), (layout.INDEX, seen.index_raw)):
            _write(folder / name, raw)
        receipt = {"v": 1, "site": self._engine.site.need().site_id, "release_id": statement.release_id, "bundle_id": seen.media.bundle_id,
                   "title": statement.bundle["title"], "channel": statement.channel, "sequence": statement.sequence,
                   "index_sha256": statement.index_sha256, "imported_at": utc_now(), "imported_by": self._engine.actor.id,
                   "media": [{"number": v.number, "label": v.label} for v in seen.media.volumes], "verdict": "verified",
                   "signers": seen.signers, "bytes_copied": copied, "bytes_reused": reused}
        row = {"release_id": statement.release_id, "bundle_id": seen.media.bundle_id, "title": statement.bundle["title"],
               "imported_by": self._engine.actor.id, "signers": seen.signers, "receipt": receipt}
        table.put_release(self._engine.store, row, {f.sha256 for f in seen.files},
                          {"channel": statement.channel, "highest_sequence": statement.sequence, "release_id": statement.release_id,
                           "min_sequence": statement.min_sequence, "time_floor": statement.issued_at}, statement.revoked)
        shutil.rmtree(staging, ignore_errors=True)
        return Imported(self.get(statement.release_id), copied, reused, receipt)

    def remove(self, name: str) -> Release:
        """Take a release out of the library; files that another release needs stay.

        Raises:
            InputError: ``bundle.unknown-release``, ``bundle.in-use``. DeniedError.
        """
        self._engine.require("operator", "admin")
        release = self.get(name)
        using = sorted({s["server"] for d in self._engine.deployments.list() if d.get("release_id") == release.release_id
                        for s in d.get("servers", []) if s.get("state") == "serving"})
        if using:
            raise IN_USE(name=release.title, servers=", ".join(using))
        obj = {"kind": "release", "id": release.release_id, "digest": release.release_id}
        with self._engine.act("bundle.remove", obj, {"title": release.title}):
            for sha256 in table.drop_release(self._engine.store, release.release_id):
                with contextlib.suppress(FileNotFoundError):
                    self.file(sha256).unlink()
            shutil.rmtree(self.root / "releases" / release.release_id, ignore_errors=True)
        self._engine.events.publish(Changed(None, frozenset({"library"})))
        return release


def as_json(release: Release) -> dict[str, Any]:
    """A release as the command line prints it."""
    return {"release_id": release.release_id, "bundle_id": release.bundle_id, "title": release.title, "channel": release.channel,
            "sequence": release.sequence, "issued_at": release.issued_at, "imported_at": release.imported_at,
            "files": len(release.files), "bytes": release.bytes, "signers": list(release.signers),
            "components": [asdict(c) | {"summary": {k: v for k, v in c.summary.items() if k != "config"}} for c in release.components]}


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)


class _Copy:
    """One file on its way in: written at its places, chunk by chunk, with a journal of what is safely on disk."""

    def __init__(self, staging: Path, entry: FileEntry, media: Media, missing: set[str]):
        self._part, self._journal = staging / f"{entry.sha256}.part", staging / f"{entry.sha256}.journal"
        self._final, self._entry, self._media, self._missing = staging / entry.sha256, entry, media, missing

    def run(self, ctx: Context, before: int, total: int) -> int:
        """Copy what is not there yet; bytes copied. Chunks on absent drives are added to ``missing``."""
        if self._final.is_file() and oms.file_digest(self._final) == (self._entry.sha256, self._entry.size):
            return 0
        kept = self._kept()
        copied, offset, unsynced, fresh = 0, 0, 0, []
        handle = os.open(self._part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(handle, "r+b", buffering=0) as out:
            for number, (digest, length) in enumerate(self._entry.chunks):
                if number in kept and self._same(out, digest, offset, length):
                    offset += length
                    continue
                if self._chunk(out, digest, offset, length):
                    copied, unsynced = copied + length, unsynced + length
                    fresh.append(number)
                offset += length
                if unsynced >= SYNC_BYTES:
                    self._sync(out, fresh)
                    unsynced = 0
                try:
                    ctx.progress(before + offset, total, "bytes")
                except BaseException:
                    self._sync(out, fresh)
                    raise
            self._sync(out, fresh)
        if not self._missing.intersection(d for d, _ in self._entry.chunks):
            self._finish()
        return copied

    def _kept(self) -> set[int]:
        with contextlib.suppress(OSError, ValueError):
            return {int(line) for line in self._journal.read_text(encoding="ascii").split()}
        return set()

    def _same(self, out: Any, digest: str, offset: int, length: int) -> bool:
        """A chunk of an earlier try counts only when it still has its digest."""
        out.seek(offset)
        return hashlib.sha256(out.read(length) or b"").hexdigest() == digest

    def _chunk(self, out: Any, digest: str, offset: int, length: int) -> bool:
        path = self._media.object_file(digest)
        if path is None:
            self._missing.add(digest)
            return False
        real, left = hashlib.sha256(), length
        buffer = memoryview(bytearray(1 << 20))
        try:
            with open_plain(path) as source:
                if os.fstat(source.fileno()).st_size != length:
                    raise REFUSED(path=self._entry.path, message="a chunk has another size than the index says", finding="object-size")
                out.seek(offset)
                while left:
                    count = source.readinto(buffer[: min(left, len(buffer))])
                    if not count:
                        raise REFUSED(path=self._entry.path, message="a chunk ends early", finding="object-size")
                    real.update(buffer[:count])
                    out.write(buffer[:count])
                    left -= count
        except Unsafe as problem:
            raise REFUSED(path=self._entry.path, message="a chunk is no plain file", finding=problem.code) from None
        except OSError as problem:
            if problem.filename or not os.path.exists(path):
                raise GONE(place=str(path), reason=problem.strerror or "?") from None
            raise SPACE(free="?", needed=shown_size(left)) from None
        if real.hexdigest() != digest:
            raise REFUSED(path=self._entry.path, message="a chunk's bytes are not those that were signed", finding="object-digest")
        return True

    def _sync(self, out: Any, fresh: list[int]) -> None:
        os.fsync(out.fileno())
        if fresh:
            with open(self._journal, "a", encoding="ascii") as journal:
                journal.write("".join(f"{n}\n" for n in fresh))
                journal.flush()
                os.fsync(journal.fileno())
            fresh.clear()

    def _finish(self) -> None:
        if oms.file_digest(self._part) != (self._entry.sha256, self._entry.size):
            raise REFUSED(path=self._entry.path, message="the whole file does not have the digest that was signed", finding="digest")
        self._part.replace(self._final)
        with contextlib.suppress(FileNotFoundError):
            self._journal.unlink()
