"""Deadlines: what is late is called once, what ended in time never, and one that hangs keeps nobody waiting."""

from __future__ import annotations

import threading

import pytest

from console.transport import deadline as subject
from console.transport.deadline import deadline


@pytest.fixture(autouse=True)
def watch(monkeypatch):
    monkeypatch.setattr(subject, "_WATCH", subject._Watch())
    return subject._WATCH


def test_what_is_late_is_called_once_and_the_earliest_first():
    calls, over = [], threading.Event()
    with deadline(30, lambda: calls.append("never")), deadline(0.05, lambda: (calls.append("second"), over.set())), \
            deadline(0.01, lambda: calls.append("first")):  # fmt: skip
        assert over.wait(10)
    assert calls == ["first", "second"]


def test_what_ended_in_time_is_not_called(watch):
    called, over = threading.Event(), threading.Event()
    for _many in range(500):
        with deadline(0.02, called.set):
            pass
    with deadline(0.04, over.set):
        assert over.wait(10)
    assert not called.is_set() and not watch._calls and len(watch._due) < 200


def test_a_call_that_hangs_or_fails_keeps_no_other_waiting():
    release, over = threading.Event(), threading.Event()
    with deadline(0.01, lambda: release.wait(10)), deadline(0.02, over.set):
        assert over.wait(5)
    release.set()


def test_an_error_in_the_block_ends_the_deadline(watch):
    with pytest.raises(ValueError, match="mine"), deadline(30, lambda: None):
        raise ValueError("mine")
    assert not watch._calls


def test_the_thread_ends_with_nothing_to_watch_and_begins_anew(watch, monkeypatch):
    monkeypatch.setattr(subject, "LINGER_S", 0.01)
    others = set(threading.enumerate())
    for _again in range(2):
        over = threading.Event()
        with deadline(0.01, over.set):
            assert over.wait(10)
        for thread in [t for t in threading.enumerate() if t.name == "deadlines" and t not in others]:
            thread.join(10)
        assert not watch._runs
