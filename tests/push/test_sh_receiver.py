"""The shell receiver on servers with few tools."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from console.errors import SealiftError
from console.push.sh_receiver import SCRIPT
from tests.push.local import make, noise

TOOLS = ("sh", "dd", "sed", "cut", "df", "tail", "sync", "mkdir", "sleep", "find", "cat", "rm", "rmdir", "wc", "cp", "chmod", "mv", "ln")
FILES = {"a": noise(1, 300_000), "b c/d": b"d", "e": b""}


@pytest.fixture(params=["shell"])
def kind(request):
    return request.param


@pytest.fixture
def tools(tmp_path):
    """A folder of few tools, as the only one on PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()

    def only(*more):
        for name in (*TOOLS, *more):
            (folder / name).symlink_to(shutil.which(name))
        return {"PATH": str(folder)}

    return only


@pytest.fixture
def plan(tmp_path):
    return make(tmp_path / "library", FILES, 64 << 10).plan("~/store", patience_s=1)


@pytest.mark.parametrize("tool", ["openssl", "sha256sum"])
def test_without_flock_and_with_either_digest_tool(push, link, home, plan, tools, tool):
    environment = tools(tool)
    transport = link(environment=environment)
    transport.cut_after = 200_000
    with pytest.raises(SealiftError):
        push(plan, transport)
    assert push(plan, link(environment=environment)).bytes_resumed > 0
    folder = home / "store/releases" / plan.release_id
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == FILES
    assert not (home / "store/lock.d").exists()


def test_a_lock_of_a_dead_push_is_taken_over_and_of_a_living_one_is_not(push, link, home, plan, tools):
    environment = tools("sha256sum")
    transport = link(environment=environment)
    held = transport.open(("sh", "-c", SCRIPT, "receiver", "~/store", "f" * 64, "stored", "0" * 32, "1"))
    assert held.read(100) == b"ready\n"
    with pytest.raises(SealiftError) as caught:
        push(plan, link(environment=environment))
    assert caught.value.code == "push.store-busy"
    transport.kill()
    held.process.wait(10)
    assert (home / "store/lock.d").exists()
    assert push(plan, link(environment=environment)).done


def test_no_digest_tool_is_said(push, link, plan, tools):
    with pytest.raises(SealiftError) as caught:
        push(plan, link(environment=tools()))
    assert caught.value.code == "push.no-digest-tool"


def test_a_dd_that_cannot_is_said(push, link, plan, tools, tmp_path):
    environment = tools("sha256sum")
    (tmp_path / "tools/dd").unlink()
    (tmp_path / "tools/dd").write_text("#!/bin/sh\ncat\n")
    (tmp_path / "tools/dd").chmod(0o755)
    with pytest.raises(SealiftError) as caught:
        push(plan, link(environment=environment))
    assert caught.value.code == "push.no-tool"


@pytest.mark.parametrize("shell", ["sh", "bash", "busybox"])
def test_the_script_is_read_by_every_shell(shell):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    words = (shell, "sh") if shell == "busybox" else (shell, "--posix") if shell == "bash" else (shell,)
    subprocess.run((*words, "-n"), input=SCRIPT.encode(), check=True)
