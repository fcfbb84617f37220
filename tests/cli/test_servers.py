"""``sealift server``, ``inventory`` and ``practice``, as they are typed."""

from __future__ import annotations

import json

import pytest

from console.cli.main import main
from console.servers.keys import HostKey


@pytest.fixture
def sealift(tmp_path, capsys):
    """Types a command; gives exit code and the one JSON document."""

    def typed(*words: str) -> tuple[int, dict]:
        code = main(["--workspace", str(tmp_path / "workspace"), "--json", *map(str, words)])
        return code, json.loads(capsys.readouterr().out)

    yield typed
    main(["--workspace", str(tmp_path / "workspace"), "--json", "practice", "down"])


def test_add_trust_show_inventory_remove(sealift, practice_server):
    server = practice_server()
    target = server.target()
    code, data = sealift("server", "add", "one", f"{target.user}@{target.address}:{target.port}", "--identity",
                         target.identity_file, "--label", "a", "--group", "g")
    assert code == 0 and data["server"]["user"] == "practice" and data["server"]["host_keys"] == []
    code, data = sealift("inventory", "one")
    assert code == 3 and data["servers"][0]["error"]["code"] == "ssh.host-key-unknown"
    code, data = sealift("server", "trust", "one")
    mark = HostKey(server.host_key).fingerprint
    assert code == 0 and data["fingerprint"] == mark and not data["trusted"]
    code, data = sealift("server", "trust", "one", "SHA256:" + "A" * 43)
    assert code == 1 and data["error"]["code"] == "server.fingerprint-mismatch"
    assert sealift("server", "trust", "one", mark)[0] == 0
    code, data = sealift("inventory", "@g")
    assert code == 0 and data["servers"][0]["reached"] and data["servers"][0]["name"] == "one"
    assert sealift("inventory", "--cached")[1]["servers"][0]["taken_at"] == data["servers"][0]["taken_at"]
    assert sealift("server", "show", "one")[1]["inventory"]["reached"]
    assert [s["name"] for s in sealift("server", "list")[1]["servers"]] == ["one"]
    assert sealift("server", "remove", "one") == (0, {"removed": "one"})
    assert sealift("server", "show", "one")[1]["error"]["code"] == "server.unknown"


def test_password_from_a_file(sealift, practice_server, tmp_path):
    server = practice_server(password="correct horse")
    (tmp_path / "pw").write_text("correct horse\n")
    sealift("server", "add", "one", "127.0.0.1", "--port", server.port, "--login", "practice", "--auth", "password",
            "--fingerprint", HostKey(server.host_key).fingerprint)
    assert sealift("inventory", "one")[1]["servers"][0]["error"]["code"] == "ssh.password-needed"
    assert sealift("inventory", "one", "--ssh-password-file", tmp_path / "pw")[0] == 0


def test_import(sealift, tmp_path, practice_server):
    server = practice_server()
    (tmp_path / "site.csv").write_text(f"name,address,port\none,127.0.0.1,{server.port}\ntwo,127.0.0.1,x\n")
    code, data = sealift("server", "import", tmp_path / "site.csv")
    assert code == 1 and data["added"] == ["one"] and data["problems"][0]["line"] == 3
    (tmp_path / "config").write_text("Host three\n  HostName 10.0.0.3\n  ProxyJump gate\n")
    code, data = sealift("server", "import", tmp_path / "config")
    assert code == 0 and data["added"] == ["gate", "three"]
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    assert list(sealift("server", "import", tmp_path / "known_hosts")[1]["trusted"]) == ["one"]
    assert sealift("server", "import", tmp_path / "none.csv")[1]["error"]["code"] == "server.import-unreadable"


@pytest.mark.parametrize("words", [("add", "x y", "h"), ("add", "x", "a b"), ("add", "x", "@:"), ("add", "x"),
                                   ("trust", "x", "y"), ("remove", "x"), ("fly",)])
def test_wrong_words_are_errors_with_a_code(sealift, words):
    code, data = sealift("server", *words)
    assert code in (2, 3) and data["error"]["code"]


def test_practice_is_ordinary_servers(sealift):
    code, data = sealift("practice", "up")
    assert code == 0 and len(data["servers"]) == 4
    assert sealift("practice", "up") == (0, data)
    code, data = sealift("inventory", "practice-nvidia", "practice-ascend")
    assert code == 0 and all(s["reached"] for s in data["servers"])
    assert sealift("practice", "fault", "practice-amd", "reboot=600")[0] == 0
    code, data = sealift("inventory")
    assert code == 0 and {s["name"]: s["reached"] for s in data["servers"]} == {
        "practice-amd": False, "practice-ascend": True, "practice-faulty": True, "practice-nvidia": True}
    assert sealift("practice", "fault", "practice-amd", "melt")[1]["error"]["code"] == "practice.unknown-fault"
    assert sealift("practice", "down")[0] == 0
