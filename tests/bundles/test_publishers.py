"""The signature that a publisher laid beside a model: held against the files at build and at the site, shown apart from the builder's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundle_samples import model

from console.bundles import screening
from console.bundles.acceptance import Site
from console.bundles.build import build
from console.bundles.inspection import Beliefs, Outsider
from console.bundles.publishers import Publishers, load
from console.bundles.verify import verify
from console.errors import InputError, VerdictError
from console.jobs.job import NullContext
from console.trust import dsse, oms, root
from console.trust.keys import PrivateKey

CTX = NullContext()
KEY, MAKER = PrivateKey.generate("ecdsa-p256"), PrivateKey.generate("ecdsa-p384")
TRUSTED = {KEY.public.keyid: (KEY.public, "builder")}


class Knows(Outsider):
    """Somebody who knows the publisher too."""

    def believe(self, chain) -> Beliefs:
        return Beliefs(TRUSTED, publishers=Publishers({MAKER.public.keyid: (MAKER.public, "Maker")}))


def signed(tmp_path: Path, key: PrivateKey = MAKER) -> Path:
    folder = model(tmp_path / "m")
    (folder / "model.sig").write_bytes(oms.sign_folder(folder, key, folder / "model.sig"))
    return folder


def described(tmp_path: Path, **more) -> Path:
    (tmp_path / "spec.yaml").write_text(json.dumps({"title": "x", "components": [{"id": "m", "type": "model"} | more]}))
    return tmp_path / "spec.yaml"


def test_it_travels_and_is_shown_apart(tmp_path, open_site):
    signed(tmp_path)
    (tmp_path / "maker.pub").write_bytes(MAKER.public.pem)
    built = build(CTX, described(tmp_path, publisher="maker.pub"), tmp_path / "drive", [KEY])
    assert "m/model.sig: signed by its publisher, maker" in built.warnings
    told = verify(CTX, [tmp_path / "drive"], Knows({}))
    assert told["verdict"] == "verified" and [(p["verdict"], p["signer"]["name"]) for p in told["publishers"]] == [("verified", "Maker")]
    assert [s["name"] for s in told["signers"]] == ["builder"]
    stranger = verify(CTX, [tmp_path / "drive"], TRUSTED)
    assert stranger["verdict"] == "verified" and [p["verdict"] for p in stranger["publishers"]] == ["unverified"]
    assert {f["code"] for f in stranger["findings"]} == {"remark"}
    receipt = open_site(KEY).library.import_(CTX, [tmp_path / "drive"]).receipt
    assert [p["component"] for p in receipt["publishers"]] == ["m"]


def test_a_roots_publishers_are_known(tmp_path, open_site):
    signed(tmp_path)
    payload = root.make(version=1, prev=None, issued_at="2026-01-01T00:00:00.000000Z", expires_at=None, keys=[(KEY.public, "Ann"), (MAKER.public, "Maker")],
                        roles={"root": (1, [KEY.public.keyid]), "release": (1, [KEY.public.keyid]), "publisher": (1, [MAKER.public.keyid])})
    raw = root.seal(payload, [KEY])
    engine = open_site()
    engine.trust.install_root(raw, root.read(dsse.parse(raw, root.TYPE).payload, raw).digest)
    build(CTX, described(tmp_path), tmp_path / "drive", [KEY], None, [raw])
    told = verify(CTX, [tmp_path / "drive"], Site(engine))
    assert told["verdict"] == "verified" and told["publishers"][0]["verdict"] == "verified" and told["publishers"][0]["signer"]["name"] == "Maker"


@pytest.mark.parametrize(("spoil", "code"), [
    (lambda m: (m / "config.json").write_text('{"a": 1}'), "digest"),
    (lambda m: (m / "model.sig").write_bytes(oms.sign("m", [("config.json", "0" * 64)], MAKER)), "digest"),
    (lambda m: (m / "model.sig").write_text('{"mediaType": "x"}'), "content-refused"),
    (lambda m: (m / "other.sig").write_bytes(b"\x80\x04."), "content-refused")])
def test_what_does_not_fit_is_refused_at_build(tmp_path, spoil, code):
    spoil(signed(tmp_path))
    with pytest.raises(VerdictError) as caught:
        build(CTX, described(tmp_path), tmp_path / "drive", [KEY])
    assert code in {f["code"] for f in caught.value.params["findings"]}


def test_another_publisher_than_the_one_that_is_named_is_refused(tmp_path):
    signed(tmp_path, PrivateKey.generate("ecdsa-p256"))
    (tmp_path / "maker.pub").write_bytes(MAKER.public.pem)
    with pytest.raises(VerdictError) as caught:
        build(CTX, described(tmp_path, publisher="maker.pub"), tmp_path / "drive", [KEY])
    assert [f["code"] for f in caught.value.params["findings"]] == ["key"]
    with pytest.raises(InputError):
        load(tmp_path / "none.pem")
    with pytest.raises(InputError):
        load(described(tmp_path))


def test_what_stays_out_is_not_missed_and_what_is_gone_is_told(tmp_path):
    folder = signed(tmp_path)
    built = build(CTX, described(tmp_path, exclude=["tokenizer.json"]), tmp_path / "drive", [KEY])
    assert not any("not here" in warning for warning in built.warnings)
    told = verify(CTX, [tmp_path / "drive"], Knows({}))
    assert told["verdict"] == "verified" and any("tokenizer.json" in f["message"] for f in told["findings"])
    assert folder.is_dir()


def test_a_hostile_packager_cannot_put_a_publishers_signature_on_other_files(copy):
    raw = oms.sign("model", [("config.json", "0" * 64)], MAKER)
    copy.add("model/model.sig", raw, "weights")
    told = verify(CTX, [copy.drive], copy.sample.trusted)
    assert told["verdict"] == "failed" and "digest" in {f["code"] for f in told["findings"]} and told["publishers"][0]["verdict"] == "failed"


def test_a_signature_stands_in_models_alone():
    import io

    raw = oms.sign("m", [("a", "0" * 64)], MAKER)
    assert screening.screen("model", "m/a.sig", len(raw), io.BytesIO(raw)) == []
    assert screening.screen("model", "m/a.sig", 2, io.BytesIO(b"{}"))
