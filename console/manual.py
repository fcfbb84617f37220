"""The manual: Markdown pages under ``assets/manual/<lang>``, and one page made from the errors that the program declares."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from console import registry
from console.assets import asset
from console.errors import ErrorKind, InputError, code, declared
from console.i18n import N_, tr

UNKNOWN_PAGE = code("manual.unknown-page", InputError, N_("The manual has no page {page}."),
                    N_("sealift manual lists the pages."))

ERRORS_TITLE = N_("All errors")


@dataclass(frozen=True)
class Page:
    """One page: ``id`` is the same in all languages, ``text`` is Markdown that begins with the title's heading."""

    id: str
    title: str
    text: str


def pages(lang: str = "en") -> tuple[Page, ...]:
    """All pages in reading order. A page that is not translated is shown in English."""
    written = (_written(file.name, lang) for file in sorted((asset("manual") / "en").glob("*.md")))
    return (*written, _errors_page(lang))


def page(identity: str, lang: str = "en") -> Page:
    """The page ``identity``.

    Raises:
        InputError: ``manual.unknown-page``.
    """
    for one in pages(lang):
        if one.id == identity:
            return one
    raise UNKNOWN_PAGE(page=identity)


def _written(name: str, lang: str) -> Page:
    folder = asset("manual")
    file = folder / lang / name
    text = (file if file.is_file() else folder / "en" / name).read_text(encoding="utf-8")
    return Page(name.removesuffix(".md").split("-", 1)[1], text.split("\n", 1)[0].removeprefix("# "), text)


def every_error() -> tuple[ErrorKind, ...]:
    """All errors that any part of the engine declares, by code."""
    for name in registry.all_modules():
        importlib.import_module(name)
    return tuple(declared().values())


def _errors_page(lang: str) -> Page:
    title = tr(ERRORS_TITLE, lang)
    lines = [f"# {title}", ""]
    for kind in every_error():
        lines += [f"**`{kind.code}`** ({kind.family.exit_code}) · {tr(kind.message, lang)} {tr(kind.remedy, lang)}", ""]
    return Page("errors", title, "\n".join(lines))
