"""Servers asked from a process of its own, over real SSH: the same answers, the same errors, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from console import processes
from console.assets import asset
from console.errors import Cancelled
from console.jobs.job import Context, NullContext
from console.practice.host import HOSTS
from console.secrets import Secret
from console.servers import asker as subject
from console.servers.keys import HostKey
from console.servers.record import ServerRecord
from console.store import pushkeys
from console.transport.target import Login, Target, heard, told

pytestmark = pytest.mark.skipif(os.name == "nt", reason="practice servers need a POSIX shell")


@pytest.fixture
def beside(engine):
    """The engine as a window has it."""
    engine.inventory.beside_window = True
    return engine


@pytest.fixture
def begun(monkeypatch) -> list[subprocess.Popen]:
    """Every process that was started for it."""
    started, real = [], processes.worker
    monkeypatch.setattr(processes, "worker", lambda name, **how: (started.append(real(name, **how)), started[-1])[1])
    return started


def added(engine, server, name: str, **more) -> None:
    target = server.target()
    engine.servers.add(
        ServerRecord(
            name,
            **{"address": target.address, "port": target.port, "user": target.user, "identity_file": target.identity_file, "auth": "key"}
            | more,
        )
    )
    engine.servers.trust(name, HostKey(server.host_key).fingerprint)


def ask(engine, *names: str, **more) -> dict:
    return engine.inventory.refresh(NullContext(), names, **more)


def test_it_hears_what_the_console_itself_hears(beside, begun, practice_server):
    for host in HOSTS:
        added(beside, practice_server(host.name, assets=asset("practice") / host.name, disk_bytes=host.disk_bytes), host.name)
    through = ask(beside)
    assert len(begun) == 1 and begun[0].poll() is not None
    beside.inventory.beside_window = False
    own = ask(beside, full=True)
    assert len(begun) == 1
    for name, record in own.items():
        assert record.reached and through[name].devices == record.devices and record.devices, name
        assert {f.id: (f.state, f.evidence["argv"], f.evidence["outcome"]) for f in through[name].facts.values()} == {
            f.id: (f.state, f.evidence["argv"], f.evidence["outcome"]) for f in record.facts.values()}  # fmt: skip
        assert through[name].facts["os.release"].value == record.facts["os.release"].value


def test_what_lasts_is_not_asked_again(beside, practice_server):
    added(beside, practice_server(), "one")
    first, again, full = ask(beside)["one"], ask(beside)["one"], ask(beside, full=True)["one"]
    kernel = "os.kernel"
    assert "asked_at" not in first.facts[kernel].evidence and again.facts[kernel].evidence["asked_at"] == first.taken_at
    assert (
        again.facts[kernel].value == first.facts[kernel].value == full.facts[kernel].value and "asked_at" not in full.facts[kernel].evidence
    )


def test_long_answers_come_whole(beside, practice_server):
    server = practice_server()
    said = "".join(f"cgroup /sys/{'x' * 200}/{n}\n" for n in range(3000))
    (server.home / "said").write_text(said)
    (server.tools / "lspci").write_text(f"#!/bin/sh\ncat {server.home}/said\n")
    (server.tools / "lspci").chmod(0o755)
    added(beside, server, "one")
    assert said in {f.evidence["stdout"] for f in ask(beside)["one"].facts.values()}


def test_each_server_ends_in_its_own_error(beside, practice_server):
    good, gone, other = practice_server("good"), practice_server("gone"), practice_server("other")
    for server, name in ((good, "good"), (gone, "gone"), (other, "changed")):
        added(beside, server, name)
    gone.stop()
    other.fault("host-key-changed")
    beside.servers.add(ServerRecord("new", "127.0.0.1", good.port, auth="password"))
    taken = ask(beside, "gone", "good", "new", "changed")
    assert {name: (r.error or {}).get("code") for name, r in taken.items()} == {
        "gone": "ssh.refused", "good": None, "new": "ssh.host-key-unknown", "changed": "ssh.host-key-changed"}  # fmt: skip
    # As the console's own: with what it speaks of, and in every language.
    beside.inventory.beside_window = False
    assert {name: r.error for name, r in ask(beside, "gone", "new", "changed").items()} == {
        name: taken[name].error for name in ("gone", "new", "changed")
    }


def test_servers_behind_a_bastion_share_one_connection_to_it(beside, practice_server):
    gate, inner = practice_server("gate"), practice_server("inner")
    added(beside, gate, "gate")
    for name in ("s1", "s2", "s3", "s4"):
        added(beside, inner, name, jump=("gate",))
    before = gate.connections_seen
    taken = ask(beside, "s1", "s2", "s3", "s4")
    assert all(r.reached for r in taken.values()), {n: r.error for n, r in taken.items()}
    assert gate.connections_seen == before + 1


def test_a_missing_secret_is_asked_for_and_shown_to_nobody_else(beside, begun, practice_server):
    server, asked = practice_server(password="right-4711"), []
    added(beside, server, "one", auth="password", identity_file=None)
    assert ask(beside)["one"].error["code"] == "ssh.password-needed"
    answers = iter([Secret("wrong-4711"), Secret("right-4711")])
    beside.servers.credentials.ask = lambda name, kind: (asked.append((name, kind)), next(answers))[1]
    refused = ask(beside)["one"]
    assert refused.error["code"] == "ssh.auth-failed" and "4711" not in str(refused)
    seen = []
    beside.servers.credentials.ask = lambda name, kind: (asked.append((name, kind)), seen.append(told_of(begun[-1])), next(answers))[2]
    assert ask(beside)["one"].reached and asked == [("one", "password")] * 2
    assert beside.servers.credentials.get("password", "one") == Secret("right-4711")
    before = len(begun)
    beside.servers.credentials.ask = None
    assert ask(beside)["one"].reached and len(begun) == before + 1
    if Path("/proc/self/environ").exists():
        assert seen[0] and "console.servers.worker" in seen[0] and "4711" not in seen[0]


def told_of(process: subprocess.Popen) -> str:
    """What anybody on this machine may read of a process, and its environment."""
    folder = Path(f"/proc/{process.pid}")
    return "".join((folder / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")) if folder.exists() else ""


def test_a_wrong_sudo_password_is_dropped(beside, practice_server):
    server = practice_server()
    (server.tools / "sudo").write_text('#!/bin/sh\nprintf %s "$4" >&2; read -r said; printf %s "$4" >&2; read -r said; exit 1\n')
    (server.tools / "sudo").chmod(0o755)
    added(beside, server, "one", sudo="password")
    beside.servers.credentials.set("sudo_password", Secret("wrong"), "one")
    taken = ask(beside)["one"]
    assert taken.reached and "the sudo password is wrong" in taken.facts["kernel.log"].reason
    assert beside.servers.credentials.get("sudo_password", "one") is None


def test_a_cancel_ends_the_process_and_keeps_nothing(beside, begun, practice_server):
    server, ctx = practice_server(), Context()
    (server.tools / "lspci").write_text("#!/bin/sh\nexec sleep 100\n")
    (server.tools / "lspci").chmod(0o755)
    added(beside, server, "one")
    seen, logged_in = beside.servers.logged_in, threading.Event()
    beside.servers.logged_in = lambda way: (seen(way), logged_in.set())
    threading.Thread(target=lambda: (logged_in.wait(30), ctx.cancel()), daemon=True).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        beside.inventory.refresh(ctx, ["one"])
    assert begun[0].wait(10) != 0 and time.monotonic() - began < 10
    assert beside.inventory.latest("one") is None


def test_a_process_that_is_ended_costs_what_it_had_in_hand_only(beside, begun, practice_server):
    beside.settings.set("inventory.threads", "1")
    for name in ("a", "b"):
        added(beside, practice_server(name), name)
    seen, ended = beside.servers.logged_in, []

    def end_the_first(way) -> None:
        seen(way)
        if not ended:
            ended.append(way.target.name)
            begun[0].kill()
            begun[0].wait()

    beside.servers.logged_in = end_the_first
    taken = ask(beside)
    error = taken["a"].error
    assert ended == ["a"] and error["code"] == "inventory.process-ended" and "-9" in error["message"] and error["retryable"]
    assert taken["b"].reached and len(begun) == 2


def test_it_is_not_started_for_ever(beside, practice_server, monkeypatch):
    names = [f"s{n}" for n in range(subject.MOST_STARTS + 3)]
    server, started = practice_server(), []
    for name in names:
        added(beside, server, name)

    def dead(name: str, **_how) -> subprocess.Popen:
        started.append(name)
        return subprocess.Popen(("sh", "-c", "exit 3"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    monkeypatch.setattr(processes, "worker", dead)
    beside.settings.set("inventory.threads", "1")
    errors = [r.error for r in ask(beside).values()]
    assert {e["code"] for e in errors} == {"inventory.process-ended"} and len(errors) == len(names) and len(started) == subject.MOST_STARTS
    assert any("it ended with 3" in e["message"] for e in errors) and "not started any more" in errors[-1]["message"]


def test_where_the_system_starts_none_that_is_said(beside, practice_server, monkeypatch):
    def none(_name: str, **_how) -> subprocess.Popen:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(processes, "worker", none)
    added(beside, practice_server(), "one")
    error = ask(beside)["one"].error
    assert error["code"] == "inventory.process-ended" and "Permission denied" in error["message"]


def test_what_went_wrong_in_it_is_raised_with_where_it_was(beside, practice_server, monkeypatch):
    added(beside, practice_server(), "one")
    monkeypatch.setattr(subject, "told", lambda _way, **_more: [{"target": {"nonsense": 1}, "login": []}])
    with pytest.raises(RuntimeError, match="nonsense"):
        ask(beside)


def test_a_line_that_was_cut_off_is_none():
    process = subprocess.Popen(("sh", "-c", 'printf \'{"number": 1, "heard\''), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert subject._Process(process).ask({"number": 1}).get(timeout=10) is None


def test_what_a_push_left_there_is_taken_away_first(beside, begun, practice_server):
    server = practice_server()
    added(beside, server, "one")
    pushkeys.note(beside.store, ["one"])
    assert ask(beside)["one"].reached and pushkeys.noted(beside.store) == []


def test_it_gives_way_to_the_window(beside, begun, practice_server):
    added(beside, practice_server(), "one")
    seen, nice = beside.servers.logged_in, []
    beside.servers.logged_in = lambda way: (seen(way), nice.append(os.getpriority(os.PRIO_PROCESS, begun[0].pid)))
    assert ask(beside)["one"].reached and nice == [min(19, os.getpriority(os.PRIO_PROCESS, 0) + processes.BEHIND)]


@pytest.mark.parametrize("frozen", [False, True])
def test_its_end_of_input_is_its_end(monkeypatch, frozen):
    """Also as the command by which a frozen program starts itself."""
    if frozen:
        monkeypatch.setattr(processes, "command", lambda name: ([sys.executable, "-m", "console", name], dict(os.environ)))
    process = processes.worker(processes.INVENTORY)
    assert b"ready" in process.stdout.readline()
    process.stdin.close()
    assert process.wait(10) == 0 and process.stdout.read() == b""
    process.stdout.close()


def test_a_frozen_program_starts_itself(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    for name in (*processes.WORKERS, processes.PRACTICE):
        assert processes.command(name, "word")[0] == [sys.executable, name, "word"]


def test_a_process_is_told_no_secret_that_it_has_no_use_for():
    hop, end = (Target(name, "127.0.0.1") for name in ("hop", "end"))
    way = [(target, Login(*(Secret(f"{target.name}-{kind}") for kind in ("password", "passphrase", "sudo")))) for target in (hop, end)]
    assert [h["login"] for h in told(way)] == [[f"{name}-password", f"{name}-passphrase", None] for name in ("hop", "end")]
    assert [h["login"][2] for h in told(way, sudo=True)] == [None, "end-sudo"]
    again = heard(json.loads(json.dumps(told(way, sudo=True))))
    assert [target for target, _login in again] == [hop, end] and again[1] == way[1]
