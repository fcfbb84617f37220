"""The site: its name, jurisdiction, data classification and policy."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from console.errors import InputError, UsageError, code
from console.events import Changed
from console.i18n import N_

if TYPE_CHECKING:
    from console.engine import Engine

EXISTS = code(
    "site.exists",
    InputError,
    N_("This workspace already holds the site {name}."),
    N_("Change it with `sealift site set`, or give another folder with --workspace."),
)
MISSING = code("site.missing", InputError, N_("This workspace holds no site yet."), N_("Set it up first: sealift site init --name NAME."))
BAD_FIELD = code("site.bad-value", UsageError, N_("{value} is not a value for {field}: {wanted}."), N_("Correct the value and try again."))

JURISDICTIONS = ("us", "ca", "eu", "cn", "other")
CLASSIFICATIONS = ("public", "internal", "confidential", "restricted")
DEGREES = ("received", "stored", "media")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,120}")


@dataclass(frozen=True)
class Policy:
    """What the site demands.

    Attributes:
        two_person: whether trust, import, deployment, host keys, overrides and role changes need a second person's yes;
            None: as soon as there are an approver and somebody else.
        release_threshold: how many distinct holders must have signed a bundle.
        push_degree: the least verification of a push.
        relay: whether servers may hand a push on to each other.
        keyring: whether secrets may be kept in the desktop's keyring.
        max_age_days: age of the newest release after which the window warns.
    """

    two_person: bool | None = None
    release_threshold: int = 1
    push_degree: str = "stored"
    relay: bool = True
    keyring: bool = False
    max_age_days: int = 180


@dataclass(frozen=True)
class Site:
    """One site. ``site_id`` is fixed when the site is made and names it in bundles' audiences and in the audit log."""

    name: str
    jurisdiction: str
    classification: str
    site_id: str
    install_id: str
    policy: Policy = field(default_factory=Policy)

    @property
    def origin(self) -> str:
        """The name of this installation's audit log."""
        return f"{self.site_id}/{self.install_id}"


class SiteService:
    """The site in the workspace."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def get(self) -> Site | None:
        """The site, or None before it was set up."""
        row = next(iter(self._engine.store.rows("SELECT document FROM site")), None)
        if row is None:
            return None
        document = json.loads(row["document"])
        known = Policy.__dataclass_fields__
        return Site(**document | {"policy": Policy(**{k: v for k, v in document["policy"].items() if k in known})})

    def need(self) -> Site:
        """The site.

        Raises:
            InputError: ``site.missing``.
        """
        site = self.get()
        if site is None:
            raise MISSING()
        return site

    def init(self, name: str, jurisdiction: str, classification: str, site_id: str | None = None, **policy: Any) -> Site:
        """Set the site up; its audit log begins here.

        Raises:
            InputError: ``site.exists``, ``site.bad-value``.
        """
        if (existing := self.get()) is not None:
            raise EXISTS(name=existing.name)
        site = _checked(Site(name, jurisdiction, classification, site_id or _identifier(name), secrets.token_hex(4), Policy(**policy)))
        self._save(site)
        self._engine.audit.append("site.init", obj=_obj(site), detail=_told(site))
        self._tell()
        return site

    def set(self, *, policy: dict[str, Any] | None = None, **fields: Any) -> Site:
        """Change fields of the site or of its policy.

        Raises:
            InputError: ``site.missing``, ``site.bad-value``. DeniedError: the actor is no admin.
        """
        self._engine.require("admin")
        old = self.need()
        new = _checked(replace(old, **fields, policy=replace(old.policy, **policy or {})))
        with self._engine.act("config.change", _obj(new), {"old": _told(old), "new": _told(new)}):
            self._save(new)
        self._tell()
        return new

    def _save(self, site: Site) -> None:
        with self._engine.store.write() as db:
            db.execute(
                "INSERT INTO site VALUES (1, ?) ON CONFLICT (only) DO UPDATE SET document = excluded.document",
                (json.dumps(asdict(site), ensure_ascii=False),),
            )

    def _tell(self) -> None:
        self._engine.events.publish(Changed(None, frozenset({"site"})))


def _identifier(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return plain or "site-" + secrets.token_hex(4)


def _checked(site: Site) -> Site:
    rules = (
        ("name", site.name, bool(_NAME.fullmatch(site.name)), "1 to 120 characters, none of them control characters"),
        ("jurisdiction", site.jurisdiction, site.jurisdiction in JURISDICTIONS, ", ".join(JURISDICTIONS)),
        ("classification", site.classification, site.classification in CLASSIFICATIONS, ", ".join(CLASSIFICATIONS)),
        ("id", site.site_id, bool(re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", site.site_id)), "a-z, 0-9, dot, dash, underscore"),
        ("release_threshold", site.policy.release_threshold, 1 <= site.policy.release_threshold <= 16, "1 to 16"),
        ("max_age_days", site.policy.max_age_days, 1 <= site.policy.max_age_days <= 36500, "1 to 36500"),
        ("push_degree", site.policy.push_degree, site.policy.push_degree in DEGREES, ", ".join(DEGREES)),
    )
    for name, value, good, wanted in rules:
        if not good:
            raise BAD_FIELD(field=name, value=str(value), wanted=wanted)
    return site


def _obj(site: Site) -> dict[str, Any]:
    return {"kind": "site", "id": site.site_id, "digest": None}


def _told(site: Site) -> dict[str, Any]:
    return {"name": site.name, "jurisdiction": site.jurisdiction, "classification": site.classification, "policy": asdict(site.policy)}
