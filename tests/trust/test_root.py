"""The trust root: thresholds by holder, rotation step by step, nothing that does not follow."""

from __future__ import annotations

import json

import pytest

from console.errors import InputError, VerdictError
from console.trust import dsse, root
from console.trust.keys import PrivateKey

A, B, C, D, A2 = (PrivateKey.generate("ecdsa-p256") for _ in range(5))
TIME = "2026-01-01T00:00:00.000000Z"
HOLDERS = [(A.public, "Ann"), (A2.public, "Ann"), (B.public, "Bo"), (C.public, "Cy")]


def ids(*keys) -> list[str]:
    return [k.public.keyid for k in keys]


def made(version=1, prev=None, sign=(A, B), keys=HOLDERS, root_keys=(A, A2, B, C), threshold=2, **more) -> bytes:
    payload = root.make(version=version, prev=prev, issued_at=TIME, expires_at=None, keys=keys,
                        roles={"root": (threshold, ids(*root_keys)), "release": (2, ids(A, B, C))}, **more)
    return root.seal(payload, sign)


def opened(raw: bytes) -> root.Root:
    return root.read(dsse.parse(raw, root.TYPE).payload, raw)



@pytest.fixture(scope="module")
def first() -> root.Root:
    raw = made()
    return root.first(raw, opened(raw).fingerprint)


def code_of(call) -> str:
    with pytest.raises((VerdictError, InputError)) as caught:
        call()
    return caught.value.code


def test_first_root_by_fingerprint():
    raw = made()
    assert root.first(raw, opened(raw).digest).version == 1
    assert code_of(lambda: root.first(raw, "00" * 32)) == "trust.root-fingerprint"
    short = made(sign=(A,))
    assert code_of(lambda: root.first(short, opened(short).digest)) == "trust.root-chain"
    same_holder = made(sign=(A, A2))
    assert code_of(lambda: root.first(same_holder, opened(same_holder).digest)) == "trust.root-chain"


def test_rotation_needs_the_old_and_the_new_threshold(first):
    keys = [(B.public, "Bo"), (C.public, "Cy"), (D.public, "Di"), (A.public, "Ann")]
    new = {"version": 2, "prev": first.digest, "keys": keys, "root_keys": (B, C, D)}
    assert root.follow(first, made(**new, sign=(B, C))).version == 2
    assert root.follow(first, made(**new, sign=(A, B, D))).version == 2
    assert code_of(lambda: root.follow(first, made(**new, sign=(B, D)))) == "trust.threshold"
    assert code_of(lambda: root.follow(first, made(**new, sign=(A, B)))) == "trust.root-chain"


@pytest.mark.parametrize("change", [{"version": 3}, {"version": 2, "prev": "0" * 64}])
def test_what_does_not_follow_is_refused(first, change):
    assert code_of(lambda: root.follow(first, made(**{"prev": first.digest} | change))) == "trust.root-chain"


def test_a_chain_catches_up_and_a_fork_is_refused(first):
    two = made(2, first.digest)
    three = made(3, opened(two).digest)
    assert [r.version for r in root.catch_up(first, [first.raw, two, three])] == [2, 3]
    assert root.catch_up(first, [first.raw]) == []
    fork = made(policy={"x": 1})
    assert code_of(lambda: root.catch_up(first, [fork])) == "trust.root-chain"
    assert code_of(lambda: root.catch_up(first, [three])) == "trust.root-chain"
    newest = root.catch_up(first, [two, three])[-1]
    assert root.catch_up(newest, [first.raw, two]) == []


def test_revoked_root_keys_sign_no_more(first):
    two = opened(made(2, first.digest, revoked=[(A.public.keyid, "lost", {"x": 3})], sign=(A, B, C)))
    assert A.public.keyid not in two.holders_of("root") and two.revoked[A.public.keyid][1] == {"x": 3}
    assert code_of(lambda: root.follow(two, made(3, two.digest, sign=(A, B)))) == "trust.threshold"


@pytest.mark.parametrize("change", [
    lambda v: v.update(v=2), lambda v: v.update(version=0), lambda v: v.update(version=True), lambda v: v.update(prev="x"),
    lambda v: v.update(issued_at="now"), lambda v: v.update(more=1), lambda v: v.pop("roles"),
    lambda v: v["roles"].pop("audit"), lambda v: v["roles"]["root"].update(threshold=9),
    lambda v: v["roles"]["root"].update(threshold=0), lambda v: v["roles"]["root"].update(keys=[]),
    lambda v: v["roles"]["root"]["keys"].append("sha256:none"), lambda v: v["roles"]["root"]["keys"].append(
        v["roles"]["root"]["keys"][0]), lambda v: v["keys"][A.public.keyid].update(spki="AAAA"),
    lambda v: v["keys"][A.public.keyid].update(holder=""), lambda v: v["keys"][A.public.keyid].update(alg="rsa"),
    lambda v: v.update(x509_roots=[{"sha256": "0" * 64, "der": "AAAA", "label": "x"}]), lambda v: v.update(policy=[]),
    lambda v: v.update(revoked_keys=[{"keyid": "x"}]), lambda v: v.update(keys=[]),
])
def test_malformed_roots(change):
    value = json.loads(dsse.parse(made(), root.TYPE).payload)
    change(value)
    payload = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert code_of(lambda: root.read(payload, b"")) == "trust.root-malformed"
