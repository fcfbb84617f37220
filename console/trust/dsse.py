"""DSSE envelopes: signed text with its type, so that a signature over one kind of document never fits another."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from console.errors import VerdictError, code
from console.i18n import N_
from console.trust.canonical import decode
from console.trust.keys import PrivateKey, PublicKey

MAX_ENVELOPE_BYTES = 1 << 20
MAX_SIGNATURES = 16

SHAPE = code("trust.envelope", VerdictError, N_("The signed document is not a DSSE envelope: {reason}."),
             N_("The file is damaged or was not made by Sealift; get it anew."))
SIG_COUNT = code("trust.sig-count", VerdictError, N_("The document carries {count} signatures; 1 to 16 are allowed."),
                 N_("The file is damaged or was not made by Sealift; get it anew."))
PAYLOAD_TYPE = code("trust.payload-type", VerdictError, N_("The signed document is of the kind {found}, not {wanted}."),
                    N_("This is another kind of document; get the right file."))
SIGNATURE = code("trust.signature", VerdictError, N_("The signature that names key {keyid} is wrong."),
                 N_("The document was changed after it was signed. Do not use it; get it anew."))
THRESHOLD = code("trust.threshold", VerdictError, N_("{count} of {needed} needed holders have signed."),
                 N_("Compare the signer's fingerprint and trust the key, or get a document that enough people signed."))


@dataclass(frozen=True)
class Signature:
    """One signature as it stands in an envelope."""

    keyid: str
    sig: bytes


@dataclass(frozen=True)
class Envelope:
    """An envelope whose shape was checked and nothing else; read the payload only when the signatures pass."""

    payload: bytes
    signatures: tuple[Signature, ...]


@dataclass(frozen=True)
class Opened:
    """A payload whose signatures reached the threshold. ``signers`` are (keyid, holder), one a holder."""

    payload: bytes
    signers: tuple[tuple[str, str], ...]


def signed_text(payload_type: str, payload: bytes) -> bytes:
    """What is signed: ``DSSEv1 len(T) T len(payload) payload``."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(payload_type: str, payload: bytes, keys: Iterable[PrivateKey]) -> bytes:
    """An envelope with one signature a key."""
    text = signed_text(payload_type, payload)
    signatures = [{"keyid": key.public.keyid, "sig": base64.b64encode(key.sign(text)).decode()} for key in keys]
    return json.dumps({"payload": base64.b64encode(payload).decode(), "payloadType": payload_type,
                       "signatures": signatures}, separators=(",", ":")).encode()


def cosign(raw: bytes, payload_type: str, keys: Iterable[PrivateKey]) -> bytes:
    """The envelope ``raw`` with one more signature a key; a key that has signed already is left alone.

    Raises:
        VerdictError: of :func:`parse`, or ``trust.sig-count`` when there would be too many.
    """
    envelope = parse(raw, payload_type)
    known, text = {s.keyid for s in envelope.signatures}, signed_text(payload_type, envelope.payload)
    value = json.loads(raw)
    for key in keys:
        if key.public.keyid not in known:
            value["signatures"].append({"keyid": key.public.keyid, "sig": base64.b64encode(key.sign(text)).decode()})
    if len(value["signatures"]) > MAX_SIGNATURES:
        raise SIG_COUNT(count=len(value["signatures"]))
    return json.dumps(value, separators=(",", ":")).encode()


def parse(raw: bytes, payload_type: str, *, max_bytes: int = MAX_ENVELOPE_BYTES) -> Envelope:
    """The envelope of ``raw``; checks shape and type only.

    Raises:
        VerdictError: ``trust.size``, ``trust.json``, ``trust.envelope``, ``trust.sig-count``, ``trust.payload-type``.
    """
    value = decode(raw, max_bytes=max_bytes, what=N_("envelope"))
    if not isinstance(value, dict) or set(value) != {"payload", "payloadType", "signatures"}:
        raise SHAPE(reason=N_("other fields than payload, payloadType, signatures"))
    if not isinstance(value["signatures"], list):
        raise SHAPE(reason=N_("signatures are not a list"))
    if not 1 <= len(value["signatures"]) <= MAX_SIGNATURES:
        raise SIG_COUNT(count=len(value["signatures"]))
    if value["payloadType"] != payload_type:
        raise PAYLOAD_TYPE(found=str(value["payloadType"])[:200], wanted=payload_type)
    return Envelope(_unb64(value["payload"]), tuple(_signature(s) for s in value["signatures"]))


def _signature(value: object) -> Signature:
    if not isinstance(value, dict) or set(value) != {"keyid", "sig"} or not isinstance(value["keyid"], str):
        raise SHAPE(reason=N_("a signature with other fields than keyid, sig"))
    return Signature(value["keyid"], _unb64(value["sig"]))


def _unb64(text: object) -> bytes:
    try:
        if not isinstance(text, str):
            raise ValueError
        raw = base64.b64decode(text, validate=True)
        if base64.b64encode(raw).decode() != text:
            raise ValueError
    except (ValueError, binascii.Error):
        raise SHAPE(reason=N_("a field is not base64")) from None
    return raw


def good_signers(envelope: Envelope, payload_type: str,
                 trusted: Mapping[str, tuple[PublicKey, str]]) -> list[tuple[str, str]]:
    """(keyid, holder) of each trusted key that signed. Unknown key ids are ignored; a known one must be right.

    Raises:
        VerdictError: ``trust.signature``.
    """
    text, signers = signed_text(payload_type, envelope.payload), []
    for signature in envelope.signatures:
        if signature.keyid in trusted:
            key, holder = trusted[signature.keyid]
            if not key.verify(signature.sig, text):
                raise SIGNATURE(keyid=signature.keyid)
            signers.append((signature.keyid, holder))
    return signers


def open_(raw: bytes, payload_type: str, trusted: Mapping[str, tuple[PublicKey, str]], threshold: int) -> Opened:
    """The payload, when ``threshold`` distinct holders have signed it.

    Args:
        trusted: by key id, the key and who holds it.

    Raises:
        VerdictError: of :func:`parse`, ``trust.signature``, ``trust.threshold``.
    """
    envelope = parse(raw, payload_type)
    by_holder: dict[str, str] = {}
    for keyid, holder in good_signers(envelope, payload_type, trusted):
        by_holder.setdefault(holder, keyid)
    if len(by_holder) < threshold:
        raise THRESHOLD(count=len(by_holder), needed=threshold)
    return Opened(envelope.payload, tuple((keyid, holder) for holder, keyid in by_holder.items()))
