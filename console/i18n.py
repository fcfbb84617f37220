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
    if isinstance(text, Said):
        return text.into(lang)
    template = text if lang == "en" else _table(lang).get(text, text)
    return template.format_map(_Fields({k: into(v, lang) for k, v in params.items()})) if params and "{" in template else template


class Said(str):
    """A text that is its English rendering wherever it is used as one, and can be rendered again in another language.

    For reasons inside of messages: stored and printed as JSON they are English, on screen they follow the reader.
    """

    text: str
    params: dict[str, Any]

    def __new__(cls, text: str, /, **params: Any) -> Said:
        made = super().__new__(cls, tr(text, "en", **params))
        made.text, made.params = text, params
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (self.text,), self.params

    def into(self, lang: str) -> str:
        """The text in ``lang``."""
        return tr(self.text, lang, **self.params)

    def kept(self) -> dict[str, Any]:
        """JSON values from which :meth:`of` makes the text again."""
        return {"text": self.text, "params": {k: {"said": v.kept()} if isinstance(v, Said) else v for k, v in self.params.items()}}

    @classmethod
    def of(cls, kept: Any) -> Said | None:
        """The text that :meth:`kept` gave, perhaps in a store since; None for anything else."""
        if not isinstance(kept, dict) or not isinstance(kept.get("text"), str) or not isinstance(kept.get("params"), dict):
            return None
        return cls(kept["text"], **{str(name): cls.of(value.get("said")) if isinstance(value, dict) else value
                                    for name, value in kept["params"].items()})


def into(value: Any, lang: str) -> Any:
    """``value`` in ``lang`` where it is a text that knows how, else itself."""
    return value.into(lang) if isinstance(value, Said) else value


class _Fields(dict):
    def __missing__(self, key: str) -> str:
        return "{" + key + "}"
