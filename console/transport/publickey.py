"""Public keys as OpenSSH writes them. Needs no SSH, so that what only compares or lists keys starts quickly."""

from __future__ import annotations

import base64
import binascii
import hashlib

HOST_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
                  "rsa-sha2-512", "rsa-sha2-256")

AUTHORITY = "@cert-authority "
"""What stands before the key of an authority among the trusted host keys of a server."""


def fingerprint(blob: bytes) -> str:
    """``SHA256:…`` of a public key's blob, as ``ssh-keygen -l`` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def key_blob(line: str) -> bytes:
    """The blob of ``"ssh-ed25519 AAAA…"``.

    Raises:
        ValueError: not an OpenSSH public key line.
    """
    kind, _, rest = line.strip().partition(" ")
    try:
        blob = base64.b64decode(rest.split(" ")[0], validate=True)
    except (binascii.Error, ValueError) as problem:
        raise ValueError("not an OpenSSH public key") from problem
    if len(blob) < 8 or blob[4 : 4 + int.from_bytes(blob[:4], "big")] != kind.encode():
        raise ValueError("not an OpenSSH public key")
    return blob
