"""A workspace with practice servers, and releases whose files are put into a server's store as a push would."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from console import assets
from console.engine import Engine
from console.servers.record import ServerRecord
from console.smoke import practice_bundle, runtime


class Shelf:
    """A library of folders, with the calls that deployments make."""

    def __init__(self) -> None:
        self.folders: dict[str, Path] = {}
        self.releases: dict[str, SimpleNamespace] = {}

    def add(self, folder: Path) -> str:
        parts = [("smoke-model", "model", "model", "onnx"), ("onnx-runtime", "runtime", "runtime", "wheel"),
                 ("recipes", "playbook", "playbook", "other")]
        parts = [part for part in parts if (folder / part[2]).is_dir()]
        files = tuple(
            SimpleNamespace(path=str(f.relative_to(folder)), component=i, size=f.stat().st_size, exec=False,
                            sha256=hashlib.sha256(f.read_bytes()).hexdigest())
            for i, _, p, _ in parts for f in sorted((folder / p).iterdir()))
        release_id = hashlib.sha256(repr([(f.path, f.sha256) for f in files]).encode()).hexdigest()
        self.folders[release_id] = folder
        self.releases[release_id] = SimpleNamespace(
            release_id=release_id, components=tuple(SimpleNamespace(id=i, type=t, path=p, format=f) for i, t, p,
                                                    f in parts),
            files=files)
        return release_id

    def get(self, release_id: str) -> SimpleNamespace:
        return self.releases[release_id]

    def open_file(self, release: SimpleNamespace, path: str) -> Path:
        return self.folders[release.release_id] / path


class Carrier:
    """Puts the files of a release where a push puts them."""

    def __init__(self, shelf: Shelf, homes: dict[str, Path]):
        self.shelf, self.homes, self.carried = shelf, homes, []

    def run(self, ctx, release, names, *, components=None, **_) -> dict:
        for name in names:
            target = self.homes[name] / "sealift/releases" / release.release_id
            for part in release.components:
                if components is None or part.id in components:
                    shutil.copytree(self.shelf.folders[release.release_id] / part.path, target / part.path,
                                    dirs_exist_ok=True)
            self.carried.append(name)
        return {"servers": [{"name": name, "outcome": "verified", "error": None} for name in names]}


class Facility:
    """The workspace, its servers and its releases."""

    def __init__(self, tmp_path: Path, start: Callable):
        self.workspace, self._start, self.tmp, self.homes = tmp_path / "workspace", start, tmp_path, {}
        self.shelf, self.servers = Shelf(), {}
        self.carrier = Carrier(self.shelf, self.homes)
        self.engine = self.open()
        self.engine.site.init("Test", "other", "internal")

    def open(self) -> Engine:
        """Open the workspace, as a console that starts."""
        self.engine = Engine.open(self.workspace)
        self.engine.__dict__.update(library=self.shelf, push=self.carrier)
        return self.engine

    def add(self, name: str, **options) -> None:
        server = self._start(name, **options)
        target = server.target()
        self.servers[name], self.homes[name] = server, server.home
        self.engine.servers.add(ServerRecord(name, target.address, target.port, target.user, target.identity_file,
                                             "key"))
        self.engine.servers.trust(name, self.engine.servers.offered_key(name).fingerprint)

    def release(self, label: str, *, answer: str | None = None, model: bytes | None = None,
                wheels: bool = False) -> str:
        """A release of the smoke model; ``answer`` and ``model`` break it. Without wheels it brings a quick playbook,
        which runs the server from its source with this test's own Python."""
        folder = self.tmp / "releases" / label
        (folder / "model").mkdir(parents=True)
        for name in practice_bundle.MODEL_FILES:
            shutil.copyfile(runtime.smoke_model() / name, folder / "model" / name)
        (folder / "model/label.txt").write_text(label)
        if model is not None:
            (folder / "model/model.onnx").write_bytes(model)
        if answer is not None:
            text = (folder / "model/expected.json").read_text(encoding="utf-8")
            (folder / "model/expected.json").write_text(text.replace("Paris.", answer), encoding="utf-8")
        if wheels:
            practice_bundle.write_content(folder / "content")
            shutil.move(folder / "content/runtime", folder / "runtime")
            shutil.rmtree(folder / "content")
        else:
            (folder / "playbook").mkdir()
            (folder / "playbook/quick.yaml").write_text(yaml.safe_dump(quick()), encoding="utf-8")
        return self.shelf.add(folder)


def quick() -> dict:
    """The shipped playbook without the environment, and impatient."""
    book = yaml.safe_load((assets.playbooks() / "onnx-smoke.yaml").read_bytes())
    book["id"], book["runtime"] = "quick", {"formats": []}
    steps = [step for step in book["steps"] if "python-environment" not in step]
    for step in steps:
        if "service" in step:
            step["service"]["command"][0] = sys.executable
            step["service"]["environment"]["PYTHONPATH"] = str(runtime.package().parent)
        if "wait-healthy" in step:
            step["wait-healthy"]["timeout_s"] = 30
    return book | {"steps": steps}


@pytest.fixture
def facility(tmp_path: Path, practice_server: Callable) -> Iterator[Facility]:
    made = Facility(tmp_path, practice_server)
    yield made
    made.engine.close()

