"""Theme and language of the window: the site's settings, read once at the start and kept when they change."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from console.errors import SealiftError
from console.i18n import LANGUAGES

THEMES = ("light", "dark")


class Preferences:
    """What the operator chose, or what the desktop says; the desktop's colour scheme is not asked, see ``ui.theme``."""

    def __init__(self, settings: Any):
        self._settings = settings
        theme, lang = settings.get("window.theme"), settings.get("window.language")
        self.theme = theme if theme in THEMES else "light"
        self.lang = lang if lang in LANGUAGES else _desktop_language()

    def keep(self, theme: str, lang: str) -> None:
        """Remember the choice. Call it in a reader thread."""
        self.theme, self.lang = theme, lang
        # Colours that could not be remembered are no reason to disturb anybody.
        with contextlib.suppress(SealiftError):
            self._settings.set("window.theme", theme)
            self._settings.set("window.language", lang)


def _desktop_language() -> str:
    said = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh_CN" if said.startswith("zh") else "en"
