"""Every kind of step on a practice server over real SSH: plan, apply, verify, again, undo."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from console.errors import SealiftError
from console.jobs.job import NullContext
from console.smoke import service as ask
from console.steps import Task, kinds
from console.steps.service import SUPERVISE, _quoted
from tests.steps.conftest import RELEASE

CTX = NullContext()


def run(site, task: Task):
    """Plan and apply a task; gives the facts from before and the changes."""
    kind = kinds()[task.kind]
    facts = kind.inspect(site.host, task)
    changes = kind.plan(facts, task)
    if changes:
        kind.apply(CTX, site.host, task, facts)
    kind.verify(CTX, site.host, task)
    return facts, changes


def planned(site, task: Task):
    kind = kinds()[task.kind]
    return kind.plan(kind.inspect(site.host, task), task)


def undo(site, task: Task, before) -> None:
    kinds()[task.kind].undo(CTX, site.host, task, before)


def test_every_kind_has_its_parts():
    assert set(kinds()) >= {"place-model", "python-environment", "write-file", "service", "switch", "wait-healthy",
                            "smoke",
                            "container-image", "container-run"}


def test_place_model_asks_for_a_push_only_when_files_are_missing(site):
    task = site.tasks()["place-model"]
    assert [c.action for c in planned(site, task)] == ["push"]
    site.host.services["push"] = lambda ctx, name: site.place() or {"name": name, "outcome": "verified", "error": None}
    run(site, task)
    assert planned(site, task) == ()


def test_place_model_without_a_verified_push_fails(site):
    site.host.services["push"] = lambda ctx, name: {"name": name, "outcome": "failed", "error": {"message": "no room"}}
    with pytest.raises(SealiftError, match="no room"):
        run(site, site.tasks()["place-model"])


def test_switch_points_over_and_back_and_is_safe_twice(site):
    site.place()
    first, second = site.tasks()["switch"], site.tasks("cd" * 32)["switch"]
    link = site.store / "models/smoke-model/current"
    blank, changes = run(site, first)
    assert len(changes) == 1 and (link / "model.onnx").exists()
    assert planned(site, first) == ()
    before, _ = run(site, second)
    assert str(link.readlink()) == "../../releases/" + "cd" * 32 + "/model"
    undo(site, second, before)
    undo(site, second, before)
    assert str(link.readlink()) == f"../../releases/{RELEASE}/model"
    undo(site, first, blank)
    assert not link.is_symlink()


def test_write_file_writes_whole_and_restores(site):
    task = replace(site.tasks()["switch"], kind="write-file",
                   options={"path": "conf/a.json", "content": "port {port}\n"})
    path = site.store / "deployments/smoke-model/conf/a.json"
    before, changes = run(site, task)
    assert path.read_text() == f"port {site.port}\n" and changes[0].action == "write"
    assert planned(site, task) == ()
    newer = replace(task, options=task.options | {"content": "other $HOME `x`\n"})
    old, _ = run(site, newer)
    assert path.read_text() == "other $HOME `x`\n" and [f.name for f in path.parent.iterdir()] == ["a.json"]
    undo(site, newer, old)
    assert path.read_text() == f"port {site.port}\n"
    undo(site, task, before)
    assert not path.exists()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a//b", "a/../b", "", "a\nb"])
def test_write_file_stays_in_its_folder(site, path):
    task = replace(site.tasks()["switch"], kind="write-file", options={"path": path, "content": ""})
    with pytest.raises(SealiftError) as caught:
        kinds()["write-file"].inspect(site.host, task)
    assert caught.value.code == "playbook.bad-path"


def test_environment_service_health_smoke_and_back(site):
    """The runtime for real: a virtual environment from wheels, a supervised server, an answer through the tunnel."""
    site.place()
    tasks = site.tasks()
    env_before, changes = run(site, tasks["python-environment"])
    assert "onnxruntime" in changes[0].summary() and planned(site, tasks["python-environment"]) == ()
    before, changes = run(site, tasks["service"])
    assert changes[0].action == "install" and "after a reboot" in changes[0].summary()
    run(site, tasks["wait-healthy"])
    run(site, tasks["smoke"])
    assert planned(site, tasks["service"]) == ()

    again = site.tasks(threads=2)["service"]
    old, changes = run(site, again)
    assert changes[0].action == "replace"
    undo(site, again, old)
    run(site, tasks["wait-healthy"])
    found = ask(CTX, site.link, site.port, "smoke-model")
    assert found.verdict == "pass" and found.answer == "Paris."
    assert ask(CTX, site.link, site.port, "another").verdict == "fail"

    undo(site, tasks["service"], before)
    undo(site, tasks["service"], before)
    undo(site, tasks["python-environment"], env_before)
    assert [f.name for f in (site.store / "deployments/smoke-model").iterdir() if f.name != "log"] == []


def test_service_survives_its_session_and_a_crash_of_the_process(site):
    task = replace(site.tasks()["service"], options={"command": ["sh", "-c", "echo $$ >>started; exec sleep 600"]})
    before, _ = run(site, task)
    folder = site.store / "deployments/smoke-model"
    site.link.close()
    site.link = site.host.transport = type(site)(site.server, site.content).link
    assert planned(site, task) == ()
    pid = (folder / "service.pid").read_text().strip()
    site.host.script("killing", 'kill -KILL "$1"', pid)
    end = time.monotonic() + 15
    while len((folder / "started").read_text().split()) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert len((folder / "started").read_text().split()) >= 2
    undo(site, task, before)
    assert not site.host.try_script('kill -0 "$1"', (folder / "started").read_text().split()[-1]).ok


def test_an_unhealthy_service_is_told_with_its_log(site):
    tasks = site.tasks()
    task = replace(tasks["service"], options={"command": ["sh", "-c", "echo the-reason-why; exit 3"]})
    before, _ = run(site, task)
    wait = replace(tasks["wait-healthy"], options={"path": "/health", "timeout_s": 1})
    with pytest.raises(SealiftError) as caught:
        run(site, wait)
    assert caught.value.code == "deploy.not-healthy" and "the-reason-why" in caught.value.message()
    undo(site, task, before)


def test_a_server_without_python_is_refused_in_plain_words(practice_server, content):
    from tests.steps.conftest import Site

    server = practice_server("bare")
    server.fault("no-python3")
    site = Site(server, content)
    task = site.tasks()["python-environment"]
    facts = kinds()["python-environment"].inspect(site.host, task)
    with pytest.raises(SealiftError) as caught:
        kinds()["python-environment"].plan(facts, task)
    assert caught.value.code == "deploy.no-python" and "bare" in caught.value.message()
    site.link.close()


FACTS = {"server": "s", "stamp": None, "pythons": [
    {"path": "/usr/bin/python3", "version": [3, 9], "machine": "x86_64", "libc": ["glibc", "2.31"], "venv": True,
     "pip": True}]}


@pytest.mark.parametrize("change, error", [
    ({}, "deploy.python-unsuitable"), ({"version": [3, 11], "machine": "aarch64"}, "deploy.python-unsuitable"),
    ({"version": [3, 11], "libc": ["glibc", "2.17"]}, "deploy.python-unsuitable"),
    ({"version": [3, 11], "libc": ["", ""]},
                                                                                   "deploy.python-unsuitable"),
    ({"version": [3, 11], "venv": False}, "deploy.no-venv")])
def test_environment_refuses_a_python_that_does_not_fit(change, error):
    files = tuple((name, "0" * 64) for name in ("numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl",
                                                "a-1-py3-none-any.whl"))
    values = {"env_dir": "/s/env", "runtime_dir": "/s/r"}
    task = Task("python-environment", "n", RELEASE, {}, values, files)
    facts = FACTS | {"pythons": [FACTS["pythons"][0] | change]}
    with pytest.raises(SealiftError) as caught:
        kinds()["python-environment"].plan(facts, task)
    assert caught.value.code == error
    fitting = FACTS | {"pythons": [FACTS["pythons"][0] | {"version": [3, 11]}]}
    assert len(kinds()["python-environment"].plan(fitting, task)) == 1


UNIT_FACTS = {"manager": "systemd", "user": "ops", "uid": "1000", "content": None, "active": False}


def test_systemd_unit_from_facts():
    values = {"deployment_dir": "/home/ops/sea lift/deployments/n", "host": "127.0.0.1", "port": 8000}
    task = Task("service", "n", RELEASE, {"command": ["/x/python", "--port", "{port}", "100% $HOME \"q\" \\"],
                                          "environment": {"A": "b c"}}, values)
    change, = kinds()["service"].plan(UNIT_FACTS, task)
    assert (change.action, change.target, change.caution) == ("install", "sealift-n.service", "")
    from console.steps.service import content

    unit = content(UNIT_FACTS, task)
    assert 'ExecStart="/x/python" "--port" "8000" "100%% $$HOME \\"q\\" \\\\"\n' in unit
    assert "User=ops\n" in unit and 'Environment="A=b c"\n' in unit and "NoNewPrivileges=yes\n" in unit
    assert "WorkingDirectory=/home/ops/sea lift/deployments/n\n" in unit and "IPAddressDeny=any\n" in unit
    assert kinds()["service"].plan(UNIT_FACTS | {"content": unit, "active": True}, task) == ()
    assert kinds()["service"].plan(UNIT_FACTS | {"content": unit}, task)[0].action == "start"
    assert kinds()["service"].plan(UNIT_FACTS | {"content": "old", "active": True}, task)[0].action == "replace"


def test_argument_groups_follow_their_answers():
    values = {"answer.tp": 8, "answer.eager": False, "answer.config": None, "answer.dtype": "fp8"}
    task = Task("service", "n", RELEASE, {}, values)
    words = task.words(["serve", ["--tp", "{answer.tp}"], ["?{answer.eager}", "--enforce-eager"],
                        ["--x", "{answer.config}"],
                        '{"mode":"FULL"}', ["?{answer.dtype}", "--kv-cache-dtype", "{answer.dtype}"]])
    assert words == ["serve", "--tp", "8", '{"mode":"FULL"}', "--kv-cache-dtype", "fp8"]
    with pytest.raises(SealiftError):
        task.words(["{nothing}"])


def test_supervisor_is_plain_sh_and_quoting_is_safe():
    assert SUPERVISE.startswith("#!/bin/sh\n") and "[[" not in SUPERVISE
    assert _quoted("a$b", dollar=True) == '"a$$b"' and _quoted("a$b") == '"a$b"'
