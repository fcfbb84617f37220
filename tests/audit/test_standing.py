"""Room, the clock, damage at start, heads kept elsewhere and on servers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from console.audit import copies, log, note
from console.engine import Engine
from console.errors import SealiftError, WorldError
from console.jobs.job import NullContext


@pytest.fixture
def engine(tmp_path):
    with Engine.open(tmp_path / "w") as engine:
        engine.site.init("Test", "other", "internal")
        engine.audit.append("test.event")
        yield engine


def fill(engine, monkeypatch, percent: int) -> None:
    quota = engine.settings.get("audit.quota-bytes")
    monkeypatch.setattr(engine.audit, "_used_bytes", lambda: quota * percent // 100 + 1)


def test_a_log_that_gets_full_warns_once_and_then_stops_what_is_new(engine, monkeypatch):
    assert engine.audit.standing()["warnings"] == []
    fill(engine, monkeypatch, 75)
    engine.audit.append("test.event")
    engine.audit.append("test.event")
    assert [r["event"] for r in engine.audit.list(limit=3)] == ["test.event", "test.event", "storage.warn"]
    assert engine.audit.standing()["warnings"] == ["quota-warn"]
    fill(engine, monkeypatch, 95)
    started = []
    with pytest.raises(WorldError) as caught, engine.act("push.run", {"kind": "x", "id": "1", "digest": None}):
        started.append(1)
    assert (caught.value.code, started) == ("audit.quota", [])
    assert engine.audit.list(limit=1)[0]["event"] == "storage.full"
    assert engine.audit.standing()["warnings"] == ["quota-stop"]


def test_above_the_mark_what_is_under_way_is_recorded_to_its_end_and_the_record_exported(engine, monkeypatch, tmp_path):
    with engine.act("push.run", {"kind": "x", "id": "1", "digest": None}):
        fill(engine, monkeypatch, 96)
    engine.audit.append("auth.fail", outcome="denied")
    done = engine.audit.export(tmp_path / "drive")
    assert Path(done["folder"]).is_dir()
    assert engine.audit.verify()["verdict"] == "verified"
    engine.settings.set("audit.quota-bytes", "64GiB")
    monkeypatch.undo()
    engine.audit.append("push.run")


def test_the_real_size_counts(engine):
    used = engine.audit.standing()["used_bytes"]
    assert used == sqlite3.connect(engine.audit.path).execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0]


def test_a_week_without_export_is_said(engine, monkeypatch, tmp_path):
    assert engine.audit.standing()["days_without_export"] == 0
    engine.audit.export(tmp_path / "drive")
    real = log.datetime

    class Later(real):
        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + log.timedelta(days=8)

    monkeypatch.setattr(log, "datetime", Later)
    assert engine.audit.standing()["warnings"] == ["export-due"]


@pytest.mark.parametrize(("shift_s", "boot", "event"), [(60, None, "clock.step"), (-60, None, "clock.step"), (-60, "another", "clock.back")])
def test_a_clock_that_was_set_is_recorded_and_the_record_after_it_flagged(engine, monkeypatch, shift_s, boot, event):
    from datetime import datetime, timedelta

    real = log.utc_now
    monkeypatch.setattr(log, "utc_now", lambda: (datetime.fromisoformat(real()) + timedelta(seconds=shift_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    if boot:
        monkeypatch.setattr(engine.audit, "_boot", boot)
    engine.audit.append("test.event")
    after, clock = engine.audit.list(limit=2)
    assert clock["event"] == event
    assert (clock["clock"], after["clock"]) == ("stepped", "stepped")
    engine.audit.append("test.event")
    assert engine.audit.list(limit=1)[0]["clock"] in ("free", "synced")


def spoil(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    for trigger in ("audit_no_update", "audit_no_delete", "audit_in_order"):
        db.execute(f"DROP TRIGGER {trigger}")
    db.execute(statement)
    db.commit()
    db.close()


def closed(tmp_path) -> Path:
    with Engine.open(tmp_path / "w") as engine:
        engine.site.init("Test", "other", "internal")
        for _ in range(5):
            engine.audit.append("test.event")
    return tmp_path / "w"


@pytest.mark.parametrize("how", ["edit", "cut", "gone", "no database", "type"])
def test_a_damaged_log_still_answers_verify_list_and_export_and_lets_nothing_start(tmp_path, how):
    workspace = closed(tmp_path)
    path = workspace / "audit.db"
    if how == "edit":
        spoil(path, "UPDATE audit SET rec = CAST(replace(CAST(rec AS TEXT), 'success', 'failure') AS BLOB) WHERE seq = 4")
    elif how == "type":
        spoil(path, "UPDATE audit SET rec = x'' WHERE seq = 4")
    elif how == "cut":
        spoil(path, "DELETE FROM audit WHERE seq > 5")
        spoil_checkpoints = sqlite3.connect(path)
        spoil_checkpoints.execute("DELETE FROM checkpoint WHERE size > 5")
        spoil_checkpoints.commit()
        spoil_checkpoints.close()
    elif how == "gone":
        for file in workspace.glob("audit.db*"):
            file.unlink()
    else:
        path.write_bytes(b"not a database" * 500)
    with Engine.open(workspace) as engine:
        assert "damaged" in engine.audit.standing()["warnings"]
        found = engine.audit.verify()
        assert found["verdict"] == "failed"
        assert found["findings"]
        engine.audit.list()
        if how != "no database":
            exported = engine.audit.export(tmp_path / "drive")
            from console.audit.package import verify_export

            assert verify_export(Path(exported["folder"]), exported["verifier_key"])["verdict"] == "failed" or how in ("gone", "cut")
        with pytest.raises(WorldError) as caught, engine.act("push.run", {"kind": "x", "id": "1", "digest": None}):
            raise AssertionError("it started")
        assert caught.value.code == "audit.damaged"


def test_a_tail_cut_together_with_its_heads_is_shown_by_the_copy_in_another_folder(tmp_path):
    with Engine.open(tmp_path / "w") as engine:
        engine.site.init("Test", "other", "internal")
        (tmp_path / "usb").mkdir()
        engine.settings.set("audit.head-copy", str(tmp_path / "usb"))
        for _ in range(5):
            engine.audit.append("test.event")
    (kept,) = (tmp_path / "usb").glob("*.head")
    assert kept.read_bytes() == (tmp_path / "w/audit.head").read_bytes()
    spoil(tmp_path / "w/audit.db", "DELETE FROM audit WHERE seq > 4")
    db = sqlite3.connect(tmp_path / "w/audit.db")
    db.execute("DELETE FROM checkpoint WHERE size > 4")
    db.commit()
    db.close()
    (tmp_path / "w/audit.head").unlink()
    with Engine.open(tmp_path / "w") as engine:
        found = engine.audit.verify()
        assert (found["verdict"], {f["code"] for f in found["findings"]}) == ("failed", {"missing"})
        with pytest.raises(WorldError):
            engine.audit.append("test.event")


def test_a_folder_for_copies_that_is_gone_is_recorded_and_holds_nothing_up(engine, tmp_path):
    engine.settings.set("audit.head-copy", str(tmp_path / "unplugged"))
    engine.audit.checkpoint()
    engine.audit.checkpoint()
    failures = [r for r in engine.audit.list() if r["event"] == "audit.checkpoint"]
    assert [r["outcome"] for r in failures] == ["failure"]
    assert engine.audit.standing()["warnings"] == ["head-copy-failed"]
    engine.audit.append("test.event")


def test_a_long_log_is_hashed_from_its_last_head_on_and_wholly_once_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "FULL_CHECK_RECORDS", 3)
    workspace = closed(tmp_path)
    spoil(workspace / "audit.db", "UPDATE audit SET rec = CAST(replace(CAST(rec AS TEXT), 'test', 'tast') AS BLOB) WHERE seq = 3")
    with Engine.open(workspace) as engine:
        assert engine.audit.damage is None, "the tail alone was checked"
        engine.audit.append("test.event")
        assert engine.audit.verify()["verdict"] == "failed"
    (workspace / "audit.checked").unlink()
    with Engine.open(workspace) as engine:
        assert engine.audit.damage is not None


def test_records_do_not_stay_unsigned_for_long(engine):
    engine.audit.checkpoint()
    engine.audit.append("test.event")
    assert engine.audit._timer is not None and engine.audit._timer.daemon
    engine.audit._sign_now()
    assert engine.audit.newest_head().size == engine.audit.size


@pytest.fixture
def two_servers(tmp_path):
    with Engine.open(tmp_path / "w") as engine:
        engine.site.init("Test", "other", "internal")
        names = [r.name for r in engine.practice.up()][:2]
        try:
            yield engine, names
        finally:
            engine.practice.down()


def test_servers_keep_the_heads_and_show_a_cut_tail(two_servers, tmp_path):
    engine, names = two_servers
    for _ in range(2):
        engine.audit.append("test.event")
        engine.audit.checkpoint()
        assert [r["outcome"] for r in copies.copy_heads(engine, NullContext(), names)] == ["kept", "kept"]
    heads = copies.read_heads(engine, names)
    assert len(heads) == 4
    assert len({note.read(signed).size for _, signed in heads}) == 2
    found = engine.audit.verify(heads)
    assert (found["verdict"], {one["status"] for one in found["known_heads"]}) == ("verified", {"consistent"})
    forged = note.sign(note.Head(engine.audit.origin, engine.audit.size + 9, bytes(32)), engine.audit.key())
    found = engine.audit.verify([("gpu-1", forged)])
    assert [f["code"] for f in found["findings"]] == ["missing"]


def test_a_server_that_cannot_be_reached_is_a_result(two_servers):
    engine, names = two_servers
    engine.practice.fault(names[0], "host-key-changed")
    outcomes = {r["name"]: r["outcome"] for r in copies.copy_heads(engine, NullContext(), names)}
    assert outcomes == {names[0]: "failed", names[1]: "kept"}
    record = engine.audit.list(limit=1, event="audit.copy")[0]
    assert (record["outcome"], record["detail"]["failed"]) == ("failure", [names[0]])
    with pytest.raises(SealiftError):
        copies.read_heads(engine, names[:1])


def test_what_is_damaged_or_anothers_in_a_kept_file_is_left_out(engine):
    engine.audit.checkpoint()
    good, origin = engine.audit.newest_note(), engine.audit.origin
    other = good.replace(origin.encode(), b"other/1")
    text = (other + b"\n" + good + b"\n" + good[:40] + b"\n" + good).decode()
    assert copies.notes_in(text, origin) == [good, good]
