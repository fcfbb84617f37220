"""The outside of the program as the contract has it: every command, in the ways a stranger may call it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from console.cli.main import build_parser, every_parser, main
from console.site import accounts

ERROR = {"code", "message", "remedy", "retryable", "details"}


@pytest.fixture
def sealift(capsys, tmp_path, monkeypatch):
    """Runs a command in a fresh workspace: exit code, the one document, standard error."""
    monkeypatch.setenv("SEALIFT_WORKSPACE", str(tmp_path / "w"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115 - nobody to ask

    def call(*words: str, plain: bool = False):
        capsys.readouterr()
        exit_code = main([str(w) for w in words] + ([] if plain else ["--json"]))
        said = capsys.readouterr()
        if plain:
            return exit_code, said.out, said.err
        document = json.loads(said.out)
        if "error" in document and isinstance(document["error"], dict) and exit_code >= 2:
            assert set(document["error"]) == ERROR
            assert document["error"]["message"] and document["error"]["remedy"]
        return exit_code, document, said.err

    return call


def leaves() -> list[list[str]]:
    """Every command, with words for its arguments that name nothing real."""
    found = []
    for parser in every_parser(build_parser()):
        words = parser.prog.split()[1:]
        if any(a.__class__.__name__ == "_SubParsersAction" for a in parser._actions) or not words or words[0].startswith("_"):
            continue
        for action in parser._actions:
            if not action.option_strings and action.nargs not in ("?", "*"):
                words = [*words, "nothing-real"]
            elif action.required and action.option_strings:
                words = [*words, action.option_strings[0], next(iter(action.choices), "x") if action.choices else "nothing-real"]
        found.append(words)
    return found


LONG = {"demo", "self-test", "practice up"}


@pytest.mark.parametrize("words", [w for w in leaves() if w[0] not in LONG and " ".join(w[:2]) not in LONG], ids=" ".join)
@pytest.mark.parametrize("made", [False, True], ids=["empty workspace", "site"])
def test_every_command_gives_one_document_and_an_exit_code_of_the_contract(sealift, words, made):
    if made:
        assert sealift("site", "init", "--name", "Test")[0] == 0
    exit_code, document, _ = sealift(*words)
    assert exit_code in (0, 1, 2, 3, 4)
    assert isinstance(document, dict)
    if exit_code >= 2:
        assert document["error"]["code"] != "internal.bug"
        again, _, said = sealift("--lang", "zh_CN", *words, plain=True)
        assert again == exit_code
        assert document["error"]["code"] in said and "Traceback" not in said


@pytest.mark.parametrize(("words", "exit_code", "code"), [
    (["site", "init", "--name", "X", "--jurisdiction", "mars"], 2, "command.usage"),
    (["site", "init", "--name", "X", "--max-age-days", "-5"], 2, "site.bad-value"),
    (["site", "init", "--name", "X", "--id", "A B"], 2, "site.bad-value"),
    (["settings", "set", "nothing", "1"], 2, "settings.unknown"),
    (["settings", "set", "inventory.threads", "0"], 2, "settings.bad-value"),
    (["settings", "set", "audit.quota-bytes", "3"], 2, "settings.bad-value"),
    (["account", "add", "B B", "--role", "admin", "--new-password-file", "pw"], 2, "account.bad-name"),
    (["account", "add", "bo", "--role", "viewer", "--new-password-file", "pw"], 2, "account.bad-roles"),
    (["account", "add", "bo", "--role", "admin"], 3, "command.no-secret"),
    (["account", "add", "bo", "--role", "admin", "--new-password-file", "gone"], 3, "command.secret-file"),
    (["audit", "list", "--limit", "-3"], 2, "command.usage"),
    (["audit", "export", "--out", "x", "--full", "--since", "3"], 2, "command.usage"),
    (["audit", "export", "--out", "x", "--since", "3"], 3, "audit.no-such-head"),
    (["audit", "verify", "--known-head", "gone"], 3, "audit.head-unreadable"),
    (["smoke", "device", "nothing"], 3, "server.unknown"),
    (["nothing"], 2, "command.usage"),
    ([], 2, "command.no-window"),
])
def test_what_is_wrong_has_its_exit_code(sealift, tmp_path, words, exit_code, code):
    (tmp_path / "pw").write_text("seven grey herons wade\n")
    found, document, _ = sealift(*words)
    assert (found, document["error"]["code"]) == (exit_code, code)


def test_commands_that_the_program_starts_itself_are_not_offered(sealift):
    assert "_" not in sealift("nothing")[1]["error"]["message"].replace("zh_CN", "")


def test_a_wrong_command_line_is_said_in_the_readers_language(sealift):
    assert "缺少" in sealift("--lang", "zh_CN", "site", "init")[1]["error"]["message"]
    assert "`sealift site init --help`" in sealift("site", "init")[1]["error"]["remedy"]
    assert "`sealift --help`" in sealift("--nothing")[1]["error"]["remedy"]


def test_version_and_help_are_one_document_too(sealift):
    assert sealift("--version")[1]["program"] == "sealift"
    assert "--workspace" in sealift("--help")[1]["help"]
    assert sealift("site", "--help")[0] == 0


def test_options_may_stand_before_and_after(sealift, tmp_path):
    assert main(["--json", "--workspace", str(tmp_path / "a"), "site", "init", "--name", "A"]) == 0
    assert main(["site", "show", "--workspace", str(tmp_path / "a"), "--json", "--lang", "zh_CN"]) == 0
    assert (tmp_path / "a/sealift.db").exists() and not (tmp_path / "w").exists()


def test_an_exported_record_is_verified_by_the_folder_that_was_named(sealift, tmp_path):
    sealift("site", "init", "--name", "A")
    line = sealift("site", "show")[1]["audit_verifier_key"]
    exported = sealift("audit", "export", "--out", "drive")[1]
    for place in ("drive", "drive/AUDIT", exported["folder"]):
        exit_code, document, _ = sealift("audit", "verify-export", place, "--key", line)
        assert (exit_code, document["verdict"], document["key_source"]) == (0, "verified", "given")
        assert {"verdict", "signers", "findings", "files", "bytes"} <= set(document)
    (tmp_path / "line").write_text(line + "\n")
    assert sealift("audit", "verify-export", "drive", "--key", "line")[0] == 0
    own = sealift("audit", "verify-export", "drive")
    assert (own[0], own[1]["key_source"]) == (0, "workspace")
    stranger = sealift("--workspace", "another", "audit", "verify-export", "drive")
    assert (stranger[0], stranger[1]["verdict"], stranger[1]["signers"]) == (1, "unverified", [])
    assert not (tmp_path / "another").exists()
    records = Path(exported["folder"]) / "records.jsonl"
    records.write_bytes(records.read_bytes().replace(b"site.init", b"site.exit"))
    exit_code, document, _ = sealift("audit", "verify-export", "drive", "--key", line)
    assert (exit_code, document["verdict"]) == (1, "failed")
    assert {f["code"] for f in document["findings"]} >= {"digest", "root-digest"}


def test_a_log_that_was_tampered_with_is_exit_1_and_every_finding_listed(sealift, tmp_path):
    import sqlite3

    sealift("site", "init", "--name", "A")
    sealift("audit", "verify")
    db = sqlite3.connect(tmp_path / "w/audit.db")
    db.execute("DROP TRIGGER audit_no_update")
    db.execute("UPDATE audit SET rec = CAST(replace(CAST(rec AS TEXT), 'success', 'failure') AS BLOB) WHERE seq IN (1, 3)")
    db.commit()
    db.close()
    exit_code, document, _ = sealift("audit", "verify")
    assert (exit_code, document["verdict"]) == (1, "failed")
    assert {f["record"] for f in document["findings"] if f["code"] == "digest"} == {1, 3}
    assert sealift("audit", "status")[0] == 1
    assert sealift("audit", "list")[0] == 0
    assert sealift("site", "set", "--name", "B")[1]["error"]["code"] == "audit.damaged"


def test_the_key_of_the_log_changes_hands(sealift):
    sealift("site", "init", "--name", "A")
    before = sealift("site", "show")[1]["audit_verifier_key"]
    exit_code, document, _ = sealift("audit", "rotate-key", "--reason", "a laptop was lost")
    assert (exit_code, document["old_key"]) == (0, before)
    sealift("audit", "export", "--out", "drive")
    assert sealift("audit", "verify-export", "drive", "--key", before)[0] == 0
    assert len(sealift("audit", "status")[1]["keys"]) == 2


def test_people_approvals_and_exit_4(sealift, tmp_path, monkeypatch):
    # The real work factor costs half a second a login; tests/test_accounts.py looks at it.
    real = accounts.hash_password
    monkeypatch.setattr(accounts, "SCRYPT_LOG_N", 10)
    monkeypatch.setattr(accounts, "hash_password", lambda password: real(password, 10))
    (tmp_path / "pw").write_text("seven grey herons wade\n")
    sealift("site", "init", "--name", "A")
    as_ = lambda name: ["--user", name, "--password-file", "pw"]  # noqa: E731 - short words keep the rows readable
    new = ["--new-password-file", "pw"]
    assert sealift("account", "add", "ada", "--role", "admin", *new)[0] == 0
    exit_code, document, _ = sealift("account", "add", "olga", "--role", "operator", *new)
    assert (exit_code, document["error"]["code"]) == (4, "account.login-needed")
    for name, role in (("olga", "operator"), ("anna", "approver"), ("vera", "viewer")):
        assert sealift(*as_("ada"), "account", "add", name, "--role", role, *new)[0] == 0
    assert sealift("site", "show")[1]["two_person_in_force"]
    (tmp_path / "bad").write_text("not the right password\n")
    exit_code, document, _ = sealift("--user", "ada", "--password-file", "bad", "site", "set", "--name", "B")
    assert (exit_code, document["error"]["code"]) == (4, "account.login-refused")
    assert sealift(*as_("vera"), "site", "set", "--name", "B")[0] == 4
    assert sealift(*as_("vera"), "smoke", "device", "x")[0] in (3, 4)
    sealift("key", "new", "--out", "k", "--no-passphrase")
    mark = sealift("trust", "fingerprint", "k")[1]["fingerprint"]
    trust = [*as_("ada"), "trust", "add", "k", "--name", "builder", "--fingerprint", mark]
    exit_code, document, _ = sealift(*trust)
    assert (exit_code, document["error"]["code"]) == (4, "approval.needed")
    (request,) = sealift(*as_("anna"), "approval", "list")[1]["requests"]
    assert (request["action"], request["requested_by"]) == ("trust", "ada")
    assert sealift(*as_("ada"), "approval", "grant", request["id"])[0] == 4
    assert sealift(*as_("anna"), "approval", "grant", request["id"][:8])[1]["request"]["state"] == "granted"
    assert sealift(*trust)[0] == 0
    assert sealift(*as_("ada"), "account", "role", "vera", "--role", "operator")[0] == 4
    assert sealift("approval", "grant", "ffff")[1]["error"]["code"] == "approval.no-such-request"


def test_a_service_managers_end_is_a_cancel(tmp_path):
    """SIGTERM while a job runs: the job is stopped at a safe place, and the exit code says cancelled."""
    script = """
import sys
from console.cli import main as cli
from console.jobs.job import JobSpec
def work(ctx):
    print("under way", file=sys.stderr, flush=True)
    with ctx.on_cancel(lambda: print("woken", file=sys.stderr, flush=True)):
        while True:
            ctx._root._stop.wait(30)
            ctx.checkpoint()
import console.cli.jobs as jobs
jobs._list = lambda args, app: app.ctx_job(JobSpec("test.run", "Test", work))
sys.exit(cli.main(["--json", "--workspace", sys.argv[1], "jobs", "list"]))
"""
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "w")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while "under way" not in (line := process.stderr.readline()):
            assert line, "it ended before its job began"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "command.cancelled"
    from console.engine import Engine

    with Engine.open(tmp_path / "w") as engine:
        assert engine.jobs.history()[0]["state"] == "cancelled"


@pytest.mark.parametrize(("rows", "exit_code"), [
    ([("serving", None)], 0), ([("serving", None), ("failed", "deploy.smoke-failed")], 1), ([("refused", "deploy.no-python")], 1),
    ([("unreachable", "ssh.refused")], 3), ([("failed", "deploy.disk-full"), ("serving", None)], 3),
    ([("unreachable", "ssh.refused"), ("failed", "deploy.not-healthy")], 1), ([("interrupted", "ssh.connection-lost")], 3)])
def test_a_deployment_judged_bad_is_told_apart_from_one_that_could_not_be_done(rows, exit_code):
    from console.cli.deploy import BAD_VERDICTS, _exit_code
    from console.errors import declared

    assert _exit_code([{"outcome": outcome, "error": code and {"code": code}} for outcome, code in rows]) == exit_code
    assert set(declared()) >= BAD_VERDICTS


def test_progress_as_json_is_one_object_a_line_on_stderr(sealift, tmp_path):
    sealift("site", "init", "--name", "A")
    sealift("key", "new", "--out", "k", "--no-passphrase")
    exit_code, document, err = sealift("practice", "bundle", "--out", "drive", "--key", "k", "--progress", "json")
    assert exit_code == 0 and document["bundle_id"]
    rows = [json.loads(line) for line in err.splitlines()]
    assert {"JobState", "Progress"} <= {row["event"] for row in rows}
    assert sealift("practice", "bundle", "--out", "quiet", "--key", "k", "--progress", "none")[2] == ""
