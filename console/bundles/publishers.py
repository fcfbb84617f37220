"""Signatures that a model's publisher laid beside its files: held against the files at build, and again at the site.

They are shown apart from the builder's own signature and never stand in for it: who may bring models into a site is for the site to
say, not for publishers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from console.bundles.screening import REMARK, Finding
from console.errors import InputError, code, why
from console.i18n import N_, Said
from console.trust import oms
from console.trust.keys import PublicKey, load_public

UNREADABLE = code("bundle.publisher-unreadable", InputError, N_("{path} holds neither a public key nor certificates: {reason}."),
                  N_("Name the publisher's public key or certificate authority, in PEM."))
ENDING = ".sig"
_MATTERS = ("missing", "extra", "ok-ignored")
"""Findings that only say that the publisher signed more, or less, than what is carried."""


@dataclass(frozen=True)
class Publishers:
    """Whom models are believed to come from: keys by id with their holders, and certificate authorities."""

    keys: Mapping[str, tuple[PublicKey, str]]
    authorities: tuple[x509.Certificate, ...] = ()


NOBODY = Publishers({})


def load(path: Path) -> Publishers:
    """The publisher in a PEM file: a public key, or certificates that are its authorities.

    Raises:
        InputError: ``bundle.publisher-unreadable``.
    """
    try:
        raw = path.read_bytes()
        if b"BEGIN CERTIFICATE" in raw:
            return Publishers({}, tuple(x509.load_pem_x509_certificates(raw)))
        key = load_public(raw)
    except (OSError, ValueError, InputError) as problem:
        raise UNREADABLE(path=str(path), reason=why(problem)) from None
    return Publishers({key.keyid: (key, path.stem)})


def authorities(ders: Iterable[bytes]) -> tuple[x509.Certificate, ...]:
    """Certificates from their bytes; those that cannot be read are believed by nobody."""
    found = []
    for der in ders:
        try:
            found.append(x509.load_der_x509_certificate(der))
        except ValueError:
            continue
    return tuple(found)


def beside(place: str, paths: Iterable[str]) -> list[str]:
    """Paths of the signatures that lie at the top of a model's folder."""
    return [path for path in paths if path.endswith(ENDING) and path.rpartition("/")[0] == place]


@dataclass(frozen=True)
class Checked:
    """One publisher's signature. ``verdict`` is verified, failed or unverified (of a signer who is not known)."""

    path: str
    verdict: str
    signer: dict[str, str] | None
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """As documents hold it."""
        return {"path": self.path, "verdict": self.verdict, "signer": self.signer}


def check(place: str, digests: Mapping[str, str], read: Callable[[str], bytes], who: Publishers, left_out: Sequence[str] = ()) -> Iterator[Checked]:
    """Hold every signature beside a model against its files.

    Args:
        place: the model's folder. digests: SHA-256 hex by path, of its files. read: the bytes of one of them.
        left_out: paths that stay out of the bundle on purpose, or folders of them.
    """
    keys = [key for key, _ in who.keys.values()]
    for path in beside(place, digests):
        files = {p.removeprefix(place + "/"): digest for p, digest in digests.items() if p != path}
        told = oms.check_listing(read(path), files, keys, who.authorities)
        bad = [Finding(f.code, f"{path}: {f.path}" if f.path else path, f.message) for f in told.findings if f.code not in (*_MATTERS, "key")]
        out = [p.removeprefix(place + "/") for p in left_out]
        gone = [f.path for f in told.findings if f.code == "missing" and not any(f.path == p or f.path.startswith(p + "/") for p in out)]
        if gone:
            bad.append(Finding(REMARK, path, N_("its publisher signed files that are not here: {paths}"), True, {"paths": ", ".join(gone[:20])}))
        signer = told.signer and told.signer | {"name": told.signer["name"] or who.keys.get(told.signer["key_id"], (None, ""))[1]}
        failed = any(not f.remark for f in bad)
        if not failed and not told.verified:
            bad.append(Finding(REMARK, path, N_("its publisher's signature is of somebody who is not known here"), True))
        yield Checked(path, "failed" if failed else "verified" if told.verified else "unverified", signer, tuple(bad))


def summary(checked: Checked) -> Said:
    """One line on a publisher's signature."""
    name = (checked.signer or {}).get("name") or (checked.signer or {}).get("fingerprint") or "?"
    return Said({"verified": N_("signed by its publisher, {name}"), "failed": N_("the signature of its publisher does not fit"),
                 "unverified": N_("signed by a publisher that is not known here")}[checked.verdict], name=name)
