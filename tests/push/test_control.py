"""Pause, priority, hours, limits, and how long it still takes."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import InputError
from console.jobs.job import NullContext
from console.push.control import Control, Pace, Traffic, Window
from console.push.sender import Means, Outcome, send
from tests.push.local import make, noise, until

DAY = datetime(2026, 3, 14)


def at(hour, minute=0):
    return DAY.replace(hour=hour, minute=minute)


@pytest.mark.parametrize(
    "text, now, opens",
    [
        ("20:00-06:00", at(21), None),
        ("20:00-06:00", at(5, 59), None),
        ("20:00-06:00", at(6), at(20)),
        ("8:30-17:00", at(17), at(8, 30).replace(day=15)),
        ("8:30-17:00", at(8, 29), at(8, 30)),
        ("00:00-24:00", at(23, 59), None),
    ],
)
def test_the_hours(text, now, opens):
    assert Window.parse(text).opens_at(now) == opens


@pytest.mark.parametrize("text", ["", "20", "25:00-06:00", "20:60-06:00", "20:00", "20:00-20:00", "a-b", "10:00-24:30", "1" * 5000])
def test_hours_that_are_none(text):
    with pytest.raises(InputError) as caught:
        Window.parse(text)
    assert caught.value.code == "push.bad-window"


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_hours_are_open_or_open_within_a_day(start, end, now):
    if start == end:
        return
    moment = at(now // 60, now % 60)
    opens = Window(start, end).opens_at(moment)
    if opens is not None:
        assert moment < opens and (opens - moment).days == 0
        assert Window(start, end).opens_at(opens) is None


def test_the_time_left_is_measured_or_not_said():
    clock = [0.0]
    pace = Pace(lambda: clock[0])
    pace.move(0)
    assert pace.left_s(1000) is None
    for second in range(1, 11):
        clock[0] = float(second)
        pace.move(10 * second)
    assert pace.left_s(1000) == pytest.approx(90)
    # Nothing comes any more: it does not stay at 90 seconds.
    clock[0] = 20.0
    assert pace.left_s(1000) == pytest.approx(180)
    pace.forget()
    assert pace.left_s(1000) is None


def test_a_lower_priority_waits_while_a_higher_one_sends():
    traffic, low, high = Traffic(), Control(priority="low"), Control(priority="high")
    with traffic.running(low):
        assert low.waits_for() is None
        with traffic.running(high):
            assert low.waits_for() is not None and high.waits_for() is None
            high.pause()
            assert low.waits_for() is None
        assert low.waits_for() is None
    with pytest.raises(InputError):
        Control(priority="urgent")


class Notes(NullContext):
    def __init__(self):
        super().__init__()
        self.texts, self.done = [], 0

    def note(self, text, **params):
        self.texts.append(text.format(**params))

    def progress(self, done, total, unit, left_s=None):
        self.done = done


def test_a_pause_holds_the_push_and_it_goes_on(link, python, home, tmp_path):
    """And so does a window that is not open yet."""
    plan = make(tmp_path / "library", {"a": noise(1, 2_000_000)}, 64 << 10).plan("~/store")
    control, ctx, outcome = Control(window=Window.parse("20:00-06:00")), Notes(), Outcome()
    hour = [12]
    control.now = lambda: at(hour[0])
    control.pause()
    pushing = threading.Thread(target=send, args=(ctx, link(), plan, outcome, Means(control=control), python))
    pushing.start()
    until(lambda: ctx.texts == ["Paused."], "it says so")
    assert outcome.bytes_sent == 0
    control.resume()
    until(lambda: len(ctx.texts) == 2, "and why it still waits")
    assert "20:00" in ctx.texts[1] and outcome.bytes_sent == 0
    hour[0] = 20
    pushing.join(20)
    assert outcome.done and ctx.texts[2:] == ["Going on."]
    assert (home / "store/releases" / plan.release_id / "a").read_bytes() == noise(1, 2_000_000)


def test_a_cancel_ends_a_pause(link, python, tmp_path):
    plan = make(tmp_path / "library", {"a": noise(1, 2_000_000)}, 64 << 10).plan("~/store")
    control, ctx, problems = Control(), Notes(), []
    control.pause()

    def run():
        try:
            send(ctx, link(), plan, Outcome(), Means(control=control), python)
        except BaseException as problem:  # noqa: B036 - looked at below
            problems.append(type(problem).__name__)

    pushing = threading.Thread(target=run)
    pushing.start()
    until(lambda: ctx.texts == ["Paused."], "it says so")
    ctx.cancel()
    pushing.join(20)
    assert problems == ["Cancelled"]
