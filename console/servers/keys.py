"""Host keys: fingerprints compared exactly, and pins read from known_hosts files."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import re
from dataclasses import dataclass

from console.errors import InputError, code
from console.i18n import N_
from console.transport.ssh import fingerprint, key_blob

MALFORMED = code("server.malformed-fingerprint", InputError, N_("{fingerprint} is not a host key fingerprint."),
                 N_("Give it as `ssh-keygen -l` prints it: SHA256: and 43 characters."))
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True)
class HostKey:
    """A host key as a server shows it."""

    line: str

    @property
    def type(self) -> str:
        return self.line.split(" ")[0]

    @property
    def fingerprint(self) -> str:
        return fingerprint(key_blob(self.line))


def checked_fingerprint(text: str) -> str:
    """``text`` without padding or surrounding space.

    Raises:
        InputError: ``server.malformed-fingerprint``.
    """
    plain = text.strip().rstrip("=")
    if not _FINGERPRINT.fullmatch(plain):
        raise MALFORMED(fingerprint=text[:100])
    return plain


@dataclass(frozen=True)
class KnownHosts:
    """The keys of a known_hosts file, and the numbers of the lines that could not be used, with why."""

    entries: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[int, str], ...]

    def keys_for(self, address: str, port: int) -> list[str]:
        """The keys that the file gives for ``address:port``."""
        wanted = address.lower() if port == 22 else f"[{address.lower()}]:{port}"
        return list(dict.fromkeys(key for hosts, key in self.entries if _names(hosts, wanted)))


def parse_known_hosts(text: str) -> KnownHosts:
    """Read a known_hosts file as OpenSSH writes it, hashed names included. ``@revoked`` and ``@cert-authority``
    lines are not used, and said to be."""
    entries, skipped = [], []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith("@"):
            skipped.append((number, f"{words[0]} is not supported"))
            continue
        try:
            hosts, kind, blob = words[:3]
            key_blob(f"{kind} {blob}")
        except ValueError:
            skipped.append((number, "not a host key line"))
            continue
        entries.append((hosts, f"{kind} {blob}"))
    return KnownHosts(tuple(entries), tuple(skipped))


def _names(hosts: str, wanted: str) -> bool:
    if hosts.startswith("|1|"):
        return _names_hashed(hosts, wanted)
    found = False
    for pattern in hosts.lower().split(","):
        negated = pattern.startswith("!")
        # Brackets belong to OpenSSH's port notation here, and mean nothing else in its patterns.
        if fnmatch.fnmatchcase(wanted, pattern.lstrip("!").replace("[", "[[]")):
            if negated:
                return False
            found = True
    return found


def _names_hashed(hosts: str, wanted: str) -> bool:
    try:
        _empty, _version, salt, digest = hosts.split("|")
        made = hmac.new(base64.b64decode(salt, validate=True), wanted.encode(), hashlib.sha1).digest()
        return hmac.compare_digest(made, base64.b64decode(digest, validate=True))
    except (binascii.Error, ValueError):
        return False
