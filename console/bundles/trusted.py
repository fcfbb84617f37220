"""Keys whose bundles this site accepts: added by comparing a fingerprint, revoked with a reason, never forgotten."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from console.bundles.inspection import Beliefs, Revoked
from console.bundles.publishers import NOBODY, Publishers, authorities
from console.errors import InputError, code
from console.events import Changed
from console.i18n import N_
from console.store import trust as table
from console.trust import dsse
from console.trust import root as roots
from console.trust.keys import PublicKey
from console.trust.root import Root
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine

MISMATCH = code("trust.fingerprint-mismatch", InputError,
                N_("The key has the fingerprint {actual}, not the one that was given."),
                N_("Do not trust it. Ask its holder for the fingerprint on another way and compare again."))
KNOWN = code("trust.key-known", InputError, N_("The key {keyid} is already on the list."),
             N_("`sealift trust list` shows it. A revoked key cannot be trusted again; let its holder make a new one."))
INSTALLED = code("trust.root-installed", InputError, N_("A trust root is in force already."),
                 N_("A newer one comes with a bundle, or with `sealift trust root follow`."))
UNKNOWN = code("trust.key-unknown", InputError, N_("There is no key {keyid} on the list."), N_("`sealift trust list` shows the keys."))


@dataclass(frozen=True)
class TrustedKey:
    """One key on the list."""

    key: PublicKey
    holder: str
    added_at: str
    added_by: str
    revoked_at: str | None
    reason: str | None


class TrustStore:
    """The site's list of keys."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def add(self, key: PublicKey, holder: str, fingerprint: str) -> TrustedKey:
        """Trust ``key`` when ``fingerprint``, as it was compared by people, is its own (spaces and case do not count).

        Raises:
            InputError: ``trust.fingerprint-mismatch``, ``trust.key-known``. DeniedError: no admin.
        """
        self._engine.require("admin")
        self._engine.require_proof()
        given = "".join(fingerprint.split()).lower().removeprefix("sha256:")
        if given != key.keyid.removeprefix("sha256:"):
            raise MISMATCH(actual=key.fingerprint)
        if any(k.key == key for k in self.list()):
            raise KNOWN(keyid=key.keyid)
        obj = {"kind": "key", "id": key.keyid, "digest": key.keyid.removeprefix("sha256:")}
        approvers = self._engine.approvals.demand("trust", f"{holder}, {key.fingerprint}", obj["digest"])
        detail = {"holder": holder, "change": "add"}
        with self._engine.act("trust.key", obj, detail, approvers=approvers), self._engine.store.write() as db:
            db.execute("INSERT INTO trusted_keys (keyid, holder, spki, added_at, added_by) VALUES (?, ?, ?, ?, ?)",
                       (key.keyid, holder, base64.b64encode(key.spki_der).decode(), utc_now(), self._engine.actor.id))
        self._tell()
        return next(k for k in self.list() if k.key == key)

    def list(self) -> list[TrustedKey]:
        """All keys, the revoked ones too, oldest first."""
        with self._engine.store.read() as db:
            rows = list(db.query("SELECT * FROM trusted_keys ORDER BY added_at, keyid"))
        return [TrustedKey(PublicKey(base64.b64decode(r["spki"])), r["holder"], r["added_at"], r["added_by"], r["revoked_at"],
                           r["reason"]) for r in rows]

    def revoke(self, keyid: str, reason: str) -> TrustedKey:
        """Believe this key no more. What was imported before stays; nothing new is taken from it.

        Args:
            keyid: the whole id, or the beginning of its digest if only one key has it.

        Raises:
            InputError: ``trust.key-unknown``. DeniedError: no admin.
        """
        self._engine.require("admin")
        self._engine.require_proof()
        start = "".join(keyid.split()).lower().removeprefix("sha256:")
        matching = [k for k in self.list() if k.key.keyid.removeprefix("sha256:").startswith(start) and not k.revoked_at]
        if len(matching) != 1 or len(start) < 8:
            raise UNKNOWN(keyid=keyid)
        key = matching[0].key
        obj = {"kind": "key", "id": key.keyid, "digest": key.keyid.removeprefix("sha256:")}
        with self._engine.act("trust.key", obj, {"change": "revoke", "reason": reason}), self._engine.store.write() as db:
            db.execute("UPDATE trusted_keys SET revoked_at = ?, reason = ? WHERE keyid = ?", (utc_now(), reason, key.keyid))
        self._tell()
        return next(k for k in self.list() if k.key == key)

    def believed(self) -> dict[str, tuple[PublicKey, str]]:
        """By key id, the keys that count for releases and their holders: those on the list and those of the root."""
        return dict(self._beliefs(self.root()).keys)

    # The root --------------------------------------------------------------------------------------------------------

    def root(self) -> Root | None:
        """The trust root in force, or None where the site goes by its list of keys alone."""
        raw = table.newest_root(self._engine.store)
        return roots.read(dsse.parse(raw, roots.TYPE).payload, raw) if raw is not None else None

    def install_root(self, raw: bytes, fingerprint: str) -> Root:
        """Install the first root, its whole fingerprint compared by two people.

        Raises:
            InputError: ``trust.root-fingerprint``, ``trust.root-installed``. VerdictError: of ``root.first``.
            DeniedError: no admin.
        """
        self._engine.require("admin")
        self._engine.require_proof()
        if self.root() is not None:
            raise INSTALLED()
        root = roots.first(raw, fingerprint)
        self._engine.approvals.demand("trust-root", f"root {root.version}, {root.digest}", root.digest)
        self._store_root(root)
        return root

    def follow(self, chain: Sequence[bytes]) -> Root | None:
        """Take over the newer roots of a chain; the one in force afterwards.

        Raises:
            VerdictError: ``trust.root-chain`` and others; then nothing is taken over.
        """
        root = self.root()
        newer = roots.catch_up(root, chain) if root is not None else []
        for one in newer:
            self._store_root(one)
        return newer[-1] if newer else root

    def beliefs(self, chain: Sequence[bytes]) -> Beliefs:
        """What would count if the newer roots of ``chain`` were taken over; changes nothing.

        Raises:
            VerdictError: ``trust.root-chain`` and others.
        """
        root = self.root()
        newer = roots.catch_up(root, chain) if root is not None else []
        return self._beliefs(newer[-1] if newer else root)

    def _beliefs(self, root: Root | None) -> Beliefs:
        listed = self.list()
        keys = {k.key.keyid: (k.key, k.holder) for k in listed if not k.revoked_at}
        revoked = {k.key.keyid: Revoked(k.key, k.holder) for k in listed if k.revoked_at}
        site = self._engine.site.get()
        threshold = site.policy.release_threshold if site else 1
        if root is not None:
            keys |= root.holders_of("release")
            held = self._held_once(root)
            # What people of this site revoked by hand counts for nothing at all.
            revoked = {keyid: Revoked(*held.get(keyid, (None, "")), last) for keyid, (_, last) in root.revoked.items()} | revoked
            threshold = max(threshold, root.roles["release"].threshold)
        makers = Publishers(root.holders_of("publisher"), authorities(root.x509_roots)) if root is not None else NOBODY
        return Beliefs({i: k for i, k in keys.items() if i not in revoked}, threshold, revoked, publishers=makers)

    def _held_once(self, root: Root) -> dict[str, tuple[PublicKey, str]]:
        """The keys of all roots up to this one: a revoked key may stand in an older one alone."""
        held = {k.key.keyid: (k.key, k.holder) for k in self.list()}
        for raw in table.roots(self._engine.store):
            older = roots.read(dsse.parse(raw, roots.TYPE).payload, raw)
            held |= {i: older.keys[i] for i in older.roles["release"].keys}
        return held | {i: root.keys[i] for i in root.revoked if i in root.keys}

    def _store_root(self, root: Root) -> None:
        obj = {"kind": "root", "id": str(root.version), "digest": root.digest}
        with self._engine.act("trust.root", obj, {"version": root.version}):
            table.put_root(self._engine.store, root.version, root.raw, root.digest, self._engine.actor.id)
        self._tell()

    def _tell(self) -> None:
        self._engine.events.publish(Changed(None, frozenset({"trust"})))
