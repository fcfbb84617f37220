"""Approvals by a second person, bound to what exactly was asked: one request, one digest, one use, 24 hours."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from console.errors import DeniedError, InputError, code
from console.events import Changed
from console.i18n import N_
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine

LIFE_HOURS = 24

NEEDED = code(
    "approval.needed",
    DeniedError,
    N_("{action} of {object} needs the yes of a second person first."),
    N_("Let an approver look at it and approve it, then start it again."),
)
OWN = code(
    "approval.own-request",
    DeniedError,
    N_("{actor} asked for this and so cannot approve it."),
    N_("A second person with the role approver must."),
)
UNKNOWN = code(
    "approval.unknown",
    InputError,
    N_("There is no open request for {action} of {object}."),
    N_("It may have expired or been used; make the plan again."),
)

NO_REQUEST = code(
    "approval.no-such-request",
    InputError,
    N_("There is no request {id}."),
    N_("`sealift approval list` shows the requests."),
)
PAIR = ("override-", "audit-purge")
"""What two approvers have to agree to, besides the one who asks."""


@dataclass(frozen=True)
class Approval:
    """One request. ``state`` is open, granted, denied, used or expired; ``granted`` names who said yes."""

    id: str
    action: str
    digest: str
    requested_by: str
    requested_at: str
    expires_at: str
    state: str
    granted: tuple[str, ...]
    document: dict[str, Any]


class ApprovalService:
    """Requests and answers, in the store and in the audit log."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def required(self) -> bool:
        """Whether a second person's yes is needed: as the policy says; where it says nothing, as soon as the site has
        an approver and somebody else who could ask."""
        site = self._engine.site.get()
        if site is None or site.policy.two_person is not None:
            return bool(site and site.policy.two_person)
        return self._two_people()

    def _two_people(self) -> bool:
        people = [a for a in self._engine.accounts.list() if not a.disabled]
        return len(people) > 1 and any("approver" in a.roles for a in people)

    def demand(self, action: str, obj: str, digest: str, document: dict[str, Any] | None = None) -> tuple[str, ...]:
        """Spend the yes to exactly this, or ask for one; who gave it, nobody where none is needed.

        What this is asked for belongs to setting a site up (keys, host keys, roles). Before there is anybody who could
        say yes, it is not held up: the site could never be set up.

        Raises:
            DeniedError: ``approval.needed``; the request is open now.
        """
        if not self._two_people():
            return ()
        if self.required() and self.granted(action, digest) is None:
            self.request(action, obj, digest, document)
        return self.use(action, obj, digest)

    def request(self, action: str, obj: str, digest: str, document: dict[str, Any] | None = None) -> Approval:
        """Ask for a yes to ``action`` on exactly ``digest``; an open request for the same is used again."""
        if (known := self._find(action, digest, ("open", "granted"))) is not None:
            return known
        identity, now = secrets.token_hex(8), datetime.now(UTC)
        with self._engine.store.write() as db:
            db.execute(
                "INSERT INTO approvals (id, action, digest, requested_by, requested_at, expires_at, state, granted, "
                "document) VALUES (?,?,?,?,?,?,?,?,?)",
                (
                    identity,
                    action,
                    digest,
                    self._engine.actor.id,
                    utc_now(),
                    (now + timedelta(hours=LIFE_HOURS)).isoformat(),
                    "open",
                    "[]",
                    json.dumps({"object": obj} | (document or {})),
                ),
            )
        self._record("approval.request", action, obj, digest, corr=identity)
        found = self._find(action, digest, ("open",))
        if found is None:
            raise UNKNOWN(action=action, object=obj)
        return found

    def get(self, identity: str) -> Approval:
        """A request by its id, or by the beginning of it if only one has that.

        Raises:
            InputError: ``approval.no-such-request``.
        """
        self._expire()
        with self._engine.store.read() as db:
            found = [_of(row) for row in db.query("SELECT * FROM approvals") if identity and row["id"].startswith(identity)]
        if len(found) != 1:
            raise NO_REQUEST(id=identity)
        return found[0]

    def list(self, limit: int = 200) -> list[Approval]:
        """All requests, newest first."""
        self._expire()
        with self._engine.store.read() as db:
            return [_of(row) for row in db.query("SELECT * FROM approvals ORDER BY requested_at DESC, rowid DESC LIMIT ?", (limit,))]

    def grant(self, action: str, obj: str, digest: str) -> Approval:
        """Say yes under one's own name.

        Raises:
            DeniedError: not an approver, or one's own request while the policy asks for two people.
            InputError: ``approval.unknown``.
        """
        return self._answer("approval.grant", "granted", action, obj, digest)

    def deny(self, action: str, obj: str, digest: str) -> Approval:
        """Say no; the request is closed."""
        return self._answer("approval.deny", "denied", action, obj, digest)

    def granted(self, action: str, digest: str) -> Approval | None:
        """The unused yes to exactly this, if there is one."""
        return self._find(action, digest, ("granted",))

    def use(self, action: str, obj: str, digest: str) -> tuple[str, ...]:
        """Spend the yes to exactly this; who gave it.

        Raises:
            DeniedError: ``approval.needed`` when the policy asks for one and there is none.
        """
        found = self.granted(action, digest)
        if found is None:
            if self.required():
                asked = self._find(action, digest, ("open",))
                self._record("approval.use", action, obj, digest, "denied", asked and asked.id)
                raise NEEDED(action=action, object=obj)
            self._close(action, digest)
            return ()
        with self._engine.store.write() as db:
            db.execute("UPDATE approvals SET state = 'used' WHERE id = ?", (found.id,))
        self._record("approval.use", action, obj, digest, corr=found.id, approvers=found.granted)
        return found.granted

    def spent(self, action: str, digest: str) -> Approval | None:
        """The yes that was used for exactly this, newest first; None where none was needed."""
        found = self._find(action, digest, ("used",))
        return found if found is not None and found.granted else None

    def _close(self, action: str, digest: str) -> None:
        """An open request for what was done without a yes, since none was needed, waits for nobody any more."""
        if (asked := self._find(action, digest, ("open",))) is not None:
            with self._engine.store.write() as db:
                db.execute("UPDATE approvals SET state = 'used' WHERE id = ?", (asked.id,))

    def open_requests(self) -> list[Approval]:
        """Requests that wait for an answer, oldest first."""
        self._expire()
        with self._engine.store.read() as db:
            return [_of(row) for row in db.query("SELECT * FROM approvals WHERE state = 'open' ORDER BY requested_at")]

    def _answer(self, event: str, state: str, action: str, obj: str, digest: str) -> Approval:
        self._engine.require("approver")
        self._engine.require_proof()
        found = self._find(action, digest, ("open",))
        if found is None:
            raise UNKNOWN(action=action, object=obj)
        actor = self._engine.actor.id
        if self.required() and actor in (found.requested_by, *found.granted):
            self._record(event, action, obj, digest, "denied", found.id)
            raise OWN(actor=actor)
        granted = (*found.granted, actor)
        if state == "granted" and self.required() and action.startswith(PAIR) and len(granted) < 2:
            state = "open"
        with self._engine.store.write() as db:
            db.execute("UPDATE approvals SET state = ?, granted = ? WHERE id = ?", (state, json.dumps(granted), found.id))
        self._record(event, action, obj, digest, corr=found.id, approvers=granted if event == "approval.grant" else ())
        self._engine.events.publish(Changed(None, frozenset({"deployments"})))
        answered = self._find(action, digest, (state,))
        if answered is None:
            raise UNKNOWN(action=action, object=obj)
        return answered

    def _find(self, action: str, digest: str, states: tuple[str, ...]) -> Approval | None:
        self._expire()
        with self._engine.store.read() as db:
            rows = db.query(
                "SELECT * FROM approvals WHERE action = ? AND digest = ? ORDER BY requested_at DESC, rowid DESC", (action, digest)
            )
            return next((_of(row) for row in rows if row["state"] in states), None)

    def _expire(self) -> None:
        now = datetime.now(UTC).isoformat()
        with self._engine.store.write() as db:
            gone = self._engine.store.rows("SELECT * FROM approvals WHERE state IN ('open', 'granted') AND expires_at < ?", (now,))
            db.execute("UPDATE approvals SET state = 'expired' WHERE state IN ('open', 'granted') AND expires_at < ?", (now,))
        for row in gone:
            self._record("approval.expire", row["action"], json.loads(row["document"])["object"], row["digest"], corr=row["id"])

    def _record(self, event: str, action: str, obj: str, digest: str, outcome: str = "success", corr: str | None = None,
                approvers: tuple[str, ...] = ()) -> None:
        about = {"kind": action, "id": obj, "digest": digest}
        self._engine.audit.append(event, outcome=outcome, obj=about, corr=corr, approvers=approvers)


def _of(row: dict[str, Any]) -> Approval:
    return Approval(
        row["id"],
        row["action"],
        row["digest"],
        row["requested_by"],
        row["requested_at"],
        row["expires_at"],
        row["state"],
        tuple(json.loads(row["granted"])),
        json.loads(row["document"]),
    )
