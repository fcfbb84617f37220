"""Playbooks: those that ship, and everything a wrong one may hold."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from console import assets
from console.deploy.playbook import built_in, parse
from console.errors import InputError, SealiftError
from console.steps import Task, kinds

GOOD = (assets.playbooks() / "onnx-smoke.yaml").read_bytes()
VALUES = {"store": "/s", "release_dir": "/s/r", "deployment_dir": "/s/d", "env_dir": "/s/d/e", "model_dir": "/s/r/m",
          "runtime_dir": "/s/r/t", "python": "/s/d/e/bin/python", "port": 8000, "host": "127.0.0.1", "name": "n",
          "served_name": "n", "devices": 8}


@pytest.mark.parametrize("name", sorted(built_in()))
def test_shipped_playbooks_bind_with_their_defaults(name):
    book = built_in()[name]
    answers = {f"answer.{key}": value for key, value in book.answered({}).items()}
    for kind, options in book.steps:
        task = Task(kind, "n", "r", options, VALUES | answers, (("image.tar", "0" * 64),))
        for key in ("command", "environment", "content", "mounts"):
            made = options.get(key, [])
            task.words(made) if isinstance(made, list) else [task.text(v)
                for v in (made.values() if isinstance(made, dict) else [made])]
    assert book.status == ("run" if name == "onnx-smoke" else "not run on hardware")
    assert {"en", "zh_CN"} <= set(book.title) and {"en", "zh_CN"} <= set(book.summary)
    assert all({"en", "zh_CN"} <= set(answer.title) for answer in book.answers.values())


def test_shipped_container_playbooks_hand_in_devices_and_listen_on_loopback():
    from console.steps.container_run import arguments

    for name, word in (("vllm-nvidia", "nvidia.com/gpu=all"), ("vllm-rocm", "/dev/kfd"),
                       ("vllm-ascend", "/dev/davinci7"),
                       ("sglang-nvidia", "nvidia.com/gpu=all"), ("mindie-ascend", "/dev/davinci_manager")):
        book = built_in()[name]
        options = next(options for kind, options in book.steps if kind == "container-run")
        answers = {f"answer.{key}": value for key, value in book.answered({}).items()}
        words = arguments(Task("container-run", "n", "r", options, VALUES | answers, (("image.tar", "0" * 64),)),
                          "podman", "IMAGE")
        assert word in words and "IMAGE" in words and "0.0.0.0" not in " ".join(words)
        assert "--gpus" in arguments(Task("container-run", "n", "r", options, VALUES | answers), "docker",
                                     "I") or word[0] == "/"


def changed(**changes) -> bytes:
    document = yaml.safe_load(GOOD)
    for key, value in changes.items():
        if value is None:
            del document[key]
        else:
            document[key] = value
    return yaml.safe_dump(document).encode()


@pytest.mark.parametrize("raw, where", [
    (b"", "the top"), (b"[]", "the top"), (b"\xff", "the YAML"), (b"a: [", "the YAML"), (b"a: &x 1\nb: *x", "the YAML"),
    (b"schema: 1\nschema: 1", "the YAML"), (b"x: !!python/object/apply:os.system [true]", "the YAML"),
    (b"[" * 5000, "the YAML"),
    (b"? [a]\n: b", "the YAML"), (b"a" * (300 << 10), "the file"),
    (changed(schema=2), "schema"), (changed(schema=True), "schema"), (changed(id="../x"), "id"),
    (changed(extra=1), "extra"),
    (changed(title=None), "title"), (changed(title={"zh_CN": "x"}), "title"), (changed(status="fine"), "status"),
    (changed(service={"port": 80}), "service.port"), (changed(service={"port": 8000, "host": "0.0.0.0"}),
                                                      "service.host"),
    (changed(steps=[]), "steps"), (changed(steps=[{"run-anything": {}}]), "steps[1]"),
    (changed(steps=["switch"]), "steps[1]"),
    (changed(steps=[{"service": {"command": "rm -rf"}}]), "steps[1].service.command"),
    (changed(steps=[{"service": {}}]), "steps[1].service.command"),
    (changed(steps=[{"switch": {"x": 1}}]), "steps[1].switch.x"),
    (changed(answers={"A": {}}), "answers.A"), (changed(answers={"a": {"type": "code", "title": {"en": "x"}}}),
                                                "answers.a.type"),
    (changed(answers={"a": {"type": "integer", "default": "x", "title": {"en": "x"}}}), "answers.a.default"),
    (changed(model={"formats": "onnx"}), "model.formats"), (changed(needs={"root": True}), "needs.root")])
def test_wrong_playbooks_are_refused_naming_the_place(raw, where):
    with pytest.raises(InputError) as caught:
        parse(raw, "wrong")
    assert caught.value.code == "playbook.malformed" and where in str(caught.value.params["where"])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=6), st.integers(0, 40))
def test_damaged_playbooks_are_read_or_refused(at, new, cut):
    try:
        parse(GOOD[:at] + new + GOOD[at + cut:], "damaged")
    except InputError as problem:
        assert problem.code == "playbook.malformed"


@pytest.mark.parametrize("given_, fine", [
    ({}, True), ({"threads": "4"}, True), ({"threads": 4}, True), ({"threads": "x"}, False), ({"threads": 0}, False),
    ({"threads": True}, False), ({"threads": "65"}, False), ({"unknown": 1}, False)])
def test_answers_are_checked(given_, fine):
    book = parse(GOOD, "x")
    if fine:
        assert book.answered(given_)["threads"] in (1, 4)
    else:
        with pytest.raises(InputError):
            book.answered(given_)


@pytest.mark.parametrize("text", ["a b", "$(id)", "a\nb", "`x`", "x" * 300, "{python}", "a;b"])
def test_text_answers_hold_no_shell(text):
    book = built_in()["vllm-nvidia"]
    with pytest.raises(InputError):
        book.answered({"reasoning_parser": text})


def test_every_error_code_of_the_part_has_words():
    import console.cli.deploy
    import console.cli.smoke
    import console.deploy.service  # noqa: F401
    from console.errors import declared

    kinds()
    mine = [k for c, k in declared().items() if c.split(".")[0] in ("deploy", "playbook", "smoke")]
    assert len(mine) > 30
    for kind in mine:
        assert kind.message.endswith((".", "}")) and kind.remedy.endswith(".")
        assert not re.search(r"\bTODO\b", kind.message + kind.remedy)


def test_templates_do_not_reach_further():
    task = Task("service", "n", "r", {}, {"port": 1})
    for text in ("{port.__class__}", "{0}", "{port!r}", "{}"):
        try:
            assert task.text(text) == text
        except SealiftError as problem:
            assert problem.code == "playbook.unknown-value"
