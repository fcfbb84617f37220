"""Keys and envelopes."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from console.errors import InputError, VerdictError
from console.secrets import Secret
from console.trust import dsse
from console.trust.keys import PrivateKey, load_private, load_public

ALGS = ("ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519")
TYPE = "application/vnd.in-toto+json"


@pytest.mark.parametrize("alg", ALGS)
def test_keys_sign_and_are_told_apart(alg, tmp_path):
    key, other = PrivateKey.generate(alg), PrivateKey.generate(alg)
    signature = key.sign(b"text")
    assert key.public.verify(signature, b"text") and key.public.alg == alg
    assert not key.public.verify(signature, b"texT") and not other.public.verify(signature, b"text")
    assert not key.public.verify(b"", b"text") and not key.public.verify(b"\x30\x80" + signature, b"text")
    assert key.public.keyid == "sha256:" + hashlib.sha256(key.public.spki_der).hexdigest()
    assert key.public.fingerprint.replace(" ", "") == key.public.keyid[7:]
    (tmp_path / "k.pub").write_bytes(key.public.pem)
    assert load_public(tmp_path / "k.pub") == load_public(key.public.spki_der) == key.public


@pytest.mark.parametrize("alg", ALGS)
def test_saved_keys_are_private_and_locked(alg, tmp_path):
    key, file = PrivateKey.generate(alg), tmp_path / "key"
    key.save(file, Secret("correct horse"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and b"ENCRYPTED" in file.read_bytes()
    assert load_private(file, Secret("correct horse")).public == key.public
    for passphrase, code in ((None, "key.locked"), (Secret("wrong"), "key.wrong-passphrase")):
        with pytest.raises(InputError) as caught:
            load_private(file, passphrase)
        assert caught.value.code == code
    with pytest.raises(InputError) as caught:
        key.save(file)
    assert caught.value.code == "key.exists"
    assert "PRIVATE" not in repr(key)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256K1())],
                         ids=["rsa", "secp256k1"])
def test_other_kinds_of_key_are_refused(key, tmp_path):
    file = tmp_path / "key"
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for call in (lambda: load_private(file), lambda: load_public(public)):
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code == "key.malformed"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_key_or_our_error(raw):
    try:
        load_public(raw)
    except InputError as problem:
        assert problem.code == "key.malformed"


def test_missing_and_large_files_say_so(tmp_path):
    with pytest.raises(InputError) as caught:
        load_public(tmp_path / "none")
    assert caught.value.code == "key.unreadable"
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    with pytest.raises(InputError):
        load_private(Path(tmp_path / "large"))


# Envelopes -----------------------------------------------------------------------------------------------------------


def test_what_is_signed_is_the_fixed_text():
    text = dsse.signed_text(TYPE, b"{}")
    assert text == b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
    assert hashlib.sha256(text).hexdigest().startswith("4842cb1b") and hashlib.sha256(text).hexdigest().endswith("1b63")


def trusted(*keys, holders=None):
    return {k.public.keyid: (k.public, (holders or {}).get(i, f"h{i}")) for i, k in enumerate(keys)}


def test_threshold_counts_distinct_holders():
    a, b, c = (PrivateKey.generate("ecdsa-p256") for _ in range(3))
    sealed = dsse.seal(TYPE, b"payload", [a, b])
    assert dsse.open_(sealed, TYPE, trusted(a, b, c), 2).payload == b"payload"
    with pytest.raises(VerdictError) as caught:
        dsse.open_(sealed, TYPE, trusted(a, b, c), 3)
    assert caught.value.code == "trust.threshold"
    with pytest.raises(VerdictError):
        dsse.open_(sealed, TYPE, trusted(a, b, holders={0: "one", 1: "one"}), 2)
    with pytest.raises(VerdictError):
        dsse.open_(dsse.seal(TYPE, b"p", [a, a]), TYPE, trusted(a), 2)


def test_unknown_keys_are_ignored_and_wrong_ones_are_not():
    a, b = PrivateKey.generate("ecdsa-p256"), PrivateKey.generate("ecdsa-p256")
    sealed = dsse.seal(TYPE, b"p", [a, b])
    assert dsse.open_(sealed, TYPE, trusted(a), 1).signers == ((a.public.keyid, "h0"),)
    value = json.loads(sealed)
    value["signatures"][1]["sig"] = value["signatures"][0]["sig"]
    assert dsse.open_(json.dumps(value).encode(), TYPE, trusted(a), 1)
    with pytest.raises(VerdictError) as caught:
        dsse.open_(json.dumps(value).encode(), TYPE, trusted(a, b), 1)
    assert caught.value.code == "trust.signature"


def test_cosigning_adds_and_repeats_nothing():
    a, b = PrivateKey.generate("ecdsa-p256"), PrivateKey.generate("ecdsa-p384")
    once = dsse.cosign(dsse.seal(TYPE, b"p", [a]), TYPE, [b])
    assert len(dsse.open_(once, TYPE, trusted(a, b), 2).signers) == 2
    assert len(dsse.parse(dsse.cosign(once, TYPE, [a, b]), TYPE).signatures) == 2


@given(st.data())
def test_no_change_of_an_envelope_passes(data):
    key = KEY
    raw = bytearray(SEALED)
    at, bit = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 7))
    raw[at] ^= 1 << bit
    try:
        opened = dsse.open_(bytes(raw), TYPE, trusted(key), 1)
    except VerdictError:
        return
    assert opened.payload == b'{"a":1}'


KEY = PrivateKey.generate("ecdsa-p256")
SEALED = dsse.seal(TYPE, b'{"a":1}', [KEY])


@pytest.mark.parametrize("change", [
    lambda v: v.update(payload=v["payload"] + "\n"), lambda v: v.update(payload=v["payload"].rstrip("=")),
    lambda v: v.update(payload=1), lambda v: v.update(signatures={}), lambda v: v["signatures"][0].pop("keyid"),
    lambda v: v["signatures"].append("x"), lambda v: v.pop("payload"), lambda v: v.update(payloadType=None),
    lambda v: v["signatures"][0].update(sig=base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode()),
])
def test_other_shapes_are_refused(change):
    value = json.loads(SEALED)
    change(value)
    with pytest.raises(VerdictError):
        dsse.open_(json.dumps(value).encode(), TYPE, trusted(KEY), 1)
