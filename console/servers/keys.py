"""Host keys: fingerprints compared exactly, and pins read from known_hosts files."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from console.errors import InputError, code
from console.i18n import N_, Said
from console.transport.publickey import AUTHORITY, HOST_KEY_TYPES, fingerprint, key_blob

USED_TYPES = frozenset({*HOST_KEY_TYPES, "ssh-rsa"})
"""Types of key that a server can be known by; RSA keys are called by their old name, whatever signs with them."""

MALFORMED = code("server.malformed-fingerprint", InputError, N_("{fingerprint} is not a host key fingerprint."),
                 N_("Give it as `ssh-keygen -l` prints it: SHA256: and 43 characters."))
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True)
class HostKey:
    """A host key as a server shows it, or the key of an authority that certifies host keys."""

    line: str

    @property
    def authority(self) -> bool:
        """Whether the key certifies those of servers, instead of being one."""
        return self.line.startswith(AUTHORITY)

    @property
    def bare(self) -> str:
        """The key alone, ``"ssh-ed25519 AAAA…"``."""
        return self.line.removeprefix(AUTHORITY)

    @property
    def type(self) -> str:
        return self.bare.split(" ")[0]

    @property
    def fingerprint(self) -> str:
        return fingerprint(key_blob(self.bare))


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
    """The keys of a known_hosts file, and the numbers of the lines that could not be used, with why.

    ``entries`` and ``authorities`` are (host patterns, key); keys that the file marks as ``revoked`` are in neither.
    """

    entries: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[int, str], ...]
    authorities: tuple[tuple[str, str], ...] = ()
    revoked: frozenset[str] = frozenset()

    def keys_for(self, address: str, port: int) -> list[str]:
        """The keys that the file gives for ``address:port``."""
        return _keys_for(self.entries, address, port)

    def authorities_for(self, address: str, port: int) -> list[str]:
        """The authorities whose certificates count for ``address:port``, marked as such."""
        # As OpenSSH does: a pattern without a port speaks of certificates at any port.
        found = _keys_for(self.authorities, address, port) or _keys_for(self.authorities, address, 22)
        return [AUTHORITY + key for key in found]

    @property
    def authority_lines(self) -> list[str]:
        """Patterns and key of each authority, as lines that :func:`parse_authorities` reads."""
        return [f"{hosts} {key}" for hosts, key in self.authorities]


def _keys_for(entries: Sequence[tuple[str, str]], address: str, port: int) -> list[str]:
    wanted = address.lower() if port == 22 else f"[{address.lower()}]:{port}"
    return list(dict.fromkeys(key for hosts, key in entries if _names(hosts, wanted)))


def parse_authorities(text: str) -> KnownHosts:
    """The authorities of lines as :attr:`KnownHosts.authority_lines` gives them; others are passed over."""
    return parse_known_hosts("".join(f"@cert-authority {line}\n" for line in text.splitlines()))


def parse_known_hosts(text: str) -> KnownHosts:
    """Read a known_hosts file as OpenSSH writes it, hashed names included."""
    entries, skipped, authorities, revoked = [], [], [], set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        mark = words.pop(0) if words[0].startswith("@") else ""
        if mark not in ("", "@revoked", "@cert-authority"):
            skipped.append((number, Said(N_("{mark} is not known"), mark=mark[:40])))
            continue
        try:
            hosts, kind, blob = words[:3]
            key_blob(f"{kind} {blob}")
        except ValueError:
            skipped.append((number, Said(N_("not a host key line"))))
            continue
        if mark == "@revoked":
            revoked.add(f"{kind} {blob}")
            skipped.append((number, Said(N_("the key is revoked, and not trusted wherever else the file names it"))))
        elif kind not in USED_TYPES:
            # Pinned, such a key would make every other that the server shows look like a changed one.
            skipped.append((number, Said(N_("keys of the type {type} are not used"), type=kind[:60])))
        else:
            (authorities if mark else entries).append((hosts, f"{kind} {blob}"))
    good, vouching = ([e for e in found if e[1] not in revoked] for found in (entries, authorities))
    return KnownHosts(tuple(good), tuple(skipped), tuple(vouching), frozenset(revoked))


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
