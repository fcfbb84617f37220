"""Whether this site takes a release that is signed and in order: audience, sequence, revocation, expiry, clock.

Rules: trust design, sections 4 and 5. The state that they go by is held in the store and, once more, in the audit log.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from console.bundles import layout
from console.bundles.manifest import Statement
from console.bundles.verify import REMARK, Inspection
from console.errors import VerdictError, code
from console.i18n import N_
from console.jobs.job import Context
from console.store import library as table
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine

REFUSED = code("bundle.refused", VerdictError, N_("The bundle is refused: {path}: {message} ({finding})."),
               N_("Nothing of it was kept. Run `sealift bundle verify` for all findings, and tell who built it."))
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
OVERRIDES = ("older", "expired", "state")
LATE, EARLY = timedelta(minutes=5), timedelta(hours=24)
LOG_RECORDS = 1000
_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"


def accept(engine: Engine, ctx: Context, seen: Inspection, overrides: frozenset[str] = frozenset()) -> Statement:
    """The statement, when everything that can be judged before copying is in order.

    Args:
        overrides: of :data:`OVERRIDES`; each is recorded, and needs a second person where the policy asks for one.

    Raises:
        VerdictError: ``bundle.refused`` with the finding in ``details``, or one of the codes above.
        DeniedError: ``approval.needed``.
    """
    for finding in seen.findings:
        if finding["code"] != REMARK and not finding.get("pending"):
            raise REFUSED(path=finding["path"], message=finding["message"], finding=finding["code"])
    statement = seen.statement
    if statement is None or not seen.trusted:
        raise REFUSED(path=layout.RELEASE, message=N_("no key that this site trusts has signed it"), finding="threshold")
    site = engine.site.need()
    if "*" not in statement.audience and site.site_id not in statement.audience:
        raise AUDIENCE(audience=", ".join(statement.audience), site=site.site_id)
    _check_state(engine, statement, overrides)
    _check_sequence(engine, statement, overrides)
    if table.is_revoked(engine.store, statement.release_id):
        raise REVOKED()
    _check_time(engine, ctx, statement, overrides)
    return statement


def _override(engine: Engine, statement: Statement, name: str) -> None:
    title = statement.bundle["title"]
    if engine.approvals.required() and engine.approvals.granted(f"override-{name}", statement.release_id) is None:
        engine.approvals.request(f"override-{name}", title, statement.release_id)
    approvers = engine.approvals.use(f"override-{name}", title, statement.release_id)
    engine.audit.append("trust.override", obj={"kind": "release", "id": statement.release_id, "digest": statement.release_id},
                        detail={"override": name}, approvers=tuple(approvers))


def _check_state(engine: Engine, statement: Statement, overrides: frozenset[str]) -> None:
    """The store may be an old copy; the log, whose heads are kept elsewhere too, tells what was imported since."""
    stored, logged = table.channels(engine.store), _logged(engine)
    for channel, sequence in sorted(logged.items()):
        if stored.get(channel, 0) < sequence:
            if "state" not in overrides:
                raise STATE_ROLLED_BACK(stored=stored.get(channel, 0), channel=channel, logged=sequence)
            _override(engine, statement, "state")
            table.raise_channel(engine.store, channel, sequence)


def _logged(engine: Engine) -> dict[str, int]:
    highest: dict[str, int] = {}
    for record in engine.audit.list(limit=LOG_RECORDS, event="bundle.import"):
        detail: dict[str, Any] = record.get("detail") or {}
        if record.get("outcome") == "success" and detail.get("stage") == "end" and "highest_sequence" in detail:
            channel = str(detail.get("channel", ""))
            highest[channel] = max(highest.get(channel, 0), int(detail["highest_sequence"]))
    highest.pop("", None)
    return highest


def _check_sequence(engine: Engine, s: Statement, overrides: frozenset[str]) -> None:
    known = table.channel(engine.store, s.channel)
    if known is None or s.release_id == known["release_id"] or s.sequence > known["highest_sequence"]:
        return
    again = table.was_imported(engine.store, s.release_id) and s.sequence >= known["min_sequence"]
    if not (again and "older" in overrides):
        raise ROLLBACK(sequence=s.sequence, channel=s.channel, highest=known["highest_sequence"])
    _override(engine, s, "older")


def _check_time(engine: Engine, ctx: Context, s: Statement, overrides: frozenset[str]) -> None:
    clock = utc_now()
    last = next((str(r.get("ts", "")) for r in engine.audit.list(limit=1)), "")
    floor = max(table.time_floor(engine.store), last)
    if _moved(clock, LATE) < floor:
        ctx.warn(N_("The clock of this computer says {clock}, and something was recorded at {floor} already."),
                 clock=clock, floor=floor)
        engine.audit.append("clock.back", detail={"clock": clock, "floor": floor}, severity=5)
    if s.expires_at is not None and s.expires_at < max(clock, floor):
        if "expired" not in overrides:
            raise EXPIRED(expires_at=s.expires_at)
        _override(engine, s, "expired")
    if s.issued_at > _moved(clock, EARLY):
        ctx.warn(N_("The release was issued at {issued_at}, which this computer's clock has not reached."),
                 issued_at=s.issued_at)
        engine.audit.append("clock.back", obj={"kind": "release", "id": s.release_id, "digest": None},
                            detail={"issued_at": s.issued_at, "clock": clock}, severity=5)


def _moved(time: str, by: timedelta) -> str:
    return (datetime.strptime(time, _FORM).replace(tzinfo=UTC) + by).strftime(_FORM)
