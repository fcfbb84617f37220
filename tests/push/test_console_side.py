"""The console's own parts: limit, work, lines, sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.errors import SealiftError
from console.push.connection import LINE_BYTES, Limit, Lines, SourceFile
from console.push.lanes import Slots
from console.push.problems import named
from console.push.work import SPAN_BYTES, TRIES_A_CHUNK, Work
from tests.push.local import make, noise


@pytest.fixture
def plan(tmp_path):
    return make(tmp_path, {"big": noise(1, 9 << 20), "a": b"a", "b": b"bb"}, 1 << 20).plan("~/s")


def test_a_limit_is_one_for_all_who_share_it(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    limit, slept = Limit(1000), []
    for _ in range(3):
        limit.wait(500, slept.append)
    assert slept == [0.5, 1.0]
    Limit(0).wait(10**12, slept.append)
    assert len(slept) == 2


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_a_slow_limit_sends_little_at_a_time(size, rate):
    limit = Limit(rate)
    limit.wait = lambda count: None
    parts = [bytes(part) for part in limit.parts(memoryview(bytes(size)))]
    assert b"".join(parts) == bytes(size) and all(0 < len(part) <= (rate or size) for part in parts)


def test_work_is_shared_out_once(plan):
    work = Work("x", plan)
    assert work.done and work.verified == plan.bytes_total
    work.lacking([(0, plan.first[-1] - 1)])
    assert not work.done and work.verified == 0 and work.big_bytes == 9 << 20
    lane = work.take(lane=True)
    assert lane == (0, tuple(range(9))) and work.take(lane=True) is None
    small = [work.take(lane=False), work.take(lane=False)]
    assert small == [(1, (0,)), (2, (0,))] and work.take(lane=False) is None
    assert not work.good((0, 99))
    for key in map(plan.key, range(plan.first[-1])):
        assert work.good(key) and not work.good(key)
    assert work.done and work.verified == plan.bytes_total


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the plan is only read
@given(st.data())
def test_work_hands_out_every_chunk_that_is_lacking_and_no_other(plan, data):
    """Whatever is sent, found wrong, given back, lent and reclaimed on the way."""
    count, work = plan.first[-1], Work("x", plan)
    lacking = data.draw(st.sets(st.integers(0, count - 1)))
    work.lacking([(every, every) for every in sorted(lacking)])
    assert work.left == sum(plan.length(*plan.key(every)) for every in lacking)
    done: set[int] = set()
    while not work.done:
        if data.draw(st.booleans()) and data.draw(st.booleans()):
            work.lend()
            work.reclaim()
        span = work.take(data.draw(st.booleans())) or work.take(False)
        assert span is not None
        for index in span[1]:
            key = (span[0], index)
            if data.draw(st.integers(0, 9)):
                assert work.good(key)
                done.add(work.every(key))
            else:
                work.give_back([key])
        assert {n for first, last in work.lacks() for n in range(first, last + 1)} == lacking - done
    assert done == lacking and work.verified == plan.bytes_total


def test_what_another_server_brings_is_told_from_what_was_sent_here(plan):
    """Its first chunks are there before we hear that it feeds, its last ones after we heard that it does not."""
    work = Work("x", plan)
    assert not work.fed((0, 0)), "it was not lacking"
    work.shared = True
    work.lacking([(0, plan.first[-1] - 1)])
    sent = work.take(lane=False)
    assert not any(work.fed((sent[0], index)) for index in sent[1])
    assert work.fed((0, 0))
    work.lend()
    assert not any(work.fed((sent[0], index)) for index in sent[1]) and work.fed((0, 1))
    assert work.good((0, 1)) and not work.fed((0, 1)), "it counts once"
    work.reclaim()
    assert work.fed((0, 2))
    span = work.take(lane=True)
    assert not any(work.fed((span[0], index)) for index in span[1])


def test_spans_are_bounded(tmp_path):
    plan = make(tmp_path, {"big": bytes(3 * SPAN_BYTES)}, SPAN_BYTES // 2).plan("~/s")
    work = Work("x", plan)
    work.lacking([(0, plan.first[-1] - 1)])
    assert [work.take(True)[1] for _ in range(3)] == [(0, 1), (2, 3), (4, 5)]


def test_what_a_lane_did_not_bring_is_there_again(plan):
    work = Work("x", plan)
    work.lacking([(0, plan.first[-1] - 1)])
    work.take(lane=True)
    work.good((0, 0))
    work.give_back([(0, i) for i in range(9)])
    assert work.take(lane=False)[0] == 1
    assert work.take(lane=True) == (0, tuple(range(1, 9)))


def test_a_chunk_that_stays_wrong_is_given_up(plan):
    work = Work("x", plan)
    work.lacking([(0, plan.first[-1] - 1)])
    with pytest.raises(SealiftError) as caught:
        for _ in range(TRIES_A_CHUNK):
            work.take(lane=True)
            work.bad((0, 3))
    assert caught.value.code == "push.wrong-bytes"


def test_a_chunk_that_is_wrong_here_is_not_the_servers_fault(plan):
    work = Work("x", plan)
    Path(plan.sources[0].place).write_bytes(bytes(9 << 20))
    with pytest.raises(SealiftError) as caught:
        work.bad((0, 3))
    assert caught.value.code == "push.source-damaged"


class Feed:
    def __init__(self, *data):
        self.data = list(data)

    def read(self, limit, timeout_s=None):
        return self.data.pop(0) if self.data else b""

    def stderr_tail(self):
        return b"Traceback\nlast words\n"


def test_lines_come_whole_however_they_are_cut():
    lines = Lines(Feed(b"on", b"e\ntw", b"o\n\n"), "x")
    assert [lines.next(1) for _ in range(3)] == [b"one", b"two", b""]
    with pytest.raises(SealiftError, match="last words"):
        lines.next(1)


def test_an_endless_line_is_given_up():
    with pytest.raises(SealiftError, match="endless"):
        Lines(Feed(*[b"x" * (16 << 10)] * (LINE_BYTES // (16 << 10) + 2)), "x").next(1)


@pytest.mark.parametrize("take", [(5, 100), (0, 11)])
def test_a_source_that_ends_early_is_named(tmp_path, take):
    (tmp_path / "f").write_bytes(b"0123456789")
    file = SourceFile()
    assert b"".join(map(bytes, file.pieces(tmp_path / "f", "f", 2, 5))) == b"23456"
    with pytest.raises(SealiftError) as caught:
        list(file.pieces(tmp_path / "f", "f", *take))
    assert caught.value.code == "push.source-damaged"
    file.close()


def test_slots_are_counted():
    slots = Slots(2)
    assert slots.take() and slots.take() and not slots.take()
    slots.give()
    assert slots.take() and not slots.take()


@given(st.dictionaries(st.sampled_from(["free", "need", "path", "reason"]),
                       st.none() | st.integers() | st.text(max_size=20) | st.lists(st.integers(), max_size=2)),
       st.sampled_from(["disk-full", "no-inodes", "store-busy", "no-rights", "unsafe-store", "no-digest-tool", "no-tool", "io", "\x1b[2J"]))  # fmt: skip
def test_whatever_a_server_says_becomes_an_error_in_words(told, kind):
    problem = named("x", "~/s", kind, told)
    assert problem.code.startswith("push.") and "\x1b" not in problem.message() and problem.remedy("zh_CN")
