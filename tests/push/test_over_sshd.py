"""Both receivers and the worker processes over the system's own OpenSSH server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from console.errors import SealiftError
from console.jobs.job import NullContext
from console.push import lanes
from console.push.sender import Means, Outcome, send
from console.transport.ssh import connect
from console.transport.target import Login, Target
from tests.push.local import PYTHON, make, noise, until

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists() or not shutil.which("ssh-keygen"),
    reason="needs root, /usr/sbin/sshd and ssh-keygen",
)
ADDRESS, CHUNK = "127.0.0.3", 1 << 20
FILES = {"model/big": noise(1, 20 << 20), "model/small": b"{}"}


@pytest.fixture
def target(tmp_path):
    for name in ("host", "user"):
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)), check=True)
    with socket.create_server((ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
    (tmp_path / "config").write_text(
        f"Port {port}\nListenAddress {ADDRESS}\nHostKey {tmp_path}/host\nPidFile none\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        "UsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen(("/usr/sbin/sshd", "-D", "-e", "-f", str(tmp_path / "config")), stderr=subprocess.DEVNULL)

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex((ADDRESS, port)) == 0

    try:
        until(listens, "sshd")
        key = " ".join((tmp_path / "host.pub").read_text().split()[:2])
        yield Target("sshd", ADDRESS, port, "root", (key,), "key", str(tmp_path / "user"))
    finally:
        server.terminate()
        server.wait()


def over(target, plan, python, ctx=None, on_open=lambda transport: None, **means):
    outcome, transport = Outcome(), connect(target, purpose="data")
    on_open(transport)
    try:
        send(ctx or NullContext(), transport, plan, outcome, Means(**means), python)
    finally:
        transport.close()
    return outcome


@pytest.mark.parametrize("python", [PYTHON, None], ids=["python", "shell"])
def test_a_cut_and_the_rest(target, tmp_path, python):
    plan = make(tmp_path / "library", FILES, CHUNK).plan(str(tmp_path / "store"))
    links = []

    class CutsMidway(NullContext):
        def progress(self, done, total, unit, left_s=None):
            if done > total // 2:
                links[0].link.sock.close()

    with pytest.raises(SealiftError) as caught:
        over(target, plan, python, CutsMidway(), links.append)
    assert caught.value.retryable
    folder = tmp_path / "store/releases" / plan.release_id
    assert not folder.exists()
    outcome = over(target, plan, python)
    assert outcome.bytes_resumed > 0 and (folder / "model/big").read_bytes() == FILES["model/big"]


def test_with_a_worker(target, tmp_path, monkeypatch):
    monkeypatch.setattr(lanes, "WORTH_BYTES", 1 << 20)
    monkeypatch.setattr("console.push.work.SPAN_BYTES", 2 << 20)
    plan = make(tmp_path / "library", {"big": noise(2, 96 << 20)}, CHUNK).plan(str(tmp_path / "store"))
    slots = lanes.Slots(1)
    outcome = over(target, plan, PYTHON, slots=slots, way=lanes.Way(target, Login(), PYTHON), connections=2)
    assert outcome.done and outcome.connections == 2
    place = tmp_path / "store/releases" / plan.release_id / "big"
    assert place.read_bytes() == noise(2, 96 << 20)
    assert slots.take()
