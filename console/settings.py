"""Every setting, declared once: key, kind, default, unit and explanation.

Order of precedence: what a command line gives, then the site's stored value, then the default. Unknown keys in the
store are kept: a newer version may know them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console import units
from console.errors import UsageError, code
from console.i18n import N_
from console.store.database import Store

UNKNOWN = code("settings.unknown", UsageError, N_("There is no setting {key}."), N_("`sealift settings list` names all settings."))
BAD_VALUE = code(
    "settings.bad-value",
    UsageError,
    N_("{value} is not a value for {key}: {reason}."),
    N_("`sealift settings list` explains each setting."),
)


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError("one of " + ", ".join(words))
        return text

    return parse


def _truth(text: str) -> bool:
    if text.lower() not in ("yes", "no", "true", "false", "1", "0"):
        raise ValueError("yes or no")
    return text.lower() in ("yes", "true", "1")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"from {low} to {high}")
        return value

    return parse


def _size_from(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = units.parse_size(text)
        if value < low:
            raise ValueError(f"at least {units.size(low)}")
        return value

    return parse


@dataclass(frozen=True)
class Setting:
    """One setting. ``parse`` makes the value of its text or raises ValueError saying what is wanted."""

    key: str
    parse: Callable[[str], Any]
    default: Any
    explanation: str


DECLARED = {
    s.key: s
    for s in (
        Setting("audit.head-copy", str, "", N_("Folder, best on another disk, that gets a copy of each signed head of the audit log.")),
        Setting("audit.head-servers", _truth, True, N_("Whether servers keep a copy of each signed head after a deployment on them.")),
        Setting("audit.quota-bytes", _size_from(1 << 20), 4 << 30,
                N_("Size of the audit log at which new actions stop (95 %); from 75 % on it is said in good time.")),
        Setting("audit.key-days", _whole(0, 3650), 90, N_("Days after which the key that signs the log is replaced; 0 for never.")),
        Setting("push.limit-bytes-per-s", units.parse_size, 0, N_("Most bytes a second that all pushes together send; 0 for no limit.")),
        Setting("push.relay", _choice("auto", "off"), "auto", N_("Whether servers may hand a push on to each other.")),
        Setting("push.degree", _choice("received", "stored", "media"), "stored", N_("The least verification that a push must reach.")),
        Setting("window.theme", _choice("system", "light", "dark"), "system", N_("Colours of the window.")),
        Setting("window.language", _choice("system", "en", "zh_CN"), "system", N_("Language of the window.")),
        Setting("servers.keyring", _truth, False, N_("Whether secrets of servers may be kept in this system's keyring.")),
        Setting("servers.host-authorities", str, "", N_("Host certificate authorities, one a line as in a known_hosts file: patterns, type, key.")),
        Setting("inventory.threads", _whole(1, 64), 16, N_("Servers that are asked at the same time.")),
    )
}


class Settings:
    """The site's settings in the store."""

    def __init__(self, store: Store):
        self._store = store

    def get(self, key: str) -> Any:
        """The value in force.

        Raises:
            InputError: ``settings.unknown``.
        """
        setting = _declared(key)
        found = self._store.rows("SELECT value FROM settings WHERE key = ?", (key,))
        return json.loads(found[0]["value"]) if found else setting.default

    def set(self, key: str, text: str) -> tuple[Any, Any]:
        """Store the value that ``text`` means; the old and the new value.

        Raises:
            InputError: ``settings.unknown``, ``settings.bad-value``.
        """
        setting, old = _declared(key), self.get(key)
        try:
            value = setting.parse(text)
        except ValueError as problem:
            raise BAD_VALUE(key=key, value=text, reason=str(problem)) from None
        with self._store.write() as db:
            db.execute(
                "INSERT INTO settings VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, json.dumps(value))
            )
        return old, value

    def all(self) -> dict[str, Any]:
        """Every declared setting with the value in force."""
        return {key: self.get(key) for key in DECLARED}


def _declared(key: str) -> Setting:
    if key not in DECLARED:
        raise UNKNOWN(key=key)
    return DECLARED[key]


def data_folder() -> Path:
    """The platform's folder for the user's data of this program; the default workspace."""
    import os
    import sys

    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library/Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return base / "sealift"
