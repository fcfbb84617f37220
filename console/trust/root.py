"""The trust root: who holds which key for which role, signed by a threshold of root keys, each version by the one before.

Rules: trust design, section 4. A bundle carries the chain, so a site that was off for years catches up offline.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from console.errors import InputError, SealiftError, VerdictError, code, shown, why
from console.i18n import N_, Said
from console.trust import dsse
from console.trust.canonical import decode, encode
from console.trust.keys import PrivateKey, PublicKey, load_public

TYPE = "application/vnd.sealift.root+json"
ROLES = ("root", "release", "publisher", "audit")
MAX_BYTES = 1 << 20
MAX_CHAIN = 1000

MALFORMED = code("trust.root-malformed", VerdictError, N_("The trust root is malformed: {reason}."),
                 N_("Get the file anew from those who hold the root keys."))
CHAIN = code("trust.root-chain", VerdictError, N_("The trust root {version} does not follow on the one in force: {reason}."),
             N_("Do not use it. Ask those who hold the root keys, on another way, what happened."))
FINGERPRINT = code("trust.root-fingerprint", InputError, N_("The trust root has the fingerprint {actual}, not the one given."),
                   N_("Do not install it. Ask for the fingerprint on another way and let two people compare it."))

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Role:
    """How many distinct holders a role needs, and which keys may sign for it."""

    threshold: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Root:
    """One version. ``digest`` is the SHA-256 of its payload, ``revoked`` gives by key id the reason and, by channel, the
    last sequence that the key still vouches for where the site has imported it already."""

    version: int
    prev: str | None
    issued_at: str
    expires_at: str | None
    keys: dict[str, tuple[PublicKey, str]]
    roles: dict[str, Role]
    revoked: dict[str, tuple[str, dict[str, int]]]
    x509_roots: tuple[bytes, ...]
    policy: dict[str, Any]
    digest: str
    raw: bytes

    @property
    def fingerprint(self) -> str:
        """The digest in groups of four, for comparing on paper or aloud."""
        return " ".join(self.digest[i : i + 4] for i in range(0, 64, 4))

    def holders_of(self, role: str) -> dict[str, tuple[PublicKey, str]]:
        """By key id, the keys that count for a role and who holds them."""
        return {keyid: self.keys[keyid] for keyid in self.roles[role].keys if keyid not in self.revoked}


def make(*, version: int, prev: str | None, issued_at: str, expires_at: str | None, keys: Sequence[tuple[PublicKey, str]],
         roles: Mapping[str, tuple[int, Sequence[str]]], revoked: Sequence[tuple[str, str, Mapping[str, int]]] = (),
         x509_roots: Sequence[tuple[bytes, str]] = (), policy: Mapping[str, Any] | None = None) -> bytes:
    """The payload of a root, for :func:`dsse.seal` with :data:`TYPE`.

    Args:
        keys: (key, holder). roles: by role, threshold and key ids; roles left out have no keys.
        revoked: (key id, reason, last sequence by channel). x509_roots: (DER, label).

    Raises:
        VerdictError: ``trust.root-malformed``.
    """
    payload = encode({
        "v": 1, "version": version, "prev": prev, "issued_at": issued_at, "expires_at": expires_at,
        "keys": {k.keyid: {"alg": k.alg, "spki": base64.b64encode(k.spki_der).decode(), "holder": holder} for k, holder in keys},
        "roles": {name: {"threshold": roles[name][0], "keys": list(roles[name][1])} if name in roles
                  else {"threshold": 1, "keys": []} for name in ROLES},
        "revoked_keys": [{"keyid": keyid, "reason": reason, "last_sequence": dict(last)} for keyid, reason, last in revoked],
        "x509_roots": [{"sha256": hashlib.sha256(der).hexdigest(), "der": base64.b64encode(der).decode(), "label": label}
                       for der, label in x509_roots],
        "policy": dict(policy or {})}, wide_keys=True)
    read(payload, b"")
    return payload


def seal(payload: bytes, keys: Sequence[PrivateKey]) -> bytes:
    """The signed root."""
    return dsse.seal(TYPE, payload, keys)


def read(payload: bytes, raw: bytes) -> Root:
    """The root of a payload; its signatures are the caller's business.

    Raises:
        VerdictError: ``trust.root-malformed``, ``trust.json``, ``trust.size``.
    """
    value = decode(payload, max_bytes=MAX_BYTES, what=N_("trust root"))
    try:
        if encode(value, wide_keys=True) != payload:
            raise ValueError(N_("it is not in canonical form"))
        return _root(value, payload, raw)
    except (KeyError, TypeError, AttributeError):
        raise MALFORMED(reason=N_("a field is missing or of another kind")) from None
    except ValueError as problem:
        raise MALFORMED(reason=why(problem)) from None
    except InputError as problem:
        raise MALFORMED(reason=why(problem)) from None


def _root(value: dict[str, Any], payload: bytes, raw: bytes) -> Root:
    _only(value, "v", "version", "prev", "issued_at", "expires_at", "keys", "roles", "revoked_keys", "x509_roots", "policy")
    version, prev = value["version"], value["prev"]
    _need(value["v"] == 1, N_("it is of another form"))
    _need(_whole(version) and version >= 1, N_("its version is no number from 1 up"))
    _need(prev is None if version == 1 else isinstance(prev, str) and bool(_HEX64.fullmatch(prev)),
          N_("it does not name the version before it"))
    _need(bool(_TIME.fullmatch(value["issued_at"])), N_("its time is malformed"))
    expires = value["expires_at"]
    _need(expires is None or bool(_TIME.fullmatch(expires)), N_("its expiry is malformed"))
    keys = {keyid: _key(keyid, item) for keyid, item in value["keys"].items()}
    _only(value["roles"], *ROLES)
    roles = {name: _role(item, keys) for name, item in value["roles"].items()}
    for name in ("root", "release"):
        _need(name == "release" or bool(roles[name].keys), Said(N_("nobody holds the role {name}"), name=name))
    return Root(version, prev, value["issued_at"], expires, keys, roles, dict(_revoked(r) for r in value["revoked_keys"]),
                tuple(_authority(a) for a in value["x509_roots"]), _policy(value["policy"]),
                hashlib.sha256(payload).hexdigest(), raw)


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


def _only(value: Any, *names: str) -> None:
    _need(isinstance(value, dict) and set(value) == set(names), N_("it has other fields than it must"))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _unb64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError(N_("a field is not base64")) from None
    _need(base64.b64encode(raw).decode() == text, N_("a field is not base64"))
    return raw


def _key(keyid: str, item: Any) -> tuple[PublicKey, str]:
    _only(item, "alg", "spki", "holder")
    key = load_public(_unb64(item["spki"]))
    _need(key.keyid == keyid and key.alg == item["alg"], Said(N_("the key {keyid}… is another one"), keyid=shown(keyid[:24])))
    _need(isinstance(item["holder"], str) and 0 < len(item["holder"]) <= 200, N_("a key has no holder"))
    return key, item["holder"]


def _role(item: Any, keys: dict[str, tuple[PublicKey, str]]) -> Role:
    _only(item, "threshold", "keys")
    listed = item["keys"]
    _need(isinstance(listed, list) and len(set(listed)) == len(listed) <= 64, N_("a role lists a key twice"))
    _need(all(keyid in keys for keyid in listed), N_("a role lists a key that is not there"))
    _need(_whole(item["threshold"]) and 1 <= item["threshold"] <= 16, N_("a threshold is not 1 to 16"))
    holders = {keys[keyid][1] for keyid in listed}
    _need(not listed or item["threshold"] <= len(holders), N_("a role needs more holders than there are"))
    return Role(item["threshold"], tuple(listed))


def _revoked(item: Any) -> tuple[str, tuple[str, dict[str, int]]]:
    _only(item, "keyid", "reason", "last_sequence")
    last = item["last_sequence"]
    _need(isinstance(item["keyid"], str) and isinstance(item["reason"], str) and isinstance(last, dict)
          and all(_whole(n) and n >= 0 for n in last.values()), N_("a revoked key is malformed"))
    return item["keyid"], (item["reason"], last)


def _authority(item: Any) -> bytes:
    _only(item, "sha256", "der", "label")
    der = _unb64(item["der"])
    _need(hashlib.sha256(der).hexdigest() == item["sha256"] and isinstance(item["label"], str), N_("a certificate is another one"))
    return der


def _policy(value: Any) -> dict[str, Any]:
    _need(isinstance(value, dict), N_("its policy is malformed"))
    return value


# The chain -----------------------------------------------------------------------------------------------------------


def first(raw: bytes, fingerprint: str) -> Root:
    """The root that two people have compared by its whole fingerprint.

    Raises:
        InputError: ``trust.root-fingerprint``. VerdictError: malformed, or not signed by its own threshold.
    """
    envelope = dsse.parse(raw, TYPE)
    digest = hashlib.sha256(envelope.payload).hexdigest()
    if "".join(fingerprint.split()).lower().removeprefix("sha256:") != digest:
        raise FINGERPRINT(actual=" ".join(digest[i : i + 4] for i in range(0, 64, 4)))
    root = read(envelope.payload, raw)
    _signed(raw, root, root)
    return root


def self_signed(raw: bytes) -> Root:
    """A root that is in order by itself: signed by its own threshold. Whether it is to be believed is another question.

    Raises:
        VerdictError: ``trust.root-chain``, ``trust.root-malformed`` and those of the envelope.
    """
    root = read(dsse.parse(raw, TYPE).payload, raw)
    _signed(raw, root, root)
    return root


def follow(root: Root, raw: bytes) -> Root:
    """The next version, signed by the threshold of ``root`` and by its own.

    Raises:
        VerdictError: ``trust.root-chain``, ``trust.root-malformed`` and those of the envelope.
    """
    new = read(dsse.open_(raw, TYPE, root.holders_of("root"), root.roles["root"].threshold).payload, raw)
    if new.version != root.version + 1:
        raise CHAIN(version=new.version, reason=Said(N_("version {version} is wanted"), version=root.version + 1))
    if new.prev != root.digest:
        raise CHAIN(version=new.version, reason=N_("it names another one before it"))
    _signed(raw, new, new)
    return new


def _signed(raw: bytes, by: Root, new: Root) -> None:
    try:
        dsse.open_(raw, TYPE, by.holders_of("root"), by.roles["root"].threshold)
    except SealiftError as problem:
        raise CHAIN(version=new.version, reason=why(problem)) from None


def catch_up(root: Root, chain: Sequence[bytes]) -> list[Root]:
    """The versions after ``root`` that a chain holds, oldest first. Older ones are passed over, a fork is refused.

    Raises:
        VerdictError: ``trust.root-chain`` and those of :func:`follow`.
    """
    if len(chain) > MAX_CHAIN:
        raise CHAIN(version=root.version, reason=N_("the chain is too long"))
    found: list[Root] = []
    for raw in chain:
        now = found[-1] if found else root
        claimed = read(dsse.parse(raw, TYPE).payload, raw)
        if claimed.version < now.version:
            continue
        if claimed.version == now.version:
            if claimed.digest != now.digest:
                raise CHAIN(version=claimed.version, reason=N_("another one of this version is in force"))
            continue
        found.append(follow(now, raw))
    return found
