"""Fixtures that every part may use, and how property tests choose their examples.

By default the same examples each time, so that a change is judged by what it changed; ``make search`` looks for new ones at
random, and what it finds is written down as an ``@example``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("SEALIFT_EXAMPLES", "repeatable"))


@pytest.fixture
def practice_server(tmp_path: Path) -> Iterator[Callable]:
    """Starts practice servers: ``practice_server(name="one", **options)`` gives a running
    ``console.practice.server.PracticeServer`` with ``.target()``, the ``console.transport.ssh.Target`` that reaches
    it by key. All are stopped at the end."""
    from console.practice.server import PracticeServer, make_key
    from console.transport.target import Target

    key = tmp_path / "practice-key"
    public, running = make_key(key), []

    def start(name: str = "one", **options) -> PracticeServer:
        server = PracticeServer(tmp_path / "practice" / name, **{"authorized_key": public} | options)
        server.start()
        running.append(server)
        server.target = lambda **changes: Target(**{
            "name": name, "address": server.address, "port": server.port, "user": server.user,
            "host_keys": (server.host_key,), "auth": "key", "identity_file": str(key)} | changes)
        return server

    yield start
    for server in running:
        server.stop()
