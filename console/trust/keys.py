"""Signing keys: ECDSA over P-384 (default), P-256 and P-521, and Ed25519 for log heads.

``keyid`` is ``sha256:`` and the SHA-256 of the SubjectPublicKeyInfo DER. The fingerprint that people compare is the
same digest in groups of four.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from console.errors import InputError, WorldError, code
from console.i18n import N_
from console.secrets import Secret

UNREADABLE = code("key.unreadable", InputError, N_("The key file {path} cannot be read: {reason}."),
                  N_("Check the path and the rights."))
MALFORMED = code("key.malformed", InputError, N_("{path} holds no key that Sealift can use: {reason}."),
                 N_("Name a PEM file with an ECDSA key (P-256, P-384, P-521) or an Ed25519 key."))
LOCKED = code("key.locked", InputError, N_("The key file {path} needs its passphrase."),
              N_("Give it when asked, or with --passphrase-file."))
PASSPHRASE = code("key.wrong-passphrase", InputError, N_("The passphrase of the key file {path} is wrong."),
                  N_("Give the right passphrase."))
EXISTS = code("key.exists", InputError, N_("{path} exists already; a key is never overwritten."),
              N_("Choose another name for the new key."))
UNWRITABLE = code("key.unwritable", WorldError, N_("The key cannot be written to {path}: {reason}."),
                  N_("Check the folder, its rights and its free space."))
BAD_ALGORITHM = code("key.bad-algorithm", InputError, N_("{alg} is not an algorithm for a signing key."),
                     N_("Choose ecdsa-p384, ecdsa-p256 or ed25519."))

MAX_FILE_BYTES = 64 << 10
_CURVES: dict[str, tuple[Any, Any]] = {
    "ecdsa-p256": (ec.SECP256R1, hashes.SHA256), "ecdsa-p384": (ec.SECP384R1, hashes.SHA384),
    "ecdsa-p521": (ec.SECP521R1, hashes.SHA512)}
_BY_CURVE = {curve.name: alg for alg, (curve, _) in _CURVES.items()}


@dataclass(frozen=True, eq=False)
class PublicKey:
    """A public key. Two are equal when their SubjectPublicKeyInfo is."""

    spki_der: bytes

    @cached_property
    def _key(self) -> Any:
        return serialization.load_der_public_key(self.spki_der)

    @cached_property
    def alg(self) -> str:
        """``ecdsa-p256``, ``ecdsa-p384``, ``ecdsa-p521`` or ``ed25519``."""
        return "ed25519" if isinstance(self._key, ed25519.Ed25519PublicKey) else _BY_CURVE[self._key.curve.name]

    @cached_property
    def keyid(self) -> str:
        """``sha256:`` and 64 hex digits."""
        return "sha256:" + hashlib.sha256(self.spki_der).hexdigest()

    @property
    def fingerprint(self) -> str:
        """The digest in groups of four, for comparing on paper or aloud."""
        digest = self.keyid.removeprefix("sha256:")
        return " ".join(digest[i : i + 4] for i in range(0, 64, 4))

    @property
    def pem(self) -> bytes:
        """PEM text with its final newline."""
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def raw(self) -> bytes:
        """The 32 bytes of an Ed25519 key."""
        return self._key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether ``signature`` over ``data`` was made by this key."""
        try:
            if self.alg == "ed25519":
                self._key.verify(signature, data)
            else:
                self._key.verify(signature, data, ec.ECDSA(_CURVES[self.alg][1]()))
        except (InvalidSignature, ValueError):
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.spki_der == self.spki_der

    def __hash__(self) -> int:
        return hash(self.spki_der)


class PrivateKey:
    """A private key; never printed, never part of an error."""

    def __init__(self, key: Any):
        self._key = key

    @classmethod
    def generate(cls, alg: str = "ecdsa-p384") -> PrivateKey:
        """A new key.

        Raises:
            InputError: ``key.bad-algorithm``.
        """
        if alg == "ed25519":
            return cls(ed25519.Ed25519PrivateKey.generate())
        if alg not in _CURVES:
            raise BAD_ALGORITHM(alg=alg)
        return cls(ec.generate_private_key(_CURVES[alg][0]()))

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """The Ed25519 key of a 32-byte seed (RFC 8032)."""
        return cls(ed25519.Ed25519PrivateKey.from_private_bytes(seed))

    @cached_property
    def public(self) -> PublicKey:
        """Its public half."""
        return PublicKey(self._key.public_key().public_bytes(serialization.Encoding.DER,
                                                             serialization.PublicFormat.SubjectPublicKeyInfo))

    def sign(self, data: bytes) -> bytes:
        """A signature over ``data``; DER for ECDSA."""
        if self.public.alg == "ed25519":
            return self._key.sign(data)
        return self._key.sign(data, ec.ECDSA(_CURVES[self.public.alg][1]()))

    def save(self, path: Path, passphrase: Secret | None = None) -> None:
        """Write it as PKCS #8 PEM, mode 0600, encrypted when there is a passphrase; never over another file.

        Raises:
            InputError: ``key.exists``. WorldError: ``key.unwritable``.
        """
        lock = (serialization.BestAvailableEncryption(passphrase.reveal().encode()) if passphrase
                else serialization.NoEncryption())
        pem = self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise EXISTS(path=str(path)) from None
        except OSError as problem:
            raise UNWRITABLE(path=str(path), reason=problem.strerror or "?") from None
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(pem)
                out.flush()
                os.fsync(out.fileno())
        except OSError as problem:
            # Half a key is no key, and its file would stand in the way of the next try.
            Path(path).unlink(missing_ok=True)
            raise UNWRITABLE(path=str(path), reason=problem.strerror or "?") from None

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.keyid})"


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as source:
            raw = source.read(MAX_FILE_BYTES + 1)
    except OSError as problem:
        raise UNREADABLE(path=str(path), reason=problem.strerror or "?") from None
    if len(raw) > MAX_FILE_BYTES:
        raise MALFORMED(path=str(path), reason=N_("too large for a key"))
    return raw


def _fit(key: Any) -> bool:
    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return True
    return isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) and key.curve.name in _BY_CURVE


def load_private(path: Path, passphrase: Secret | None = None) -> PrivateKey:
    """A private key from a PEM file (PKCS #8, SEC 1 or OpenSSH).

    Raises:
        InputError: ``key.unreadable``, ``key.malformed``, ``key.locked``, ``key.wrong-passphrase``.
    """
    raw, secret = _read(Path(path)), passphrase.reveal().encode() if passphrase else None
    openssh = b"BEGIN OPENSSH" in raw
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        key = load(raw, secret)
    except TypeError:
        if secret is None:
            raise LOCKED(path=str(path)) from None
        key = load(raw, None)  # a passphrase was given for a key that needs none
    except ValueError as problem:
        if secret is not None and b"ENCRYPTED" in raw:
            raise PASSPHRASE(path=str(path)) from None
        if openssh and secret is None and "password" in str(problem).lower():
            raise LOCKED(path=str(path)) from None
        raise MALFORMED(path=str(path), reason=N_("not a private key in PEM")) from None
    except Exception:  # cryptography has many kinds for keys of other families
        raise MALFORMED(path=str(path), reason=N_("a key of another kind")) from None
    if not _fit(key):
        raise MALFORMED(path=str(path), reason=N_("a key of another kind"))
    return PrivateKey(key)


def load_public(source: Path | bytes) -> PublicKey:
    """A public key from PEM or DER; of a certificate or a private key without passphrase, its public half.

    Raises:
        InputError: ``key.unreadable``, ``key.malformed``.
    """
    raw, name = (source, "–") if isinstance(source, bytes) else (_read(Path(source)), str(source))
    for load in (serialization.load_pem_public_key, serialization.load_der_public_key, _from_certificate, _from_private,
                 serialization.load_ssh_public_key):
        with contextlib.suppress(Exception):  # each loader has its own way to say that this is not its format
            key = load(raw)
            if _fit(key):
                return PublicKey(key.public_bytes(serialization.Encoding.DER,
                                                  serialization.PublicFormat.SubjectPublicKeyInfo))
    raise MALFORMED(path=name, reason=N_("not a public key"))


def _from_certificate(raw: bytes) -> Any:
    from cryptography import x509

    return x509.load_pem_x509_certificate(raw).public_key()


def _from_private(raw: bytes) -> Any:
    return serialization.load_pem_private_key(raw, None).public_key()
