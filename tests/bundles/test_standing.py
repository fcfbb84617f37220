"""What a site itself objects to, told by verification too; the trust roots that a bundle carries; keys that were revoked."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from bundle_samples import content, fifo, make, raw_safetensors

from console.bundles import acceptance, layout, manifest
from console.bundles.acceptance import Site
from console.bundles.build import build
from console.bundles.inspection import document, inspect
from console.bundles.verify import verify
from console.errors import SealiftError, VerdictError
from console.jobs.job import NullContext
from console.trust import dsse, root
from console.trust.keys import PrivateKey

CTX = NullContext()


def told(engine, drive) -> tuple[str, set[str]]:
    found = verify(CTX, [drive], Site(engine))
    return found["verdict"], {f["code"] for f in found["findings"]}


@pytest.fixture
def key() -> PrivateKey:
    return PrivateKey.generate("ecdsa-p256")


def test_a_site_is_told_at_verification_what_import_would_refuse(tmp_path, key, open_site):
    engine = open_site(key)
    old, new = make(tmp_path / "old", key, sequence=2), make(tmp_path / "new", key, sequence=3, min_sequence=3)
    never = make(tmp_path / "never", key, sequence=2, title="Never seen")
    engine.library.import_(CTX, [old.drive])
    assert told(engine, old.drive) == ("verified", set())
    engine.library.import_(CTX, [new.drive])
    assert told(engine, new.drive) == ("verified", set())
    assert told(engine, never.drive) == told(engine, old.drive) == ("failed", {"rollback"})
    assert told(engine, make(tmp_path / "a", key, audience=["elsewhere"], sequence=4).drive) == ("failed", {"audience"})
    assert told(engine, make(tmp_path / "e", key, expires_at="2020-01-01", sequence=4).drive) == ("failed", {"expired"})


def test_what_was_here_before_is_told_and_not_failed(tmp_path, key, open_site):
    engine = open_site(key)
    old, new = make(tmp_path / "old", key, sequence=2), make(tmp_path / "new", key, sequence=3)
    for one in (old, new):
        engine.library.import_(CTX, [one.drive])
    assert told(engine, old.drive) == ("verified", {"remark"})


def test_a_revoked_release_and_a_state_that_fell_behind(tmp_path, key, open_site):
    engine = open_site(key)
    bad = make(tmp_path / "bad", key, sequence=9, channel="other")
    engine.library.import_(CTX, [make(tmp_path / "new", key, sequence=3, revoked=[bad.built.release_id]).drive])
    assert told(engine, bad.drive) == ("failed", {"revoked"})
    with pytest.raises(VerdictError) as caught:
        engine.library.import_(CTX, [bad.drive])
    assert caught.value.code == "bundle.revoked"
    with engine.store.write() as db:
        db.execute("UPDATE channels SET highest_sequence = 1")
    fresh = make(tmp_path / "fresh", key, sequence=4)
    assert told(engine, fresh.drive) == ("failed", {"state-rolled-back"})


def test_every_objection_is_told_with_the_first(tmp_path, key, open_site):
    engine = open_site(key)
    engine.library.import_(CTX, [make(tmp_path / "new", key, sequence=3).drive])
    with pytest.raises(VerdictError) as caught:
        engine.library.import_(CTX, [make(tmp_path / "b", key, sequence=2, audience=["x"], expires_at="2020-01-01").drive])
    assert caught.value.code == "bundle.audience"
    assert [f["code"] for f in caught.value.params["findings"]] == ["audience", "rollback", "expired"]


def test_a_release_from_the_future_waits_for_a_second_look(tmp_path, key, open_site, monkeypatch):
    engine = open_site(key)
    sample = make(tmp_path / "one", key)
    monkeypatch.setattr(acceptance, "utc_now", lambda: "2026-02-01T00:00:00.000000Z")
    monkeypatch.setattr(acceptance, "LATE", acceptance.timedelta(days=9999))
    assert told(engine, sample.drive) == ("verified", {"remark"})
    with pytest.raises(VerdictError) as caught:
        engine.library.import_(CTX, [sample.drive])
    assert caught.value.code == "bundle.clock-back"
    engine.library.import_(CTX, [sample.drive], frozenset({"clock"}))
    assert any(r["event"] == "trust.override" and r["detail"]["override"] == "clock" for r in engine.audit.list(limit=20))


def test_a_clock_before_the_program_was_made_lets_nothing_expired_pass(tmp_path, key, open_site, monkeypatch):
    sample = make(tmp_path / "one", key, expires_at="2025-06-01")
    engine = open_site(key)
    monkeypatch.setattr(acceptance, "utc_now", lambda: "2025-01-01T00:00:00.000000Z")
    assert "expired" in told(engine, sample.drive)[1]


def test_what_the_log_tells_is_read_once(tmp_path, key, open_site, monkeypatch):
    engine = open_site(key)
    engine.library.import_(CTX, [make(tmp_path / "one", key, sequence=4).drive])
    assert acceptance._logged(engine) == {"sample": 4}
    read = []
    real = type(engine.audit).records
    monkeypatch.setattr(type(engine.audit), "records", lambda self, first=1, last=None: (read.append(r) or r for r in real(self, first, last)))
    assert acceptance._logged(engine) == {"sample": 4} and not read


# Trust roots ---------------------------------------------------------------------------------------------------------

ANN, BO, OLD, NEW = (PrivateKey.generate("ecdsa-p256") for _ in range(4))


def made(version: int, prev: str | None, release: PrivateKey, sign=(ANN, BO), **more) -> bytes:
    payload = root.make(version=version, prev=prev, issued_at="2026-01-01T00:00:00.000000Z", expires_at=None,
                        keys=[(k.public, f"holder-{k.public.keyid[-6:]}") for k in (ANN, BO, OLD, NEW)],
                        roles={"root": (2, [ANN.public.keyid, BO.public.keyid]), "release": (1, [release.public.keyid])}, **more)
    return root.seal(payload, sign)


def digest(raw: bytes) -> str:
    return hashlib.sha256(dsse.parse(raw, root.TYPE).payload).hexdigest()


ONE = made(1, None, OLD)
TWO = made(2, digest(ONE), NEW, revoked=[(OLD.public.keyid, "lost", {"sample": 5})])


@pytest.fixture(scope="module")
def rooted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rooted")
    build(CTX, content(folder / "source"), folder / "drive", [OLD], None, [ONE, TWO])
    return folder / "drive"


@pytest.mark.parametrize(("spoil", "code"), [
    (lambda t: (t / "root.1.dsse.json").write_bytes(ONE[:-9] + b"AAAA" + ONE[-5:]), "root-chain"),
    (lambda t: (t / "root.2.dsse.json").write_bytes(made(2, "0" * 64, NEW)), "root-chain"),
    (lambda t: (t / "root.2.dsse.json").write_bytes(made(2, digest(ONE), NEW, sign=(ANN,))), "root-chain"),
    (lambda t: (t / "root.2.dsse.json").write_bytes(made(3, digest(ONE), NEW)), "root-chain"),
    (lambda t: (t / "root.1.dsse.json").write_bytes(b"{}"), "root-chain"),
    (lambda t: (t / "root.1.dsse.json").unlink(), "missing"),
    (lambda t: (t / "root.2.dsse.json").unlink(), "missing"),
    (lambda t: shutil.rmtree(t), "missing"),
    (lambda t: fifo(t / "root.1.dsse.json"), "special-file"),
    (lambda t: (t / "root.1.dsse.json").rename(t.parent.parent.parent / "r") and (t / "root.1.dsse.json").symlink_to(t.parent.parent.parent / "r"), "symlink"),
    (lambda t: (t / "root.3.dsse.json").write_bytes(made(3, digest(TWO), NEW)), "extra"),
    (lambda t: (t / "notes.txt").write_text("x"), "extra"),
], ids=range(12))
def test_the_roots_that_a_bundle_carries_are_checked_even_where_none_is_installed(rooted, tmp_path, spoil, code):
    shutil.copytree(rooted, tmp_path / "drive")
    trusted = {OLD.public.keyid: (OLD.public, "builder")}
    assert verify(CTX, [tmp_path / "drive"], trusted)["verdict"] == "verified"
    spoil(next((tmp_path / "drive" / "BUNDLES").iterdir()) / layout.TRUST)
    found = verify(CTX, [tmp_path / "drive"], trusted)
    assert found["verdict"] == "failed" and code in {f["code"] for f in found["findings"]}, found["findings"]


def test_a_revoked_key_still_vouches_for_what_this_site_took_from_it(rooted, tmp_path, open_site):
    engine = open_site()
    engine.trust.install_root(ONE, digest(ONE))
    first = tmp_path / "first"
    build(CTX, content(tmp_path / "source"), first, [OLD], None, [ONE])
    other = tmp_path / "other"
    build(CTX, content(tmp_path / "source2", sequence=4, title="Never here"), other, [OLD], None, [ONE])
    engine.library.import_(CTX, [first])
    engine.trust.follow([TWO])
    assert told(engine, first)[0] == "verified"
    engine.library.import_(CTX, [first])
    assert told(engine, other)[1] >= {"revoked", "threshold"}
    three = made(3, digest(TWO), NEW, revoked=[(OLD.public.keyid, "lost", {"sample": 4})])
    engine.trust.follow([three])
    assert told(engine, first)[0] == "failed"


def test_a_key_that_people_revoked_vouches_for_nothing(tmp_path, key, open_site):
    engine = open_site(key)
    sample = make(tmp_path / "one", key)
    engine.library.import_(CTX, [sample.drive])
    engine.trust.revoke(key.public.keyid, "stolen")
    verdict, codes = told(engine, sample.drive)
    assert verdict == "failed" and "revoked" in codes


def test_a_chain_that_does_not_begin_at_its_beginning_is_not_carried(tmp_path):
    with pytest.raises(SealiftError) as caught:
        build(CTX, content(tmp_path / "source"), tmp_path / "drive", [NEW], None, [TWO])
    assert caught.value.code == "trust.root-chain"


# Index and volumes ---------------------------------------------------------------------------------------------------


def test_every_rule_that_an_index_breaks_is_told(copy):
    def change(index, _statement):
        one = dict(index["files"][0])
        index["files"] += [one | {"path": "model/con"}, one | {"path": "model/../x"}, one | {"path": "MODEL/config.json"}, one | {"path": "model/z", "size": 7}]

    copy.resign(change)
    found = verify(CTX, [copy.drive], copy.sample.trusted)
    listed = [(f["code"], f["path"]) for f in found["findings"] if f["code"] in ("path", "dup-name", "index")]
    assert {("path", "model/con"), ("path", "model/../x"), ("dup-name", "index.json")} <= set(listed) and ("index", "index.json") in listed
    raw = (copy.folder / layout.INDEX).read_bytes()
    index, problems = manifest.judge_index(raw)
    assert index is not None and {p.code for p in problems} == {"bundle.path", "bundle.dup-name", "bundle.index"}


def test_findings_are_told_in_the_readers_language_to_the_last_word(copy):
    copy.resign(lambda index, _: index["files"].append(dict(index["files"][0], path="model/con")))
    copy.add("model/z.safetensors", raw_safetensors(b'{"a":{"dtype":"X8","shape":[1],"data_offsets":[0,1]}}', b"x"), "weights")
    said = {f["path"]: f["message"].into("zh_CN") for f in verify(CTX, [copy.drive], copy.sample.trusted)["findings"]}
    assert said["model/con"] == "其中有一段是 Windows 设备名"
    assert said["model/z.safetensors"] == "a 的 dtype X8 未知"


def test_both_readings_of_an_index_agree(copy):
    raw = (copy.folder / layout.INDEX).read_bytes()
    plain, problems = manifest._plain_parts(raw, []), []
    assert plain is not None and plain == manifest._any_parts(raw, problems) and problems == []
    spaced = json.dumps(json.loads(raw)).encode()
    assert manifest._plain_parts(spaced, []) is None
    assert [p.code for p in manifest.judge_index(spaced)[1]] == ["bundle.index"]


def test_objects_are_checked_by_their_names_where_the_index_is_damaged(copy):
    index = copy.folder / layout.INDEX
    index.write_bytes(index.read_bytes()[:-9])
    victim = next(iter(sorted(copy.folder.glob("objects/*/*"))))
    victim.write_bytes(b"x" * victim.stat().st_size)
    found = verify(CTX, [copy.drive], copy.sample.trusted)
    assert {"index", "object-digest"} <= {f["code"] for f in found["findings"]}
    assert [f["path"] for f in found["findings"] if f["code"] == "object-digest"] == [str(victim)]


def test_contents_of_a_bundle_without_statement_are_not_taken_for_a_model(copy):
    (copy.folder / layout.RELEASE).unlink()
    assert {f["code"] for f in verify(CTX, [copy.drive], copy.sample.trusted)["findings"]} == {"missing"}


@pytest.mark.parametrize(("spoil", "code"), [
    (lambda f: (f / layout.VOLUME).unlink(), "missing"), (lambda f: (f / layout.VOLUME).write_text("{"), "json"),
    (lambda f: (f / layout.VOLUME).write_text("{}"), "json"), (lambda f: (f / "objects" / "zz").mkdir(), "extra"),
    (lambda f: (f / "more").mkdir(), "extra"), (lambda f: ((f / layout.SEALED).unlink(), (f / layout.SEALED).mkdir()), "missing")])
def test_a_hint_or_a_folder_that_is_not_what_was_written(copy, spoil, code):
    spoil(copy.folder)
    found = verify(CTX, [copy.drive], copy.sample.trusted)
    assert found["verdict"] == "failed" and code in {f["code"] for f in found["findings"]}


def test_braces_in_names_are_only_braces(copy, capsys):
    from console.cli.main import main

    copy.add("model/a{0[x}.json", b"{", "weights")
    for lang in ("en", "zh_CN"):
        assert main(["--workspace", str(copy.drive / "ws"), "--lang", lang, "bundle", "inspect", str(copy.drive)]) == 0
        assert main(["--workspace", str(copy.drive / "ws"), "--lang", lang, "bundle", "verify", str(copy.drive)]) == 1
    assert "a{0[x}.json" in capsys.readouterr().out


def test_an_inspection_never_hashes(copy):
    for path in copy.folder.glob("objects/*/*"):
        path.write_bytes(b"")
    assert document(inspect([copy.drive], copy.sample.trusted), None)["findings"] == []
