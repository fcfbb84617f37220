"""Runs jobs: queues, limits, and never two that change one server at the same time."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from console.errors import INTERNAL, Cancelled, SealiftError, WorldError, code
from console.events import EventBus, JobState, State
from console.i18n import N_
from console.jobs.job import Context, JobSpec
from console.store import jobs as table
from console.store.database import Store

CLOSED = code(
    "jobs.closed",
    WorldError,
    N_("Sealift is closing, so {title} was not started."),
    N_("Start Sealift again and repeat it."),
    retryable=True,
)
MAX_RUNNING = 8


class Job:
    """A submitted job. ``result`` and ``error`` are set when it is over."""

    def __init__(self, spec: JobSpec, context: Context, runner: JobRunner):
        self.id, self.spec, self.context = context._job or "", spec, context
        self.state: State = "queued"
        self.result: Any = None
        self.error: BaseException | None = None
        self._runner, self._over = runner, threading.Event()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for its end; whether it is over."""
        return self._over.wait(timeout_s)

    def cancel(self) -> None:
        """Ask it to stop: at once when it is queued, at its next checkpoint when it runs."""
        self._runner.cancel(self.id)


class JobRunner:
    """Queues and runs jobs, each in a thread of its own, and keeps the journal of them."""

    def __init__(self, store: Store, bus: EventBus, actor: Callable[[], str], report: Callable[[BaseException], None] | None = None):
        self._store, self._bus, self._actor, self._report = store, bus, actor, report
        self._lock = threading.Condition()
        self._queue: list[Job] = []
        self._running: list[Job] = []
        self._threads: set[threading.Thread] = set()
        self._closed = False
        table.cut_off(store)

    def submit(self, spec: JobSpec) -> Job:
        """Queue ``spec``; it starts when its servers are free.

        Raises:
            WorldError: ``jobs.closed``, or the journal cannot be written, in which case nothing starts.
        """
        identity = secrets.token_hex(8)
        job = Job(spec, Context(self._bus, identity), self)
        with self._lock:
            if self._closed:
                raise CLOSED(title=spec.title)
            table.insert(self._store, identity, spec.kind, spec.title, spec.servers, spec.params, self._actor())
            self._queue.append(job)
        self._publish(job)
        self._start_what_can()
        return job

    def run(self, spec: JobSpec) -> Any:
        """Submit and wait. An interrupt from the keyboard cancels the job and then says so.

        Returns:
            What the job returned.

        Raises:
            Cancelled: it was cancelled. SealiftError: it failed.
        """
        job = self.submit(spec)
        try:
            while not job.wait(0.5):
                pass
        except KeyboardInterrupt:
            job.cancel()
            job.wait()
            raise Cancelled from None
        if job.error is not None:
            raise job.error
        return job.result

    def cancel(self, identity: str) -> bool:
        """Cancel by id; False when there is no such job under way."""
        with self._lock:
            job = next((j for j in (*self._queue, *self._running) if j.id == identity), None)
            if job is None:
                return False
            if job in self._queue:
                self._queue.remove(job)
                job.error = Cancelled()
                started = False
            else:
                started, job.state = True, "cancelling"
        if started:
            self._publish(job)
            job.context.cancel()
        else:
            self._end(job, "cancelled")
        return True

    def active(self) -> list[Job]:
        """Jobs that are queued or under way."""
        with self._lock:
            return [*self._running, *self._queue]

    def interrupted(self) -> list[dict[str, Any]]:
        """What was cut off at an earlier time and is not yet dismissed: rows of the journal, newest first."""
        return table.listed(self._store, "interrupted")

    def dismiss(self, identity: str) -> bool:
        """Take an interrupted job off the list; False when it is not on it."""
        return table.dismiss(self._store, identity)

    def history(self, limit: int = 200) -> list[dict[str, Any]]:
        """All jobs of the journal, newest first."""
        return table.listed(self._store, limit=limit)

    def close(self) -> None:
        """Cancel everything and wait for the threads. Nothing is submitted after this."""
        with self._lock:
            self._closed = True
        for job in self.active():
            job.cancel()
        for thread in tuple(self._threads):
            if thread is not threading.current_thread():
                thread.join()

    def _start_what_can(self) -> None:
        with self._lock:
            taken = {name for job in self._running if job.spec.changes for name in job.spec.servers}
            for job in tuple(self._queue):
                if len(self._running) >= MAX_RUNNING:
                    break
                wanted = set(job.spec.servers) if job.spec.changes else set()
                if wanted & taken:
                    taken |= wanted  # a later job must not overtake one that waits for the same server
                    continue
                taken |= wanted
                self._queue.remove(job)
                self._running.append(job)
                thread = threading.Thread(target=self._carry_out, args=(job,), name=f"job-{job.spec.kind}-{job.id}", daemon=True)
                self._threads.add(thread)
                thread.start()

    def _carry_out(self, job: Job) -> None:
        try:
            if job.state == "queued":
                job.state = "running"
            table.move(self._store, job.id, job.state)
            self._publish(job)
            job.context.checkpoint()
            job.result = job.spec.run(job.context)
            ending: State = "succeeded"
        except Cancelled as stop:
            job.error, ending = stop, "cancelled"
        except SealiftError as problem:
            # A channel closed by a cancel fails in its own way; what the operator did is the reason.
            cancelled = job.context.cancelled and problem.retryable
            job.error, ending = (Cancelled(), "cancelled") if cancelled else (problem, "failed")
        except BaseException as problem:  # whatever a job raises must end the job and not the program
            if self._report is not None:
                self._report(problem)
            job.error, ending = INTERNAL(what=f"{type(problem).__name__} in {job.spec.kind}"), "failed"
            job.error.__cause__ = problem
        self._end(job, ending)

    def _end(self, job: Job, ending: State) -> None:
        job.state = ending
        error = job.error.kept() if isinstance(job.error, SealiftError) else None
        try:
            # The store may be the very thing that failed; the job's own error is the one to show.
            with contextlib.suppress(SealiftError, sqlite3.Error):
                table.move(self._store, job.id, ending, error)
                if ending == "succeeded":
                    table.settle(self._store, job.spec.kind, job.spec.servers, job.spec.params)
        finally:
            with self._lock:
                if job in self._running:
                    self._running.remove(job)
                self._threads.discard(threading.current_thread())
            self._publish(job, error)
            job._over.set()
            self._start_what_can()

    def _publish(self, job: Job, error: dict[str, Any] | None = None) -> None:
        over = job.state in table.OVER
        changed = (job.spec.changed or frozenset({"jobs"})) if over else frozenset()
        self._bus.publish(JobState(job.id, job.state, job.spec.title, error, changed))
