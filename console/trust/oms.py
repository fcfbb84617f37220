"""OpenSSF Model Signing v1.0: signatures over a model's folder, made and checked.

Statement and bundle layout: the OpenSSF Model Signing specification, v1.0. Where the text and its reference tool
differ, both listed orders are accepted and nothing weaker is.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from console.errors import InputError, SealiftError, code, why
from console.i18n import N_, Said
from console.trust.canonical import decode
from console.trust.dsse import signed_text
from console.trust.keys import PrivateKey, PublicKey

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
GIT_NAMES = (".git", ".gitattributes", ".github", ".gitignore")
MAX_SIGNATURE_BYTES = 64 << 20
BLOCK_BYTES = 1 << 20

GIT_PRESENT = code("oms.git-present", InputError, N_("{path} holds {name}, which a signature would leave out."),
                   N_("Sign a clean copy of the model without version control files."))
UNREADABLE = code("oms.unreadable", InputError, N_("{path} cannot be read: {reason}."),
                  N_("Check the path and the rights."))
ODD_FILE = code("oms.odd-file", InputError, N_("{path} is a link or a special file, which cannot be signed."),
                N_("Put a copy of the file in its place, then sign again."))
WRONG_KEY = code("oms.wrong-key", InputError, N_("A model cannot be signed with a key of the kind {alg}."),
                 N_("Use an ECDSA key; `sealift key new` makes one unless told otherwise."))
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_KNOWN_EXTENSIONS = (ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE,
                     ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.SUBJECT_KEY_IDENTIFIER,
                     ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
MAX_CERTIFICATES = 8
_HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Found:
    """One finding, by code of the trust design in lower case."""

    code: str
    path: str
    message: str


class _Refused(Exception):
    def __init__(self, code: str, message: str, path: str = ""):
        super().__init__(message)
        self.found = Found(code, path, message)


def file_digest(path: Path) -> tuple[str, int]:
    """(SHA-256 hex, bytes) of a regular file, links not followed."""
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # not every system has each
        flags |= getattr(os, name, 0)
    handle = os.open(path, flags)
    digest, total = hashlib.sha256(), 0
    buffer = bytearray(BLOCK_BYTES)
    view = memoryview(buffer)
    with os.fdopen(handle, "rb", buffering=0) as source:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        while count := source.readinto(buffer):
            digest.update(view[:count])
            total += count
    return digest.hexdigest(), total


# Signing -------------------------------------------------------------------------------------------------------------


def sign(name: str, digests: Iterable[tuple[str, str]], key: PrivateKey, signature_name: str | None = None) -> bytes:
    """The signature over files by relative path and SHA-256 hex; paths are listed in code-point order.

    Args:
        name: the model folder's name. signature_name: the signature's own path when it lies inside the folder.

    Raises:
        InputError: ``oms.wrong-key``.
    """
    if not key.public.alg.startswith("ecdsa-"):
        raise WRONG_KEY(alg=key.public.alg)
    resources = [{"name": path, "digest": digest, "algorithm": "sha256"} for path, digest in sorted(digests)]
    root = hashlib.sha256(b"".join(bytes.fromhex(r["digest"]) for r in resources)).hexdigest()
    ignored = [*GIT_NAMES, *([signature_name] if signature_name else [])]
    statement = {
        "_type": STATEMENT_TYPE, "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False,
                                        "ignore_paths": ignored},
                      "resources": resources}}
    payload = json.dumps(statement).encode()
    signature = key.sign(signed_text(PAYLOAD_TYPE, payload))
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint(key.public)}, "tlogEntries": []},
        "dsseEnvelope": {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE,
                         "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}]}}
    return json.dumps(bundle).encode()


def sign_folder(folder: Path, key: PrivateKey, signature: Path) -> bytes:
    """Hash a folder and sign it; the signature is returned, not written.

    Raises:
        InputError: ``oms.git-present``, ``oms.odd-file``, ``oms.unreadable``, ``oms.wrong-key``.
    """
    for name in GIT_NAMES:
        if os.path.lexists(folder / name):
            raise GIT_PRESENT(path=str(folder), name=name)
    inside = _inside(folder, signature)
    try:
        listed, odd = _listing(folder)
        if odd:
            raise ODD_FILE(path=str(folder / odd[0].path))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            digests = list(pool.map(lambda n: (n, file_digest(folder / n)[0]), [n for n in listed if n != inside]))
    except OSError as problem:
        raise UNREADABLE(path=problem.filename or str(folder), reason=problem.strerror or "?") from None
    return sign(folder.resolve().name, digests, key, inside)


def _inside(folder: Path, signature: Path) -> str | None:
    """The signature's path below ``folder``, or None when it lies elsewhere."""
    whole, base = signature.resolve(), folder.resolve()
    return whole.relative_to(base).as_posix() if whole.is_relative_to(base) and whole != base else None


def hint(key: PublicKey) -> str:
    """SHA-256 hex of the key's PEM text with its final newline, as the format has it."""
    return hashlib.sha256(key.pem).hexdigest()


# Verifying -----------------------------------------------------------------------------------------------------------


def verify(folder: Path, signature_raw: bytes, *, keys: Sequence[PublicKey] = (),
           roots: Sequence[x509.Certificate] = (), now: datetime | None = None,
           signature_path: Path | None = None) -> dict[str, Any]:
    """The contract's verdict document over a folder and its signature.

    Args:
        keys: public keys that are believed. roots: certificate authorities that are believed.
        now: the time that certificates are judged at.
    """
    findings: list[Found] = []
    signers: list[dict[str, str]] = []
    files = total = 0
    try:
        statement, signer, verified = _open(signature_raw, keys, roots, now, findings)
        if signer:
            signers.append(signer)
        resources, ignored = _resources(statement)
        own = _inside(folder, signature_path) if signature_path is not None else None
        files, total = _compare(folder, resources, [*ignored, *([own] if own else [])], findings)
    except _Refused as refusal:
        findings.append(refusal.found)
        verified = False
    except SealiftError as problem:
        findings.append(Found("json" if problem.code == "trust.json" else "size", "", why(problem)))
        verified = False
    except OSError as problem:
        findings.append(Found("missing", problem.filename or str(folder), Said(N_("it cannot be read: {reason}"), reason=problem.strerror or "?")))
        verified = False
    bad = [f for f in findings if f.code != "ok-ignored"]
    verdict = "failed" if bad else "verified" if verified else "unverified"
    return {"verdict": verdict, "signers": signers, "findings": [f.__dict__ for f in findings], "files": files,
            "bytes": total}


@dataclass(frozen=True)
class Listing:
    """A signature against files whose digests are known: what does not fit, who signed, and whether that one is believed."""

    findings: tuple[Found, ...]
    signer: dict[str, str] | None = None
    verified: bool = False


def check_listing(signature_raw: bytes, files: Mapping[str, str], keys: Sequence[PublicKey] = (),
                  roots: Sequence[x509.Certificate] = ()) -> Listing:
    """A signature against files whose digests are known already; nothing is read.

    Args:
        files: SHA-256 hex by relative path. keys: public keys that are believed; when none of them has signed, that is
            the finding ``key``. roots: certificate authorities that are believed.
    """
    signer = None
    try:
        try:
            statement, signer, verified = _open(signature_raw, keys, roots, None, [])
        except _Refused as refusal:
            if refusal.found.code != "key":
                raise
            # Signed by somebody else: what it lists is compared all the same.
            statement, signer, verified = _open(signature_raw, (), (), None, [])
        resources, ignored = _resources(statement)
    except _Refused as refusal:
        return Listing((refusal.found,))
    except SealiftError as problem:
        return Listing((Found("json" if problem.code == "trust.json" else "size", "", why(problem)),))
    found = [] if verified else [Found("key", "", N_("it was signed by a key that is not believed"))]
    found += [Found("missing", n, N_("the file is signed and not there")) for n in sorted(set(resources) - set(files))]
    for n in sorted(set(files) - set(resources)):
        covered = not _ignored(n, ignored)
        found.append(Found("extra", n, N_("the file is there and not signed")) if covered else Found("ok-ignored", n, N_("not covered by the signature")))
    found += [Found("digest", n, N_("the file is not the one that was signed")) for n in sorted(set(files) & set(resources)) if files[n] != resources[n]]
    return Listing(tuple(found), signer, verified)


def is_signature(raw: bytes) -> bool:
    """Whether this is the signature of a model, by its form; nothing is verified."""
    try:
        value = decode(raw, max_bytes=MAX_SIGNATURE_BYTES, floats=True, wide_numbers=True)
    except SealiftError:
        return False
    return isinstance(value, dict) and value.get("mediaType") == MEDIA_TYPE and isinstance(value.get("dsseEnvelope"), dict)


def _open(raw: bytes, keys, roots, now, findings) -> tuple[dict, dict[str, str] | None, bool]:
    bundle = decode(raw, max_bytes=MAX_SIGNATURE_BYTES, floats=True, wide_numbers=True, what="signature")
    if not isinstance(bundle, dict) or bundle.get("mediaType") != MEDIA_TYPE:
        raise _Refused("media-type", N_("it is not a model signature of a form that is accepted"))
    envelope = bundle.get("dsseEnvelope")
    if not isinstance(envelope, dict) or not isinstance(envelope.get("signatures"), list):
        raise _Refused("json", N_("it holds no envelope"))
    if len(envelope["signatures"]) != 1:
        raise _Refused("sig-count", N_("it must hold exactly one signature"))
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        raise _Refused("payload-type", N_("it signs another kind of document"))
    made = envelope["signatures"][0]
    payload, signature = _b64(envelope.get("payload")), _b64(made.get("sig") if isinstance(made, dict) else None)
    public, signer, verified = _signer(bundle.get("verificationMaterial"), keys, roots, now, findings)
    if public is not None and not public.verify(signature, signed_text(PAYLOAD_TYPE, payload)):
        raise _Refused("signature", N_("the signature is wrong: another key made it, or what it signs was changed"))
    statement = decode(payload, max_bytes=MAX_SIGNATURE_BYTES, floats=True, wide_numbers=True, what="statement")
    kinds = ("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)
    if not isinstance(statement, dict) or any(statement.get(name) != wanted for name, wanted in kinds):
        raise _Refused("statement", N_("what is signed is not a model statement of version 1.0"))
    return statement, signer, verified


def _b64(text: Any) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "!", validate=True)
    except (binascii.Error, ValueError):
        raise _Refused("json", N_("a field is not base64")) from None


def _signer(material: Any, keys, roots, now, findings) -> tuple[PublicKey | None, dict[str, str] | None, bool]:
    if not isinstance(material, dict):
        raise _Refused("json", N_("it names no signer"))
    if "x509CertificateChain" in material or "certificate" in material:
        return _certificates(material, roots, now)
    named = material.get("publicKey")
    if not isinstance(named, dict):
        raise _Refused("json", N_("it names no signer"))
    if not keys:
        return None, None, False
    wanted = named.get("hint")
    if wanted:
        matching = [k for k in keys if hint(k) == wanted]
        if not matching:
            raise _Refused("key", N_("it was signed by another key than the one that is believed"))
        key = matching[0]
    elif "rawBytes" in named:
        raw = _b64(named["rawBytes"])
        matching = [k for k in keys if raw in (k.spki_der, k.pem)]
        if not matching:
            raise _Refused("key", N_("it was signed by another key than the one that is believed"))
        key = matching[0]
    else:
        key = keys[0]
    return key, {"key_id": key.keyid, "name": "", "fingerprint": key.fingerprint}, True


def _certificates(material: dict, roots, now: datetime | None) -> tuple[PublicKey, dict[str, str], bool]:
    chain = material.get("x509CertificateChain") or {"certificates": [material.get("certificate")]}
    try:
        listed = chain["certificates"]
        if not isinstance(listed, list) or len(listed) > MAX_CERTIFICATES:
            raise ValueError
        carried = [x509.load_der_x509_certificate(_b64(c["rawBytes"])) for c in listed]
        keys = [c.public_key() for c in carried]
    except (ValueError, KeyError, TypeError, UnsupportedAlgorithm):
        raise _Refused("cert-chain", N_("its certificates cannot be read")) from None
    if not carried:
        raise _Refused("empty", N_("it carries no certificate"))
    leaf, key = carried[0], keys[0]
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _Refused("key", N_("its certificate is for a key of another kind than ECDSA P-256, P-384 or P-521"))
    public = PublicKey(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    signer = {"key_id": public.keyid, "name": _name(leaf), "fingerprint": public.fingerprint}
    if not roots:
        return public, signer, False
    _check_chain(leaf, carried[1:], list(roots), now or datetime.now().astimezone())
    return public, signer, True


def _name(certificate: x509.Certificate) -> str:
    try:
        return certificate.subject.rfc4514_string()
    except ValueError:
        return "?"


def _check_chain(leaf: x509.Certificate, carried: list[x509.Certificate], roots: list[x509.Certificate],
                 now: datetime) -> None:
    _check_leaf(leaf)
    current, depth, pool = leaf, 0, [*carried, *roots]
    while True:
        if not current.not_valid_before_utc <= now <= current.not_valid_after_utc:
            raise _Refused("cert-time", Said(N_("the certificate of {name} is not valid at this time"), name=_name(current)))
        _check_critical(current)
        if current in roots:
            return
        issuer = next((c for c in pool if c.subject == current.issuer and c != current and _issued(current, c)), None)
        if issuer is None or depth > MAX_CERTIFICATES:
            raise _Refused("cert-chain", N_("its certificates do not lead to one that is believed"))
        _check_issuer(issuer, depth, anchor=issuer in roots)
        current, depth = issuer, depth + 1


def _issued(child: x509.Certificate, parent: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(parent)
        key, digest = parent.public_key(), child.signature_hash_algorithm
    except Exception:  # each key family says "no" in its own way
        return False
    strong = not isinstance(key, rsa.RSAPublicKey) or key.key_size >= 2048
    return strong and digest is not None and digest.name in ("sha256", "sha384", "sha512")


def _check_critical(certificate: x509.Certificate) -> None:
    """A critical extension that we do not judge may forbid just what we are about to believe."""
    try:
        unknown = [e.oid.dotted_string for e in certificate.extensions
                   if e.critical and e.oid not in _KNOWN_EXTENSIONS]
    except ValueError:
        raise _Refused("cert-chain", N_("a certificate has a malformed extension")) from None
    if unknown:
        raise _Refused("cert-chain", Said(N_("a certificate has the critical extension {oid}, which is not known"), oid=unknown[0]))


def _check_leaf(leaf: x509.Certificate) -> None:
    usage, extended = _extension(leaf, x509.KeyUsage), _extension(leaf, x509.ExtendedKeyUsage)
    signing = extended is not None and ExtendedKeyUsageOID.CODE_SIGNING in extended
    if (extended is not None and not signing) or not (signing or (usage is not None and usage.digital_signature)):
        raise _Refused("cert-usage", N_("its certificate is not for signing"))


def _check_issuer(issuer: x509.Certificate, depth: int, *, anchor: bool) -> None:
    basic, usage = _extension(issuer, x509.BasicConstraints), _extension(issuer, x509.KeyUsage)
    # A root that people installed by hand may lack the extension, as OpenSSL's own default makes it.
    may_sign = usage.key_cert_sign if usage is not None else anchor
    if basic is None or not basic.ca or not may_sign:
        raise _Refused("cert-chain", Said(N_("{name} may not issue certificates"), name=_name(issuer)))
    if basic.path_length is not None and depth > basic.path_length:
        raise _Refused("cert-chain", Said(N_("{name} may not issue a chain of this length"), name=_name(issuer)))


def _extension(certificate: x509.Certificate, kind: Any) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except ValueError:
        raise _Refused("cert-chain", N_("a certificate has a malformed extension")) from None


def _resources(statement: dict) -> tuple[dict[str, str], list[str]]:
    """(SHA-256 hex by path, ignored paths) of a statement, whose root digest was recomputed."""
    predicate, subject = statement.get("predicate"), statement.get("subject")
    if not isinstance(subject, list) or len(subject) != 1 or not isinstance(subject[0], dict):
        raise _Refused("subject", N_("the statement does not have exactly one subject"))
    if not isinstance(predicate, dict):
        raise _Refused("statement", N_("the statement lists no files"))
    how, listed = predicate.get("serialization"), predicate.get("resources")
    if not isinstance(how, dict) or not isinstance(listed, list):
        raise _Refused("statement", N_("the statement lists no files"))
    if not listed:
        raise _Refused("empty", N_("the statement lists no files"))
    if how.get("method") != "files":
        raise _Refused("method", Said(N_("the method {name} is not supported"), name=str(how.get("method"))[:40]))
    if how.get("hash_type") != "sha256":
        raise _Refused("hash-alg", Said(N_("the digest {name} is not supported"), name=str(how.get("hash_type"))[:40]))
    if how.get("allow_symlinks"):
        raise _Refused("method-ser", N_("the statement allows links"))
    resources: dict[str, str] = {}
    joined = hashlib.sha256()
    for item in listed:
        name, digest = (item.get("name"), item.get("digest")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(digest, str):
            raise _Refused("statement", N_("a listed file is malformed"))
        if item.get("algorithm") != "sha256":
            raise _Refused("alg-mix", Said(N_("{name} is listed with another digest"), name=name[:200]))
        if not _safe(name):
            raise _Refused("path", N_("a listed path leaves the folder"), name)
        if name in resources:
            raise _Refused("dup-name", N_("the path is listed twice"), name)
        if not _HEX64.fullmatch(digest):
            raise _Refused("statement", N_("a listed digest is malformed"), name)
        joined.update(bytes.fromhex(digest))
        resources[name] = digest
    claimed = subject[0].get("digest")
    if not isinstance(claimed, dict) or claimed.get("sha256") != joined.hexdigest():
        raise _Refused("root-digest", N_("the listed files do not give the digest that was signed"))
    ignored = how.get("ignore_paths") or []
    if not isinstance(ignored, list) or not all(isinstance(p, str) for p in ignored):
        raise _Refused("statement", N_("the ignored paths are malformed"))
    return resources, [p.rstrip("/") for p in ignored]


def _safe(name: str) -> bool:
    parts = name.split("/")
    return bool(name) and not name.startswith("/") and "\\" not in name and "\x00" not in name and (
        name == "." or not any(p in ("", ".", "..") for p in parts))


def _listing(folder: Path) -> tuple[list[str], list[Found]]:
    """Paths of all regular files below ``folder``, and what is neither file nor folder."""
    files, odd, stack = [], [], [""]
    while stack:
        base = stack.pop()
        with os.scandir(folder / base) as entries:
            for entry in entries:
                name = f"{base}/{entry.name}" if base else entry.name
                if entry.is_symlink():
                    odd.append(Found("symlink", name, N_("a link is not a model file")))
                elif entry.is_dir(follow_symlinks=False):
                    stack.append(name)
                elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                    files.append(name)
                else:
                    odd.append(Found("special-file", name, N_("neither a file nor a folder")))
    return sorted(files), odd


def _ignored(name: str, ignored: Sequence[str]) -> bool:
    return any(name == p or name.startswith(p + "/") for p in ignored) or name.split("/")[0].startswith(".git")


def _compare(folder: Path, resources: dict[str, str], ignored: list[str], findings: list[Found]) -> tuple[int, int]:
    if folder.is_file():
        # A model of one file is listed as "." or by its name.
        names, base = {next((n for n in resources if n in (".", folder.name)), folder.name): folder}, []
    else:
        listed, base = _listing(folder)
        names = {n: folder / n for n in listed}
    findings += [f for f in base if not _ignored(f.path, ignored)]
    findings += [Found("missing", n, N_("the file is signed and not there")) for n in sorted(set(resources) - set(names))]
    for name in sorted(set(names) - set(resources)):
        if _ignored(name, ignored):
            findings.append(Found("ok-ignored", name, N_("not covered by the signature")))
        else:
            findings.append(Found("extra", name, N_("the file is there and not signed")))
    common = sorted(set(names) & set(resources))
    total = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, result in zip(common, pool.map(lambda n: _digest_or_problem(names[n]), common), strict=True):
            if isinstance(result, str):
                findings.append(Found("missing", name, result))
                continue
            total += result[1]
            if result[0] != resources[name]:
                findings.append(Found("digest", name, N_("the file is not the one that was signed")))
    return len(common), total


def _digest_or_problem(path: Path) -> tuple[str, int] | str:
    try:
        return file_digest(path)
    except OSError as problem:
        return Said(N_("it cannot be read: {reason}"), reason=problem.strerror or "?")
