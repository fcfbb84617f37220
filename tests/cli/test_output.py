"""What a running job shows on a terminal."""

from __future__ import annotations

import contextlib
import io

import pytest

from console.cli.output import ProgressPrinter
from console.events import Progress

MIB = 1 << 20


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def bar():
    """``bar(seconds, server, done, left_s)`` reports and gives the line that stands then."""
    screen, clock = Terminal(), [0.0]
    with contextlib.redirect_stderr(screen):
        printer = ProgressPrinter("bar", "en", lambda: clock[0])

    def report(seconds, server, done, left_s=None):
        clock[0] = seconds
        with contextlib.redirect_stderr(screen):
            printer(Progress("j", done * MIB, 1000 * MIB, "bytes", server, left_s))
        return screen.getvalue().rpartition("\r")[2]

    return report


def test_the_rate_is_of_what_comes_and_not_of_what_was_there(bar):
    bar(10.0, "a", 900)  # found on the server
    line = bar(11.0, "a", 910)
    assert "910.0 MiB / 1000.0 MiB" in line and "10.0 MiB/s" in line
    # Another server joins, with much of it there already.
    bar(12.0, "b", 500)
    assert "10.0 MiB/s" in bar(13.0, "b", 520)


def test_the_rate_is_that_of_the_last_while(bar):
    for second in range(100):
        bar(float(second), "a", second)
    for second in range(101, 130):
        line = bar(float(second), "a", 99)
    assert "0 B/s" in line


def test_the_time_left_is_that_of_the_slowest_and_is_not_guessed(bar):
    bar(1.0, "a", 10, 5.0)
    assert "40 s" in bar(2.0, "b", 10, 40.0)
    assert " s" not in bar(3.0, "b", 20).partition("MiB/s")[2]
