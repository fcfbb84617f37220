"""``sealift server list`` with its filters, and what servers say shown safely, as they are typed."""

from __future__ import annotations

import json

import pytest

from console.cli.main import main
from console.practice.server import make_key
from console.servers.keys import HostKey


@pytest.fixture
def typed(tmp_path, capsys):
    """Types a command; gives exit code and what was printed, without ``--json`` as text."""

    def run(*words: str, as_json: bool = True):
        code = main(["--workspace", str(tmp_path / "workspace"), *(["--json"] if as_json else []), *map(str, words)])
        out = capsys.readouterr().out
        return code, json.loads(out) if as_json else out

    return run


def test_the_list_is_filtered_and_sorted(typed, tmp_path):
    (tmp_path / "site.csv").write_text(
        "name,address,labels,group\ngpu-2,10.0.0.10,h100 east,train\ngpu-10,10.0.0.9,h100,train\nnpu-1,10.0.0.8,a3 east,serve\n",
        encoding="utf-8")  # fmt: skip
    assert typed("server", "import", tmp_path / "site.csv")[0] == 0

    def names(*words: str) -> list[str]:
        code, found = typed("server", "list", *words)
        assert code == 0
        return [s["name"] for s in found["servers"]]

    assert names() == ["gpu-2", "gpu-10", "npu-1"] and names("--reverse") == ["npu-1", "gpu-10", "gpu-2"]
    assert names("--sort", "address") == ["npu-1", "gpu-10", "gpu-2"] and names("--sort", "group") == ["npu-1", "gpu-2", "gpu-10"]
    assert names("--group", "train") == ["gpu-2", "gpu-10"] and names("--group", "train", "--group", "serve") == names()
    assert names("--label", "h100", "--label", "east") == ["gpu-2"] and names("--match", "A3") == ["npu-1"]
    assert names("--state", "untrusted") == names() and names("--state", "reached") == []
    assert "No server is like that." in typed("server", "list", "--match", "nowhere", as_json=False)[1]
    assert typed("server", "list", "--state", "gone", as_json=False)[0] == 2


def test_partial_success_is_done_and_none_is_not(typed, practice_server):
    good, gone = practice_server("good"), practice_server("gone")
    for name, server in (("good", good), ("gone", gone)):
        target = server.target()
        typed("server", "add", name, f"{target.user}@{target.address}:{target.port}", "--identity", target.identity_file,
              "--fingerprint", HostKey(server.host_key).fingerprint)  # fmt: skip
    gone.stop()
    code, text = typed("inventory", as_json=False)
    assert code == 0 and "1 of 2 servers answered." in text and "gone: " in text
    assert typed("inventory", "gone")[0] == 3
    assert {s["name"]: s["state"] for s in typed("server", "list")[1]["servers"]} == {"good": "reached", "gone": "unreachable"}


def test_what_servers_say_cannot_reach_the_terminal(typed, practice_server):
    server = practice_server("bad")
    (server.tools / "nvidia-smi").write_text("#!/bin/sh\nprintf '\\033]0;owned\\007\\033[2J<b>=cmd|calc\\n'; exit 1\n")
    (server.tools / "nvidia-smi").chmod(0o755)
    (server.tools / "lscpu").write_text("#!/bin/sh\nprintf '\\033[2Jno\\n' >&2; exit 1\n")
    (server.tools / "lscpu").chmod(0o755)
    target = server.target()
    typed("server", "add", "bad", f"{target.user}@{target.address}:{target.port}", "--identity", target.identity_file,
          "--fingerprint", HostKey(server.host_key).fingerprint)  # fmt: skip
    code, text = typed("inventory", "bad", as_json=False)
    assert code == 0 and "\x1b" not in text and "\x07" not in text
    assert "cpu.info" in text and "\\x1b[2Jno" in text and "<b>=cmd|calc" in text
    raw = typed("inventory", "bad", "--cached")[1]["servers"][0]["facts"]["nvidia.topology"]["evidence"]["stdout"]
    assert raw.startswith("\x1b]0;owned")  # the evidence itself stays as it was


def test_an_authority_comes_with_known_hosts(typed, tmp_path):
    key = make_key(tmp_path / "ca")
    (tmp_path / "known_hosts").write_text(f"@cert-authority *.lab {key}\n", encoding="utf-8")
    typed("server", "add", "one", "gpu-01.lab")
    code, found = typed("server", "import", tmp_path / "known_hosts")
    assert code == 0 and found["authorities"] == [HostKey(key).fingerprint] and not found["problems"]
    assert typed("server", "show", "one")[1]["server"]["host_keys"] == [
        {"type": "ssh-ed25519", "fingerprint": HostKey(key).fingerprint, "authority": True}]


def test_an_entry_is_changed_and_the_rest_stays(typed):
    typed("server", "add", "gate", "10.0.0.1")
    typed("server", "add", "one", "ops@10.0.0.2:2222", "--label", "a", "--jump", "gate")
    code, found = typed("server", "change", "one", "--label", "b", "--label", "c", "--group", "lab", "--sudo", "nopasswd")
    one = found["server"]
    assert code == 0 and (one["user"], one["port"], one["labels"], one["group"], one["jump"]) == ("ops", 2222, ["b", "c"], "lab", ["gate"])
    code, found = typed("server", "change", "one", "--address", "10.0.0.3", "--jump", "", "--label", "")
    assert (found["server"]["address"], found["server"]["port"], found["server"]["jump"], found["server"]["labels"]) == ("10.0.0.3", 2222, [], [])
    assert typed("server", "change", "gate", "--jump", "nowhere")[1]["error"]["code"] == "server.unknown"
    assert typed("server", "change", "one", "--port", "99999")[1]["error"]["code"] == "server.invalid-field"


def test_what_went_wrong_is_said_in_the_readers_language_and_state(typed, practice_server):
    server = practice_server()
    target = server.target()
    typed("server", "add", "one", f"{target.user}@{target.address}:{target.port}", "--identity", target.identity_file,
          "--fingerprint", HostKey(server.host_key).fingerprint)  # fmt: skip
    server.fault("host-key-changed")
    code, text = typed("--lang", "zh_CN", "inventory", "one", as_json=False)
    assert code == 3 and "one 的主机密钥已改变" in text and HostKey(server.host_key).fingerprint in text and "has changed" not in text
    assert [s["state"] for s in typed("server", "list")[1]["servers"]] == ["key-changed"]
    assert "host key changed" in typed("server", "list", as_json=False)[1]
    shown = typed("server", "show", "one", as_json=False)[1]
    assert "host key changed" in shown and "Somebody may be in between" in shown
    assert typed("server", "list", "--state", "unreachable")[1]["servers"] == []


def test_a_port_that_there_is_not_is_refused(typed):
    for words in (("add", "one", "10.0.0.1", "--port", "0"), ("add", "one", "10.0.0.1:0")):
        assert typed("server", *words)[0] == 3
    typed("server", "add", "one", "10.0.0.1")
    assert typed("server", "change", "one", "--port", "0")[0] == 3 and typed("server", "change", "one", "--address", "10.0.0.2:0")[0] == 3
