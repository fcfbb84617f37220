"""The main path: build, inspect, verify, import, read back, remove."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from bundle_samples import content, make, model, weights

from console.bundles import layout
from console.bundles.build import build, cosign
from console.bundles.inspection import document, inspect
from console.bundles.verify import verify
from console.errors import DeniedError, InputError, VerdictError, WorldError
from console.jobs.job import NullContext
from console.trust.keys import PrivateKey

CTX = NullContext()


def digest_of_tree(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file()}


def test_verified_only_with_a_trusted_key(sample):
    told = verify(CTX, [sample.drive], sample.trusted)
    assert told["verdict"] == "verified", told["findings"]
    assert told["signers"][0]["key_id"] == sample.key.public.keyid
    assert told["files"] == 9 and told["hashed_bytes"] > 0
    untrusted = verify(CTX, [sample.drive], {})
    assert untrusted["verdict"] == "unverified" and untrusted["unknown_keys"] == [sample.key.public.keyid]


def test_inspection_never_says_verified(sample):
    told = document(inspect([sample.drive], sample.trusted), None)
    assert told["verdict"] == "unverified" and told["title"] == "Sample"
    assert {c["id"] for c in told["components"]} == {"weights", "packages", "notes", "sbom"}


def test_summary_holds_what_sizing_needs(sample):
    seen = inspect([sample.drive], {})
    summary = next(c.summary for c in seen.statement.components if c.type == "model")
    assert json.loads(summary["config"])["hidden_size"] == 8
    assert summary["bytes_by_dtype"] == {"f32": 2 * (256 + 32)} and summary["values_by_dtype"] == {"f32": 2 * 72}


def test_import_reads_back_byte_for_byte_and_leaves_the_drive_alone(sample, open_site):
    engine = open_site(sample.key)
    before = digest_of_tree(sample.drive)
    imported = engine.library.import_(CTX, [sample.drive])
    assert digest_of_tree(sample.drive) == before
    release = imported.release
    source = sample.drive.parent / "source"
    assert engine.library.open_file(release, "model/config.json").read_bytes() == (source / "weights/config.json").read_bytes()
    for entry in release.files:
        assert hashlib.sha256(engine.library.open_file(release, entry.path).read_bytes()).hexdigest() == entry.sha256
    assert engine.library.verify(CTX, release) == []
    assert not list((engine.library.root / "staging").iterdir())
    assert engine.library.get("Sample").release_id == engine.library.get(release.release_id[:16]).release_id
    events = [r["event"] for r in engine.audit.list(limit=50)]
    assert events.count("bundle.import") == 2


def test_a_second_import_copies_nothing_and_heals_what_rotted(sample, open_site):
    engine = open_site(sample.key)
    first = engine.library.import_(CTX, [sample.drive])
    again = engine.library.import_(CTX, [sample.drive])
    assert first.bytes_copied == first.release.bytes - _repeated(first.release) and again.bytes_copied == 0
    place = engine.library.open_file(first.release, "model/config.json")
    place.chmod(0o600)
    raw = bytearray(place.read_bytes())
    raw[3] ^= 1
    place.write_bytes(raw)
    assert [f["path"] for f in engine.library.verify(CTX, first.release)] == ["model/config.json"]
    healed = engine.library.import_(CTX, [sample.drive])
    assert healed.bytes_copied == len(raw) and engine.library.verify(CTX, first.release) == []


def _repeated(release) -> int:
    return sum(f.size for f in release.files) - sum({f.sha256: f.size for f in release.files}.values())


def test_releases_share_files_and_removal_counts_references(tmp_path, open_site):
    key = PrivateKey.generate("ecdsa-p256")
    one = make(tmp_path / "one", key)
    two = make(tmp_path / "two", key, sequence=6, title="Second")
    engine = open_site(key)
    engine.library.import_(CTX, [one.drive])
    second = engine.library.import_(CTX, [two.drive])
    bill = next(f for f in second.release.files if f.component == "sbom")
    assert second.bytes_copied == bill.size  # the title stands in it; all else is here already
    engine.library.remove("Sample")
    assert engine.library.verify(CTX, second.release) == []
    engine.library.remove("Second")
    assert not [p for p in (engine.library.root / "files").rglob("*") if p.is_file()]
    with pytest.raises(InputError):
        engine.library.get("Second")


def test_receipt_is_signed_by_the_console(sample, open_site):
    from console.bundles import receipts
    from console.trust import dsse

    engine = open_site(sample.key)
    release = engine.library.import_(CTX, [sample.drive]).release
    key = engine.audit.key().public
    opened = dsse.open_(engine.library.receipt(release), receipts.TYPE, {key.keyid: (key, "console")}, 1)
    assert json.loads(opened.payload)["release_id"] == release.release_id


# Volumes -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def volumes(tmp_path):
    """A bundle over three drives or more."""
    key = PrivateKey.generate("ecdsa-p256")
    source = tmp_path / "source"
    spec = content(source)
    for number in range(6):
        (source / "packages" / f"part{number}.run").write_bytes(weights(number, 1 << 18))
    built = build(CTX, spec, tmp_path / "out", [key], 900_000)
    return key, sorted((tmp_path / "out").iterdir()), built


def test_volumes_hold_each_chunk_once_and_verify_together(volumes, open_site):
    key, drives, built = volumes
    assert len(drives) >= 3 == len({d.name for d in drives[:3]})
    trusted = {key.public.keyid: (key.public, "builder")}
    told = verify(CTX, drives, trusted)
    assert told["verdict"] == "verified", told["findings"]
    names = [p.name for d in drives for p in d.rglob("objects/*/*")]
    assert len(names) == len(set(names)) == built.objects
    assert verify(CTX, [drives[0].parent], trusted)["verdict"] == "verified"


def test_a_volume_alone_is_checked_and_the_rest_is_named(volumes):
    key, drives, _ = volumes
    told = verify(CTX, [drives[1]], {key.public.keyid: (key.public, "builder")})
    assert told["verdict"] == "unverified" and 1 in told["missing_volumes"] and told["hashed_bytes"] > 0
    assert {f["code"] for f in told["findings"]} == {"missing"}


def test_a_volume_alone_that_lost_a_chunk_is_damaged(volumes):
    key, drives, _ = volumes
    next(iter(drives[1].rglob("objects/*/*"))).unlink()
    told = verify(CTX, [drives[1]], {key.public.keyid: (key.public, "builder")})
    assert told["verdict"] == "failed" and told["volumes"][0]["state"] == "damaged"


def test_import_goes_on_drive_by_drive(volumes, open_site):
    key, drives, _ = volumes
    engine = open_site(key)
    for drive in reversed(drives[1:]):
        with pytest.raises(WorldError) as caught:
            engine.library.import_(CTX, [drive])
        assert caught.value.code == "bundle.volume-missing" and caught.value.retryable
    imported = engine.library.import_(CTX, [drives[0]])
    assert engine.library.verify(CTX, imported.release) == []
    assert imported.bytes_copied == imported.release.bytes  # each byte once, over all drives


def test_foreign_older_and_damaged_volumes_are_told_apart(tmp_path, volumes):
    key, drives, _ = volumes
    older = make(tmp_path / "older", key, sequence=4, title="Older")
    foreign = make(tmp_path / "foreign", key, channel="another", title="Foreign")
    told = document(inspect([*drives, older.drive, foreign.drive], {}), None)
    states = {v["folder"].split("/")[-4]: v["state"] for v in told["other_volumes"]}
    assert states == {"older": "older", "foreign": "foreign"}
    index = next(drives[0].rglob("index.json"))
    index.write_bytes(index.read_bytes()[:-9])
    damaged = document(inspect(drives, {}), None)
    assert [v["state"] for v in damaged["volumes"]][0] == "damaged" and damaged["verdict"] == "failed"
    assert damaged["title"] == "Sample"


def test_two_bundles_on_one_drive_need_a_choice(tmp_path, sample):
    drive = tmp_path / "drive"
    shutil.copytree(sample.drive, drive)
    other = make(tmp_path / "other", note="# Other\n", title="Other")
    shutil.copytree(other.drive / layout.BUNDLES, drive / layout.BUNDLES, dirs_exist_ok=True)
    with pytest.raises(InputError) as caught:
        inspect([drive], {})
    assert caught.value.code == "bundle.several"
    assert inspect([drive / layout.BUNDLES / sample.built.bundle_id], {}).statement.bundle["title"] == "Sample"


# What a site accepts -------------------------------------------------------------------------------------------------


def refused(engine, drive, code, **more):
    with pytest.raises(VerdictError) as caught:
        engine.library.import_(CTX, [drive], **more)
    assert caught.value.code == code
    assert any(r["event"] == "bundle.refuse" for r in engine.audit.list(limit=5))
    return caught.value


def test_sequence_goes_up_only(tmp_path, open_site):
    key = PrivateKey.generate("ecdsa-p256")
    old, new = make(tmp_path / "old", key, sequence=2), make(tmp_path / "new", key, sequence=3)
    other = make(tmp_path / "other", key, sequence=2, title="Never seen")
    engine = open_site(key)
    engine.library.import_(CTX, [old.drive])
    engine.library.import_(CTX, [new.drive])
    refused(engine, old.drive, "bundle.rollback")
    refused(engine, other.drive, "bundle.rollback", overrides=frozenset({"older"}))
    back = engine.library.import_(CTX, [old.drive], frozenset({"older"}))
    assert back.release.sequence == 2
    assert any(r["event"] == "trust.override" for r in engine.audit.list(limit=20))
    engine.library.import_(CTX, [new.drive])


def test_min_sequence_and_revoked_releases_hold_for_good(tmp_path, open_site):
    key = PrivateKey.generate("ecdsa-p256")
    old = make(tmp_path / "old", key, sequence=2)
    engine = open_site(key)
    first = engine.library.import_(CTX, [old.drive]).release
    new = make(tmp_path / "new", key, sequence=3, min_sequence=3, revoked=[first.release_id])
    engine.library.import_(CTX, [new.drive])
    engine.library.remove(first.release_id)
    refused(engine, old.drive, "bundle.rollback", overrides=frozenset({"older"}))


def test_a_state_that_fell_behind_the_log_stops_imports(tmp_path, open_site):
    key = PrivateKey.generate("ecdsa-p256")
    sample = make(tmp_path / "one", key, sequence=4)
    engine = open_site(key)
    engine.library.import_(CTX, [sample.drive])
    with engine.store.write() as db:
        db.execute("UPDATE channels SET highest_sequence = 1")
    refused(engine, sample.drive, "bundle.state-rolled-back")
    engine.library.import_(CTX, [sample.drive], frozenset({"state"}))


def test_audience_expiry_and_overrides(tmp_path, open_site):
    key = PrivateKey.generate("ecdsa-p256")
    engine = open_site(key)
    refused(engine, make(tmp_path / "a", key, audience=["elsewhere"]).drive, "bundle.audience")
    expired = make(tmp_path / "e", key, expires_at="2020-01-01T00:00:00Z")
    refused(engine, expired.drive, "bundle.expired")
    engine.library.import_(CTX, [expired.drive], frozenset({"expired"}))
    meant = make(tmp_path / "m", key, audience=["test-site"], sequence=6)
    engine.library.import_(CTX, [meant.drive])


def test_threshold_counts_holders(tmp_path, open_site):
    one, two = PrivateKey.generate("ecdsa-p256"), PrivateKey.generate("ecdsa-p384")
    sample = make(tmp_path / "one", one)
    engine = open_site(one, two, release_threshold=2)
    assert refused(engine, sample.drive, "bundle.refused").params["finding"] == "threshold"
    cosign([sample.drive], [two])
    engine.library.import_(CTX, [sample.drive])


def test_two_keys_of_one_holder_count_once(tmp_path):
    one, two = PrivateKey.generate("ecdsa-p256"), PrivateKey.generate("ecdsa-p384")
    sample = make(tmp_path / "one", one)
    cosign([sample.drive], [two])
    told = verify(CTX, [sample.drive], {k.public.keyid: (k.public, "same") for k in (one, two)}, 2)
    assert told["verdict"] == "failed" and told["findings"][0]["code"] == "threshold"


def test_a_revoked_key_counts_no_more(sample, open_site):
    engine = open_site(sample.key)
    engine.trust.revoke(sample.key.public.keyid, "lost")
    assert refused(engine, sample.drive, "bundle.refused").params["finding"] == "revoked"


def test_no_site_no_import(sample, tmp_path):
    from console.engine import Engine

    with Engine.open(tmp_path / "bare") as engine, pytest.raises(InputError) as caught:
        engine.library.import_(CTX, [sample.drive])
    assert caught.value.code == "site.missing"


def test_approval_is_asked_before_and_spent_after(tmp_path, sample, open_site):
    engine = open_site(sample.key, two_person=True)
    with pytest.raises(DeniedError) as caught:
        engine.library.import_(CTX, [sample.drive])
    assert caught.value.code == "approval.needed"
    assert [a.action for a in engine.approvals.open_requests()] == ["import"]
    assert not (engine.library.root / "staging").exists()


# Building ------------------------------------------------------------------------------------------------------------


def test_a_folder_alone_is_a_description(tmp_path):
    key = PrivateKey.generate("ecdsa-p256")
    built = build(CTX, model(tmp_path / "Tiny Model"), tmp_path / "out", [key])
    seen = inspect(built.folders, {})
    assert seen.statement.components[0].type == "model" and seen.statement.components[0].format == "safetensors"


@pytest.mark.parametrize(("spoil", "what"), [
    (lambda m: (m / "model-00002-of-00002.safetensors").unlink(), "missing shard"),
    (lambda m: (m / "model-00003-of-00003.safetensors").write_bytes(
        (m / "model-00001-of-00002.safetensors").read_bytes()), "extra shard"),
    (lambda m: (m / "model-00001-of-00002.safetensors").write_bytes(
        (m / "model-00002-of-00002.safetensors").read_bytes()), "swapped shard"),
    (lambda m: (m / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00."), "pickle"),
    (lambda m: (m / "modeling.py").write_text("import os"), "code"),
    (lambda m: (m / "model-00001-of-00002.safetensors").write_bytes(b"\x10" + b"\x00" * 7 + b"{}"), "header"),
])
def test_build_refuses_what_import_would(tmp_path, spoil, what):
    folder = model(tmp_path / "weights")
    spoil(folder)
    with pytest.raises(VerdictError):
        build(CTX, folder, tmp_path / "out", [PrivateKey.generate("ecdsa-p256")])
    assert not list((tmp_path / "out").rglob("SEALED"))


def test_links_of_a_download_cache_are_followed_and_checked(tmp_path):
    plain = model(tmp_path / "plain")
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in plain.iterdir():
        name = hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blobs / name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / name)
    key = PrivateKey.generate("ecdsa-p256")
    build(CTX, snapshot, tmp_path / "out", [key])
    shard = (snapshot / "config.json").resolve()
    shard.write_text('{"hidden_size": 9}')
    with pytest.raises(VerdictError):
        build(CTX, snapshot, tmp_path / "out2", [key])
    (snapshot / "outside.json").symlink_to(tmp_path / "plain" / "config.json")
    with pytest.raises(VerdictError) as caught:
        build(CTX, snapshot, tmp_path / "out3", [key])
    assert caught.value.code == "bundle.source-special" and caught.value.params["findings"][0]["code"] == "symlink"


def test_an_unsealed_volume_is_refused(copy, open_site):
    (copy.folder / layout.SEALED).unlink()
    engine = open_site(copy.sample.key)
    assert refused(engine, copy.drive, "bundle.refused").params["finding"] == "missing"


# The trust root ------------------------------------------------------------------------------------------------------


def rooted(tmp_path, *versions):
    """Signed roots: each is (release keys, signing keys, changes)."""
    from console.trust import root

    raws, before = [], None
    for number, (release, sign, more) in enumerate(versions, 1):
        held = {k.public.keyid: (k.public, f"holder-{k.public.keyid[-6:]}") for k in (*release, *sign)}
        payload = root.make(version=number, prev=before, issued_at="2026-01-01T00:00:00.000000Z", expires_at=None,
                            keys=list(held.values()), roles={
                                "root": (1, [k.public.keyid for k in sign]),
                                "release": (1, [k.public.keyid for k in release])}, **more)
        raws.append(root.seal(payload, sign))
        before = hashlib.sha256(payload).hexdigest()
    return raws


def test_a_bundle_brings_the_roots_that_make_it_good(tmp_path, open_site):
    from console.trust import dsse, root

    anchor, old, new = (PrivateKey.generate("ecdsa-p256") for _ in range(3))
    raws = rooted(tmp_path, ([old], [anchor], {}), ([new], [anchor], {"revoked": [(old.public.keyid, "lost", {})]}))
    engine = open_site()
    first = root.read(dsse.parse(raws[0], root.TYPE).payload, raws[0])
    engine.trust.install_root(raws[0], first.fingerprint)
    spec = content(tmp_path / "source")
    bare = build(CTX, spec, tmp_path / "bare", [new])
    assert refused(engine, tmp_path / "bare", "bundle.refused").params["finding"] == "threshold"
    build(CTX, spec, tmp_path / "full", [new], None, raws)
    imported = engine.library.import_(CTX, [tmp_path / "full"])
    assert imported.release.bundle_id == bare.bundle_id and engine.trust.root().version == 2
    shutil.copytree(tmp_path / "source" / "notes", tmp_path / "late" / "notes")
    (tmp_path / "late" / "spec.yaml").write_text("{channel: late, components: [{id: notes, type: docs}]}")
    build(CTX, tmp_path / "late" / "spec.yaml", tmp_path / "late-drive", [old], None, raws[:1])
    assert refused(engine, tmp_path / "late-drive", "bundle.refused").params["finding"] == "revoked"


def test_a_forged_root_is_refused_and_changes_nothing(tmp_path, open_site):
    from console.trust import dsse, root

    anchor, key, forger = (PrivateKey.generate("ecdsa-p256") for _ in range(3))
    raws = rooted(tmp_path, ([key], [anchor], {}))
    forged = rooted(tmp_path, ([key], [anchor], {}), ([forger], [forger], {}))
    engine = open_site()
    engine.trust.install_root(raws[0], root.read(dsse.parse(raws[0], root.TYPE).payload, raws[0]).digest)
    build(CTX, content(tmp_path / "source"), tmp_path / "drive", [forger])
    folder = next((tmp_path / "drive" / "BUNDLES").iterdir()) / "trust"
    folder.mkdir()
    (folder / "root.1.dsse.json").write_bytes(raws[0])
    (folder / "root.2.dsse.json").write_bytes(forged[1])
    assert refused(engine, tmp_path / "drive", "bundle.refused").params["finding"] == "root-chain"
    assert engine.trust.root().version == 1 and engine.library.list() == []
