"""Work for many servers: results as they come, and nothing that waits for those that keep silent."""

from __future__ import annotations

import threading

import pytest

from console.servers import crew
from console.servers.crew import Turn, results


def test_every_result_comes_once():
    assert sorted(results(range(50), lambda n, _turn: n * n, 4)) == [n * n for n in range(50)]
    assert list(results([], lambda n, _turn: n, 4)) == []


def most_at_once(threads: int) -> int:
    """How many of forty were ever at work together."""
    now, most, lock = 0, 0, threading.Lock()

    def work(n: int, _turn: Turn) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        with lock:
            now -= 1
        return n

    assert len(list(results(range(40), work, threads))) == 40
    return most


def test_only_so_many_work_at_once():
    assert most_at_once(3) <= 3


@pytest.mark.parametrize("silent", [True, False])
def test_those_that_wait_do_not_hold_up_the_rest(monkeypatch, silent):
    """Three threads, and five that never answer until everybody else has: they say nothing at all, or they hang."""
    monkeypatch.setattr(crew, "SILENT_S", 0.01 if silent else 100.0)
    monkeypatch.setattr(crew, "PATIENCE_S", 100.0 if silent else 0.01)
    go = threading.Event()

    def work(n: int, turn: Turn) -> int:
        if not silent or n >= 5:
            turn.heard()
        if n < 5:
            assert go.wait(30)
        return n

    got = []
    for n in results(range(20), work, 3):
        got.append(n)
        if len(got) == 15:
            assert min(got) == 5
            go.set()
    assert sorted(got) == list(range(20))


def test_there_is_an_end_to_beginning_more(monkeypatch):
    monkeypatch.setattr(crew, "SILENT_S", 0.01)
    go, begun, lock = threading.Event(), [], threading.Lock()

    def work(n: int, _turn: Turn) -> int:
        with lock:
            begun.append(n)
            if len(begun) == 4:
                go.set()
        assert go.wait(30)
        return n

    found = results(range(30), work, 2, most=4)
    next(found)
    assert sorted(begun)[:4] == [0, 1, 2, 3]
    assert len(list(found)) == 29


def test_work_that_changes_something_is_waited_for():
    go, ended = threading.Event(), []

    def work(n: int, _turn: Turn) -> int:
        if n:
            assert go.wait(30)
        ended.append(n)
        return n

    found = results(range(4), work, 3, finish=True)
    assert next(found) == 0
    threading.Timer(0.05, go.set).start()
    found.close()
    assert sorted(ended) in ([0, 1, 2], [0, 1, 2, 3])


def test_an_exception_of_the_work_is_the_takers():
    with pytest.raises(ZeroDivisionError):
        list(results([1, 0], lambda n, _turn: 1 // n, 1))
