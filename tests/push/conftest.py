"""A server's home on this machine, and links to it."""

from __future__ import annotations

import pytest

from console.jobs.job import NullContext
from console.push.sender import Means, Outcome, send
from tests.push.local import PYTHON, LocalTransport


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def link(home):
    """Makes transports to the home; each is closed at the end."""
    made = []

    def make(**options) -> LocalTransport:
        made.append(LocalTransport(home, **options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@pytest.fixture(params=["python", "shell"])
def kind(request):
    """Which receiver."""
    return request.param


@pytest.fixture
def push(link, kind):
    """``push(plan, transport=None)`` pushes over a link of its own, or over the one given, and gives the outcome."""

    def run(plan, transport=None, ctx=None) -> Outcome:
        transport = transport or link()
        outcome = Outcome()
        try:
            send(ctx or NullContext(), transport, plan, outcome, Means(), PYTHON if kind == "python" else None)
        finally:
            transport.close()
            run.last = outcome
        return outcome

    return run
