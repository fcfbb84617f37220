"""One practice server with the practice bundle's files in its store, and tasks bound to it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from console.deploy.plan import Order, free_port, listening
from console.deploy.playbook import built_in
from console.smoke import practice_bundle
from console.steps import Host, Task
from console.transport.ssh import connect

RELEASE = "ab" * 32


def release_of(content: Path, release_id: str = RELEASE, without: str = "") -> SimpleNamespace:
    """What the library would give for the practice content."""
    parts = [("smoke-model", "model", "model", "onnx"), ("onnx-runtime", "runtime", "runtime", "wheel")]
    components = tuple(SimpleNamespace(id=i, type=t, path=p, format=f) for i, t, p, f in parts)
    files = tuple(
        SimpleNamespace(path=str(f.relative_to(content)), component=i, size=f.stat().st_size, exec=False,
                        sha256=hashlib.sha256(f.read_bytes()).hexdigest())
        for i, _, p, _ in parts for f in sorted((content / p).iterdir())
        if not (without and f.name.startswith(without)))
    return SimpleNamespace(release_id=release_id, components=components, files=files)


@pytest.fixture(scope="session")
def content(tmp_path_factory) -> Path:
    """The practice bundle's content."""
    folder = tmp_path_factory.mktemp("content")
    practice_bundle.write_content(folder)
    return folder


class Site:
    """A practice server, its host and tasks."""

    def __init__(self, server, content: Path):
        self.server, self.content = server, content
        self.link = connect(server.target())
        record = SimpleNamespace(name=server.target().name, store="~/sealift", user=server.user, sudo="none")
        self.host = Host.of(self.link, record)
        self.store = Path(self.host.store)
        self.port = free_port("one", 18300, listening(self.host)[1])

    def place(self, release_id: str = RELEASE) -> None:
        """Put the content where a push would."""
        folder = self.store / "releases" / release_id
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.content, folder, copy_function=lambda a, b: Path(b).hardlink_to(a))

    def tasks(self, release_id: str = RELEASE, **answers) -> dict[str, Task]:
        book = built_in()["onnx-smoke"]
        release = release_of(self.content, release_id)
        order = Order(book, release, *release.components, "smoke-model", book.answered(answers))
        return {task.kind: task for task in order.tasks(self.host.store, self.port, 0)}


@pytest.fixture
def site(practice_server: Callable, content: Path) -> Iterator[Site]:
    made = Site(practice_server(), content)
    yield made
    made.link.close()
