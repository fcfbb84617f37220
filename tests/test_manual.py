"""The manual says only what the program knows: its commands, options and error codes."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from console import manual
from console.cli.main import build_parser
from console.errors import SealiftError
from console.i18n import LANGUAGES
from console.settings import DECLARED

WRITTEN = [(lang, page) for lang in LANGUAGES for page in manual.pages(lang) if page.id != "errors"]
QUOTED = re.compile(r"`(sealift [^`]+)`|^    (sealift .+)$", re.MULTILINE)
ERROR_CODE = re.compile(r"`([a-z0-9-]+\.[a-z0-9-]+)`")
SUFFIXES = (".py", ".csv", ".yaml", ".pub", ".key", ".json", ".jsonl", ".bin", ".pt", ".ckpt", ".npy")


def options_of(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser that ``words`` lead to, and the words it gets."""
    parser, rest = build_parser(), list(words)
    while rest and (sub := next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)):
        assert rest[0] in sub.choices, f"no command {' '.join(words)}"
        parser, rest = sub.choices[rest[0]], rest[1:]
    return parser, rest


def is_a_command(line: str) -> None:
    """Raises AssertionError unless the program knows the command of ``line`` and every option in it."""
    parser, rest = options_of([word.rstrip(",") for word in shlex.split(line.split(" #")[0])[1:]])
    known = {name for action in parser._actions for name in action.option_strings}
    assert {word for word in rest if word.startswith("--")} <= known, line


@pytest.mark.parametrize(("lang", "page"), WRITTEN, ids=lambda v: v if isinstance(v, str) else v.id)
def test_every_command_of_a_page_exists(lang: str, page: manual.Page):
    for quoted in QUOTED.finditer(page.text):
        is_a_command(quoted[1] or quoted[2])


def test_every_command_of_the_readme_exists():
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(sealift .+)$|`(sealift [^`]+)`", readme, re.MULTILINE)
    assert len(commands) > 15
    for line, quoted in commands:
        is_a_command(line or quoted)


@pytest.mark.parametrize(("lang", "page"), WRITTEN, ids=lambda v: v if isinstance(v, str) else v.id)
def test_every_error_code_of_a_page_exists(lang: str, page: manual.Page):
    known = {kind.code for kind in manual.every_error()}
    named = {c for c in ERROR_CODE.findall(page.text) if not c.endswith(SUFFIXES)}
    assert named <= known | set(DECLARED)


def test_a_translation_has_the_same_pages_and_the_same_commands():
    english = {p.id: p for p in manual.pages("en")}
    for lang in LANGUAGES:
        pages = {p.id: p for p in manual.pages(lang)}
        assert list(pages) == list(english)
        for identity, page in pages.items():
            if lang != "en":
                assert page.title != english[identity].title, f"{identity} is not translated"
            if identity != "errors":
                blocks = [re.findall(r"^    (sealift [^#\n]*)", p.text, re.MULTILINE) for p in (page, english[identity])]
                assert [b.strip() for b in blocks[0]] == [b.strip() for b in blocks[1]], identity


def test_every_error_is_on_its_page():
    text = manual.page("errors").text
    assert all(f"`{kind.code}`" in text for kind in manual.every_error())


def test_an_unknown_page_is_refused():
    with pytest.raises(SealiftError) as refused:
        manual.page("nothing")
    assert refused.value.code == "manual.unknown-page"
