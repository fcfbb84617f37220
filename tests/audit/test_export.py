"""Exports that go on from one another, heads kept elsewhere, the views, and the verifier's exit codes."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.assets import asset
from console.audit import pdf
from console.audit.package import exports_in, own_key, verify_export
from console.engine import Engine
from console.errors import InputError
from console.trust import merkle
from console.trust.canonical import encode


@pytest.fixture
def engine(tmp_path):
    with Engine.open(tmp_path / "w") as engine:
        engine.site.init("Test", "other", "internal")
        for number in range(5):
            engine.audit.append("test.event", detail={"n": number})
        yield engine


def run_verifier(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-I", str(folder / "verify_audit.py"), str(folder), *words], capture_output=True, text=True)


def kept(engine, path: Path) -> Path:
    engine.audit.checkpoint()
    path.write_bytes(engine.audit.newest_note())
    return path


def remanifest(folder: Path) -> None:
    import hashlib

    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "MANIFEST.sha256")
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / "MANIFEST.sha256").write_text("".join(lines))


def test_on_the_same_drive_an_export_goes_on_from_the_last_one(engine, tmp_path):
    first = engine.audit.export(tmp_path / "drive")
    engine.audit.append("test.event")
    second = engine.audit.export(tmp_path / "drive")
    folder = Path(second["folder"])
    assert (second["first"], second["previous"]) == (first["last"] + 1, first["last"])
    assert json.loads((folder / "start.json").read_text())["size"] == first["last"]
    assert (folder / "previous.note").read_bytes() == (Path(first["folder"]) / "checkpoint").read_bytes()
    proof = json.loads((folder / "consistency.json").read_text())
    assert (proof["from"], proof["to"]) == (first["last"], second["last"])
    assert len((folder / "records.jsonl").read_bytes().splitlines()) == second["records"]
    found = verify_export(folder, second["verifier_key"])
    assert (found["verdict"], found["records"], found["first"]) == ("verified", second["records"], second["first"])
    assert run_verifier(folder, "--key", second["verifier_key"]).returncode == 0


def test_on_another_drive_the_record_is_whole_and_goes_on_from_the_last_export_too(engine, tmp_path):
    first = engine.audit.export(tmp_path / "one")
    second = engine.audit.export(tmp_path / "two")
    folder = Path(second["folder"])
    assert second["first"] == 1
    assert (folder / "previous.note").read_bytes() == (Path(first["folder"]) / "checkpoint").read_bytes()
    found = verify_export(folder, second["verifier_key"])
    assert found["known_heads"] == [{"name": "previous.note", "size": first["last"], "status": "consistent"}]
    assert engine.audit.export(tmp_path / "two", full=True)["first"] == 1


def test_an_export_from_a_chosen_head_on(engine, tmp_path):
    engine.audit.checkpoint()
    size = engine.audit.newest_head().size
    done = engine.audit.export(tmp_path / "drive", since=size)
    assert done["first"] == size + 1
    assert verify_export(Path(done["folder"]), done["verifier_key"])["verdict"] == "verified"
    with pytest.raises(InputError) as caught:
        engine.audit.export(tmp_path / "drive", since=2)
    assert caught.value.code == "audit.no-such-head"


@pytest.mark.parametrize("how", ["other previous", "other edge", "no previous", "first record gone"])
def test_an_export_that_does_not_go_on_from_the_one_before_is_refused(engine, tmp_path, how):
    engine.audit.export(tmp_path / "drive")
    early = kept(engine, tmp_path / "early")
    done = engine.audit.export(tmp_path / "drive")
    folder = Path(done["folder"])
    if how == "other previous":
        (folder / "previous.note").write_bytes(early.read_bytes())
    elif how == "other edge":
        start = json.loads((folder / "start.json").read_text())
        start["edge"][0] = "00" * 32
        (folder / "start.json").write_text(json.dumps(start))
    elif how == "no previous":
        (folder / "previous.note").unlink()
    else:
        lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "records.jsonl").write_bytes(b"".join(lines[1:]))
    remanifest(folder)
    assert verify_export(folder, done["verifier_key"])["verdict"] == "failed"


def test_each_known_head_is_consistent_inconsistent_or_not_provable(engine, tmp_path):
    early = kept(engine, tmp_path / "early")
    engine.audit.append("test.event")
    engine.audit.checkpoint()
    middle = engine.audit.newest_head().size
    engine.audit.append("test.event")
    with_proof = engine.audit.export(tmp_path / "a", since=middle, known_heads=[early])
    without = engine.audit.export(tmp_path / "b", since=middle)
    late = kept(engine, tmp_path / "late")
    line = with_proof["verifier_key"]

    def statuses(done, *heads):
        found = verify_export(Path(done["folder"]), line, heads)
        return found["verdict"], {one["name"]: one["status"] for one in found["known_heads"] if one["name"] != "previous.note"}

    assert statuses(with_proof, early) == ("verified", {"early": "consistent"})
    assert statuses(without, early) == ("verified", {"early": "not-provable"})
    assert run_verifier(Path(without["folder"]), "--key", line, "--known-head", str(early)).returncode == 3
    assert statuses(without, late) == ("failed", {"late": "inconsistent"})
    assert run_verifier(Path(without["folder"]), "--key", line, "--known-head", str(late)).returncode == 1
    other = tmp_path / "other"
    with Engine.open(tmp_path / "w2") as second:
        second.site.init("Another", "other", "internal")
        kept(second, other)
    assert statuses(without, other) == ("failed", {"other": "refused"})
    with pytest.raises(InputError) as caught:
        engine.audit.export(tmp_path / "c", known_heads=[other])
    assert caught.value.code == "audit.bad-head"


def test_the_verifiers_exit_codes(engine, tmp_path):
    done = engine.audit.export(tmp_path / "drive")
    folder, line = Path(done["folder"]), done["verifier_key"]
    assert run_verifier(folder, "--key", line).returncode == 0
    assert run_verifier(folder).returncode == 2
    assert run_verifier(folder, "--key", "nonsense").returncode == 2
    assert run_verifier(folder, "--nonsense").returncode == 2
    said = run_verifier(folder, "--key", line, "--json")
    told = json.loads(said.stdout)
    assert {"verdict", "findings", "warnings", "origin", "first", "last", "records", "root", "signer", "signer_key", "from", "until", "boots",
            "clock_events", "times_back", "unsigned_tail", "key_handovers", "failed_logins", "overrides", "self_approvals", "events",
            "known_heads"} <= set(told)
    text = run_verifier(folder, "--key", line).stdout
    assert text.startswith("VERIFIED\n")
    assert "test.event success" in text
    with engine.audit._lock:
        engine.audit._write("clock.step", "success", None, {"step_ms": 9000}, None, None, (), 4)
    warned = engine.audit.export(tmp_path / "two")
    assert run_verifier(Path(warned["folder"]), "--key", line).returncode == 3
    (folder / "records.jsonl").write_bytes((folder / "records.jsonl").read_bytes()[:-20])
    assert run_verifier(folder, "--key", line).returncode == 1


def test_a_whole_drive_is_verified_export_by_export(engine, tmp_path):
    first = engine.audit.export(tmp_path / "drive")
    second = engine.audit.export(tmp_path / "drive")
    found = verify_export(tmp_path / "drive", first["verifier_key"])
    assert found["verdict"] == "verified"
    assert [one["folder"] for one in found["exports"]] == [first["folder"], second["folder"]]
    assert found["records"] == second["last"]
    assert exports_in(tmp_path / "drive" / "AUDIT") == exports_in(tmp_path / "drive")
    (Path(first["folder"]) / "keys.json").unlink()
    assert verify_export(tmp_path / "drive", first["verifier_key"])["verdict"] == "failed"


def test_the_workspaces_own_key_counts_for_its_own_exports_alone(engine, tmp_path):
    done = engine.audit.export(tmp_path / "drive")
    assert own_key(tmp_path / "w") == (done["origin"], done["verifier_key"])
    assert own_key(tmp_path / "nothing") is None
    own = verify_export(tmp_path / "drive", None, own=own_key(tmp_path / "w"))
    assert (own["verdict"], own["key_source"]) == ("verified", "workspace")
    with Engine.open(tmp_path / "w2") as other:
        other.site.init("Another", "other", "internal")
        other.audit.export(tmp_path / "drive")
    both = verify_export(tmp_path / "drive", None, own=own_key(tmp_path / "w"))
    assert both["verdict"] == "unverified"
    assert {one["origin"]: one["verdict"] for one in both["exports"]} == {done["origin"]: "verified", own_key(tmp_path / "w2")[0]: "unverified"}


def test_every_view_carries_number_and_leaf(engine, tmp_path):
    engine.audit.append("auth.login", obj={"kind": "account", "id": 'a"]\\|=\nb', "digest": None})
    done = engine.audit.export(tmp_path / "drive")
    folder = Path(done["folder"])
    leaves = [merkle.leaf_hash(line).hex() for line in (folder / "records.jsonl").read_bytes().splitlines()]
    for name in ("events.csv", "events.cef", "events.rfc5424", "events.ocsf.jsonl"):
        lines = (folder / "views" / name).read_text().splitlines()[1 if name == "events.csv" else 0 :]
        assert len(lines) == len(leaves), name
        for number, (line, leaf) in enumerate(zip(lines, leaves, strict=True), 1):
            assert leaf in line and str(number) in line, name
    rows = [json.loads(line) for line in (folder / "views/events.ocsf.jsonl").read_text().splitlines()]
    assert all(r["type_uid"] == r["class_uid"] * 100 + r["activity_id"] for r in rows)
    login = next(r for r in rows if r["unmapped"]["event"] == "auth.login")
    assert (login["class_uid"], login["category_uid"], login["type_uid"]) == (3002, 3, 300201)
    assert {r["class_uid"] for r in rows} == {3002, 6003}
    cef = (folder / "views/events.cef").read_text().splitlines()
    assert all(re.match(r"CEF:0\|Sealift\|Sealift\|[^|]+\|[a-z.-]+\|[a-z.-]+\|\d+\|rt=\d+ ", line) for line in cef)
    syslog = (folder / "views/events.rfc5424").read_text().splitlines()
    form = r'<\d+>1 \S+Z \S+ sealift \d+ [a-z.-]{1,32} \[audit@32473( [a-z]+="([^"\\\]]|\\["\\\]])*")+\]'
    assert all(re.fullmatch(form, line) for line in syslog)
    assert "alone counts" in (folder / "views/report.html").read_text()
    assert done["short_code"] in (folder / "views/report.html").read_text()


def pdf_text(raw: bytes) -> str:
    """The text of our own PDFs, and a check of their cross-reference table."""
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", raw)[1])
    places = re.findall(rb"(\d{10}) 00000 n ", raw[start:])
    assert all(re.match(rb"%d 0 obj\n" % n, raw[int(place) :]) for n, place in enumerate(places, 1))
    out = []
    for stream in re.findall(rb"stream\n(.*?)\nendstream", raw, re.S):
        for latin, wide, end in re.findall(rb"\(((?:[^()\\]|\\.)*)\) Tj|<([0-9a-f]*)> Tj|(T\*)", zlib.decompress(stream)):
            out.append("\n" if end else bytes.fromhex(wide.decode()).decode("utf-16-be") if wide else re.sub(r"\\(.)", r"\1", latin.decode("latin-1")))
    return "".join(out)


def test_the_printed_report_tells_records_head_and_short_code(engine, tmp_path):
    engine.audit.append("test.event", obj={"kind": "x", "id": "机房 (1)", "digest": None})
    done = engine.audit.export(tmp_path / "drive")
    text = pdf_text((Path(done["folder"]) / "views/report.pdf").read_bytes())
    assert done["short_code"] in text
    assert "机房 (1)" in text
    assert f"Records 1 to {done['last']}" in text


@given(st.lists(st.text(max_size=400), max_size=120))
def test_any_text_goes_into_a_pdf(lines):
    text = pdf_text(pdf.document("t", lines))
    plain = "".join(c if c.isprintable() and ord(c) < 0x10000 else "\ufffd" if c.isprintable() else " " for c in "".join(lines))
    assert [c for c in text if not c.isspace()].count("t") >= 1
    assert sum(not c.isspace() for c in plain) <= sum(not c.isspace() for c in text)


def _verifier():
    spec = importlib.util.spec_from_file_location("verify_audit_under_test", asset("audit/verify_audit.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VERIFIER = _verifier()
BASE = {"v": 1, "seq": 7, "prev": "ab" * 32, "ts": "2026-01-02T03:04:05.000000Z", "mono_ns": 12345678901234, "boot": "b-1", "clock": "free",
        "origin": "s/1", "event": "push.run", "outcome": "success", "severity": 1,
        "actor": {"kind": "user", "id": "ann", "role": "operator", "session": "s", "auth": "password"}, "approvers": [],
        "source": {"host": "h", "app": "sealift", "version": "1", "pid": 3, "ip": None}, "object": {"kind": "x", "id": "y", "digest": None},
        "reason": None, "corr": None, "detail": {}}


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text("abco_", min_size=1, max_size=4), st.one_of(
    st.text(max_size=8), st.integers(-9, 9), st.none(), st.booleans(), st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text("ab", min_size=1, max_size=2), st.text('ab,":{}event', max_size=20), max_size=2)), max_size=3), st.data())
def test_the_verifiers_short_cut_takes_nothing_that_the_full_reading_refuses(detail, data):
    raw = bytearray(encode(BASE | {"detail": detail}))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    told = VERIFIER.Told(VERIFIER.Report())
    try:
        text = bytes(raw).decode("utf-8")
    except ValueError:
        return
    seen = told.plain(text)
    if seen is not None:
        record = VERIFIER.parse_record(bytes(raw))
        assert seen == (record["seq"], record["prev"])
        assert told.counts == {(record["event"], record["outcome"]): 1}
        assert told.actors == {record["actor"]["id"]: 1}
        assert (told.first_ts, told.boot) == (record["ts"], record["boot"])


def test_a_detail_that_looks_like_the_rest_of_the_record_is_read_in_full():
    raw = encode(BASE | {"detail": {"a": {"b": {}, "event": "x"}, "event": "y"}})
    told = VERIFIER.Told(VERIFIER.Report())
    assert told.plain(raw.decode()) in (None, (7, "ab" * 32))
    assert VERIFIER.parse_record(raw)["seq"] == 7


def test_nearly_all_records_take_the_short_cut(engine):
    told = VERIFIER.Told(VERIFIER.Report())
    raws = [bytes(rec) for _, rec, _ in engine.audit.records()]
    assert sum(told.plain(raw.decode()) is not None for raw in raws) == len(raws)
