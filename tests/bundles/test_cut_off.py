"""The console is killed in the midst of an import or a removal: nothing half-written counts, nothing is left lying, and it can go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_samples import Sample, make

from console.bundles.library import CHANGING, Library
from console.bundles.verify import verify
from console.cli.main import main
from console.engine import Engine
from console.errors import InputError, WorldError
from console.jobs.job import NullContext
from console.trust.keys import PrivateKey

CTX = NullContext()
KILLED = """
import os, pathlib, signal, sys
from console.bundles import copying, library, writing
from console.engine import Engine
from console.jobs.job import NullContext
from console.store import library as table
workspace, drive, what, where, count = sys.argv[1:]
engine, left = Engine.open(pathlib.Path(workspace)), [int(count)]

def killing(owner, name, after=False):
    real = getattr(owner, name)
    def call(*args, **more):
        value = real(*args, **more) if after else None
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return value if after else real(*args, **more)
    setattr(owner, name, call)

owners = {"fsync": os, "replace": os, "put_release": table, "drop_release": table, "unlink": pathlib.Path, "rmtree": library.shutil}
name, _, when = where.partition("-")
killing(owners[name], name, when == "after")
if what == "import":
    engine.library.import_(NullContext(), [pathlib.Path(drive)])
else:
    engine.library.remove("Sample")
print("went through")
"""


def killed(workspace: Path, drive: Path, what: str, where: str, count: int) -> bool:
    """Run it in a process of its own, which kills itself before (or after) the ``count``-th call of a function; whether it came to that."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(workspace), str(drive), what, where, str(count)], capture_output=True, text=True,
                          cwd=Path(__file__).parents[2], timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
    return done.returncode != 0


def files(library: Library) -> set[str]:
    return {p.name for p in (library.root / "files").rglob("*") if p.is_file()}


def nothing_is_left(library: Library) -> None:
    """What lies in the library is what its releases need, and no more."""
    releases = library.list()
    assert files(library) == {f.sha256 for r in releases for f in r.files}
    assert {p.name for p in (library.root / "releases").glob("*")} == {r.release_id for r in releases}
    assert not (library.root / CHANGING).exists() and library.unfinished() == [] and not list((library.root / "staging").iterdir())


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return PrivateKey.generate("ecdsa-p256")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, key) -> tuple[Sample, Sample]:
    """Two releases that have all but the bill of materials in common."""
    folder = tmp_path_factory.mktemp("two")
    return make(folder / "one", key), make(folder / "two", key, channel="other", title="Second")


def site(workspace: Path, key: PrivateKey, *drives: Path) -> None:
    with Engine.open(workspace) as engine:
        engine.site.init("Test", "other", "internal", "test-site")
        engine.trust.add(key.public, "builder", key.public.fingerprint)
        for drive in drives:
            engine.library.import_(CTX, [drive])


@pytest.mark.parametrize(("where", "count"), [("fsync", 8), ("replace", 4), ("replace", 12), ("replace-after", 14), ("put_release", 1), ("put_release-after", 1),
                                              ("rmtree", 1)])
def test_an_import_that_was_killed_goes_on(tmp_path, key, bundles, where, count):
    workspace, drive = tmp_path / "ws", bundles[0].drive
    site(workspace, key)
    assert killed(workspace, drive, "import", where, count)
    with Engine.open(workspace) as engine:
        library = engine.library
        assert all(library.verify(CTX, release) == [] for release in library.list())
        release = library.import_(CTX, [drive]).release
        assert library.verify(CTX, release) == []
        nothing_is_left(library)
        library.remove("Sample")
        nothing_is_left(library)


@pytest.mark.parametrize(("where", "count"), [("replace-after", 14), ("put_release", 1)])
def test_what_a_killed_import_had_moved_in_goes_with_the_next_change(tmp_path, key, bundles, where, count):
    workspace = tmp_path / "ws"
    site(workspace, key, bundles[1].drive)
    held = {p.name for p in (workspace / "library" / "files").rglob("*") if p.is_file()}
    assert killed(workspace, bundles[0].drive, "import", where, count - 8 if where == "replace-after" else count)
    with Engine.open(workspace) as engine:
        library = engine.library
        assert [r.title for r in library.list()] == ["Second"] and [one.title for one in library.unfinished()] == ["Sample"]
        library.discard("Sample")
        library.import_(CTX, [bundles[1].drive])
        assert files(library) == held
        nothing_is_left(library)
        with pytest.raises(InputError):
            library.discard("Sample")


@pytest.mark.parametrize(("where", "count"), [("drop_release", 1), ("drop_release-after", 1), ("unlink", 1), ("unlink-after", 1), ("rmtree", 1)])
def test_a_removal_that_was_killed_is_brought_to_its_end(tmp_path, key, bundles, where, count):
    workspace = tmp_path / "ws"
    site(workspace, key, *(b.drive for b in bundles))
    assert killed(workspace, Path(), "remove", where, count)
    with Engine.open(workspace) as engine:
        library = engine.library
        assert all(library.verify(CTX, release) == [] for release in library.list())
        if "Sample" in [r.title for r in library.list()]:
            library.remove("Sample")
        else:
            library.import_(CTX, [bundles[1].drive])
        assert [r.title for r in library.list()] == ["Second"]
        nothing_is_left(library)
        assert engine.audit.damage is None


def test_files_that_went_with_another_release_meanwhile_are_noticed(tmp_path, key, bundles, monkeypatch):
    workspace = tmp_path / "ws"
    site(workspace, key, bundles[1].drive)
    with Engine.open(workspace) as engine:
        real = Library._check_publishers

        def removing(self, *args):
            monkeypatch.setattr(Library, "_check_publishers", real)
            self.remove("Second")
            return real(self, *args)

        monkeypatch.setattr(Library, "_check_publishers", removing)
        with pytest.raises(WorldError) as caught:
            engine.library.import_(CTX, [bundles[0].drive])
        assert caught.value.code == "bundle.library-damaged" and engine.library.list() == []
        release = engine.library.import_(CTX, [bundles[0].drive]).release
        assert engine.library.verify(CTX, release) == []
        nothing_is_left(engine.library)


def test_the_room_is_told_before_the_import_and_counts_what_is_here_already(tmp_path, key, bundles, capsys):
    workspace, drive = tmp_path / "ws", bundles[0].drive
    site(workspace, key)

    def needed() -> int:
        capsys.readouterr()
        assert main(["--workspace", str(workspace), "--json", "bundle", "inspect", str(drive)]) == 0
        told = json.loads(capsys.readouterr().out)["room"]
        assert told["enough"] and told["free_bytes"] > 0
        return told["needed_bytes"]

    whole = needed()
    assert whole > 0 and killed(workspace, drive, "import", "fsync", 8) and needed() < whole
    assert main(["--workspace", str(workspace), "bundle", "list"]) == 0 and "Sample: not brought in to its end" in capsys.readouterr().out
    assert main(["--workspace", str(workspace), "bundle", "remove", "Sample"]) == 0 and needed() == whole
    site_of = ["--workspace", str(workspace), "bundle"]
    assert main([*site_of, "import", str(drive)]) == 0 and needed() == 0


def test_the_drive_is_as_it_was(bundles):
    for sample in bundles:
        assert verify(CTX, [sample.drive], sample.trusted)["verdict"] == "verified"
