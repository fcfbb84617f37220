"""The engine: one open workspace with all its services, driven alike by the window, the command line and tests."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.errors import Cancelled, DeniedError, SealiftError
from console.events import EventBus
from console.settings import Settings
from console.site.accounts import LOGIN_NEEDED, AccountService, Actor, os_user
from console.site.session import LOCKED, PASSWORD_AGAIN, Session
from console.site.site import SiteService
from console.store import pushkeys
from console.store.database import Store
from console.units import utc_now
from console.workspace import WorkspaceLock

if TYPE_CHECKING:
    from console.audit.log import AuditLog
    from console.bundles.library import Library
    from console.bundles.trusted import TrustStore
    from console.checks.service import ReadinessService
    from console.deploy.service import DeployService
    from console.jobs.job import JobSpec
    from console.jobs.runner import JobRunner
    from console.practice.site import PracticeSite
    from console.push.service import PushService
    from console.servers.book import ServerBook
    from console.servers.inventory import InventoryService
    from console.site.approvals import ApprovalService
    from console.smoke.service import SmokeService


class Engine:
    """One open workspace. Services are made when they are first used.

    Attributes:
        workspace: its folder. store: its database. events: what happens. jobs: what runs.
        session: who acts, and whether they have to prove it again.
    """

    def __init__(self, workspace: Path, lock: WorkspaceLock, actor: Actor | None):
        self.workspace, self._lock = workspace, lock
        self.events = EventBus()
        self.store = Store(workspace / "sealift.db")
        self.settings = Settings(self.store)
        self.site = SiteService(self)
        self.accounts = AccountService(self)
        self.session = Session(actor or os_user(), actor is not None)
        self._lock_told = False

    @classmethod
    def open(cls, workspace: Path, *, actor: Actor | None = None) -> Engine:
        """Open a workspace, making it when it is not there.

        Raises:
            WorldError: ``workspace.busy``, ``workspace.unusable``, ``store.…``.
            InputError: ``store.newer-database``.
        """
        lock = WorkspaceLock(workspace)
        try:
            return cls(workspace, lock, actor)
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the jobs, close what was opened, and let go of the workspace."""
        for name in ("jobs", "servers", "practice", "audit"):
            service = self.__dict__.pop(name, None)
            if service is not None and hasattr(service, "close"):
                service.close()
        self.store.close()
        self._lock.release()

    @property
    def actor(self) -> Actor:
        """Who acts."""
        return self.session.actor

    def login(self, name: str, password: Any) -> Actor:
        """Act as an account from now on; for the one who is logged in, the end of a lock.

        Raises:
            DeniedError: ``account.login-refused``, ``account.locked``.
        """
        again = self.session.locked and self.session.actor.id == name
        actor = self.accounts.authenticate(name, password, event="auth.unlock" if again else "auth.login")
        self.session.begin(actor)
        self._lock_told = False
        return actor

    def prove(self, password: Any) -> None:
        """The one who is logged in enters the password again: for what asks for it each time, and to end a lock.

        Raises:
            DeniedError: ``account.login-needed``, ``account.login-refused``, ``account.locked``.
        """
        if not self.session.authenticated:
            raise LOGIN_NEEDED()
        self.login(self.session.actor.id, password)

    def logout(self) -> None:
        """Nobody is logged in any more."""
        if self.session.authenticated:
            self.audit.append("auth.logout", obj={"kind": "account", "id": self.actor.id, "digest": None})
            self.session.end(os_user())

    def lock(self) -> None:
        """Lock the session until the password is entered."""
        if self.session.authenticated:
            self.session.lock()
            self._tell_of_lock()

    def require(self, *roles: str) -> None:
        """Let only these roles pass. In a site without accounts the user of the operating system holds every role.

        A lock lets nothing new pass; jobs that are under way go on to their end.

        Raises:
            DeniedError: ``account.login-needed``, ``account.not-permitted``, ``account.session-locked``; the refusal is
                recorded.
        """
        try:
            if self.session.locked and not self._jobs_under_way():
                self._tell_of_lock()
                raise LOCKED(actor=self.actor.id)
            self.accounts.check(self.actor, self.session.authenticated, roles)
        except DeniedError as refusal:
            self._refused("role", ",".join(roles), refusal)
            raise

    def require_proof(self) -> None:
        """Let pass only who entered the password just now: for approvals, trust changes, exports and the use of secrets.

        Raises:
            DeniedError: ``account.password-again``; the refusal is recorded.
        """
        if not self.session.proved and not self._jobs_under_way():
            refusal = PASSWORD_AGAIN(actor=self.actor.id)
            self._refused("account", self.actor.id, refusal)
            raise refusal

    def _refused(self, kind: str, what: str, refusal: SealiftError) -> None:
        self.audit.append("auth.refused", outcome="denied", obj={"kind": kind, "id": what, "digest": None}, reason=refusal.code)

    def _tell_of_lock(self) -> None:
        if not self._lock_told:
            self._lock_told = True
            self.audit.append("auth.lock", obj={"kind": "account", "id": self.actor.id, "digest": None}, detail={"session": True})

    def _jobs_under_way(self) -> bool:
        return "jobs" in self.__dict__ and bool(self.jobs.active())

    @contextlib.contextmanager
    def act(self, event: str, obj: dict[str, Any], detail: dict[str, Any] | None = None, *, approvers: tuple[str, ...] = (),
            corr: str | None = None) -> Iterator[dict[str, Any]]:
        """Record an action before it starts and its outcome when it ends; the two records share ``corr``.

        Args:
            approvers: who said yes to it. corr: the tie to the request that they answered; a fresh one when None.

        Yields:
            A dict for what the outcome's record is to tell besides.
        """
        corr = corr or self.audit.new_corr()
        tie: dict[str, Any] = {"corr": corr, "approvers": approvers}
        self.audit.append(event, outcome="success", obj=obj, detail={"stage": "start"} | (detail or {}), **tie)
        told: dict[str, Any] = {}
        try:
            yield told
        except BaseException as problem:
            outcome, reason = _outcome(problem)
            self.audit.append(event, outcome=outcome, obj=obj, detail={"stage": "end"} | told, reason=reason, **tie)
            raise
        self.audit.append(event, outcome="success", obj=obj, detail={"stage": "end"} | told, **tie)

    def tidy_job(self, title: str) -> JobSpec | None:
        """The job to begin a session with: it takes away the keys that a push which was cut off may have left on servers.
        None where there are none, and then what it needs is not even loaded."""
        return self.push.tidy_job(title) if pushkeys.noted(self.store) else None

    def report_crash(self, problem: BaseException) -> Path:
        """Write a crash report into the workspace; what a person sends on is a file, not a screen."""
        folder = self.workspace / "crashes"
        folder.mkdir(mode=0o700, exist_ok=True)
        report = folder / f"crash-{utc_now().replace(':', '')}.txt"
        report.write_text("".join(traceback.format_exception(problem)), encoding="utf-8")
        return report

    @cached_property
    def audit(self) -> AuditLog:
        from console.audit.log import AuditLog

        return AuditLog(self)

    @cached_property
    def jobs(self) -> JobRunner:
        from console.jobs.runner import JobRunner

        return JobRunner(self.store, self.events, lambda: self.actor.id, self.report_crash)

    @cached_property
    def approvals(self) -> ApprovalService:
        from console.site.approvals import ApprovalService

        return ApprovalService(self)

    @cached_property
    def trust(self) -> TrustStore:
        from console.bundles.trusted import TrustStore

        return TrustStore(self)

    @cached_property
    def library(self) -> Library:
        from console.bundles.library import Library

        return Library(self)

    @cached_property
    def servers(self) -> ServerBook:
        from console.servers.book import ServerBook

        return ServerBook(self)

    @cached_property
    def inventory(self) -> InventoryService:
        from console.servers.inventory import InventoryService

        return InventoryService(self)

    @cached_property
    def readiness(self) -> ReadinessService:
        from console.checks.service import ReadinessService

        return ReadinessService(self)

    @cached_property
    def push(self) -> PushService:
        from console.push.service import PushService

        return PushService(self)

    @cached_property
    def deployments(self) -> DeployService:
        from console.deploy.service import DeployService

        return DeployService(self)

    @cached_property
    def smoke(self) -> SmokeService:
        from console.smoke.service import SmokeService

        return SmokeService(self)

    @cached_property
    def practice(self) -> PracticeSite:
        from console.practice.site import PracticeSite

        return PracticeSite(self)


def _outcome(problem: BaseException) -> tuple[str, str]:
    if isinstance(problem, Cancelled | KeyboardInterrupt):
        return "failure", "cancelled"
    if isinstance(problem, SealiftError):
        return ("denied" if isinstance(problem, DeniedError) else "failure"), problem.code
    return "error", "internal.bug"
