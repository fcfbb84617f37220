"""Texts: marked in English in the code, rendered in the reader's language at the edge.

``N_("…")`` marks a text that is rendered later; ``tr("…", lang, name=value)`` renders. Translations
are JSON objects, English to translation, one file an area, under ``assets/translations/<lang>/``.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from console.assets import asset

LANGUAGES = {"en": "English", "zh_CN": "简体中文"}


def N_(text: str) -> str:
    """Mark ``text`` for translation without rendering it."""
    return text


@cache
def _table(lang: str) -> dict[str, str]:
    table: dict[str, str] = {}
    folder: Path = asset("translations") / lang
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        table.update(json.loads(file.read_text(encoding="utf-8")))
    return table


def tr(text: str, lang: str = "en", /, **params: Any) -> str:
    """Render ``text`` in ``lang``, filling ``{named}`` fields. An untranslated text stays English.

    A field that is missing stays visible as ``{name}`` rather than hiding the message it is in. Without fields nothing is filled in:
    the text may then be anybody's, with any braces in it.
    """
    template = text if lang == "en" else _table(lang).get(text, text)
    return template.format_map(_Fields(params)) if params and "{" in template else template


class _Fields(dict):
    def __missing__(self, key: str) -> str:
        return "{" + key + "}"
