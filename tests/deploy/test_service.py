"""Deployments from plan to retirement on practice servers over real SSH."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from console.deploy import apply as applying
from console.errors import DeniedError, InputError
from console.jobs.job import NullContext
from console.steps import kinds

CTX = NullContext()


def deploy(facility, release: str, names: list[str], playbook: str = "quick") -> dict:
    """Plan, approve, apply."""
    plan = facility.engine.deployments.plan(playbook, release, names)
    facility.engine.deployments.approve(plan.id)
    return facility.engine.deployments.apply(CTX, plan.id)


def outcomes(found: dict) -> dict[str, str]:
    return {one["name"]: one["outcome"] for one in found["servers"]}


def answer(facility, deployment: str) -> dict[str, tuple[str, str | None]]:
    return {one.place: (one.verdict, one.answer) for one in facility.engine.smoke.service(CTX, deployment)}


def link(facility, name: str) -> str:
    return str((facility.homes[name] / "sealift/models/smoke-model/current").readlink())


def events(facility) -> list[str]:
    return [record["event"] for record in facility.engine.audit.list()]


def test_the_shipped_recipe_from_wheels_to_an_answer_and_a_server_without_python(facility):
    """Two servers get everything, the third keeps verified weights and is refused the runtime in plain words."""
    facility.add("one")
    facility.add("bare")
    facility.servers["bare"].fault("no-python3")
    release = facility.release("first", wheels=True)
    plan = facility.engine.deployments.plan("onnx-smoke", release, ["one", "bare"])
    one, bare = plan.servers
    assert [change.step for change in one.changes] == ["place-model", "python-environment", "switch", "service"]
    assert bare.refused["code"] == "deploy.no-python" and [c.step for c in bare.changes] == ["place-model"]
    assert one.port != bare.port
    facility.engine.deployments.approve(plan.id)
    found = facility.engine.deployments.apply(CTX, plan.id)
    assert outcomes(found) == {"one": "serving", "bare": "refused"}
    assert found["servers"][1]["error"]["code"] == "deploy.no-python"
    assert (facility.homes["bare"] / "sealift/releases" / release / "model/model.onnx").exists()
    assert answer(facility, found["deployment"]) == {"one": ("pass", "Paris.")}
    status = facility.engine.deployments.status(CTX, found["deployment"])
    assert [(s["name"], s["healthy"]) for s in status["servers"]] == [("one", True), ("bare", None)]
    facility.engine.deployments.retire(CTX, found["deployment"])
    assert not (facility.homes["one"] / "sealift/deployments/smoke-model").exists()


def test_a_broken_second_release_keeps_the_first_answering(facility):
    facility.add("one")
    facility.add("two")
    first = deploy(facility, facility.release("first"), ["one", "two"])
    assert outcomes(first) == {"one": "serving", "two": "serving"}
    before = link(facility, "one")

    wrong = deploy(facility, facility.release("wrong-answer", answer="Rome."), ["one"])
    assert outcomes(wrong) == {"one": "failed"}
    assert wrong["servers"][0]["error"]["code"] == "deploy.smoke-failed" and wrong["servers"][0]["restored"] is True
    assert link(facility, "one") == before
    assert answer(facility, first["deployment"]) == {"one": ("pass", "Paris."), "two": ("pass", "Paris.")}

    second = deploy(facility, facility.release("second"), ["one"])
    assert outcomes(second) == {"one": "serving"} and link(facility, "one") != before
    states = {row["id"]: {s["name"]: s["state"] for s in row["servers"]} for row in facility.engine.deployments.list()}
    assert states[first["deployment"]] == {"one": "superseded", "two": "serving"}
    with pytest.raises(InputError, match="serves on none"):
        facility.engine.deployments.rollback(CTX, first["deployment"], ["one"])

    back = facility.engine.deployments.rollback(CTX, second["deployment"])
    assert back["servers"][0] == {"name": "one", "error": None, "outcome": "rolled-back",
                                  "previous": first["deployment"],
                                  "restored": True}
    assert link(facility, "one") == before
    assert answer(facility, first["deployment"])["one"] == ("pass", "Paris.")
    facility.engine.deployments.retire(CTX, first["deployment"])
    assert not (facility.homes["one"] / "sealift/models/smoke-model").exists()
    assert {"deploy.plan", "deploy.start", "deploy.step", "deploy.end", "deploy.rollback", "service.retire",
            "approval.grant"} \
        <= set(events(facility))


def test_a_console_that_dies_half_way_says_so_and_goes_on(facility, monkeypatch):
    facility.add("one")
    release = facility.release("first")
    plan = facility.engine.deployments.plan("quick", release, ["one"])

    class Killed(BaseException):
        pass

    service = kinds()["service"]

    def die(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setitem(kinds(), "service", type(service)(**{**service.__dict__, "apply": die}))
        with pytest.raises(Killed):
            facility.engine.deployments.apply(CTX, plan.id)
    facility.engine.close()
    facility.open()
    under_way, = facility.engine.deployments.interrupted()
    assert [s["state"] for s in under_way["servers"][0]["steps"]] == ["done", "done", "begun"]
    found = facility.engine.deployments.apply(CTX, plan.id)
    assert found["deployment"] == under_way["id"] and outcomes(found) == {"one": "serving"}
    assert facility.engine.deployments.interrupted() == []
    with pytest.raises(InputError, match="applied before"):
        facility.engine.deployments.apply(CTX, plan.id)
    facility.engine.deployments.rollback(CTX, found["deployment"])
    assert not (facility.homes["one"] / "sealift/models/smoke-model/current").is_symlink()


def test_a_cut_in_mid_apply_is_journaled_and_can_be_taken_back(facility, monkeypatch):
    facility.add("one")
    plan = facility.engine.deployments.plan("quick", facility.release("first"), ["one"])
    switch = kinds()["switch"]

    def cut(ctx, host, task, facts):
        switch.apply(ctx, host, task, facts)
        facility.servers["one"].stop()
        host.transport.close()
        host.transport.run(("true",))

    with monkeypatch.context() as patched:
        patched.setitem(kinds(), "switch", type(switch)(**{**switch.__dict__, "apply": cut}))
        found = facility.engine.deployments.apply(CTX, plan.id)
    assert outcomes(found) == {"one": "interrupted"}
    assert (facility.homes["one"] / "sealift/models/smoke-model/current").is_symlink()
    facility.servers["one"].start()
    back = facility.engine.deployments.rollback(CTX, found["deployment"])
    assert outcomes(back) == {"one": "rolled-back"}
    assert not (facility.homes["one"] / "sealift/models/smoke-model/current").is_symlink()


def test_a_cancel_takes_back_what_was_done(facility, monkeypatch):
    from console.errors import Cancelled

    facility.add("one")
    plan = facility.engine.deployments.plan("quick", facility.release("first"), ["one"])
    ctx, switch = NullContext(), kinds()["switch"]

    def cancel(inner, host, task, facts):
        switch.apply(inner, host, task, facts)
        ctx.cancel()

    with monkeypatch.context() as patched:
        patched.setitem(kinds(), "switch", type(switch)(**{**switch.__dict__, "apply": cancel}))
        with pytest.raises(Cancelled):
            facility.engine.deployments.apply(ctx, plan.id)
    assert not (facility.homes["one"] / "sealift/models/smoke-model/current").is_symlink()
    assert facility.engine.deployments.list()[0]["servers"][0]["state"] == "cancelled"


def test_what_changed_since_the_plan_is_refused(facility):
    facility.add("one")
    release = facility.release("first")
    plan = facility.engine.deployments.plan("quick", release, ["one"])
    switch = next(change for change in plan.servers[0].changes if change.step == "switch")
    target = Path(switch.target)
    with facility.engine.store.write() as db:
        document = json.loads(facility.engine.store.rows("SELECT document FROM plans")[0]["document"])
        document["servers"][0]["changes"] = [c for c in document["servers"][0]["changes"] if c["step"] != "switch"]
        db.execute("UPDATE plans SET document = ?", (json.dumps(document),))
    found = facility.engine.deployments.apply(CTX, plan.id)
    assert found["servers"][0]["error"]["code"] == "deploy.changed-since-plan" and not target.is_symlink()


def test_a_port_taken_meanwhile_is_told(facility):
    facility.add("one")
    plan = facility.engine.deployments.plan("quick", facility.release("first"), ["one"])
    with socket.create_server(("127.0.0.1", plan.servers[0].port)):
        again = facility.engine.deployments.plan("quick", facility.release("second"), ["one"])
        assert again.servers[0].port != plan.servers[0].port
        found = facility.engine.deployments.apply(CTX, plan.id)
    assert found["servers"][0]["error"]["code"] == "deploy.port-taken" and outcomes(found) == {"one": "failed"}


def test_an_unreachable_server_does_not_hold_up_the_other(facility):
    facility.add("one")
    facility.add("off")
    facility.servers["off"].stop()
    found = deploy(facility, facility.release("first"), ["one", "off"])
    assert outcomes(found) == {"one": "serving", "off": "unreachable"}
    facility.engine.deployments.retire(CTX, found["deployment"])


def test_two_people_where_the_site_wants_two(facility):
    facility.add("one")
    facility.engine.site.set(policy={"two_person": True})
    plan = facility.engine.deployments.plan("quick", facility.release("first"), ["one"])
    with pytest.raises(DeniedError) as caught:
        facility.engine.deployments.apply(CTX, plan.id)
    assert caught.value.code == "approval.needed"
    with pytest.raises(DeniedError) as caught:
        facility.engine.deployments.approve(plan.id)
    assert caught.value.code == "approval.own-request"


def test_plans_are_the_same_for_the_same_state_and_read_back_whole(facility):
    facility.add("one")
    release = facility.release("first")
    one, two = (facility.engine.deployments.plan("quick", release, ["one"]) for _ in range(2))
    assert one == two == facility.engine.deployments.get_plan(one.id)
    other = facility.engine.deployments.plan("quick", release, ["one"], {"threads": "2"})
    assert other.digest != one.digest
    assert all(change["summary"] for change in one.as_dict("zh_CN")["servers"][0]["changes"])


def test_the_same_can_be_deployed_again_after_it_was_retired(facility):
    """Each time is a plan of its own, with a yes of its own, though nothing in it differs."""
    facility.add("one")
    release, seen = facility.release("first"), []
    for _ in range(4):
        plan = facility.engine.deployments.plan("quick", release, ["one"])
        found = facility.engine.deployments.apply(CTX, plan.id)
        assert outcomes(found) == {"one": "serving"}
        facility.engine.deployments.retire(CTX, found["deployment"])
        seen.append(plan.id)
        assert facility.engine.deployments.get_plan(plan.id) == plan
        with pytest.raises(InputError) as caught:
            facility.engine.deployments.approve(plan.id)
        assert caught.value.code == "deploy.already-applied"
    assert len(set(seen)) == 4


@pytest.mark.parametrize("call, error", [
    (("nothing", "RELEASE", ["one"]), "playbook.unknown"), (("quick", "RELEASE", ["two"]), "server.unknown"),
    (("vllm-nvidia", "RELEASE", ["one"]), "deploy.no-component"),
    (("quick", "RELEASE", ["one"], {"x": "1"}), "playbook.bad-answer"),
    (("quick", "RELEASE", ["one"], {"port": "80"}), "playbook.bad-answer")])
def test_wrong_orders_are_refused(facility, call, error):
    facility.add("one")
    release = facility.release("first")
    with pytest.raises(InputError) as caught:
        facility.engine.deployments.plan(*(release if word == "RELEASE" else word for word in call))
    assert caught.value.code == error


def test_a_crashed_server_process_is_brought_back_by_its_supervisor(facility):
    facility.add("one")
    found = deploy(facility, facility.release("first"), ["one"])
    folder = facility.homes["one"] / "sealift/deployments/smoke-model"
    os.kill(int((folder / "service.pid").read_text()), signal.SIGKILL)
    host = facility.engine.deployments._host(facility.engine.servers.get("one"))
    plan = facility.engine.deployments.get_plan(facility.engine.deployments.list()[0]["plan_id"])
    assert applying.answers(host, plan.servers[0].port, plan.service, 20)
    host.transport.close()
    facility.engine.deployments.retire(CTX, found["deployment"])
