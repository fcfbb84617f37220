"""A server's home on this machine, and links to it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from console.jobs.job import NullContext
from console.push.sender import Means, Outcome, send
from tests.push.local import PYTHON, LocalTransport


def oldest_python() -> str | None:
    """A Python 3.6 of this machine: the one that SEALIFT_PYTHON36 names, or the one on PATH."""
    for place in (Path(os.environ.get("SEALIFT_PYTHON36", "/none")), Path(shutil.which("python3.6") or "/none")):
        if place.exists() and subprocess.run((place, "-S", "-E", "-c", "import fcntl"), capture_output=True).returncode == 0:
            return str(place)
    return None


RECEIVERS = {"python": PYTHON, "python3.6": oldest_python(), "shell": None, "busybox": None}
"""The interpreter of each; None for those in shell."""

ABSENT = {"python3.6": RECEIVERS["python3.6"] is None, "busybox": shutil.which("busybox") is None}


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def link(home, request, tmp_path):
    """Makes transports to the home; each is closed at the end."""
    made, always = [], {}
    if "kind" in request.fixturenames and request.getfixturevalue("kind") == "busybox":
        # Nothing but busybox is there: its shell, its dd, its sha256sum.
        tools = tmp_path / "busybox"
        tools.mkdir()
        subprocess.run((shutil.which("busybox"), "--install", "-s", str(tools)), check=True)
        always["PATH"] = str(tools)

    def make(environment=None, **options) -> LocalTransport:
        made.append(LocalTransport(home, environment=always | (environment or {}), **options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@pytest.fixture(params=[pytest.param(k, marks=pytest.mark.skipif(ABSENT.get(k, False), reason=f"no {k} here")) for k in RECEIVERS])
def kind(request):
    """Which receiver."""
    return request.param


@pytest.fixture
def python(kind):
    """Its interpreter; None for a shell."""
    return RECEIVERS[kind]


@pytest.fixture
def push(link, python):
    """``push(plan, transport=None)`` pushes over a link of its own, or over the one given, and gives the outcome."""

    def run(plan, transport=None, ctx=None) -> Outcome:
        transport = transport or link()
        outcome = Outcome()
        try:
            send(ctx or NullContext(), transport, plan, outcome, Means(), python)
        finally:
            transport.close()
            run.last = outcome
        return outcome

    return run
