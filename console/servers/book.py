"""The servers of the workspace: entries, trusted host keys, connections."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeVar

from console.errors import InputError, SealiftError, VerdictError, code
from console.events import Changed
from console.i18n import N_
from console.servers.bastions import Bastions
from console.servers.credentials import KINDS, Credentials
from console.servers.keyring import Keyring, system_keyring
from console.servers.keys import HostKey, KnownHosts, checked_fingerprint, parse_authorities
from console.servers.record import ServerRecord, check, from_dict
from console.store import pushkeys
from console.store import servers as table
from console.transport import problems, ssh

if TYPE_CHECKING:
    from console.engine import Engine

UNKNOWN = code("server.unknown", InputError, N_("There is no server {server} in this workspace."),
               N_("See `sealift server list`, or add it."))
EXISTS = code("server.exists", InputError, N_("There is a server {server} already."),
              N_("Choose another name, or remove the other one first."))
IN_USE = code("server.is-jump-host", InputError, N_("{server} is the way to {others}, so it cannot be removed."),
              N_("Remove those servers first, or change how they are reached."))
JUMP_LOOP = code("server.jump-loop", InputError, N_("The way to {server} goes in a circle: {way}."),
                 N_("Correct the jump hosts of these servers."))
MISMATCH = code("server.fingerprint-mismatch", VerdictError,
                N_("{server} shows another host key. Given: {given}. Shown: {offered}."),
                N_("Do not go on before the difference is explained: the fingerprint is of another server, or somebody "
                   "is in between. The key was not trusted."))


AUTHORITIES = "servers.host-authorities"
KEY_FETCH_S = 15.0
MOST_SECRETS = 16
"""Secrets that are asked for on the way to one server."""

_Result = TypeVar("_Result")


@lru_cache(maxsize=4)
def _authorities(text: str) -> KnownHosts:
    return parse_authorities(text)


_system_keyring = lru_cache(maxsize=4)(system_keyring)


@dataclass(frozen=True)
class Route:
    """The way to a server. ``jumps`` are the bastions, nearest first, each with its own secrets."""

    target: ssh.Target
    login: ssh.Login
    jumps: tuple[tuple[ssh.Target, ssh.Login], ...] = ()

    def connect(self, *, purpose: Literal["control", "data"] = "control", timeout_s: float = 15) -> ssh.SshTransport:
        """One more connection over this way; the caller closes it, and the links to the bastions close with it.

        Raises:
            WorldError, InputError: with an ``ssh.…`` code.
        """
        return ssh.connect(self.target, self.login, jumps=self.jumps, purpose=purpose, timeout_s=timeout_s)


class ServerBook:
    """Entries of servers; the way to reach them."""

    def __init__(self, engine: Engine):
        self._engine, self._store = engine, engine.store
        self.credentials = Credentials(self._keyring)

    def list(self) -> list[ServerRecord]:
        """All servers, by name."""
        return [self._vouched(from_dict(row["record"], tuple(row["host_keys"]))) for row in table.all_servers(self._store)]

    def get(self, name: str) -> ServerRecord:
        """One server.

        Raises:
            InputError: ``server.unknown``.
        """
        for row in table.all_servers(self._store, name):
            return self._vouched(from_dict(row["record"], tuple(row["host_keys"])))
        raise UNKNOWN(server=name)

    def _keyring(self) -> Keyring | None:
        """Asked each time, since the setting may change; the keyring itself is found once."""
        if not self._engine.settings.get("servers.keyring"):
            return None
        return _system_keyring(str(self._store.path.parent))

    def _vouched(self, record: ServerRecord) -> ServerRecord:
        """A server without pins of its own believes the authorities that the site trusts for its address."""
        text = "" if record.host_keys else self._engine.settings.get(AUTHORITIES)
        known = _authorities(text) if text else None
        return replace(record, host_keys=tuple(known.authorities_for(record.address, record.port))) if known else record

    def select(self, names: tuple[str, ...] | list[str]) -> list[ServerRecord]:
        """The servers named, in that order without repeats; ``@group`` stands for a group; none means all."""
        book = {r.name: r for r in self.list()}
        wanted: dict[str, ServerRecord] = {}
        for name in names or list(book):
            found = [r for r in book.values() if name.startswith("@") and r.group == name[1:]]
            if name in book:
                found = [book[name]]
            if not found:
                raise UNKNOWN(server=name)
            wanted |= {r.name: r for r in found}
        return list(wanted.values())

    def add(self, record: ServerRecord) -> ServerRecord:
        """Add a server. Its host key is not trusted yet.

        Raises:
            InputError: a field is not acceptable, the name is taken, a jump host is not known.
        """
        self._permit()
        check(record)
        book = {r.name: r for r in self.list()}
        if record.name in book:
            raise EXISTS(server=record.name)
        self._check_way(record, book)
        with self._engine.act("node.add", _obj(record.name), _described(record)):
            table.put_server(self._store, record.name, record.as_dict())
        self._changed()
        return replace(record, host_keys=())

    def add_all(self, records: Sequence[ServerRecord]) -> tuple[list[ServerRecord], list[tuple[str, SealiftError]]]:
        """Add many, jump hosts before the servers behind them; gives those added and, by name, why others were not."""
        waiting, added, refused = list(records), [], []
        names = {r.name for r in records}
        while waiting:
            blocked = {r.name for r in waiting}
            ready = [r for r in waiting if not blocked & set(r.jump) & names] or waiting
            for record in ready:
                waiting.remove(record)
                try:
                    added.append(self.add(record))
                except InputError as problem:
                    refused.append((record.name, problem))
        return added, refused

    def update(self, record: ServerRecord) -> ServerRecord:
        """Change the entry of the same name; trusted host keys stay while address and port do.

        A new address keeps the pins too: they belong to the server, and a wrong one is noticed at once.
        """
        self._permit()
        check(record)
        book = {r.name: r for r in self.list()}
        if record.name not in book:
            raise UNKNOWN(server=record.name)
        self._check_way(record, book)
        with self._engine.act("node.add", _obj(record.name), _described(record) | {"change": True}):
            table.put_server(self._store, record.name, record.as_dict())
        self._changed()
        return self.get(record.name)

    def remove(self, name: str) -> None:
        """Take a server out of the book, with its pins and inventories. Nothing changes on the server itself."""
        self._permit()
        self.get(name)
        others = [r.name for r in self.list() if name in r.jump]
        if others:
            raise IN_USE(server=name, others=", ".join(others))
        with self._engine.act("node.remove", _obj(name)):
            table.delete_server(self._store, name)
        for kind in KINDS:
            self.credentials.failed(name, kind)
        self._changed()

    def offered_key(self, name: str, *, bastions: Bastions | None = None, heard: Callable[[], None] | None = None) -> HostKey:
        """The host key that the server shows now, fetched without logging in to it; ``bastions`` and ``heard`` as for
        :meth:`connect`."""
        record = self.get(name)

        def fetch() -> str:
            jumps = self._jumps(record)
            via = bastions.through(jumps, KEY_FETCH_S) if bastions is not None else None
            return ssh.offered_key(self._target(record), jumps=jumps, via=via, timeout_s=KEY_FETCH_S, heard=heard)

        return HostKey(self._asking(record, fetch))

    def trust(self, name: str, fingerprint: str, *, own: bool = False, bastions: Bastions | None = None) -> HostKey:
        """Pin the key that the server shows, if it has exactly this fingerprint.

        Args:
            own: the key was made by this console, as those of the practice servers are; no second person is asked then.
            bastions: as for :meth:`connect`.

        Raises:
            VerdictError: ``server.fingerprint-mismatch``; nothing was pinned. DeniedError: ``approval.needed``.
        """
        self._permit()
        given, record = checked_fingerprint(fingerprint), self.get(name)
        detail = {"fingerprint": given, "previous": [HostKey(k).fingerprint for k in record.host_keys]}
        with self._engine.act("node.hostkey", _obj(name), detail | {"source": "fingerprint"}):
            offered = self.offered_key(name, bastions=bastions)
            if offered.fingerprint != given:
                raise MISMATCH(server=name, given=given, offered=offered.fingerprint)
            if not own:
                about = hashlib.sha256(f"{name}\n{given}".encode()).hexdigest()
                self._engine.approvals.demand("host-key", f"{name}, {given}", about)
            table.pin_keys(self._store, name, [offered.line], "fingerprint")
        self._changed()
        return offered

    def trust_known_hosts(self, known: KnownHosts) -> dict[str, list[str]]:
        """Pin what a known_hosts file says for servers that have no pins yet; gives the fingerprints by server.

        A server with pins keeps them: a file never replaces a key that was compared.
        """
        self._permit()
        pinned: dict[str, list[str]] = {}
        for record in self.list():
            keys = known.keys_for(record.address, record.port)
            if not keys or not all(HostKey(k).authority for k in record.host_keys):
                continue
            marks = [HostKey(k).fingerprint for k in keys]
            detail = {"fingerprint": marks[0], "fingerprints": marks, "previous": [], "source": "known_hosts"}
            with self._engine.act("node.hostkey", _obj(record.name), detail):
                table.pin_keys(self._store, record.name, keys, "known_hosts")
            pinned[record.name] = marks
        if pinned:
            self._changed()
        return pinned

    def trust_authorities(self, known: KnownHosts) -> list[str]:
        """Believe the host certificate authorities of a known_hosts file, for all servers that have no pins, those added
        later too; gives the fingerprints of those that were new."""
        self._permit()
        lines = [line for line in self._engine.settings.get(AUTHORITIES).splitlines() if line.strip()]
        new = [line for line in dict.fromkeys(known.authority_lines) if line not in lines]
        marks = [HostKey(line.split(" ", 1)[1]).fingerprint for line in new]
        if new:
            detail = {"fingerprints": marks, "hosts": [line.split(" ", 1)[0] for line in new], "source": "known_hosts"}
            with self._engine.act("node.hostkey", {"kind": "site", "id": "host-authorities", "digest": None}, detail):
                self._engine.settings.set(AUTHORITIES, "\n".join([*lines, *new]))
            self._changed()
        return marks

    def distrust_revoked(self, known: KnownHosts) -> dict[str, list[str]]:
        """Unpin the keys that a known_hosts file marks as revoked, and trust authorities no more that it does; gives the
        fingerprints by server, those of authorities under an empty name. Such a server is spoken to no more until a key of
        it is compared anew."""
        self._permit()
        dropped: dict[str, list[str]] = {}
        for record in self.list():
            bad = [key for key in record.host_keys if not HostKey(key).authority and key in known.revoked]
            if bad:
                dropped[record.name] = marks = [HostKey(key).fingerprint for key in bad]
                with self._engine.act("node.hostkey", _obj(record.name), {"fingerprints": [], "previous": marks, "source": "revoked"}):
                    table.pin_keys(self._store, record.name, [key for key in record.host_keys if key not in bad], "revoked")
        lines = [line for line in self._engine.settings.get(AUTHORITIES).splitlines() if line.strip()]
        left = [line for line in lines if line.split(" ", 1)[-1] not in known.revoked]
        if left != lines:
            dropped[""] = marks = [HostKey(line.split(" ", 1)[1]).fingerprint for line in lines if line not in left]
            detail = {"fingerprints": [], "previous": marks, "source": "revoked"}
            with self._engine.act("node.hostkey", {"kind": "site", "id": "host-authorities", "digest": None}, detail):
                self._engine.settings.set(AUTHORITIES, "\n".join(left))
        if dropped:
            self._changed()
        return dropped

    def route(self, name: str) -> Route:
        """What reaches a server: target, secrets, and the bastions on the way. For callers that open several connections,
        in processes of their own too.

        Raises:
            InputError: ``server.unknown``.
        """
        return self._route(self.get(name))

    def over(self, name: str, call: Callable[[Route], _Result]) -> _Result:
        """What ``call`` gives for the way to a server; called again whenever it ended for want of a secret that the front end then
        gave. For connections that another process makes, which are to be told of with :meth:`logged_in`.

        Raises:
            InputError: ``server.unknown``; and what ``call`` raises.
        """
        record = self.get(name)
        return self._asking(record, lambda: call(self._route(record)))

    def logged_in(self, way: Route) -> None:
        """A login over ``way`` succeeded: what was asked for it may be kept."""
        for target in (way.target, *(hop for hop, _login in way.jumps)):
            self.credentials.worked(target.name)

    def holds_leftovers(self, name: str) -> bool:
        """Whether a push may have left something on the server, which :meth:`connect` takes away."""
        return name in pushkeys.noted(self._store)

    def connect(self, name: str, *, purpose: Literal["control", "data"] = "control", timeout_s: float = 15,
                bastions: Bastions | None = None, heard: Callable[[], None] | None = None, ask: bool = True) -> ssh.SshTransport:
        """A connection to the server, through its jump hosts: through ``bastions``, which stay open, where they are given.
        The caller closes it. ``heard`` is called, in any thread, when the server says its first word. Nobody is asked for a
        missing secret without ``ask``. What a push that was cut off has left on the server is taken away first.

        Raises:
            WorldError, InputError: with an ``ssh.…`` code.
        """
        record = self.get(name)

        def reach() -> ssh.SshTransport:
            return self._connect(record, purpose, timeout_s, bastions, heard)

        link = self._asking(record, reach) if ask else reach()
        if pushkeys.noted(self._store):
            self._engine.push.leftovers.take_away(name, link)
        return link

    def _asking(self, record: ServerRecord, call: Callable[[], _Result]) -> _Result:
        """``call``, and again whenever the front end gave a secret that was missing: of the server, or of a bastion."""
        for _secret in range(MOST_SECRETS):
            try:
                return call()
            except SealiftError as problem:
                self._drop_refused(problem, record)
                if not self._ask_for(problem, record):
                    raise
        return call()

    def _connect(self, record: ServerRecord, purpose: str, timeout_s: float, bastions: Bastions | None,
                 heard: Callable[[], None] | None) -> ssh.SshTransport:
        way = self._route(record)
        via = bastions.through(way.jumps, timeout_s) if bastions is not None else None
        link = ssh.connect(way.target, way.login, jumps=way.jumps, via=via, purpose=purpose, timeout_s=timeout_s, heard=heard)
        self.logged_in(way)
        link.ask_sudo = lambda: self.credentials.needed("sudo_password", record.name)
        link.sudo_wrong = lambda: self.credentials.failed(record.name, "sudo_password")
        return link

    def _ask_for(self, problem: SealiftError, record: ServerRecord) -> bool:
        """Ask the front end for the secret that ``problem`` says is missing; whether one came."""
        kind = {problems.PASSWORD_NEEDED.code: "password", problems.IDENTITY_LOCKED.code: "passphrase"}.get(problem.code)
        server = str(problem.params.get("server", record.name))
        return kind is not None and self.credentials.needed(kind, server) is not None

    def _drop_refused(self, problem: SealiftError, record: ServerRecord) -> None:
        """A secret that is refused is wrong or out of date: without this it would be tried for ever, and never asked for."""
        kind = {problems.AUTH_FAILED.code: "password", problems.IDENTITY_PASSPHRASE.code: "passphrase"}.get(problem.code)
        if kind is not None:
            self.credentials.failed(str(problem.params.get("server", record.name)), kind)

    def _route(self, record: ServerRecord) -> Route:
        return Route(self._target(record), self.credentials.login(record.name), tuple(self._jumps(record)))

    def _target(self, record: ServerRecord) -> ssh.Target:
        return ssh.Target(record.name, record.address, record.port, record.user, record.host_keys, record.auth,
                          record.identity_file, record.sudo)

    def _jumps(self, record: ServerRecord) -> list[tuple[ssh.Target, ssh.Login]]:
        way = _way(record, {r.name: r for r in self.list()}) if record.jump else []
        return [(self._target(hop), self.credentials.login(hop.name)) for hop in way]

    def _check_way(self, record: ServerRecord, book: dict[str, ServerRecord]) -> None:
        _way(record, book | {record.name: record})

    def close(self) -> None:
        """Forget every secret."""
        self.credentials.forget()

    def _permit(self) -> None:
        self._engine.require("operator", "admin")

    def _changed(self) -> None:
        self._engine.events.publish(Changed(None, frozenset({"servers"})))


def _way(record: ServerRecord, book: dict[str, ServerRecord], through: tuple[str, ...] = ()) -> list[ServerRecord]:
    """The jump hosts of ``record``, nearest first, their own jump hosts before them.

    Raises:
        InputError: ``server.unknown``, ``server.jump-loop``.
    """
    if record.name in through:
        raise JUMP_LOOP(server=through[0], way=" → ".join((*through, record.name)))
    hops: list[ServerRecord] = []
    for number, name in enumerate(record.jump):
        if name not in book:
            raise UNKNOWN(server=name)
        hop = book[name]
        # Only the first hop is reached from here; a later one is reached from the hop before it.
        if number == 0:
            hops += _way(hop, book, (*through, record.name))
        elif name in (*through, record.name):
            raise JUMP_LOOP(server=record.name, way=" → ".join((*through, record.name, name)))
        hops.append(hop)
    return hops


def _obj(name: str) -> dict[str, str]:
    return {"kind": "server", "id": name, "digest": None}


def _described(record: ServerRecord) -> dict:
    return {"address": record.address, "port": record.port, "user": record.user, "auth": record.auth,
            "sudo": record.sudo, "jump": list(record.jump), "group": record.group}
