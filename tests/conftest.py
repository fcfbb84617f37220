"""Fixtures that every part may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def practice_server(tmp_path: Path) -> Iterator[Callable]:
    """Starts practice servers: ``practice_server(name="one", **options)`` gives a running
    ``console.practice.server.PracticeServer`` with ``.target()``, the ``console.transport.ssh.Target`` that reaches
    it by key. All are stopped at the end."""
    from console.practice.server import PracticeServer, make_key
    from console.transport.ssh import Target

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
