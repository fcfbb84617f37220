"""What is kept of a server, and which values are accepted."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from console.errors import InputError, code
from console.i18n import N_, Said

INVALID = code("server.invalid-field", InputError, N_("{field} of server {server} cannot be {value}: {reason}."),
               N_("Correct the value and try again."))

AUTHS, SUDOS = ("agent", "key", "password"), ("none", "nopasswd", "password")
NAME_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@\\-]{0,63}\$?")
_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:%_-]{0,252}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f]{0,200}")
_STORE = re.compile(r"(~/|/)[^\x00-\x1f\x7f-\x9f]{0,400}")


@dataclass(frozen=True)
class ServerRecord:
    """One server.

    Attributes:
        name: the name in this workspace.
        address: host name or address to connect to.
        identity_file: private key on this machine, or None.
        auth: ``agent``, ``key`` or ``password``.
        sudo: ``none``, ``nopasswd`` or ``password``.
        jump: names of servers to go through, nearest first.
        store: folder for weights and releases on the server; ``~/`` is expanded there.
        host_keys: OpenSSH public keys that are trusted; kept by the book, not by callers.
    """

    name: str
    address: str
    port: int = 22
    user: str = "root"
    identity_file: str | None = None
    auth: str = "agent"
    sudo: str = "none"
    jump: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    group: str = ""
    store: str = "~/sealift"
    host_keys: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON values, without the host keys."""
        plain = asdict(self)
        del plain["host_keys"]
        return plain | {"jump": list(self.jump), "labels": list(self.labels)}


def from_dict(plain: dict[str, Any], host_keys: tuple[str, ...] = ()) -> ServerRecord:
    """The record that :meth:`ServerRecord.as_dict` gave; unknown keys of newer versions are passed over."""
    known = {f.name for f in fields(ServerRecord)} - {"host_keys"}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items() if k in known}
    return ServerRecord(**values, host_keys=host_keys)


def check(record: ServerRecord) -> ServerRecord:
    """``record`` itself, when every field is acceptable.

    Raises:
        InputError: ``server.invalid-field``, naming the field.
    """
    for field, value, good, reason in _rules(record):
        if not good:
            raise INVALID(field=field, server=record.name[:80], value=str(value)[:200], reason=reason)
    return record


_PLAIN_TEXT = N_("plain text of at most 200 characters")


def _rules(r: ServerRecord):
    yield "name", r.name, NAME_FORM.fullmatch(r.name), Said(N_("letters, digits, dot, dash and underscore, at most 63"))
    yield "address", r.address, _ADDRESS.fullmatch(r.address), Said(N_("a host name or an IP address"))
    yield "port", r.port, isinstance(r.port, int) and 1 <= r.port <= 65535, Said(N_("a number from 1 to 65535"))
    yield "user", r.user, _USER.fullmatch(r.user), Said(N_("an account name"))
    yield "auth", r.auth, r.auth in AUTHS, Said(N_("one of {choices}"), choices=", ".join(AUTHS))
    yield "sudo", r.sudo, r.sudo in SUDOS, Said(N_("one of {choices}"), choices=", ".join(SUDOS))
    yield "identity", r.identity_file, r.auth != "key" or r.identity_file, Said(N_("logging in by key needs a key file"))
    yield "store", r.store, _STORE.fullmatch(r.store) and ".." not in r.store.split("/"), \
        Said(N_("an absolute folder, or one that begins with ~/"))
    yield "group", r.group, _TEXT.fullmatch(r.group), Said(_PLAIN_TEXT)
    for label in r.labels:
        yield "label", label, label and _TEXT.fullmatch(label), Said(_PLAIN_TEXT)
    for hop in r.jump:
        yield "jump", hop, NAME_FORM.fullmatch(hop) and hop != r.name, Said(N_("the name of another server of this workspace"))
