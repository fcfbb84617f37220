"""Practice servers: real commands in a folder of their own, and failures that really happen."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from pathlib import Path

import paramiko
import psutil
import pytest
from paramiko.common import cMSG_CHANNEL_SUCCESS

from console.assets import asset
from console.errors import SealiftError
from console.practice.host import HOSTS
from console.practice.server import MARK, PracticeServer, parse_fault
from console.transport.ssh import connect


@pytest.fixture
def server(practice_server):
    return practice_server()


def out(server, line: str, **more) -> str:
    with closing(connect(server.target())) as link:
        done = link.run(("sh", "-c", line), **more)
        return done.stdout.decode() + done.stderr.decode()


def test_commands_live_in_the_servers_folder(server):
    said = out(server, 'pwd; echo "$HOME $USER"; touch here; env').splitlines()
    assert said[0] == str(server.home) and said[1] == f"{server.home} practice"
    assert (server.home / "here").exists()
    assert "SSH_AUTH_SOCK" not in "\n".join(said)


def test_tools_that_lead_out_of_the_folder_are_not_there(server):
    said = out(server, "for t in systemctl docker sudo nvidia-smi; do command -v $t; done; command -v sha256sum tar")
    assert [Path(line).name for line in said.split()] == ["sha256sum", "tar"] or "sha256sum" in said
    assert "docker" not in said and "systemctl" not in said


def test_python3_can_make_an_environment(server):
    line = "python3 -m venv --without-pip env && env/bin/python -c 'import sys; print(sys.prefix)'"
    said = out(server, line, timeout_s=60)
    assert said.strip() == str(server.home / "env")


def test_no_python3_and_back(server):
    server.fault("no-python3")
    assert out(server, "command -v python3 || echo none") == "none\n"
    server.fault("none")
    assert out(server, "python3 -c 'print(1)'") == "1\n"


def test_disk_full_is_real_and_ends(server):
    server.fault("disk-full=64KiB")
    said = out(server, "head -c 200000 /dev/zero > big; echo $?; wc -c < big; df -P -B1 . | tail -1")
    lines = said.splitlines()
    assert lines[0] != "0" and 0 < int(lines[1]) <= 64 << 10
    assert "too large" in said.lower() and int(lines[2].split()[3]) <= 64 << 10
    server.fault("none")
    assert out(server, "head -c 200000 /dev/zero > big && wc -c < big").strip() == "200000"


def test_disk_full_reaches_a_command_that_runs(server):
    with closing(connect(server.target())) as link:
        stream = link.open(("sh", "-c", "echo ready; read -r x; head -c 100000 /dev/zero > f || echo full"))
        assert stream.read(20, 5) == b"ready\n"
        server.fault("disk-full")
        stream.write(b"\n")
        assert stream.read(20, 5) == b"full\n"


def test_slow_input_takes_its_time(server):
    server.fault("slow=1MiB")
    started = time.monotonic()
    assert out(server, "wc -c", stdin=bytes(512 << 10)).strip() == "524288"
    assert time.monotonic() - started >= 0.45


def test_cut_after_cuts_once(server):
    server.fault("cut-after=100KiB")
    with pytest.raises(SealiftError) as caught:
        out(server, "cat > /dev/null; sleep 100", stdin=bytes(200 << 10))
    assert caught.value.code == "ssh.connection-lost"
    assert out(server, "echo again", stdin=bytes(200 << 10)) == "again\n"


def test_reboot_kills_what_left_its_session_and_comes_back(server):
    with closing(connect(server.target())) as link:
        started = link.run(("sh", "-c", "nohup setsid sleep 1000 >/dev/null 2>&1 & echo $!"))
        assert started.ok
        assert _processes(server)
        server.reboot(0)
        assert not _processes(server)
        with pytest.raises(SealiftError):
            link.run(("true",))
    deadline = time.monotonic() + 5
    while True:
        try:
            assert out(server, "echo up") == "up\n"
            return
        except SealiftError as problem:
            assert problem.code in ("ssh.refused", "ssh.connection-lost") and time.monotonic() < deadline


def _processes(server) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == str(server.folder):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_closed_connection_ends_its_command(server):
    with closing(connect(server.target())) as link:
        link.open(("sleep", "1000"))
        stream = link.open(("sh", "-c", "echo on; sleep 1000"))
        assert stream.read(10, 5) == b"on\n"
    deadline = time.monotonic() + 5
    while _processes(server):
        assert time.monotonic() < deadline


def test_stop_leaves_nothing(server):
    out(server, "nohup setsid sleep 1000 >/dev/null 2>&1 &")
    server.stop()
    assert not _processes(server)


@pytest.mark.parametrize("text", ["", "melt", "slow", "slow=", "cut-after=many", "no-python3x"])
def test_unknown_faults_are_refused(text):
    with pytest.raises(SealiftError) as caught:
        parse_fault(text)
    assert caught.value.code == "practice.unknown-fault"


@pytest.mark.parametrize("host", HOSTS, ids=lambda h: h.name)
def test_every_recording_is_printed_by_its_tool(host, practice_server):
    server = practice_server(host.name, assets=asset("practice") / host.name, disk_bytes=host.disk_bytes)
    lines = {"practice-nvidia": "nvidia-smi; nvidia-smi -q -x; nvidia-smi topo -m; nvidia-smi -L; lspci -nn",
             "practice-faulty": "nvidia-smi; nvidia-smi -q -x; lspci",
             "practice-ascend": "npu-smi info; npu-smi info -m; npu-smi info -t board -i 7; hccn_tool -i 1 -ip -g",
             "practice-amd": "amd-smi static --json; amd-smi metric --json; rocm-smi; rocm-smi --json; lspci -nn"}
    said = out(server, f"set -e; {lines[host.name].replace(';', ' &&')}")
    marks = {"practice-nvidia": "NVIDIA H200", "practice-faulty": "ERR!", "practice-ascend": "910B3",
             "practice-amd": "MI325X"}
    assert marks[host.name] in said and "not found" not in said


def test_a_small_disk_shows_in_df(practice_server):
    server = practice_server("small", disk_bytes=10 << 20)
    row = out(server, "df -P -k .").splitlines()[1].split()
    assert int(row[1]) == 10 << 10 and int(row[3]) <= 10 << 10


def test_a_command_that_ends_at_once_was_answered_first(server, monkeypatch):
    """The answer to the request may be held up for longer than the command takes, as on a busy machine."""
    sent, ended = paramiko.Transport._send_user_message, threading.Event()

    def held_up(link, data):
        if link.server_mode and data.packet.getbuffer()[:1] == cMSG_CHANNEL_SUCCESS:
            ended.wait(0.3)
        sent(link, data)

    monkeypatch.setattr(PracticeServer, "finished", lambda server, run: (server._runs.discard(run), ended.set()))
    monkeypatch.setattr(paramiko.Transport, "_send_user_message", held_up)
    with closing(connect(server.target())) as link:
        assert link.run(("echo", "done")).stdout == b"done\n"
