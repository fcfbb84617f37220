"""The audit log: fixed vectors, every way of tampering, the export and its verifier."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.assets import asset
from console.audit import note
from console.audit.package import verify_export
from console.engine import Engine
from console.errors import InputError, WorldError
from console.trust import merkle
from console.trust.canonical import encode
from console.trust.keys import PrivateKey

RFC_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]


def vector_records():
    previous, records = "0" * 64, []
    for number, event in enumerate(["audit.log.open", "auth.login", "bundle.import"], 1):
        records.append(encode({
            "v": 1, "seq": number, "prev": previous, "event": event, "ts": f"2026-01-02T03:04:0{number}.000000Z",
            "outcome": "success", "detail": {"note": "é\u2028\n\"\\/"}}))
        previous = merkle.leaf_hash(records[-1]).hex()
    return records


def test_roots_of_the_eight_known_leaves():
    leaves = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in RFC_LEAVES]
    assert merkle.root_of(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle.root_of(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 31, 69])
def test_inclusion_and_consistency_for_all_pairs(size):
    leaves = [merkle.leaf_hash(bytes([n])) for n in range(size)]
    root = merkle.root_of(leaves)
    for index in range(size):
        proof = merkle.inclusion_proof(leaves, index)
        assert merkle.verify_inclusion(leaves[index], index, size, proof, root)
        assert not merkle.verify_inclusion(merkle.leaf_hash(b"other"), index, size, proof, root)
        old = merkle.root_of(leaves[: index + 1])
        shown = merkle.consistency_proof(leaves, index + 1)
        assert merkle.verify_consistency(index + 1, size, old, root, shown)
        assert index + 1 == size or not merkle.verify_consistency(index + 1, size, root, root, shown)


def test_the_log_of_three_fixed_records():
    records = vector_records()
    leaves = [merkle.leaf_hash(r) for r in records]
    assert [leaf.hex()[:8] for leaf in leaves] == ["534a1dbb", "eca3eaa0", "5c3d7d20"]
    assert [leaf.hex()[-4:] for leaf in leaves] == ["035e", "4640", "8284"]
    assert base64.b64encode(merkle.root_of(leaves)).decode() == "6+DOo5NetNl5xihX9MCkUeNGDGU+iSDupRutfv3B0T0="
    digest = hashlib.sha256(b"".join(r + b"\n" for r in records)).hexdigest()
    assert (digest[:16], digest[-4:]) == ("038caa3f3401382e", "0942")


def test_the_verifier_key_of_the_fixed_seed():
    key = PrivateKey.from_seed(bytes(range(32)))
    assert note.verifier_line("audit.example/console-1", key.public) == (
        "audit.example/console-1+e9959339+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4")


@given(st.text("abc/.-", min_size=1, max_size=20), st.integers(0, 10**12), st.binary(min_size=32, max_size=32))
def test_heads_read_back_as_written(origin, size, root):
    key = PrivateKey.from_seed(bytes(32))
    signed = note.sign(note.Head(origin, size, root), key)
    assert note.read(signed) == note.Head(origin, size, root)
    assert note.signed_by(signed, origin, key.public)
    assert not note.signed_by(signed.replace(b"\n", b"1\n", 1), origin + "1", key.public)


@pytest.fixture
def engine(tmp_path):
    with Engine.open(tmp_path / "w") as engine:
        engine.site.init("Test", "other", "internal")
        for number in range(5):
            engine.audit.append("test.event", detail={"n": number, "é": 1.5, "secret key": None})
        yield engine


def test_a_record_holds_every_field(engine):
    record = engine.audit.list(limit=1)[0]
    assert set(record) == {"v", "seq", "prev", "ts", "mono_ns", "boot", "clock", "origin", "event", "outcome", "severity", "actor",
                           "approvers", "source", "object", "reason", "corr", "detail"}
    assert record["detail"] == {"n": 4, "_": "1.5", "secret_key": None}


def test_hostile_text_is_escaped_and_cut(engine):
    engine.audit.append("test.event", obj={"kind": "x", "id": "\x1b[31m\u202e\udc80" + "é" * 5000, "digest": None},
                        detail={"big": ["x" * 4000] * 30, "nested": {"Ä b": float("nan")}})
    record = engine.audit.list(limit=1)[0]
    assert record["object"]["id"].startswith("\\x1b[31m\\u202e\\udc80é")
    assert len(record["object"]["id"].encode()) <= 4096
    assert set(record["detail"]) == {"dropped"}
    assert engine.audit.verify()["verdict"] == "verified"


def test_act_records_before_and_after(engine):
    with pytest.raises(ZeroDivisionError), engine.act("test.act", {"kind": "x", "id": "1", "digest": None}):
        1 / 0  # noqa: B018 - raises
    after, before = engine.audit.list(limit=2)
    assert (before["outcome"], after["outcome"], after["reason"]) == ("success", "error", "internal.bug")
    assert before["corr"] == after["corr"]


def test_the_database_refuses_to_forget(engine):
    for statement in ("DELETE FROM audit", "UPDATE audit SET rec = x'00'", "DROP TABLE audit",
                      "INSERT INTO audit VALUES (99, x'00', x'00')", "INSERT OR REPLACE INTO audit VALUES (1, x'00', x'00')"):
        with pytest.raises(sqlite3.Error):
            engine.audit._db.execute(statement)
    assert engine.audit.verify()["verdict"] == "verified"


def test_an_action_does_not_start_when_its_record_cannot_be_written(engine):
    engine.audit._db.execute("PRAGMA query_only = ON")
    started = []
    with pytest.raises(WorldError) as caught, engine.act("test.act", {"kind": "x", "id": "1", "digest": None}):
        started.append(1)
    assert caught.value.code == "audit.write"
    assert not started
    engine.audit._db.execute("PRAGMA query_only = OFF")


def tampered(path: Path, *statements) -> None:
    db = sqlite3.connect(path)
    for trigger in ("audit_no_update", "audit_no_delete", "audit_in_order"):
        db.execute(f"DROP TRIGGER {trigger}")
    for statement, values in statements:
        db.execute(statement, values)
    db.commit()
    db.close()


def rewritten(raw: bytes) -> bytes:
    return encode(json.loads(raw) | {"outcome": "denied"})


@pytest.mark.parametrize("how", ["edit", "edit with digest", "delete", "swap", "cut tail", "rechain"])
def test_tampering_is_found_at_the_next_start(tmp_path, how):
    with Engine.open(tmp_path / "w") as engine:
        engine.site.init("Test", "other", "internal")
        for number in range(5):
            engine.audit.append("test.event", detail={"n": number})
        rows = {seq: (rec, leaf) for seq, rec, leaf in engine.audit.records()}
    path = tmp_path / "w" / "audit.db"
    changed = rewritten(rows[4][0])
    if how == "edit":
        tampered(path, ("UPDATE audit SET rec = ? WHERE seq = 4", (changed,)))
    elif how == "edit with digest":
        tampered(path, ("UPDATE audit SET rec = ?, leaf = ? WHERE seq = 4", (changed, merkle.leaf_hash(changed))))
    elif how == "delete":
        tampered(path, ("DELETE FROM audit WHERE seq = 4", ()))
    elif how == "swap":
        tampered(path, ("UPDATE audit SET rec = ?, leaf = ? WHERE seq = 4", rows[5]), ("UPDATE audit SET rec = ?, leaf = ? WHERE seq = 5", rows[4]))
    elif how == "cut tail":
        tampered(path, ("DELETE FROM audit WHERE seq > 4", ()))
    else:
        previous, statements = rows[3][1].hex(), []
        for seq in range(4, max(rows) + 1):
            record = json.loads(rows[seq][0]) | {"prev": previous}
            raw = encode(record | ({"outcome": "denied"} if seq == 4 else {}))
            statements.append(("UPDATE audit SET rec = ?, leaf = ? WHERE seq = ?", (raw, merkle.leaf_hash(raw), seq)))
            previous = merkle.leaf_hash(raw).hex()
        tampered(path, *statements)
    with pytest.raises(WorldError) as caught, Engine.open(tmp_path / "w") as engine:
        engine.audit.append("test.event")
    assert caught.value.code == "audit.damaged"


def run_verifier(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-I", str(folder / "verify_audit.py"), str(folder), *words], capture_output=True, text=True)


def test_an_export_verifies_with_nothing_but_python(engine, tmp_path):
    done = engine.audit.export(tmp_path / "drive")
    folder = Path(done["folder"])
    assert verify_export(folder, done["verifier_key"])["verdict"] == "verified"
    assert run_verifier(folder, "--key", done["verifier_key"]).returncode == 0
    assert run_verifier(folder).returncode == 2, "without the key it must not be more than unverified"
    manifest = (folder / "MANIFEST.sha256").read_text().splitlines()
    assert all(hashlib.sha256((folder / line[66:]).read_bytes()).hexdigest() == line[:64] for line in manifest)


def test_an_export_is_never_overwritten(engine, tmp_path):
    done = engine.audit.export(tmp_path / "drive")
    Path(done["folder"]).rename(Path(done["folder"]).with_name("00000001-00000009"))
    engine.audit.export(tmp_path / "drive")
    with pytest.raises(InputError):
        verify_export(tmp_path, done["verifier_key"])


def test_a_later_export_proves_the_earlier_head(engine, tmp_path):
    first = engine.audit.export(tmp_path / "one")
    head = tmp_path / "kept.head"
    shutil.copy(Path(first["folder"]) / "checkpoint", head)
    engine.audit.append("test.event")
    second = engine.audit.export(tmp_path / "two")
    assert verify_export(Path(second["folder"]), second["verifier_key"], [head])["verdict"] == "verified"


FILES = ["records.jsonl", "checkpoint", "start.json", "keys.json", "consistency.json", "views/events.csv", "MANIFEST.sha256", "verify_audit.py"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_changed_export_is_refused(engine, tmp_path, name, how):
    done = engine.audit.export(tmp_path / "drive")
    path = Path(done["folder"]) / name
    raw = bytearray(path.read_bytes())
    if how == "flip":
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    elif how == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    else:
        path.unlink()
    found = verify_export(Path(done["folder"]), done["verifier_key"])
    assert found["verdict"] == "failed"
    assert found["findings"]
    assert run_verifier(Path(done["folder"]), "--key", done["verifier_key"]).returncode == 1 or name == "verify_audit.py"


def test_an_export_with_something_added_is_refused(engine, tmp_path):
    done = engine.audit.export(tmp_path / "drive")
    (Path(done["folder"]) / "readme.txt").write_text("hello")
    assert [f["code"] for f in verify_export(Path(done["folder"]), done["verifier_key"])["findings"]] == ["extra"]


def test_an_export_under_another_key_is_refused(engine, tmp_path):
    done = engine.audit.export(tmp_path / "drive")
    other = note.verifier_line(done["origin"], PrivateKey.generate("ed25519").public)
    assert verify_export(Path(done["folder"]), other)["verdict"] == "failed"


def test_a_cell_that_a_spreadsheet_would_run_is_quoted(engine, tmp_path):
    engine.audit.append("test.event", obj={"kind": "x", "id": "=cmd|' /C calc'!A0", "digest": None})
    folder = Path(engine.audit.export(tmp_path / "drive")["folder"])
    assert "'=cmd|" in (folder / "views/events.csv").read_text()


def _verifier():
    import importlib.util

    spec = importlib.util.spec_from_file_location("verify_audit_under_test", asset("audit/verify_audit.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
def test_the_verifiers_own_ed25519_agrees_with_the_library(seed, data, bit):
    verifier, key = _verifier(), PrivateKey.from_seed(seed)
    signature = bytearray(key.sign(data))
    assert verifier.ed25519_verify(key.public.raw, bytes(signature), data)
    signature[bit // 8] ^= 1 << bit % 8
    assert not verifier.ed25519_verify(key.public.raw, bytes(signature), data)
