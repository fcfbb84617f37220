"""Readiness on practice servers: judged, kept, audited; and how a model fits what stands there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.checks.service import CheckResult, verdict
from console.cli.main import main
from console.engine import Engine
from console.errors import InputError
from console.jobs.job import NullContext

SERVERS = ["practice-nvidia", "practice-ascend"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine.open(tmp_path_factory.mktemp("ready") / "workspace") as opened:
        opened.practice.up()
        opened.inventory.refresh(NullContext(), SERVERS)
        yield opened
        opened.practice.down()


def by_check(results: list[CheckResult], server: str) -> dict[str, CheckResult]:
    return {r.check: r for r in results if r.server == server}


def test_a_run_is_judged_kept_and_audited(engine: Engine) -> None:
    found = engine.readiness.run(SERVERS, "DeepSeek-R1", "vllm-nvidia", 32768, 4)
    nvidia, ascend = (by_check(found, name) for name in SERVERS)
    assert len(nvidia) >= 25 and nvidia["model.fit"].verdict == "pass" and ascend["model.fit"].verdict == "fail"
    assert "W8A8" in ascend["model.fit"].message() and "{" not in ascend["model.fit"].message("zh_CN")
    assert ascend["device.count"].verdict == "fail" and nvidia["disk.space"].evidence == ("disk.store",)
    assert engine.readiness.latest() == [r for name in sorted(SERVERS) for r in found if r.server == name]
    records = [r for r in engine.audit.list(limit=5) if r["event"] == "readiness.run"]
    assert len(records) == 2


def test_a_release_of_the_practice_bundle_needs_no_device(engine: Engine) -> None:
    found = by_check(engine.readiness.run(SERVERS[:1], None, "onnx-smoke"), SERVERS[0])
    assert "model.fit" not in found and found["host.python"].verdict in ("pass", "warn")


def test_fit_of_what_stands_there(engine: Engine) -> None:
    found = engine.readiness.fit(SERVERS[0], "DeepSeek-R1", 32768, 4)
    assert (found.accelerator, found.count) == ("H200 SXM", 8) and found.fit is not None and found.fit.verdict == "fits"
    assert engine.readiness.fit(SERVERS[1], "DeepSeek-R1-W8A8", servers=2).fit.verdict in ("fits", "tight")
    assert ("deepseek-ai/DeepSeek-R1", "DeepSeek-R1") in engine.readiness.models()


def test_a_group_of_unlike_servers_fails(engine: Engine) -> None:
    found = by_check(engine.readiness.run(SERVERS, "DeepSeek-R1", servers=2), SERVERS[0])
    assert found["group.alike"].verdict == "fail" and "practice-ascend" in found["group.alike"].message()


def test_what_is_not_known_is_refused(engine: Engine) -> None:
    for words, code in (((["practice-amd"],), "readiness.no-inventory"), ((SERVERS, "nothing"), "catalog.unknown-model"), ((SERVERS, None, "nothing"), "readiness.unknown-playbook")):
        with pytest.raises(InputError) as caught:
            engine.readiness.run(*words)
        assert caught.value.code == code


def result(word: str, blocking: bool = True) -> CheckResult:
    return CheckResult("s", "c", "t", word, "r", {}, "", (), "", blocking)


def test_the_verdict_is_the_worst_and_unknown_is_never_good() -> None:
    assert verdict([result("pass"), result("unknown"), result("warn")]) == "unknown" and verdict([result("unknown"), result("fail")]) == "fail"
    assert verdict([result("pass"), result("unknown", False)]) == "warn" and verdict([result("pass"), result("info")]) == "info" and verdict([]) == "unknown"


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    base = ("--workspace", str(tmp_path / "w"), "--json")
    assert main([*base, "practice", "up"]) == 0
    try:
        assert main([*base, "inventory", "practice-faulty"]) == 0
        capsys.readouterr()
        assert main([*base, "ready", "practice-faulty", "--model", "DeepSeek-R1", "--context", "8192"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert told["verdict"] == "fail" and told["servers"][0]["name"] == "practice-faulty"
        checks = {c["check"]: c for c in told["servers"][0]["checks"]}
        assert checks["device.health"]["verdict"] == "fail" and {"title", "reason", "remedy", "evidence", "source", "blocking"} <= set(checks["device.health"])
    finally:
        main([*base, "practice", "down"])
