"""People and their roles. Passwords are kept as scrypt strings; a site without accounts trusts the desktop's own login.

Rules: trust design, section 8. Nobody holds admin and auditor, or operator and auditor.
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from console.errors import DeniedError, InputError, UsageError, code
from console.events import Changed
from console.i18n import N_
from console.secrets import Secret
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine

ROLES = ("viewer", "operator", "approver", "auditor", "admin")
FORBIDDEN_PAIRS = (frozenset({"admin", "auditor"}), frozenset({"operator", "auditor"}))
MIN_PASSWORD = 15
FAILURES_TO_LOCK, LOCK_MINUTES = 5, 15
SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P = 17, 8, 1
_COMMON = re.compile(
    r"(.)\1*|\d+|(password|passw0rd|qwertyuiop|letmein|welcome|changeme|sealift|admin)+[\d!.]*", re.IGNORECASE
)

NOT_PERMITTED = code(
    "account.not-permitted",
    DeniedError,
    N_("{actor} may not do this; it needs the role {roles}."),
    N_("Let somebody with that role do it, or have an admin give the role."),
)
LOGIN_NEEDED = code(
    "account.login-needed",
    DeniedError,
    N_("This site has accounts, so this needs somebody to log in."),
    N_("Give --user NAME, and the password when asked or with --password-file."),
)
LOGIN_REFUSED = code(
    "account.login-refused",
    DeniedError,
    N_("{name} could not log in: wrong name or password."),
    N_("Try again; after five failures the account is locked for a while."),
)
LOCKED = code(
    "account.locked",
    DeniedError,
    N_("{name} is locked until {until} after repeated failures."),
    N_("Wait until then, or let an admin set a new password."),
)
EXISTS = code("account.exists", InputError, N_("There is already an account {name}."), N_("Choose another name."))
UNKNOWN = code("account.unknown", InputError, N_("There is no account {name}."), N_("`sealift account list` names them."))
BAD_NAME = code(
    "account.bad-name",
    UsageError,
    N_("{name} is not a name for an account."),
    N_("Use a-z, 0-9, dot, dash and underscore; at most 32 characters."),
)
BAD_ROLES = code(
    "account.bad-roles",
    UsageError,
    N_("The roles {roles} do not go together."),
    N_("Roles are viewer, operator, approver, auditor, admin. An auditor is neither operator nor admin."),
)
WEAK_PASSWORD = code(
    "account.weak-password",
    InputError,
    N_("The password is too weak: {reason}."),
    N_("Take at least 15 characters that are not a common word or pattern; several words are fine."),
)
LAST_ADMIN = code("account.last-admin", InputError, N_("{name} is the last admin."), N_("Make another admin first."))


@dataclass(frozen=True)
class Actor:
    """Who acts. ``role`` lists the roles held, comma-separated; ``auth`` is ``os-user`` or ``password``."""

    id: str
    role: str
    session: str
    auth: str

    @property
    def roles(self) -> frozenset[str]:
        """The roles as a set."""
        return frozenset(self.role.split(",")) - {""}


@dataclass(frozen=True)
class Account:
    """One account as it may be shown."""

    name: str
    roles: tuple[str, ...]
    disabled: bool
    locked_until: str | None
    created_at: str


def os_user() -> Actor:
    """The user of the operating system, with every role; counts only in a site without accounts."""
    return Actor(getpass.getuser(), ",".join(ROLES), secrets.token_hex(8), "os-user")


class AccountService:
    """The accounts of the site."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def list(self) -> list[Account]:
        """All accounts by name."""
        rows = self._engine.store.rows("SELECT * FROM accounts ORDER BY name")
        return [Account(r["name"], tuple(json.loads(r["roles"])), bool(r["disabled"]), r["locked_until"], r["created_at"]) for r in rows]

    def add(self, name: str, roles: tuple[str, ...], password: Secret) -> Account:
        """Add an account. The first one must be an admin.

        Raises:
            InputError: ``account.bad-name``, ``.exists``, ``.bad-roles``, ``.weak-password``. DeniedError.
        """
        self._engine.require("admin")
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,31}", name):
            raise BAD_NAME(name=name)
        accounts = self.list()
        if any(a.name == name for a in accounts):
            raise EXISTS(name=name)
        _check_roles(roles, first=not accounts)
        phc = hash_password(checked_password(password, name))
        with self._engine.act("account.add", _obj(name), {"roles": list(roles)}), self._engine.store.write() as db:
            db.execute(
                "INSERT INTO accounts (name, roles, password, created_at) VALUES (?, ?, ?, ?)", (name, json.dumps(roles), phc, utc_now())
            )
        self._tell()
        return next(a for a in self.list() if a.name == name)

    def set_roles(self, name: str, roles: tuple[str, ...]) -> Account:
        """Give an account other roles; with the yes of a second person where the site wants one.

        Raises:
            InputError: ``account.unknown``, ``account.bad-roles``, ``account.last-admin``. DeniedError.
        """
        self._engine.require("admin")
        account = self._known(name)
        _check_roles(roles, first=False)
        if "admin" in account.roles and "admin" not in roles and not self._other_admins(name):
            raise LAST_ADMIN(name=name)
        what = f"{name}: {', '.join(account.roles)} → {', '.join(roles)}"
        approvers = self._engine.approvals.demand("account-role", what, hashlib.sha256(what.encode()).hexdigest())
        detail = {"old": list(account.roles), "new": list(roles)}
        with self._engine.act("role.change", _obj(name), detail, approvers=approvers), self._engine.store.write() as db:
            db.execute("UPDATE accounts SET roles = ? WHERE name = ?", (json.dumps(roles), name))
        self._tell()
        return self._known(name)

    def _other_admins(self, name: str) -> list[Account]:
        return [a for a in self.list() if "admin" in a.roles and not a.disabled and a.name != name]

    def disable(self, name: str) -> None:
        """Let an account log in no more; its records stay.

        Raises:
            InputError: ``account.unknown``, ``account.last-admin``. DeniedError.
        """
        self._engine.require("admin")
        account = self._known(name)
        if "admin" in account.roles and not self._other_admins(name):
            raise LAST_ADMIN(name=name)
        with self._engine.act("account.disable", _obj(name)), self._engine.store.write() as db:
            db.execute("UPDATE accounts SET disabled = 1 WHERE name = ?", (name,))
        self._tell()

    def set_password(self, name: str, password: Secret) -> None:
        """Give a new password: one's own, or as an admin anybody's; a lock ends with it.

        Raises:
            InputError: ``account.unknown``, ``account.weak-password``. DeniedError.
        """
        if self._engine.actor.id != name:
            self._engine.require("admin")
        else:
            self._engine.require()
        self._known(name)
        phc = hash_password(checked_password(password, name))
        with self._engine.act("account.passwd", _obj(name)), self._engine.store.write() as db:
            db.execute("UPDATE accounts SET password = ?, failures = 0, locked_until = NULL WHERE name = ?", (phc, name))
        self._tell()

    def authenticate(self, name: str, password: Secret, *, event: str = "auth.login") -> Actor:
        """Who logs in with this password, recorded as ``event``. A wrong name takes as long as a wrong password.

        Raises:
            DeniedError: ``account.login-refused``, ``account.locked``; recorded.
        """
        row = next(iter(self._engine.store.rows("SELECT * FROM accounts WHERE name = ? AND NOT disabled", (name,))), None)
        now = datetime.now(UTC)
        if row and row["locked_until"] and datetime.fromisoformat(row["locked_until"]) > now:
            self._engine.audit.append("auth.fail", outcome="denied", obj=_obj(name), reason=LOCKED.code)
            raise LOCKED(name=name, until=row["locked_until"])
        good = verify_password(password, row["password"] if row else _DUMMY)
        if not (row and good):
            if row:
                self._count_failure(row, now)
            self._engine.audit.append("auth.fail", outcome="denied", obj=_obj(name), reason=LOGIN_REFUSED.code)
            raise LOGIN_REFUSED(name=name)
        with self._engine.store.write() as db:
            db.execute("UPDATE accounts SET failures = 0, locked_until = NULL WHERE name = ?", (name,))
            if not row["password"].startswith(f"$scrypt$ln={SCRYPT_LOG_N},r={SCRYPT_R},p={SCRYPT_P}$"):
                db.execute("UPDATE accounts SET password = ? WHERE name = ?", (hash_password(password), name))
        actor = Actor(name, ",".join(json.loads(row["roles"])), secrets.token_hex(8), "password")
        self._engine.audit.append(event, obj=_obj(name), actor=actor)
        return actor

    def check(self, actor: Actor, authenticated: bool, roles: tuple[str, ...]) -> None:
        """Raises DeniedError unless ``actor`` holds one of ``roles``; no roles asked: unless it is logged in."""
        if not any(not a.disabled for a in self.list()):
            return
        if not authenticated:
            raise LOGIN_NEEDED()
        if roles and not actor.roles & set(roles):
            raise NOT_PERMITTED(actor=actor.id, roles=" / ".join(roles))

    def _count_failure(self, row: dict[str, Any], now: datetime) -> None:
        failures = row["failures"] + 1
        rounds = failures // FAILURES_TO_LOCK
        locked = failures % FAILURES_TO_LOCK == 0
        until = (now + timedelta(minutes=LOCK_MINUTES * 2 ** min(rounds - 1, 10))).isoformat() if locked else None
        with self._engine.store.write() as db:
            db.execute("UPDATE accounts SET failures = ?, locked_until = ? WHERE name = ?", (failures, until, row["name"]))
        if locked:
            self._engine.audit.append("auth.lock", outcome="denied", obj=_obj(row["name"]), detail={"until": until})

    def _known(self, name: str) -> Account:
        account = next((a for a in self.list() if a.name == name), None)
        if account is None:
            raise UNKNOWN(name=name)
        return account

    def _tell(self) -> None:
        self._engine.events.publish(Changed(None, frozenset({"accounts"})))


def _check_roles(roles: tuple[str, ...], first: bool) -> None:
    held = set(roles)
    if not held or held - set(ROLES) or any(pair <= held for pair in FORBIDDEN_PAIRS) or (first and "admin" not in held):
        raise BAD_ROLES(roles=", ".join(roles) or "–")


def checked_password(password: Secret, name: str) -> Secret:
    """The password when it is strong enough.

    Raises:
        InputError: ``account.weak-password``.
    """
    text = password.reveal()
    if len(text) < MIN_PASSWORD:
        raise WEAK_PASSWORD(reason=f"{len(text)} characters, at least {MIN_PASSWORD} are needed")
    if _COMMON.fullmatch(text) or len(set(text)) < 5 or text.lower().replace(name, "") == "":
        raise WEAK_PASSWORD(reason="a common word or pattern")
    return password


def hash_password(password: Secret, log_n: int = SCRYPT_LOG_N, salt: bytes | None = None) -> str:
    """A PHC string: ``$scrypt$ln=17,r=8,p=1$salt$hash``."""
    salt = salt or secrets.token_bytes(16)
    key = _scrypt(password, salt, log_n, SCRYPT_R, SCRYPT_P)
    return f"$scrypt$ln={log_n},r={SCRYPT_R},p={SCRYPT_P}${_b64(salt)}${_b64(key)}"


def verify_password(password: Secret, phc: str) -> bool:
    """Whether ``password`` gave this PHC string."""
    match = re.fullmatch(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)", phc)
    if not match or not 10 <= int(match[1]) <= 20:
        return False
    key = _scrypt(password, _unb64(match[4]), int(match[1]), int(match[2]), int(match[3]))
    return hmac.compare_digest(key, _unb64(match[5]))


def _scrypt(password: Secret, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    n = 1 << log_n
    return hashlib.scrypt(password.reveal().encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


_DUMMY = f"$scrypt$ln={SCRYPT_LOG_N},r={SCRYPT_R},p={SCRYPT_P}${_b64(b'0' * 16)}${_b64(b'0' * 32)}"
"""Checked for an unknown name, so that it costs what a known one costs."""


def _obj(name: str) -> dict[str, Any]:
    return {"kind": "account", "id": name, "digest": None}
