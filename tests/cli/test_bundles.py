"""The command line of keys, trust, bundles and models, with its JSON and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from console.cli.main import main


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture):
    def call(*words: object, expect: int = 0) -> dict:
        code = main(["--workspace", str(tmp_path / "ws"), "--json", *map(str, words)])
        told = json.loads(capsys.readouterr().out)
        assert code == expect, told
        return told

    return call


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text("# Guide\n")
    (tmp_path / "spec.yaml").write_text(
        "title: Guides\nchannel: guides\ncomponents:\n  - {id: docs, type: docs, version: '1', license: MIT}\n")
    return tmp_path / "spec.yaml"


def test_the_whole_way(run, spec, tmp_path):
    key, public, drive = tmp_path / "k", tmp_path / "k.pub", tmp_path / "drive"
    made = run("key", "new", "--out", key, "--no-passphrase")
    assert run("key", "public", key, "--out", public)["key_id"] == made["key_id"]
    built = run("bundle", "build", spec, "--out", drive, "--key", key)
    assert run("bundle", "verify", drive, expect=1)["verdict"] == "unverified"
    assert run("bundle", "verify", drive, "--public-key", public)["verdict"] == "verified"
    assert not (tmp_path / "ws").exists()
    assert run("bundle", "inspect", drive)["release_id"] == built["release_id"]
    run("site", "init", "--name", "Here", "--jurisdiction", "other", "--classification", "internal")
    assert run("trust", "add", public, expect=3)["error"]["code"] == "trust.not-compared"
    wrong = run("trust", "add", public, "--fingerprint", "00" * 32, expect=3)
    assert wrong["error"]["code"] == "trust.fingerprint-mismatch"
    assert run("bundle", "import", drive, expect=1)["error"]["details"]["finding"] == "threshold"
    run("trust", "add", public, "--name", "Builder", "--fingerprint", run("trust", "fingerprint", public)["fingerprint"])
    assert run("trust", "list")["keys"][0]["name"] == "Builder"
    verified = run("bundle", "verify", drive)
    assert verified["verdict"] == "verified" and verified["signers"] == [
        {"key_id": made["key_id"], "name": "Builder", "fingerprint": made["fingerprint"]}]
    assert run("bundle", "import", drive)["release_id"] == built["release_id"]
    assert [r["title"] for r in run("bundle", "list")["releases"]] == ["Guides"]
    assert run("bundle", "check")["verdict"] == "verified"
    run("bundle", "receipt", "Guides", "--out", tmp_path / "receipt")
    assert (tmp_path / "receipt").stat().st_size
    run("trust", "revoke", made["key_id"], "--reason", "test")
    assert "revoked" in {f["code"] for f in run("bundle", "verify", drive, expect=1)["findings"]}
    assert run("bundle", "remove", "Guides")["removed"] == built["release_id"]
    assert run("bundle", "remove", "Guides", expect=3)["error"]["code"] == "bundle.unknown-release"


def test_models(run, tmp_path):
    key, public, folder = tmp_path / "k", tmp_path / "k.pub", tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    run("key", "new", key, "--no-passphrase")
    run("key", "public", key, "--out", public)
    run("model", "sign", folder, "--signature", tmp_path / "sig", "--key", key)
    verify = ("model", "verify", folder, "--signature", tmp_path / "sig")
    assert run(*verify, "--public-key", public)["verdict"] == "verified"
    assert run(*verify, expect=1)["verdict"] == "unverified"
    (folder / "config.json").write_text("[]")
    assert run(*verify, "--public-key", public, expect=1)["findings"][0]["code"] == "digest"
    assert run("model", "verify", tmp_path / "none", "--signature", tmp_path / "sig", expect=3)["error"]["code"]


@pytest.mark.parametrize(("words", "exit_code", "code"), [
    (["bundle", "verify", "/nowhere"], 3, "bundle.not-found"),
    (["bundle", "build", "/nowhere.yaml", "--out", "x", "--key", "/none"], 3, "key.unreadable"),
    (["bundle", "import"], 2, "command.usage"),
    (["bundle", "verify", "."], 3, "bundle.not-found"),
    (["key", "new"], 2, "command.usage"),
    (["key", "public", "/none"], 3, "key.unreadable"),
])
def test_bad_calls(run, words, exit_code, code):
    assert run(*words, expect=exit_code)["error"]["code"] == code


@pytest.mark.parametrize("text", [
    "", "[]", "components: []", "components: [1]", "components: [{id: a}]", "components: [{id: ../a, type: docs}]",
    "components: [{id: a, type: docs, from: /none}]", "more: 1\ncomponents: [{id: a, type: docs}]", "a: [", "!!python/object:x {}",
    "sequence: 0\ncomponents: [{id: docs, type: docs}]", "audience: [../x]\ncomponents: [{id: docs, type: docs}]",
    "expires_at: never\ncomponents: [{id: docs, type: docs}]", "components: [{id: docs, type: docs}, {id: docs, type: docs}]",
])
def test_bad_descriptions_are_told(run, spec, tmp_path, text):
    spec.write_text(text)
    run("key", "new", tmp_path / "k", "--no-passphrase")
    told = run("bundle", "build", spec, "--out", tmp_path / "out", "--key", tmp_path / "k", expect=3)
    assert told["error"]["code"].startswith("bundle.") and not (tmp_path / "out").exists()


def test_roots(run, spec, tmp_path):
    for name in ("ann", "bo"):
        run("key", "new", tmp_path / name, "--no-passphrase")
        run("key", "public", tmp_path / name, "--out", tmp_path / f"{name}.pub")
    (tmp_path / "root.yaml").write_text(
        "version: 1\nholders: {Ann: [ann.pub], Bo: [bo.pub]}\n"
        "roles: {root: {threshold: 2, holders: [Ann, Bo]}, release: {threshold: 1, holders: [Bo]}}\n")
    made = run("trust", "root", "make", tmp_path / "root.yaml", "--key", tmp_path / "ann", "--out", tmp_path / "root.1")
    run("site", "init", "--name", "Here", "--jurisdiction", "other", "--classification", "internal")
    assert run("trust", "root", "add", tmp_path / "root.1", expect=3)["error"]["code"] == "trust.root-not-compared"
    add = ("trust", "root", "add", tmp_path / "root.1", "--fingerprint", made["fingerprint"])
    assert run(*add, expect=1)["error"]["code"] == "trust.root-chain"
    run("trust", "root", "sign", tmp_path / "root.1", "--key", tmp_path / "bo")
    assert run(*add)["version"] == 1
    run("bundle", "build", spec, "--out", tmp_path / "drive", "--key", tmp_path / "bo", "--trust-root", tmp_path / "root.1")
    assert run("bundle", "verify", tmp_path / "drive")["verdict"] == "verified"
    (tmp_path / "root.yaml").write_text("version: x\n")
    told = run("trust", "root", "make", tmp_path / "root.yaml", "--key", tmp_path / "ann", "--out", tmp_path / "r", expect=3)
    assert told["error"]["code"] == "trust.root-description"
    assert run("trust", "root", "show")["roles"]["root"]["threshold"] == 2
