"""Whether this site takes a release that is signed and in order: audience, sequence, revocation, expiry, clock.

Rules: trust design, sections 4 and 5. The state that they go by is held in the store and, once more, in the audit log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from console import __built__
from console.bundles import layout
from console.bundles.inspection import Beliefs, Inspection
from console.bundles.manifest import Statement
from console.bundles.screening import REMARK, Finding
from console.errors import SealiftError, VerdictError, code, why
from console.i18n import N_, Said
from console.jobs.job import Context
from console.store import library as table
from console.trust.canonical import decode
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine

REFUSED = code("bundle.refused", VerdictError, N_("The bundle is refused: {path}: {message} ({finding})."),
               N_("Nothing of it was kept. `sealift bundle verify` lists all findings. Where only a trusted key is lacking, compare its fingerprint "
                  "with its holder and add it with `sealift trust add`; else tell who built the bundle."))
AUDIENCE = code("bundle.audience", VerdictError, N_("The bundle is meant for {audience}, not for this site ({site})."),
                N_("Get the edition for this site."))
ROLLBACK = code("bundle.rollback", VerdictError,
                N_("The bundle is number {sequence} of {channel}, and number {highest} was imported already."),
                N_("An older release is not taken for a new one. Get a newer edition, or use the one in the library. One "
                   "that this site had before may come back with --override older."))
STATE_ROLLED_BACK = code(
    "bundle.state-rolled-back", VerdictError,
    N_("The workspace remembers number {stored} of {channel}, and the audit log tells of number {logged}."),
    N_("The workspace was set back, by a restored backup or by somebody. Find out why; then import with "
       "--override state, which takes over what the log says."))
REVOKED = code("bundle.revoked", VerdictError, N_("A later release has revoked this one."), N_("Get a newer edition."))
EXPIRED = code("bundle.expired", VerdictError, N_("The bundle expired at {expires_at}."),
               N_("Get a newer edition, or accept it all the same with --override expired, which is recorded."))
CLOCK = code("bundle.clock-back", VerdictError,
             N_("The bundle was issued at {issued_at}, and this computer's clock says {clock}."),
             N_("Set the clock right. If it is right, let a second person look at who signed, then accept the bundle with --override clock, "
                "which is recorded."))
OVERRIDES = {ROLLBACK.code: "older", EXPIRED.code: "expired", STATE_ROLLED_BACK.code: "state", CLOCK.code: "clock"}
"""What may be let pass once, under somebody's name, and the word for it."""
LATE, EARLY = timedelta(minutes=5), timedelta(hours=24)
MAX_RECORD_BYTES = 64 << 10
_READ: WeakKeyDictionary[Any, tuple[int, dict[str, int]]] = WeakKeyDictionary()
_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class Objection:
    """Something that speaks against a release; ``override`` is the word with which it may be let pass, where it may."""

    error: SealiftError
    override: str | None = None


class Site:
    """The judge of one site."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def believe(self, chain: Sequence[bytes]) -> Beliefs:
        """Keys, threshold and revoked keys after the bundle's chain of roots; as before it where the chain is refused."""
        try:
            return self._engine.trust.beliefs(chain)
        except VerdictError as problem:
            found = Finding("root-chain", layout.TRUST, problem.kind.message, params=problem.params)
            return replace(self._engine.trust.beliefs([]), findings=(found,))

    def took(self, release_id: str) -> bool:
        """Whether this site imported the release at any time."""
        return table.was_imported(self._engine.store, release_id)

    def judge(self, statement: Statement) -> Iterable[Finding]:
        """All that speaks against a release; what an override may let pass for a release that was here before is only told."""
        for objection in objections(self._engine, statement):
            told = objection.override in ("older", "clock")
            yield Finding(REMARK if told else objection.error.code.removeprefix("bundle."), layout.RELEASE, objection.error.kind.message,
                          params=objection.error.params)


def accept(engine: Engine, ctx: Context, seen: Inspection, overrides: frozenset[str] = frozenset()) -> Statement:
    """The statement, when everything that can be judged before copying is in order.

    Args:
        overrides: values of :data:`OVERRIDES`; each is recorded, and needs a second person where the policy asks for one.

    Raises:
        VerdictError: ``bundle.refused`` with the finding in ``details``, or one of the codes above.
        DeniedError: ``approval.needed``.
    """
    if seen.bad:
        raise refused(seen.bad)
    statement = seen.statement
    if statement is None or not seen.trusted:
        raise refused([{"code": "threshold", "path": layout.RELEASE, "message": N_("no key that this site trusts has signed it")}])
    _tell_of_the_clock(engine, ctx)
    remaining = objections(engine, statement)
    for objection in remaining:
        if objection.override is None or objection.override not in overrides:
            told = [objection, *remaining]
            objection.error.params["findings"] = [{"code": o.error.code.removeprefix("bundle."), "path": layout.RELEASE, "message": why(o.error)}
                                                  for o in told]
            raise objection.error
        _override(engine, statement, objection.override)
    return statement


def refused(findings: Sequence[dict[str, Any]]) -> SealiftError:
    """The refusal for all of these findings; its text is of the first."""
    first = findings[0]
    problem = REFUSED(path=first["path"], message=Said(first["message"]), finding=first["code"])
    problem.params["findings"] = [{name: f[name] for name in ("code", "path", "message")} for f in findings]
    return problem


def objections(engine: Engine, s: Statement) -> Iterator[Objection]:
    """Everything that speaks against a release at this site, in the order of the checks."""
    site = engine.site.get()
    if site is not None and "*" not in s.audience and site.site_id not in s.audience:
        yield Objection(AUDIENCE(audience=", ".join(s.audience), site=site.site_id))
    stored, logged = table.channels(engine.store), _logged(engine)
    for channel, sequence in sorted(logged.items()):
        # The store may be an old copy; the log, whose heads are kept elsewhere too, tells what was imported since.
        if stored.get(channel, 0) < sequence:
            yield Objection(STATE_ROLLED_BACK(stored=stored.get(channel, 0), channel=channel, logged=sequence), "state")
            break
    known = table.channel(engine.store, s.channel)
    if known is not None and s.release_id != known["release_id"] and s.sequence <= known["highest_sequence"]:
        again = table.was_imported(engine.store, s.release_id) and s.sequence >= known["min_sequence"]
        yield Objection(ROLLBACK(sequence=s.sequence, channel=s.channel, highest=known["highest_sequence"]), "older" if again else None)
    if table.is_revoked(engine.store, s.release_id):
        yield Objection(REVOKED())
    clock = utc_now()
    if s.expires_at is not None and s.expires_at < max(clock, time_floor(engine)):
        yield Objection(EXPIRED(expires_at=s.expires_at), "expired")
    if s.issued_at > _moved(clock, EARLY):
        yield Objection(CLOCK(issued_at=s.issued_at, clock=clock), "clock")


def time_floor(engine: Engine) -> str:
    """The time that it is at least: that of the program's making, of every release that was taken, of the last record."""
    last = next((str(r.get("ts", "")) for r in engine.audit.list(limit=1)), "")
    return max(__built__, table.time_floor(engine.store), last)


def _tell_of_the_clock(engine: Engine, ctx: Context) -> None:
    clock, floor = utc_now(), time_floor(engine)
    if _moved(clock, LATE) < floor:
        ctx.warn(N_("The clock of this computer says {clock}, and something was recorded at {floor} already."),
                 clock=clock, floor=floor)
        engine.audit.append("clock.back", detail={"clock": clock, "floor": floor}, severity=5)


def _override(engine: Engine, statement: Statement, name: str) -> None:
    title = statement.bundle["title"]
    if engine.approvals.required() and engine.approvals.granted(f"override-{name}", statement.release_id) is None:
        engine.approvals.request(f"override-{name}", title, statement.release_id)
    approvers = engine.approvals.use(f"override-{name}", title, statement.release_id)
    engine.audit.append("trust.override", obj={"kind": "release", "id": statement.release_id, "digest": statement.release_id},
                        detail={"override": name}, approvers=tuple(approvers))
    if name == "state":
        for channel, sequence in _logged(engine).items():
            table.raise_channel(engine.store, channel, sequence)


def _logged(engine: Engine) -> dict[str, int]:
    """The highest sequence of each channel, as the audit log tells it. What was read of the log once is not read again."""
    audit = engine.audit
    read, highest = _READ.get(audit, (0, {}))
    for seq, raw, _ in audit.records(read + 1):
        read = seq
        if b'"event":"bundle.import"' not in raw:
            continue
        with contextlib.suppress(SealiftError, ValueError, TypeError):
            record = decode(bytes(raw), max_bytes=MAX_RECORD_BYTES)
            detail = record.get("detail") or {}
            if record.get("outcome") == "success" and detail.get("stage") == "end" and detail.get("channel"):
                channel, sequence = str(detail["channel"]), int(detail.get("highest_sequence", 0))
                highest[channel] = max(highest.get(channel, 0), sequence)
    _READ[audit] = (read, highest)
    return dict(highest)


def _moved(time: str, by: timedelta) -> str:
    return (datetime.strptime(time, _FORM).replace(tzinfo=UTC) + by).strftime(_FORM)
