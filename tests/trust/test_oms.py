"""OpenSSF Model Signing: what we sign verifies, what was tampered with does not, certificates are judged."""

from __future__ import annotations

import base64
import datetime
import json
import os
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from console.errors import InputError
from console.trust import oms
from console.trust.dsse import signed_text
from console.trust.keys import PrivateKey

KEY = PrivateKey.generate("ecdsa-p256")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "sub").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "sub" / "weights.bin").write_bytes(b"\x00" * 5000)
    (made / "é.txt").write_text("x")
    return made


def signed(folder: Path, key: PrivateKey = KEY) -> bytes:
    return oms.sign_folder(folder, key, folder.parent / "model.sig")


def check(folder: Path, raw: bytes, **how) -> dict:
    return oms.verify(folder, raw, **({"keys": [KEY.public]} | how))


def codes(told: dict) -> set[str]:
    return {f["code"] for f in told["findings"]}


@pytest.mark.parametrize("alg", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521"])
def test_round_trip(folder, alg):
    key = PrivateKey.generate(alg)
    told = check(folder, signed(folder, key), keys=[key.public])
    assert told["verdict"] == "verified" and told["files"] == 3 and told["findings"] == []
    assert told["signers"][0]["key_id"] == key.public.keyid


def test_without_a_key_all_is_compared_and_nothing_believed(folder):
    assert check(folder, signed(folder), keys=[])["verdict"] == "unverified"


def test_signature_inside_the_folder(folder):
    place = folder / "model.sig"
    raw = oms.sign_folder(folder, KEY, place)
    place.write_bytes(raw)
    assert check(folder, raw, signature_path=place)["verdict"] == "verified"


@pytest.mark.parametrize(("spoil", "code"), [
    (lambda f: (f / "config.json").write_text("{ }"), "digest"),
    (lambda f: (f / "config.json").unlink(), "missing"),
    (lambda f: (f / "new.json").write_text("{}"), "extra"),
    (lambda f: (f / "config.json").rename(f / "other.json"), "extra"),
    (lambda f: (f / "link").symlink_to("config.json"), "symlink"),
    (lambda f: (f / "linked").symlink_to("sub"), "symlink"),
    (lambda f: os.mkfifo(f / "pipe"), "special-file"),
])
def test_tampering(folder, spoil, code):
    raw = signed(folder)
    spoil(folder)
    told = check(folder, raw)
    assert told["verdict"] == "failed" and code in codes(told)


def test_git_names_are_listed_and_not_covered(folder):
    raw = signed(folder)
    (folder / ".gitignore").write_text("x")
    told = check(folder, raw)
    assert told["verdict"] == "verified" and codes(told) == {"ok-ignored"}
    with pytest.raises(InputError):
        signed(folder)


def test_links_and_other_keys_are_not_signed(folder):
    with pytest.raises(InputError) as caught:
        signed(folder, PrivateKey.generate("ed25519"))
    assert caught.value.code == "oms.wrong-key"
    (folder / "link").symlink_to("config.json")
    with pytest.raises(InputError) as caught:
        signed(folder)
    assert caught.value.code == "oms.odd-file"


def resigned(raw: bytes, change, key: PrivateKey = KEY) -> bytes:
    bundle = json.loads(raw)
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    payload = change(statement, bundle) or json.dumps(statement).encode()
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(
        key.sign(signed_text(oms.PAYLOAD_TYPE, payload))).decode()
    return json.dumps(bundle).encode()


@pytest.mark.parametrize(("change", "code"), [
    (lambda s, b: s["predicate"].update(resources=[]), "empty"),
    (lambda s, b: s["predicate"]["resources"].append(s["predicate"]["resources"][0]), "dup-name"),
    (lambda s, b: s["predicate"]["resources"][0].update(name="../config.json"), "path"),
    (lambda s, b: s["predicate"]["resources"][0].update(name="/etc/passwd"), "path"),
    (lambda s, b: s["predicate"]["resources"][0].update(algorithm="sha1"), "alg-mix"),
    (lambda s, b: s["predicate"]["resources"][0].update(digest="zz"), "statement"),
    (lambda s, b: s["predicate"]["resources"].reverse(), "root-digest"),
    (lambda s, b: s["subject"][0]["digest"].update(sha256="0" * 64), "root-digest"),
    (lambda s, b: s["subject"].append(s["subject"][0]), "subject"),
    (lambda s, b: s["predicate"]["serialization"].update(method="shards"), "method"),
    (lambda s, b: s["predicate"]["serialization"].update(hash_type="blake2b"), "hash-alg"),
    (lambda s, b: s["predicate"]["serialization"].update(allow_symlinks=True), "method-ser"),
    (lambda s, b: s.update(predicateType="https://model_signing/signature/v0.2"), "statement"),
    (lambda s, b: b["dsseEnvelope"]["signatures"].append(b["dsseEnvelope"]["signatures"][0]), "sig-count"),
    (lambda s, b: b.update(mediaType="application/json"), "media-type"),
    (lambda s, b: b["dsseEnvelope"].update(payloadType="text/plain"), "payload-type"),
    (lambda s, b: b["verificationMaterial"]["publicKey"].update(hint="0" * 64), "key"),
    (lambda s, b: b.update(verificationMaterial=None), "json"),
    (lambda s, b: json.dumps(s).encode()[:-1] + b',"_type":"x"}', "json"),
])
def test_signed_nonsense_is_refused(folder, change, code):
    told = check(folder, resigned(signed(folder), change))
    assert told["verdict"] == "failed" and code in codes(told), told


def test_wrong_signatures(folder):
    told = check(folder, resigned(signed(folder), lambda s, b: None, PrivateKey.generate("ecdsa-p256")))
    assert told["verdict"] == "failed" and codes(told) == {"signature"}
    assert codes(check(folder, b"{}")) == {"media-type"} and codes(check(folder, b"no")) == {"json"}


def test_one_file(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"abc")
    import hashlib

    digest = hashlib.sha256(b"abc").hexdigest()
    for name, verdict in (("model.onnx", "verified"), (".", "verified"), ("other.onnx", "failed")):
        assert check(file, oms.sign("model.onnx", [(name, digest)], KEY))["verdict"] == verdict


def test_a_model_that_is_not_there(tmp_path, folder):
    told = check(tmp_path / "none", signed(folder))
    assert told["verdict"] == "failed" and "missing" in codes(told)


# Certificates --------------------------------------------------------------------------------------------------------

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate and its key; issues others."""

    def __init__(self, name: str, issuer: Authority | None = None, *, ca: bool = True, length: int | None = None,
                 usage: str | None = "sign", extended: list | None = None, before: int = -10, after: int = 10,
                 critical: bool = False, curve=ec.SECP256R1):
        self.key = ec.generate_private_key(curve())
        own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        by = issuer or self
        builder = (x509.CertificateBuilder().subject_name(own).issuer_name(by.name if issuer else own)
                   .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(NOW + before * DAY).not_valid_after(NOW + after * DAY)
                   .add_extension(x509.BasicConstraints(ca, length), True))
        if usage:
            builder = builder.add_extension(x509.KeyUsage(
                digital_signature=usage == "digital", content_commitment=False, key_encipherment=usage == "other",
                data_encipherment=False, key_agreement=False, key_cert_sign=usage == "sign", crl_sign=False,
                encipher_only=False, decipher_only=False), True)
        if extended is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), False)
        if critical:
            builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
        self.name = own
        self.certificate = builder.sign(by.key, hashes.SHA256())


def with_chain(folder: Path, leaf: Authority, chain: list[Authority]) -> bytes:
    pem = leaf.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder.parent / "leaf.key"
    file.write_bytes(pem)
    from console.trust.keys import load_private

    bundle = json.loads(signed(folder, load_private(file)))
    bundle["verificationMaterial"] = {"x509CertificateChain": {"certificates": [
        {"rawBytes": base64.b64encode(a.certificate.public_bytes(serialization.Encoding.DER)).decode()}
        for a in (leaf, *chain)]}, "tlogEntries": []}
    return json.dumps(bundle).encode()


def judged(folder, leaf, chain, root) -> tuple[str, set[str]]:
    told = oms.verify(folder, with_chain(folder, leaf, chain), roots=[root.certificate] if root else [], now=NOW)
    return told["verdict"], codes(told)


def test_certificate_chains(folder):
    root = Authority("root")
    middle = Authority("middle", root, length=0)
    leaf = Authority("leaf", middle, ca=False, usage="digital")
    assert judged(folder, leaf, [middle], root) == ("verified", set())
    assert judged(folder, leaf, [middle], None) == ("unverified", set())
    assert judged(folder, leaf, [], root) == ("failed", {"cert-chain"})
    assert judged(folder, leaf, [middle], Authority("root")) == ("failed", {"cert-chain"})


@pytest.mark.parametrize(("leaf", "middle", "code"), [
    ({"after": -1}, {}, "cert-time"), ({"before": 1}, {}, "cert-time"), ({}, {"after": -1}, "cert-time"),
    ({"usage": "other"}, {}, "cert-usage"), ({"usage": None}, {}, "cert-usage"),
    ({"extended": [ExtendedKeyUsageOID.SERVER_AUTH]}, {}, "cert-usage"),
    ({"critical": True}, {}, "cert-chain"), ({}, {"ca": False}, "cert-chain"), ({}, {"usage": "digital"}, "cert-chain"),
    ({}, {"usage": None}, "cert-chain"),
])
def test_certificates_that_do_not_do(folder, leaf, middle, code):
    root = Authority("root")
    between = Authority("middle", root, **middle)
    end = Authority("leaf", between, **({"ca": False, "usage": "digital"} | leaf))
    assert judged(folder, end, [between], root) == ("failed", {code})


def test_certificate_details(folder):
    root = Authority("root", length=0)
    end = Authority("leaf", root, ca=False, usage=None, extended=[ExtendedKeyUsageOID.CODE_SIGNING])
    assert judged(folder, end, [], root)[0] == "verified"
    middle = Authority("middle", root)
    assert judged(folder, Authority("leaf", middle, ca=False, usage="digital"), [middle], root) == ("failed", {"cert-chain"})
    odd = Authority("leaf", root, ca=False, usage="digital", curve=ec.SECP256K1)
    bundle = json.loads(with_chain(folder, Authority("x", root, ca=False), []))
    bundle["verificationMaterial"]["x509CertificateChain"]["certificates"][0]["rawBytes"] = base64.b64encode(
        odd.certificate.public_bytes(serialization.Encoding.DER)).decode()
    told = oms.verify(folder, json.dumps(bundle).encode(), roots=[root.certificate], now=NOW)
    assert codes(told) == {"key"}


# The reference tool --------------------------------------------------------------------------------------------------


def reference(*words: str) -> int:
    """Run the reference tool with the Python that SEALIFT_MODEL_SIGNING names."""
    python = os.environ.get("SEALIFT_MODEL_SIGNING")
    if not python:
        pytest.skip("SEALIFT_MODEL_SIGNING names no Python with model-signing")
    return subprocess.run([python, "-m", "model_signing", *words], capture_output=True, timeout=120).returncode


def key_files(tmp_path: Path, alg: str) -> tuple[PrivateKey, Path, Path]:
    key, private, public = PrivateKey.generate(alg), tmp_path / "key.pem", tmp_path / "key.pub"
    key.save(private)
    public.write_bytes(key.public.pem)
    return key, private, public


@pytest.mark.reference
@pytest.mark.parametrize("alg", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521"])
def test_agreement_with_the_reference_by_key(folder, tmp_path, alg):
    key, private, public = key_files(tmp_path, alg)
    ours, theirs = tmp_path / "ours.sig", tmp_path / "theirs.sig"
    ours.write_bytes(signed(folder, key))
    assert reference("verify", "key", str(folder), "--signature", str(ours), "--public_key", str(public)) == 0
    assert reference("sign", "key", str(folder), "--signature", str(theirs), "--private_key", str(private)) == 0
    assert check(folder, theirs.read_bytes(), keys=[key.public])["verdict"] == "verified"
    (folder / "config.json").write_text("[]")
    assert reference("verify", "key", str(folder), "--signature", str(ours), "--public_key", str(public)) != 0
    assert check(folder, theirs.read_bytes(), keys=[key.public])["verdict"] == "failed"


@pytest.mark.reference
def test_agreement_with_the_reference_by_certificate(folder, tmp_path):
    root = Authority("root", before=-3000, after=3000)
    leaf = Authority("leaf", root, ca=False, usage="digital", before=-3000, after=3000)
    for name, data in {
        "leaf.pem": leaf.certificate.public_bytes(serialization.Encoding.PEM),
        "root.pem": root.certificate.public_bytes(serialization.Encoding.PEM),
        "leaf.key": leaf.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption())}.items():
        (tmp_path / name).write_bytes(data)
    theirs, ours = tmp_path / "theirs.sig", tmp_path / "ours.sig"
    chain = ["--certificate_chain", str(tmp_path / "root.pem")]
    assert reference("sign", "certificate", str(folder), "--signature", str(theirs), "--private_key",
                     str(tmp_path / "leaf.key"), "--signing_certificate", str(tmp_path / "leaf.pem"), *chain) == 0
    told = oms.verify(folder, theirs.read_bytes(), roots=[root.certificate])
    assert told["verdict"] == "verified", told
    ours.write_bytes(with_chain(folder, leaf, [root]))
    assert reference("verify", "certificate", str(folder), "--signature", str(ours), *chain) == 0
    (folder / "config.json").write_text("[]")
    assert reference("verify", "certificate", str(folder), "--signature", str(ours), *chain) != 0
    assert oms.verify(folder, theirs.read_bytes(), roots=[root.certificate])["verdict"] == "failed"


@pytest.mark.reference
@pytest.mark.parametrize("harm", ["added", "removed", "renamed", "swapped", "cut"])
def test_agreement_with_the_reference_on_what_was_tampered_with(folder, tmp_path, harm):
    key, private, public = key_files(tmp_path, "ecdsa-p384")
    ours, theirs = tmp_path / "ours.sig", tmp_path / "theirs.sig"
    ours.write_bytes(signed(folder, key))
    assert reference("sign", "key", str(folder), "--signature", str(theirs), "--private_key", str(private)) == 0
    one, two = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)[:2]
    if harm == "added":
        (folder / "more.json").write_text("{}")
    elif harm == "removed":
        one.unlink()
    elif harm == "renamed":
        one.rename(one.with_name("other.json"))
    elif harm == "swapped":
        kept = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(kept)
    else:
        one.write_bytes(one.read_bytes()[:-1])
    for signature in (ours, theirs):
        assert reference("verify", "key", str(folder), "--signature", str(signature), "--public_key", str(public)) != 0
        assert check(folder, signature.read_bytes(), keys=[key.public])["verdict"] == "failed"
