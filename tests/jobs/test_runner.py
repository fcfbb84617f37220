"""Jobs: run, report, cancel, never two on one server, and an honest journal after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from console.errors import Cancelled, WorldError, code
from console.events import EventBus, JobState, Progress
from console.jobs.job import Context, JobSpec
from console.jobs.runner import JobRunner
from console.store import jobs as table
from console.store.database import Store

BROKE = code("test.broke", WorldError, "{what} broke.", "Mend it.")


@pytest.fixture
def runner(tmp_path):
    store = Store(tmp_path / "a.db")
    bus = EventBus()
    runner = JobRunner(store, bus, lambda: "tester")
    runner.bus, runner.store = bus, store
    yield runner
    runner.close()
    store.close()


def test_a_job_reports_and_returns(runner):
    heard = []
    runner.bus.subscribe(heard.append)

    def work(ctx):
        ctx.phase("one")
        ctx.server("a").progress(1, 2, "bytes")
        return 42

    assert runner.run(JobSpec("test", "A test", work)) == 42
    assert [e.state for e in heard if isinstance(e, JobState)] == ["queued", "running", "succeeded"]
    assert next(e for e in heard if isinstance(e, Progress)).server == "a"
    assert runner.history()[0]["state"] == "succeeded"


def test_a_failure_is_raised_and_kept(runner):
    def work(ctx):
        raise BROKE(what="the cable")

    with pytest.raises(WorldError) as caught:
        runner.run(JobSpec("test", "A test", work))
    assert caught.value.code == "test.broke"
    assert runner.history()[0]["error"]["message"] == "the cable broke."


def test_an_unexpected_error_becomes_a_bug_with_a_report(tmp_path):
    reported = []
    with_store = Store(tmp_path / "b.db")
    runner = JobRunner(with_store, EventBus(), lambda: "tester", reported.append)
    with pytest.raises(Exception) as caught:
        runner.run(JobSpec("test", "A test", lambda ctx: 1 / 0))
    assert caught.value.code == "internal.bug"
    assert isinstance(reported[0], ZeroDivisionError)
    runner.close()
    with_store.close()


def test_cancel_stops_a_running_job_at_its_next_report(runner):
    started, closed = threading.Event(), threading.Event()

    def work(ctx):
        with ctx.on_cancel(closed.set):
            started.set()
            assert closed.wait(10)
            ctx.checkpoint()

    job = runner.submit(JobSpec("test", "A test", work))
    assert started.wait(10)
    job.cancel()
    assert job.wait(10)
    assert job.state == "cancelled"
    assert isinstance(job.error, Cancelled)


def test_an_error_that_a_cancel_caused_is_no_failure(runner):
    """Closing a channel makes the waiting call fail; what the operator did is the reason."""
    started, closed = threading.Event(), threading.Event()
    lost = code("test.lost", WorldError, "lost", "again", retryable=True)

    def work(ctx):
        with ctx.on_cancel(closed.set):
            started.set()
            assert closed.wait(10)
            raise lost()

    job = runner.submit(JobSpec("test", "A test", work))
    assert started.wait(10)
    job.cancel()
    assert job.wait(10)
    assert job.state == "cancelled"


def test_two_jobs_that_change_one_server_never_overlap(runner):
    inside, most, lock = [0], [0], threading.Lock()

    def work(ctx):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        with lock:
            inside[0] -= 1

    jobs = [runner.submit(JobSpec("test", str(n), work, servers=("a",), changes=True)) for n in range(6)]
    assert all(job.wait(10) for job in jobs)
    assert most[0] == 1


def test_readers_of_one_server_run_side_by_side(runner):
    meeting = threading.Barrier(2, timeout=10)
    jobs = [runner.submit(JobSpec("test", str(n), lambda ctx: meeting.wait(), servers=("a",))) for n in range(2)]
    assert all(job.wait(10) for job in jobs)
    assert [job.state for job in jobs] == ["succeeded", "succeeded"]


def test_a_waiting_job_is_not_overtaken(runner):
    """B waits for A's server; C, which wants B's servers, must not slip in between."""
    order, gate = [], threading.Event()

    def hold(ctx):
        gate.wait(10)
        order.append("a")

    jobs = [
        runner.submit(JobSpec("test", "a", hold, servers=("one",), changes=True)),
        runner.submit(JobSpec("test", "b", lambda ctx: order.append("b"), servers=("one", "two"), changes=True)),
        runner.submit(JobSpec("test", "c", lambda ctx: order.append("c"), servers=("two",), changes=True)),
    ]
    gate.set()
    assert all(job.wait(10) for job in jobs)
    assert order == ["a", "b", "c"]


def test_closing_cancels_and_leaves_no_thread(runner):
    started = threading.Event()

    def work(ctx):
        started.set()
        while True:
            ctx.progress(0, None, "bytes")

    job = runner.submit(JobSpec("test", "A test", work))
    assert started.wait(10)
    runner.close()
    assert job.state == "cancelled"
    assert not [t for t in threading.enumerate() if t.name.startswith("job-")]


def test_a_late_waker_is_called_at_once():
    ctx, woken = Context(), []
    ctx.cancel()
    with ctx.on_cancel(lambda: woken.append(1)):
        pass
    assert woken == [1]


KILLED = """
import os, sys
from pathlib import Path
from console.events import EventBus
from console.jobs.job import JobSpec
from console.jobs.runner import JobRunner
from console.store.database import Store
runner = JobRunner(Store(Path(sys.argv[1])), EventBus(), lambda: "tester")
def work(ctx):
    print("started", flush=True)
    while True:
        ctx.progress(0, None, "bytes")
runner.run(JobSpec("push.run", "A push", work, ("a",), True, {"release": "r1"}))
"""


def test_a_killed_console_says_at_the_next_start_what_was_cut_off(tmp_path):
    path = tmp_path / "c.db"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = Store(path)
    runner = JobRunner(store, EventBus(), lambda: "tester")
    (row,) = runner.interrupted()
    runner.run(JobSpec("push.run", "Another push", lambda ctx: None, ("b",), True, {"release": "r1"}))
    assert runner.interrupted(), "another push is not this one"
    (row,) = runner.interrupted()
    assert (row["kind"], row["servers"], row["params"]) == ("push.run", ["a"], {"release": "r1"})
    assert runner.dismiss(row["id"])
    assert runner.interrupted() == []
    assert [r["state"] for r in table.listed(store)] == ["succeeded", "interrupted"]
    runner.close()
    store.close()


def test_carrying_it_to_its_end_settles_what_was_cut_off(tmp_path):
    store = Store(tmp_path / "d.db")
    table.insert(store, "x", "push.run", "A push", ("a",), {"release": "r1"}, "tester")
    runner = JobRunner(store, EventBus(), lambda: "tester")
    assert len(runner.interrupted()) == 1
    runner.run(JobSpec("push.run", "A push", lambda ctx: None, ("a",), True, {"release": "r1"}))
    assert runner.interrupted() == []
    runner.close()
    store.close()
