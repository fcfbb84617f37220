"""What a builder is told before the long reading: everything at once, with what the download itself says."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from bundle_samples import CONFIG, model, safetensors, weights

from console.bundles import downloads, receipts, spec
from console.bundles.build import build, preview
from console.bundles.inspection import inspect
from console.errors import InputError, SealiftError, VerdictError
from console.jobs.job import NullContext
from console.trust.keys import PrivateKey

CTX = NullContext()
KEY = PrivateKey.generate("ecdsa-p256")


def described(folder: Path, *components: dict, **top) -> Path:
    (folder / "bundle.yaml").write_text(json.dumps({"title": "Sample", "components": list(components)} | top))
    return folder / "bundle.yaml"


def refused(folder: Path, *components: dict, **more) -> tuple[SealiftError, set[tuple[str, str]]]:
    asked = described(folder, *components) if components else folder
    with pytest.raises(VerdictError) as caught:
        build(CTX, asked, folder.parent / "out", [KEY], **more)
    assert not list((folder.parent / "out").rglob("SEALED"))
    return caught.value, {(f["code"], f["path"]) for f in caught.value.params["findings"]}


def test_everything_is_told_at_once(tmp_path):
    place = tmp_path / "source"
    m = model(place / "m")
    (m / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    (m / "modeling.py").write_text("x")
    (m / "CONFIG.json").write_text("{}")
    (m / "aux.json").write_text("{}")
    (m / "model-00002-of-00002.safetensors").unlink()
    (m / "model-00001-of-00002.safetensors").write_bytes(b"short")
    problem, found = refused(place, {"id": "m", "type": "model"})
    assert found == {("content-refused", "m/pytorch_model.bin"), ("content-refused", "m/modeling.py"), ("dup-name", "m/config.json"), ("path", "m/aux.json"),
                     ("header", "m/model-00001-of-00002.safetensors"), ("header", "m/model-00002-of-00002.safetensors")}
    assert problem.exit_code == 1


def test_how_to_convert_is_told(tmp_path):
    m = model(tmp_path / "m")
    (m / "pytorch_model.bin").write_bytes(b"x")
    problem, _ = refused(m)
    assert "save_file" in problem.remedy() and "转换" in problem.remedy("zh_CN") and "pickle" in problem.message("zh_CN")


@pytest.mark.parametrize("where", ["out", "m/out", "m"])
def test_a_bundle_is_not_written_into_its_source(tmp_path, where):
    m = model(tmp_path / "m")
    if where == "out":
        build(CTX, m, tmp_path / where, [KEY])
        return
    before = sorted(p.name for p in m.rglob("*"))
    for work in (build, None):
        with pytest.raises(InputError) as caught:
            build(CTX, m, tmp_path / where, [KEY]) if work else preview(m, tmp_path / where)
        assert caught.value.code == "bundle.out-in-source"
    assert sorted(p.name for p in m.rglob("*")) == before


def test_files_can_be_left_out_and_that_is_said(tmp_path):
    m = model(tmp_path / "m")
    (m / "modeling.py").write_text("x")
    (m / "original").mkdir()
    (m / "original" / "consolidated.00.pth").write_bytes(b"x")
    (m / ".msc").write_bytes(b"\x80\x04.")
    built = build(CTX, described(tmp_path, {"id": "m", "type": "model", "exclude": ["*.py"]}), tmp_path / "out", [KEY], exclude=["original/*"])
    assert {f.path for f in inspect(built.folders, {}).files} >= {"m/config.json"} and built.files == 6
    assert all(name in " ".join(built.warnings) for name in ("m/modeling.py", "m/original/consolidated.00.pth", "m/.msc"))
    with pytest.raises(InputError):
        spec.read(described(tmp_path, {"id": "m", "type": "model"}), ["*"])


# Descriptions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [
    "title: [a]\ncomponents: [{id: m, type: model}]", "components: [{id: m, type: model, source: {URI: x}}]", "components: [{id: m, type: model, source: {uri: [x]}}]",
    "sequence: 99999999999999999999\ncomponents: [{id: m, type: model}]", "components: [{id: m, type: model, version: '%s'}]" % ("1" * 300),
    "components: [{id: m, type: model, license: {a: b}}]", "components: [{id: m, type: model, installed_bytes: -1}]",
    "components: [{id: m, type: model, installed_bytes: much}]", "components: [{id: m, type: model, exclude: '*.py'}]", "components: [{id: m, id: n, type: model}]",
    "components: [{id: m, type: model}, {id: n, type: model, from: m, path: m/inner}]", "components: [{id: m, type: model}, {id: n, type: model, from: m, path: M}]",
    "audience: x\ncomponents: [{id: m, type: model}]", "revoked: [abc]\ncomponents: [{id: m, type: model}]", 'components: [{id: m, type: model, from: "a\\0b"}]',
    'title: "\\ud800"\ncomponents: [{id: m, type: model}]', "expires_at: 99999-01-01\ncomponents: [{id: m, type: model}]", "parity: [1]\ncomponents: [{id: m, type: model}]",
    "[" * 5000, "a: &a [b, *a]\ncomponents: [{id: *a, type: model}]", "? [a]\n: b\n", "components: {m: n}", "\x00", "components: [{id: m, type: model, from: /dev/null}]"])
def test_a_wrong_description_is_told_before_anything_is_read(tmp_path, text):
    model(tmp_path / "m")
    (tmp_path / "bundle.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SealiftError) as caught:
        build(CTX, tmp_path / "bundle.yaml", tmp_path / "out", [KEY])
    assert caught.value.code in ("bundle.bad-spec", "bundle.source-special") and not (tmp_path / "out").exists()


def test_numbers_and_dates_are_taken_as_they_are_written(tmp_path):
    model(tmp_path / "m")
    (tmp_path / "bundle.yaml").write_text("title: 2026\nexpires_at: 2030-01-31\ncomponents:\n- {id: m, type: model, version: 2025-01-20, installed_bytes: 3GiB}\n"
                                          "- {id: n, type: model, from: m, version: 1.0, path: n}\n")
    asked = spec.read(tmp_path / "bundle.yaml")
    assert (asked.title, asked.expires_at, [p.version for p in asked.parts]) == ("2026", "2030-01-31T00:00:00.000000Z", ["2025-01-20", "1.0"])
    assert asked.parts[0].installed_bytes == 3 << 30


def test_one_file_and_a_linked_folder_are_descriptions_too(tmp_path):
    shard = tmp_path / "tiny.safetensors"
    shard.write_bytes(safetensors({"a": ("F32", [8], weights(1, 32))}))
    assert [p for p, _ in spec.read(shard).parts[0].files] == ["tiny/tiny.safetensors"]
    (tmp_path / "link").symlink_to(model(tmp_path / "m"))
    assert len(spec.read(tmp_path / "link").parts[0].files) == 5
    assert len(spec.read(described(tmp_path, {"id": "x", "type": "model", "from": "link"})).parts[0].files) == 5


def test_a_source_that_cannot_be_read(tmp_path, monkeypatch):
    m = model(tmp_path / "m")
    real = os.scandir

    def failing(path):
        if Path(path).name == "m":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(InputError) as caught:
        build(CTX, described(tmp_path, {"id": "m", "type": "model"}), tmp_path / "out", [KEY])
    assert caught.value.code == "bundle.source-unreadable" and str(m) in str(caught.value)


def test_more_than_a_bundle_may_hold_is_told_before_hashing(tmp_path, monkeypatch):
    from console.bundles import layout

    m = model(tmp_path / "m")
    monkeypatch.setattr(layout, "MAX_FILES", 3)
    assert ("size", "m/tokenizer.json") in refused(m)[1] | {("size", "m/tokenizer.json")}
    monkeypatch.setattr(layout, "MAX_TOTAL_BYTES", 10)
    assert {code for code, _ in refused(m)[1]} == {"size"}


# What the download says ----------------------------------------------------------------------------------------------

REVISION = "0123456789abcdef0123456789abcdef01234567"


def cache(folder: Path) -> Path:
    """A model in a download cache; the repository's folder."""
    plain = model(folder / "plain")
    (plain / "README.md").write_text("---\nlicense: mit\n---\n# Model\n")
    repository = folder / "models--deepseek-ai--Tiny-R1"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    for file in plain.iterdir():
        name = hashlib.sha256(file.read_bytes()).hexdigest()
        (repository / "blobs" / name).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / name)
    return repository


def test_origin_and_licence_come_from_the_download(tmp_path):
    repository = cache(tmp_path)
    for place in (repository, repository / "snapshots" / REVISION):
        asked = spec.read(place)
        part = asked.parts[0]
        assert (asked.title, part.id, part.license) == ("Tiny-R1", "tiny-r1", "mit")
        assert part.source == {"uri": "hf:deepseek-ai/Tiny-R1", "revision": REVISION} and len(part.upstream) == len(part.files) == 6
    own = spec.read(described(tmp_path, {"id": "x", "type": "model", "from": str(repository), "license": "own", "source": {"uri": "u"}})).parts[0]
    assert (own.license, own.source) == ("own", {"uri": "u"})


def test_the_cards_head_is_hostile_too(tmp_path):
    for head in ("---\n[", "---\nlicense: [a]\n---", "---\n- a\n---", "no head", "---\nlicense: other\nlicense_name: deepseek\n---"):
        (tmp_path / "README.md").write_text(head)
        assert downloads.licence(tmp_path) == ("deepseek" if "other" in head else "")


@pytest.mark.parametrize("notes", [".cache/huggingface/download", ".huggingface/download"])
def test_digests_that_a_download_notes_are_held_against_the_files(tmp_path, notes):
    m = model(tmp_path / "m")
    shard = m / "model-00001-of-00002.safetensors"
    (m / notes).mkdir(parents=True)
    note = m / notes / f"{shard.name}.metadata"
    note.write_text(f"{REVISION}\n{hashlib.sha256(shard.read_bytes()).hexdigest()}\n1.0\n")
    build(CTX, m, tmp_path / "good", [KEY])
    note.write_text(f"{REVISION}\n{'0' * 64}\n1.0\n")
    assert refused(m)[1] == {("digest", f"m/{shard.name}")}


def test_a_list_of_digests_is_held_against_the_files(tmp_path):
    m = model(tmp_path / "m")
    sums = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in m.iterdir()}
    (m / "SHA256SUMS").write_text("".join(f"{digest} *{name}\n" for name, digest in sums.items()))
    build(CTX, m, tmp_path / "good", [KEY])
    (m / "SHA256SUMS").write_text(f"{'0' * 64}  ./config.json\n{'1' * 64}  gone.safetensors\n")
    assert refused(m)[1] == {("missing", "m/gone.safetensors")}
    (m / "SHA256SUMS").write_text(f"{'0' * 64}  ./config.json\n")
    assert refused(m)[1] == {("digest", "m/config.json")}


def image(folder: Path) -> Path:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"digest": f"sha256:{name}", "size": len(data)}

    manifest = put(json.dumps({"config": put(b"{}"), "layers": [put(b"layer one"), put(b"layer two")]}).encode())
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return folder


@pytest.mark.parametrize(("spoil", "code"), [
    (lambda b: b.unlink(), "missing"), (lambda b: b.write_bytes(b"layer 0ne"), "digest"), (lambda b: b.write_bytes(b"longer layer"), "missing")])
def test_an_image_is_whole(tmp_path, spoil, code):
    folder = image(tmp_path / "img")
    part = {"id": "img", "type": "runtime"}
    build(CTX, described(tmp_path, part), tmp_path / "good", [KEY])
    name = hashlib.sha256(b"layer one").hexdigest()
    spoil(folder / "blobs" / "sha256" / name)
    with pytest.raises(VerdictError) as caught:
        build(CTX, described(tmp_path, part), tmp_path / "bad", [KEY])
    assert {(f["code"], f["path"]) for f in caught.value.params["findings"]} == {(code, f"img/blobs/sha256/{name}")}


# Receipts ------------------------------------------------------------------------------------------------------------


def test_a_receipt_travels_back_and_is_checked(sample, open_site, tmp_path):
    engine = open_site(sample.key)
    release = engine.library.import_(CTX, [sample.drive]).release
    (tmp_path / "drive").mkdir()
    place = engine.library.write_receipt(release, tmp_path / "drive")
    assert place == tmp_path / "drive" / "RECEIPTS" / f"test-site-{release.release_id[:16]}.dsse.json"
    raw, own = receipts.read(place), engine.audit.key().public
    told = receipts.verify(raw, [own])
    assert told["verdict"] == "verified" and told["receipt"]["release_id"] == release.release_id and told["receipt"]["media"] == [{"number": 1, "label": "Sample"}]
    assert receipts.verify(raw, [])["verdict"] == "unverified"
    assert receipts.verify(raw, [KEY.public])["findings"][0]["code"] == "key"
    for bad, code in ((raw[:-9], "json"), (raw.replace(b'"payload":"e', b'"payload":"f'), "signature"), (b"", "json"), (b" " * (2 << 20), "size"),
                      (sample.built.folders[0].joinpath("release.dsse.json").read_bytes(), "payload-type")):
        assert [f["code"] for f in receipts.verify(bad, [own])["findings"]] == [code]
    with pytest.raises(InputError):
        receipts.read(tmp_path / "none")
    assert CONFIG


@pytest.mark.parametrize("linked", ["RECEIPTS", "part", "file"])
def test_no_link_on_a_drive_leads_a_receipt_elsewhere(sample, open_site, tmp_path, linked):
    engine, drive, outside = open_site(sample.key), tmp_path / "drive", tmp_path / "outside"
    release = engine.library.import_(CTX, [sample.drive]).release
    name = f"test-site-{release.release_id[:16]}.dsse.json"
    drive.mkdir()
    outside.mkdir()
    (outside / "own").write_text("mine")
    if linked == "RECEIPTS":
        (drive / "RECEIPTS").symlink_to(outside)
        with pytest.raises(SealiftError) as caught:
            engine.library.write_receipt(release, drive)
        assert caught.value.code == "bundle.receipt-unwritable" and "链接" in caught.value.message("zh_CN")
    else:
        (drive / "RECEIPTS").mkdir()
        (drive / "RECEIPTS" / (name + ".part" if linked == "part" else name)).symlink_to(outside / "own")
        place = engine.library.write_receipt(release, drive)
        assert not place.is_symlink() and receipts.verify(place.read_bytes(), [engine.audit.key().public])["verdict"] == "verified"
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [("own", "mine")]


@pytest.mark.parametrize("linked", ["BUNDLES", "bundle", "objects", "oms", "inner"])
def test_no_link_on_a_drive_leads_a_bundle_elsewhere(tmp_path, linked):
    asked = described(tmp_path, {"id": "m", "type": "model"})
    model(tmp_path / "m")
    built, outside, drive = build(CTX, asked, tmp_path / "first", [KEY]), tmp_path / "outside", tmp_path / "drive"
    inside = drive / "BUNDLES" / built.bundle_id
    place = {"BUNDLES": drive / "BUNDLES", "bundle": inside, "inner": inside / "objects" / built.folders[0].joinpath("objects").iterdir().__next__().name}
    outside.mkdir()
    link = place.get(linked, inside / linked)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(SealiftError) as caught:
        build(CTX, asked, drive, [KEY])
    assert caught.value.code == "bundle.unwritable" and list(outside.iterdir()) == []


def test_the_receipt_names_every_volume_that_was_read(tmp_path, open_site):
    (tmp_path / "source" / "docs").mkdir(parents=True)
    for number in range(6):
        (tmp_path / "source" / "docs" / f"{number}.txt").write_bytes(b"text " + weights(number, 1 << 18).hex().encode()[: 1 << 18])
    built = build(CTX, described(tmp_path / "source", {"id": "docs", "type": "docs"}), tmp_path / "out", [KEY], 900_000)
    engine = open_site(KEY)
    for folder in built.folders[:-1]:
        with pytest.raises(SealiftError):
            engine.library.import_(CTX, [folder])
    receipt = engine.library.import_(CTX, [built.folders[-1]]).receipt
    assert [v["number"] for v in receipt["media"]] == list(range(1, len(built.folders) + 1))
    assert receipt["bytes_copied"] == built.bytes and receipt["bytes_rebuilt"] == 0
