"""The log's key changes hands: the record of it, the chain of keys, what a thief of an old key gains, and cut-off rotations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from console.audit import keys, note
from console.audit.package import verify_export
from console.engine import Engine
from console.trust.keys import PrivateKey, load_private


@pytest.fixture
def workspace(tmp_path):
    with Engine.open(tmp_path / "w") as engine:
        engine.site.init("Test", "other", "internal")
        engine.audit.append("test.event")
    return tmp_path / "w"


def test_the_old_key_hands_over_in_a_record_and_is_erased(workspace):
    old_file = (workspace / "audit.key").read_bytes()
    with Engine.open(workspace) as engine:
        old = engine.audit.verifier_line()
        new = engine.audit.rotate_key("suspicion")
        record = engine.audit.list(limit=1, event=keys.EVENT)[0]
        assert (record["detail"]["old_key"], record["detail"]["new_key"]) == (old, new.line)
        assert record["seq"] == new.handover_record
        assert engine.audit.verifier_line() == new.line
        heads = dict(engine.audit.checkpoints())
        assert note.signed_by(heads[new.handover_record], engine.audit.origin, keys.public_key(old)[1])
        assert engine.audit.verify()["verdict"] == "verified"
        assert engine.audit.verify()["key_handovers"] == [new.handover_record]
    assert (workspace / "audit.key").read_bytes() != old_file
    assert not (workspace / "audit.key.next").exists()
    assert (workspace / "audit.key").stat().st_mode & 0o777 == 0o600


def test_an_export_verifies_with_any_key_of_the_line(workspace, tmp_path):
    with Engine.open(workspace) as engine:
        first = engine.audit.verifier_line()
        head = tmp_path / "early.head"
        engine.audit.checkpoint()
        head.write_bytes(engine.audit.newest_note())
        engine.audit.rotate_key("")
        second = engine.audit.verifier_line()
        engine.audit.rotate_key("")
        done = engine.audit.export(tmp_path / "drive")
    for line in (first, second, done["verifier_key"]):
        found = verify_export(Path(done["folder"]), line, [head])
        assert found["verdict"] == "verified", found["findings"]
        assert found["signer_key"] == done["verifier_key"]
        assert [one["status"] for one in found["known_heads"]] == ["consistent"]
    assert len(found["key_handovers"]) == 2
    stranger = note.verifier_line(done["origin"], PrivateKey.generate("ed25519").public)
    assert verify_export(Path(done["folder"]), stranger)["verdict"] == "failed"


def test_a_hand_over_that_the_old_key_did_not_sign_is_refused(workspace, tmp_path):
    import hashlib

    with Engine.open(workspace) as engine:
        first = engine.audit.verifier_line()
        engine.audit.rotate_key("")
        done = engine.audit.export(tmp_path / "drive")
    path = Path(done["folder"]) / "keys.json"
    rows = json.loads(path.read_text())
    signature = rows["keys"][1]["signature"]
    rows["keys"][1]["signature"] = ("B" if signature[0] == "A" else "A") + signature[1:]
    path.write_text(json.dumps(rows))
    manifest = Path(done["folder"]) / "MANIFEST.sha256"
    lines = [line if not line.endswith("  keys.json") else f"{hashlib.sha256(path.read_bytes()).hexdigest()}  keys.json"
             for line in manifest.read_text().splitlines()]
    manifest.write_text("\n".join(lines) + "\n")
    found = verify_export(Path(done["folder"]), first)
    assert found["verdict"] == "failed"
    assert "key" in {f["code"] for f in found["findings"]}


def test_a_thief_of_the_new_key_cannot_sign_the_past_anew(workspace):
    """A head over old records by the new key is not the head that stood there."""
    with Engine.open(workspace) as engine:
        engine.audit.checkpoint()
        size = engine.audit.newest_head().size
        engine.audit.rotate_key("")
        stolen = load_private(workspace / "audit.key")
        heads = dict(engine.audit.checkpoints())
        origin = engine.audit.origin
    import sqlite3

    db = sqlite3.connect(workspace / "audit.db")
    db.execute("UPDATE checkpoint SET note = ? WHERE size = ?", (note.sign(note.read(heads[size]), stolen), size))
    db.commit()
    db.close()
    with Engine.open(workspace) as engine:
        found = engine.audit.verify()
        assert engine.audit.origin == origin
    assert found["verdict"] == "failed"
    assert found["findings"][0] == {"code": "signature", "record": size, "message": "the head is not signed by the log's key"}


def test_an_old_key_is_replaced_at_start(workspace):
    line = json.loads((workspace / "audit.keys.json").read_text())
    line["keys"][0]["since"] = "2020-01-01T00:00:00.000000Z"
    (workspace / "audit.keys.json").write_text(json.dumps(line))
    with Engine.open(workspace) as engine:
        assert len(engine.audit.verifier_keys()) == 2
        assert "90 days" in engine.audit.list(limit=1, event=keys.EVENT)[0]["detail"]["reason"]
        assert engine.audit.verify()["verdict"] == "verified"


def test_the_line_of_keys_is_told_by_the_records_when_its_file_is_gone(workspace):
    with Engine.open(workspace) as engine:
        engine.audit.rotate_key("")
        engine.audit.rotate_key("")
        before = [(k.line, k.from_record, k.handover_record, k.signature) for k in engine.audit.verifier_keys()]
    (workspace / "audit.keys.json").unlink()
    with Engine.open(workspace) as engine:
        assert [(k.line, k.from_record, k.handover_record, k.signature) for k in engine.audit.verifier_keys()] == before
        assert engine.audit.verify()["verdict"] == "verified"


@pytest.mark.parametrize("cut_before", ["record", "head", "line", "replace"])
def test_a_rotation_that_was_cut_off_is_finished_or_dropped_at_the_next_start(workspace, monkeypatch, cut_before):
    class Cut(BaseException):
        pass

    def cut(*_args, **_kwargs):
        raise Cut

    with Engine.open(workspace) as engine:
        log, before = engine.audit, engine.audit.verifier_line()
        with monkeypatch.context() as patch, pytest.raises(Cut):
            if cut_before == "record":
                patch.setattr(log, "_write", cut)
            elif cut_before == "head":
                patch.setattr(log, "checkpoint", cut)
            elif cut_before == "line":
                patch.setattr(log.files, "_save", cut)
            else:
                patch.setattr(Path, "replace", lambda self, target: cut() if self.name == "audit.key.next" else self.rename(target))
            log.rotate_key("test")
        log._closed = True  # as if the process had ended here
        log._db.close()
    with Engine.open(workspace) as engine:
        assert (engine.audit.verifier_line() == before) == (cut_before == "record")
        assert len(engine.audit.verifier_keys()) == (1 if cut_before == "record" else 2)
        assert engine.audit.verify()["verdict"] == "verified"
    assert not (workspace / "audit.key.next").exists()
