"""Signed heads of the log: C2SP signed notes over a checkpoint of origin, size and root."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from console.i18n import N_
from console.trust.keys import PrivateKey, PublicKey

ED25519 = b"\x01"


@dataclass(frozen=True)
class Head:
    """A head of the log: which log, how many records, the root over them."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note's text, with its final newline."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @property
    def short_code(self) -> str:
        """What a person compares on paper or aloud: five groups of four hex digits over the head's text."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return " ".join(digest[i : i + 4] for i in range(0, 20, 4))


def key_number(origin: str, key: PublicKey) -> bytes:
    """The four bytes that name a key in a signature line."""
    return hashlib.sha256(origin.encode() + b"\n" + ED25519 + key.raw).digest()[:4]


def verifier_line(origin: str, key: PublicKey) -> str:
    """The verifier key as one line: ``origin+number+base64(0x01 || key)``."""
    return f"{origin}+{key_number(origin, key).hex()}+{base64.b64encode(ED25519 + key.raw).decode()}"


def sign(head: Head, key: PrivateKey) -> bytes:
    """The signed note of a head."""
    signature = key_number(head.origin, key.public) + key.sign(head.text.encode())
    return f"{head.text}\n\u2014 {head.origin} {base64.b64encode(signature).decode()}\n".encode()


def read(note: bytes) -> Head:
    """The head of a note, its signature unchecked.

    Raises:
        ValueError: not a checkpoint.
    """
    origin, size, root, empty, *_ = note.decode("utf-8").split("\n")
    if empty or not size.isascii() or not size.isdigit() or (len(size) > 1 and size[0] == "0"):
        raise ValueError(N_("it is no signed head"))
    try:
        digest = base64.b64decode(root, validate=True)
    except binascii.Error as problem:
        raise ValueError(N_("it is no signed head")) from problem
    if len(digest) != 32:
        raise ValueError(N_("it is no signed head"))
    return Head(origin, int(size), digest)


def signed_by(note: bytes, origin: str, key: PublicKey) -> bool:
    """Whether one of the note's signature lines is by ``key``."""
    text, _, signatures = note.decode("utf-8", "replace").partition("\n\n")
    wanted = key_number(origin, key)
    for line in signatures.splitlines():
        if not line.startswith(f"\u2014 {origin} "):
            continue
        try:
            raw = base64.b64decode(line.rsplit(" ", 1)[1], validate=True)
        except binascii.Error:
            continue
        if raw[:4] == wanted and key.verify(raw[4:], (text + "\n").encode()):
            return True
    return False
