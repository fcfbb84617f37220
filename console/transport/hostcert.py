"""Host certificates of OpenSSH: whether the key that a server shows is vouched for by an authority that is trusted."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from console.i18n import N_, Said
from console.transport.publickey import AUTHORITY

ALGORITHMS = tuple(f"{name}-cert-v01@openssh.com" for name in (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256"))


def authorities(host_keys: Sequence[str]) -> list[str]:
    """The keys of authorities among trusted host keys, without their mark."""
    return [line.removeprefix(AUTHORITY) for line in host_keys if line.startswith(AUTHORITY)]


def refusal(line: str, trusted: Sequence[str], address: str) -> str | None:
    """Why the certificate ``line`` (``"ssh-ed25519-cert-v01@openssh.com AAAA…"``) does not vouch for the server at
    ``address``; None when it does."""
    try:
        certificate = load_ssh_public_identity(line.encode())
        if not isinstance(certificate, SSHCertificate):
            return N_("it is not a certificate")
        signer = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        if signer not in {" ".join(key.split()[:2]) for key in trusted}:
            return N_("it is signed by an authority that is not trusted here")
        certificate.verify_cert_signature()
    except InvalidSignature:
        return N_("its signature is wrong")
    except Exception as problem:  # the library raises several kinds for bytes that are no certificate
        return Said(N_("it cannot be read ({kind})"), kind=type(problem).__name__)
    return _limits(certificate, address)


def _limits(certificate: SSHCertificate, address: str) -> str | None:
    if certificate.type != SSHCertificateType.HOST:
        return N_("it is for users, not for hosts")
    if certificate.critical_options:
        return N_("it has options that are not known")
    now = int(time.time())
    if now < certificate.valid_after:
        return N_("it is not valid yet; check the clocks")
    if now >= certificate.valid_before:
        return N_("it has expired")
    names = {name.decode("utf-8", "replace").lower() for name in certificate.valid_principals}
    # As OpenSSH reads a host's names: with its two wildcards.
    if not any(fnmatch.fnmatchcase(address.lower(), name.replace("[", "[[]")) for name in names):
        if not names:
            return N_("it is for no host by name")
        return Said(N_("it is for {names}, not for {address}"), names=", ".join(sorted(names)[:5]), address=address)
    return None
