"""The practice site: a process of its own, ordinary entries in the book."""

from __future__ import annotations

from contextlib import closing

import pytest

from console.engine import Engine
from console.errors import SealiftError
from console.practice.host import HOSTS
from console.practice.site import PracticeSite

NAMES = [h.name for h in HOSTS]


@pytest.fixture
def workspace(tmp_path):
    yield tmp_path / "workspace"
    with Engine.open(tmp_path / "workspace") as engine:
        PracticeSite(engine).down()


def test_the_servers_outlive_the_program_that_started_them(workspace):
    with Engine.open(workspace) as engine:
        records = engine.practice.up()
        assert [r.name for r in records] == NAMES and all(r.host_keys for r in records)
    with Engine.open(workspace) as engine:
        assert engine.practice.running() and engine.practice.up() == records
        with closing(engine.servers.connect("practice-amd")) as link:
            assert b"MI325X" in link.run(("rocm-smi",)).stdout
            link.run(("touch", "left-behind"))
        engine.practice.fault("practice-amd", "no-python3")
        with closing(engine.servers.connect("practice-amd")) as link:
            assert not link.run(("sh", "-c", "command -v python3")).ok
        engine.practice.reset()
        with closing(engine.servers.connect("practice-amd")) as link:
            assert link.run(("sh", "-c", "ls; command -v python3")).stdout.endswith(b"tools/python3\n")
        for name, fault, expected in (("nobody", "none", "practice.unknown-server"),
                                      ("practice-amd", "melt", "practice.unknown-fault")):
            with pytest.raises(SealiftError) as caught:
                engine.practice.fault(name, fault)
            assert caught.value.code == expected
        engine.practice.down()
        assert not engine.practice.running()
        with pytest.raises(SealiftError) as caught:
            engine.practice.fault("practice-amd", "reboot")
        assert caught.value.code == "practice.not-running"
        with pytest.raises(SealiftError) as caught:
            engine.servers.connect("practice-amd")
        assert caught.value.code == "ssh.refused"


def test_inside_this_process(workspace):
    with Engine.open(workspace) as engine:
        engine.practice.up(in_process=True)
        engine.practice.fault("practice-faulty", "host-key-changed")
        with pytest.raises(SealiftError) as caught:
            engine.servers.connect("practice-faulty")
        assert caught.value.code == "ssh.host-key-changed"
        engine.practice.reset()
        engine.servers.connect("practice-faulty").close()
    with Engine.open(workspace) as engine:
        assert not engine.practice.running()
