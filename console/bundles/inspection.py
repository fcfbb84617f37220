"""What can be known of a bundle before its bytes are read: who signed, what is inside, which volumes are here, what speaks against it.

Accepts nothing, reads no object. Everything that can be known is listed, not only the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from console.bundles import layout, manifest
from console.bundles.manifest import FileEntry, Index, Statement
from console.bundles.media import GONE, Media, Unsafe, Volume, linked_folders, only, read_roots, read_small
from console.bundles.parity import Group
from console.bundles.publishers import NOBODY, Publishers
from console.bundles.screening import REMARK, Finding
from console.errors import SealiftError
from console.i18n import N_, Said
from console.trust import dsse, root
from console.trust.canonical import decode
from console.trust.keys import PublicKey
from console.units import utc_now

MAX_FINDINGS = 10_000
BY_ERROR = {"trust.json": "json", "trust.size": "size", "trust.envelope": "json", "trust.sig-count": "sig-count",
            "trust.payload-type": "payload-type", "trust.signature": "signature", "trust.threshold": "threshold",
            "bundle.statement": "statement", "bundle.index": "index", "bundle.path": "path",
            "bundle.dup-name": "dup-name"}
SAID = {"object-missing": N_("the chunk is not on the drives that are here"),
        "object-size": N_("the chunk has another size than the index says"),
        "object-unreadable": N_("the drive cannot read the chunk back"),
        "object-digest": N_("the chunk's bytes are not those that were signed"),
        "missing": N_("the file is not there"),
        "symlink": N_("a link lies where a file must be"),
        "special-file": N_("something lies there that is no file")}
STATES = {"complete": N_("here"), "incomplete": N_("not written to its end"), "damaged": N_("damaged"), "older": N_("an older edition"),
          "newer": N_("a newer edition"), "foreign": N_("of another bundle")}
"""States of volumes, and the words for them."""


@dataclass(frozen=True)
class Revoked:
    """A key that counts no more, but for what this site took from it before: by channel, up to a sequence number."""

    key: PublicKey | None = None
    holder: str = ""
    last_sequence: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Beliefs:
    """Whom a release has to be signed by, and whom models may come from. ``findings``: what is wrong with the trust roots that a
    bundle brings along."""

    keys: Mapping[str, tuple[PublicKey, str]]
    threshold: int = 1
    revoked: Mapping[str, Revoked] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    publishers: Publishers = NOBODY


class Judge(Protocol):
    """On whose behalf a bundle is looked at."""

    def believe(self, chain: Sequence[bytes]) -> Beliefs:
        """What counts when the trust roots that the bundle carries are taken into account; changes nothing."""

    def took(self, release_id: str) -> bool:
        """Whether this very release was taken before."""

    def judge(self, statement: Statement) -> Iterable[Finding]:
        """What speaks against a release that is signed and in order."""


class Outsider:
    """The judge of one who has keys and no site."""

    def __init__(self, keys: Mapping[str, tuple[PublicKey, str]], threshold: int = 1):
        self._beliefs = Beliefs(keys, threshold)

    def believe(self, chain: Sequence[bytes]) -> Beliefs:
        """The keys that were given."""
        return self._beliefs

    def took(self, release_id: str) -> bool:
        """Nothing was ever taken."""
        return False

    def judge(self, statement: Statement) -> Iterable[Finding]:
        """Only the time can be judged, by the clock that there is."""
        if statement.expires_at is not None and statement.expires_at < utc_now():
            yield Finding("expired", layout.RELEASE, N_("it expired at {expires_at}"), params={"expires_at": statement.expires_at})


def judge_of(by: Mapping[str, tuple[PublicKey, str]] | Judge, threshold: int = 1) -> Judge:
    """A judge, or one made of keys by key id with their holders."""
    return Outsider(by, threshold) if isinstance(by, Mapping) else by


@dataclass
class Inspection:
    """What is known of a bundle before its bytes were read.

    Attributes:
        trusted: enough holders that are believed have signed. unknown_keys: ids of the others.
        findings: ``code``, ``path``, ``message``; ``pending`` where it only says what could not be checked yet.
            ``repairable`` where the bundle's own repair data, as far as it is here, brings back what is bad.
        states: by a volume's folder: complete, incomplete, damaged, older, newer or foreign.
        objected: the findings of the judge alone: of a release that is in order, and not wanted here and now.
        roots: the trust roots that it carries, by version.
        publishers: what the signatures of its models' publishers came to, where they were checked.
    """

    media: Media
    beliefs: Beliefs
    statement: Statement | None = None
    index: Index | None = None
    envelope_raw: bytes = b""
    index_raw: bytes = b""
    signers: list[dict[str, str]] = field(default_factory=list)
    unknown_keys: list[str] = field(default_factory=list)
    trusted: bool = False
    findings: list[dict[str, Any]] = field(default_factory=list)
    objected: list[dict[str, Any]] = field(default_factory=list)
    states: dict[Path, str] = field(default_factory=dict)
    roots: dict[int, bytes] = field(default_factory=dict)
    publishers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """The files that the index lists."""
        return self.index.files if self.index is not None else ()

    @property
    def parity(self) -> tuple[Group, ...]:
        """Its repair data."""
        return self.index.parity if self.index is not None else ()

    @property
    def objects(self) -> dict[str, int]:
        """Bytes of every object that the index lists, by digest."""
        return self.index.objects if self.index is not None else {}

    def found(self, code: str, path: str, message: str, params: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Note a finding; ``message`` is marked for translation, ``params`` stand in it."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, path, message, params=params or {}).told() | more)

    @property
    def bad(self) -> list[dict[str, Any]]:
        """The findings that spoil the verdict, but for the judge's."""
        return [f for f in self.findings if f["code"] != REMARK and not f.get("pending")]


def inspect(places: Sequence[Path], by: Mapping[str, tuple[PublicKey, str]] | Judge, threshold: int = 1) -> Inspection:
    """Who signed, with which key, and what is inside; accepts nothing and reads no object.

    Args:
        by: on whose behalf, or the keys that are believed, by key id with their holders.

    Raises:
        InputError: ``bundle.not-found``, ``bundle.several``. WorldError: ``bundle.media-removed``.
    """
    media, judge = only(places), judge_of(by, threshold)
    try:
        # The volume whose small files are in order speaks for all of them.
        base = media.first
        ranked = replace(media, volumes=tuple(sorted(media.volumes, key=lambda v: v.folder != base)))
        roots = [read_roots(v.folder) for v in ranked.volumes]
        chain = {n: raw for held in reversed(roots) for n, raw in held.items() if isinstance(raw, bytes)}
        seen = Inspection(ranked, judge.believe([chain[n] for n in sorted(chain)]), roots=chain)
        _check_roots(seen, dict(zip((v.folder for v in ranked.volumes), roots, strict=True)))
        _open_release(seen, judge)
        if seen.statement is not None:
            for version in sorted(set(range(1, min(seen.statement.root_version, root.MAX_CHAIN) + 1)) - {n for held in roots for n in held}):
                seen.found("missing", f"{layout.TRUST}/{root_name(version)}", SAID["missing"])
        _open_index(seen)
        seen.media = media
        _compare_volumes(seen, base)
        _judge_strangers(seen)
        if seen.statement is not None:
            seen.objected = [item.told() for item in judge.judge(seen.statement)]
    except OSError as problem:
        raise GONE(place=str(media.volumes[0].folder), reason=problem.strerror or "?") from None
    return seen


def _small(seen: Inspection, name: str, limit: int) -> bytes | None:
    try:
        return read_small(seen.media.volumes[0].folder / name, limit)
    except Unsafe as problem:
        code = "missing" if problem.code == "object-missing" else problem.code
        seen.found(code, name, SAID[code])
        return None


def _error(seen: Inspection, problem: SealiftError, path: str, otherwise: str) -> None:
    """Note an error of a reader as the finding that it is: its reason, where it has one, for code and path say the rest."""
    reason = problem.params.get("reason")
    if isinstance(reason, str):
        seen.found(BY_ERROR.get(problem.code, otherwise), path, reason)
    else:
        seen.found(BY_ERROR.get(problem.code, otherwise), path, problem.kind.message, problem.params)


# Signatures ----------------------------------------------------------------------------------------------------------


def _open_release(seen: Inspection, judge: Judge) -> None:
    raw = _small(seen, layout.RELEASE, layout.MAX_RELEASE_BYTES)
    if raw is None:
        return
    seen.envelope_raw = raw
    try:
        envelope = dsse.parse(raw, layout.PAYLOAD_TYPE, max_bytes=layout.MAX_RELEASE_BYTES)
        dsse.good_signers(envelope, layout.PAYLOAD_TYPE, seen.beliefs.keys)  # one that is wrong fails the document before it is read
        seen.statement = manifest.read_statement(envelope.payload)
    except SealiftError as problem:
        _error(seen, problem, layout.RELEASE, "statement")
    else:
        _count_signers(seen, envelope, judge)


def _count_signers(seen: Inspection, envelope: dsse.Envelope, judge: Judge) -> None:
    beliefs, statement = seen.beliefs, seen.statement
    counting, revoked = dict(beliefs.keys), []
    for keyid in sorted({s.keyid for s in envelope.signatures} & beliefs.revoked.keys()):
        about = beliefs.revoked[keyid]
        vouched = statement is not None and statement.sequence <= about.last_sequence.get(statement.channel, 0)
        if about.key is not None and vouched and judge.took(statement.release_id):
            counting[keyid] = (about.key, about.holder)
        else:
            revoked.append(keyid)
    try:
        good = dsse.good_signers(envelope, layout.PAYLOAD_TYPE, counting)
    except SealiftError as problem:
        _error(seen, problem, layout.RELEASE, "signature")
        return
    holders: set[str] = set()
    for keyid, holder in good:
        if holder not in holders:
            holders.add(holder)
            seen.signers.append({"key_id": keyid, "name": holder, "fingerprint": counting[keyid][0].fingerprint})
    seen.unknown_keys = [s.keyid for s in envelope.signatures if s.keyid not in counting]
    seen.trusted = len(holders) >= beliefs.threshold
    for keyid in revoked:
        # Enough others vouch for it: then the revoked signature is only one that counts for nothing.
        seen.found(REMARK if seen.trusted else "revoked", layout.RELEASE, N_("the key {keyid} was revoked by this site"), {"keyid": keyid})
    if beliefs.keys and not seen.trusted:
        seen.found("threshold", layout.RELEASE, N_("{count} of {needed} needed holders have signed"),
                   {"count": len(holders), "needed": beliefs.threshold})


def _check_roots(seen: Inspection, held: Mapping[Path, Mapping[int, bytes | str]]) -> None:
    """The trust roots that the bundle carries: each there, plain, the same on every volume, and following on the one before."""
    for finding in seen.beliefs.findings:
        seen.found(finding.code, finding.path, finding.message, finding.params)
    for folder, roots in held.items():
        for version, raw in sorted(roots.items()):
            path = str(folder / layout.TRUST / root_name(version))
            if isinstance(raw, str):
                seen.found(raw, path, SAID.get(raw, raw))
            elif raw != seen.roots[version]:
                seen.found("root-chain", path, N_("the file differs from that on the other volumes"))
        for version in sorted(set(seen.roots) - set(roots)):
            seen.found("missing", str(folder / layout.TRUST / root_name(version)), SAID["missing"])
    if not seen.beliefs.findings:
        _check_chain(seen)


def root_name(version: int) -> str:
    """The file of a trust root."""
    return f"root.{version}.dsse.json"


def _check_chain(seen: Inspection) -> None:
    last: root.Root | None = None
    for version, raw in sorted(seen.roots.items()):
        path = f"{layout.TRUST}/{root_name(version)}"
        try:
            now = root.follow(last, raw) if last is not None and last.version + 1 == version else root.self_signed(raw)
        except SealiftError as problem:
            seen.found("root-chain", path, problem.kind.message, problem.params)
            last = None
            continue
        if now.version != version:
            seen.found("root-chain", path, N_("it holds version {version}"), {"version": now.version})
        last = now


# Index ---------------------------------------------------------------------------------------------------------------


def _open_index(seen: Inspection) -> None:
    raw = _small(seen, layout.INDEX, layout.MAX_INDEX_BYTES)
    if raw is None:
        return
    seen.index_raw, digest = raw, hashlib.sha256(raw).hexdigest()
    if digest[:32] != seen.media.bundle_id:
        seen.found("index", layout.INDEX, N_("the folder's name is not that of this index"))
    if seen.statement is not None and digest != seen.statement.index_sha256:
        seen.found("index", layout.INDEX, N_("the index is not the one that was signed"))
        return
    index, problems = manifest.judge_index(raw)
    for problem in problems:
        _error(seen, problem, str(problem.params.get("path") or layout.INDEX), "index")
    seen.index = index
    if index is not None and seen.statement is not None and not problems:
        _check_totals(seen, seen.statement)


def _check_totals(seen: Inspection, statement: Statement) -> None:
    told, index = statement.bundle, seen.index
    real = {"bytes": sum(f.size for f in seen.files), "files": len(seen.files), "objects": len({d for f in seen.files for d, _ in f.chunks}),
            "chunk_max": index.chunk_max if index is not None else 0}
    for name, value in real.items():
        if told[name] != value:
            seen.found("index", layout.INDEX, N_("the statement says {told} {name}, the index lists {value}"),
                       {"told": told[name], "name": name, "value": value})
    known, held = {c.id: c.path for c in statement.components}, set[str]()
    for entry in seen.files:
        place = known.get(entry.component)
        held.add(entry.component)
        if place is None or not entry.path.startswith(place + "/"):
            seen.found("index", entry.path, N_("the file belongs to no component of the statement"))
    for component in statement.components:
        if component.id not in held:
            seen.found("index", component.path, N_("the index lists no file of the component {id}"), {"id": component.id})


# Volumes -------------------------------------------------------------------------------------------------------------


def _compare_volumes(seen: Inspection, base: Path) -> None:
    for volume in seen.media.volumes:
        state = "complete" if volume.sealed else "incomplete"
        for link in linked_folders(volume.folder):
            seen.found("symlink", str(link), SAID["symlink"])
        if not volume.sealed:
            seen.found("missing", str(volume.folder / layout.SEALED), N_("the volume was not written to its end"))
        if volume.folder != base:
            state = _compare(seen, volume) or state
        seen.states[volume.folder] = state
    for number in seen.media.missing_volumes():
        seen.found("missing", f"volume {number}", N_("this volume is not here"), pending=True)


def _compare(seen: Inspection, volume: Volume) -> str | None:
    """What is wrong with a volume's small files against those of the first; None when nothing is."""
    state = None
    for name, raw, limit in ((layout.INDEX, seen.index_raw, layout.MAX_INDEX_BYTES),
                             (layout.RELEASE, seen.envelope_raw, layout.MAX_RELEASE_BYTES)):
        try:
            own = read_small(volume.folder / name, limit)
        except Unsafe as problem:
            code = "missing" if problem.code == "object-missing" else problem.code
            seen.found(code, str(volume.folder / name), SAID[code])
            state = "damaged"
            continue
        if own != raw:
            state = "damaged" if name == layout.INDEX else state or _edition(seen, own)
            seen.found("index" if name == layout.INDEX else "signature", str(volume.folder / name),
                       N_("the file differs from that on the other volumes: the volume is {state}"), {"state": Said(STATES[state])})
    return state


def _judge_strangers(seen: Inspection) -> None:
    for volume in seen.media.strangers:
        try:
            state = _edition(seen, read_small(volume.folder / layout.RELEASE, layout.MAX_RELEASE_BYTES))
        except Unsafe:
            state = "damaged"
        seen.states[volume.folder] = state
        seen.found(REMARK, str(volume.folder), N_("the volume is not of this bundle: {state}"), {"state": Said(STATES[state])})


def _edition(seen: Inspection, envelope_raw: bytes) -> str:
    """How another release stands to this one: older or newer edition of the same channel, foreign, or damaged."""
    try:
        other = manifest.read_statement(dsse.parse(envelope_raw, layout.PAYLOAD_TYPE).payload)
    except SealiftError:
        return "damaged"
    if seen.statement is None or other.channel != seen.statement.channel:
        return "foreign"
    own = seen.statement
    return "older" if (other.sequence, other.issued_at) < (own.sequence, own.issued_at) else "newer"


def check_hint(seen: Inspection, volume: Volume) -> None:
    """The unsigned hint of a volume decides nothing; one that is not what was written tells of a drive that was meddled with."""
    path = volume.folder / layout.VOLUME
    try:
        hint = decode(read_small(path, 64 << 10), max_bytes=64 << 10, what=layout.VOLUME)
    except Unsafe as problem:
        code = "missing" if problem.code == "object-missing" else problem.code
        seen.found(code, str(path), SAID[code])
    except SealiftError as problem:
        _error(seen, problem, str(path), "json")
    else:
        whole = isinstance(hint, dict) and all(type(hint.get(name)) is int for name in ("v", "number", "of", "objects", "bytes"))
        if not whole or not isinstance(hint.get("label"), str) or not 1 <= hint["number"] <= hint["of"]:
            seen.found("json", str(path), N_("the volume's hint is malformed"))
        elif hint.get("bundle_id") != seen.media.bundle_id:
            seen.found(REMARK, str(path), N_("the volume's hint is that of another bundle"))


# The document --------------------------------------------------------------------------------------------------------


def document(seen: Inspection, hashed: int | None) -> dict[str, Any]:
    """The JSON of an inspection; ``hashed`` None when no object was read."""
    objects, bad = seen.objects, [*seen.bad, *(f for f in seen.objected if f["code"] != REMARK)]
    whole = hashed is not None and bool(seen.files) and hashed == sum(objects.values())
    pending = any(f.get("pending") for f in seen.findings)
    verdict = "failed" if bad else "verified" if whole and seen.trusted and not pending else "unverified"
    told: dict[str, Any] = {
        "verdict": verdict, "signers": seen.signers, "findings": [*seen.findings, *seen.objected], "files": len(seen.files),
        "bytes": sum(f.size for f in seen.files), "hashed_bytes": hashed or 0, "bundle_id": seen.media.bundle_id,
        "unknown_keys": seen.unknown_keys, "publishers": seen.publishers, "objects": len(objects),
        "parity": {"objects": len(seen.parity), "bytes": sum(g.object[1] for g in seen.parity)},
        "repairable": bool(bad) and all(f.get("repairable") for f in bad),
        "volumes": [{"number": v.number, "of": v.of, "label": v.label, "folder": str(v.folder),
                     "state": seen.states.get(v.folder, "complete")} for v in seen.media.volumes],
        "other_volumes": [{"folder": str(v.folder), "label": v.label, "state": seen.states[v.folder]}
                          for v in seen.media.strangers],
        "missing_volumes": seen.media.missing_volumes()}
    return told | (_statement_json(seen.statement) if seen.statement is not None else {})


def _statement_json(s: Statement) -> dict[str, Any]:
    return {"release_id": s.release_id, "title": s.bundle["title"], "channel": s.channel, "sequence": s.sequence,
            "issued_at": s.issued_at, "expires_at": s.expires_at, "audience": list(s.audience),
            "components": [{"id": c.id, "type": c.type, "version": c.version, "format": c.format, "license": c.license,
                            "installed_bytes": c.installed_bytes, "source": c.source} for c in s.components]}
