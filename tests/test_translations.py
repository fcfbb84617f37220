"""Every text for people has a Simplified Chinese translation, and every translation a text."""

from __future__ import annotations

import argparse
import ast
import json
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from console.bundles import headers
from console.bundles.headers import refusal
from console.cli.main import build_parser, every_parser
from console.errors import why, words_of
from console.i18n import N_

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("console", "ui")
TABLES = ROOT / "assets" / "translations" / "zh_CN"
MARKERS = frozenset({"N_", "tr", "t", "say"})


def _literals(node: ast.expr) -> Iterator[str]:
    """The texts that an argument can be: a literal, or either branch of a condition between literals."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _literals(node.body)
        yield from _literals(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _literals(value)


def marked(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of everything that ``source`` marks for translation."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            if name in MARKERS:
                for text in _literals(node.args[0]):
                    yield node.lineno, text


@cache
def texts() -> dict[str, str]:
    """Every marked text of the product, to the first place that marks it."""
    found: dict[str, str] = {}
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for line, text in marked(file.read_text(encoding="utf-8")):
                if text:
                    found.setdefault(text, f"{file.relative_to(ROOT).as_posix()}:{line}")
    for parser in every_parser(build_parser()):
        for text in helps(parser):
            found.setdefault(text, f"help of {parser.prog}")
    return found


def helps(parser: argparse.ArgumentParser) -> Iterator[str]:
    """What a parser says about itself; it renders that when it is built."""
    yield from (group.title for group in parser._action_groups if group.title)
    yield from filter(None, [parser.description])
    for action in parser._actions:
        yield from (one.help for one in (action, *getattr(action, "_choices_actions", ())) if one.help not in (None, argparse.SUPPRESS))


def _pairs(file: Path) -> list[tuple[str, str]]:
    """A table's entries as written, so that a key written twice is seen twice."""
    return json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=list)


@cache
def tables() -> dict[str, tuple[tuple[str, str], ...]]:
    return {file.name: tuple(_pairs(file)) for file in sorted(TABLES.glob("*.json"))}


def fields(text: str) -> set[str]:
    """The names of the ``{fields}`` of a text."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_what_counts_as_marked():
    source = 'N_("a " "b"); app.t("c" if x else N_("d")); self.say("e", n="no"); tr(x, "no"); t(f"no{x}"); other("no")'
    assert sorted({text for _, text in marked(source)}) == ["a b", "c", "d", "e"]


def test_every_text_is_translated():
    have = {key for table in tables().values() for key, _ in table}
    missing = {text: place for text, place in texts().items() if text not in have}
    assert not missing, "without translation:\n" + "\n".join(f"{place}: {text}" for text, place in missing.items())


def test_no_translation_is_left_over():
    unused = [f"{name}: {key}" for name, table in tables().items() for key, _ in table if key not in texts()]
    assert not unused, "nothing uses:\n" + "\n".join(unused)


REASONED = ("console/audit", "console/bundles", "console/trust")
ASKED_FIRST = frozenset({"refuse", "_refuse", "wrong"})
"""Functions that make an error of a reason, their first argument."""


def bare(node: ast.expr | None) -> bool:
    """Whether a reason is words that no table can hold: written out as they are, put together, or some exception's own."""
    if isinstance(node, ast.BoolOp):
        return any(map(bare, node.values))
    if isinstance(node, ast.IfExp):
        return bare(node.body) or bare(node.orelse)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value not in ("", "?")
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("str", "repr"))


def unreadable_reasons(source: str) -> Iterator[int]:
    """Lines of ``source`` with a reason in an error that stays English whoever reads it."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
        reasons = [k.value for k in node.keywords if k.arg == "reason"]
        if name in ASKED_FIRST:
            reasons += node.args[:1]
        elif name == "_need":
            reasons += node.args[1:2]
        if any(map(bare, reasons)):
            yield node.lineno


def test_reasons_inside_of_errors_are_texts_too():
    source = 'KIND(reason="a"); refuse(f"{x}"); KIND(reason=e.strerror or str(e)); KIND(reason=N_("b")); refuse(N_("c"), x=1); KIND(reason=e.strerror or "?")'
    assert len(list(unreadable_reasons(source))) == 3
    found = [f"{file.relative_to(ROOT).as_posix()}:{line}" for folder in REASONED for file in sorted((ROOT / folder).rglob("*.py"))
             for line in unreadable_reasons(file.read_text(encoding="utf-8"))]
    assert not found, "reasons that no table can hold:\n" + "\n".join(found)


def test_an_error_that_was_kept_is_told_in_the_language_of_who_reads_it_later():
    problem = refusal("m/a\x1b.safetensors")(N_("{name} has a malformed shape"), name="w{0}\u202e")
    wrapped = headers.HEADER(path="x", reason=why(problem))
    for one in (problem, wrapped):
        kept = json.loads(json.dumps(one.kept()))
        for lang in ("en", "zh_CN"):
            assert words_of(kept, lang) == (one.message(lang), one.remedy(lang)) and "w{0}\\u202e" in one.message(lang)
        assert "形状格式有误" in words_of(kept, "zh_CN")[0]
    for broken in ({"reason": 1}, {"reason": {"text": 1, "params": {}}}, {"reason": {"text": "x", "params": {"a": {}}}}):
        words_of(kept | {"said": broken}, "zh_CN")


def test_a_text_has_one_translation():
    values: dict[str, dict[str, str]] = {}
    for name, table in tables().items():
        for key, value in table:
            values.setdefault(key, {}).setdefault(value, name)
    differing = {key: found for key, found in values.items() if len(found) > 1}
    assert not differing, "differing translations:\n" + "\n".join(f"{key}: {found}" for key, found in differing.items())


@pytest.mark.parametrize("name", [file.name for file in sorted(TABLES.glob("*.json"))])
def test_a_table_is_sound(name):
    table = tables()[name]
    keys = [key for key, _ in table]
    assert len(keys) == len(set(keys)), "keys written twice: " + ", ".join(sorted({k for k in keys if keys.count(k) > 1}))
    assert not [key for key, value in table if not isinstance(value, str) or not value.strip()]
    differing = [key for key, value in table if fields(key) != fields(value)]
    assert not differing, "the {fields} differ:\n" + "\n".join(differing)


def test_every_reason_why_an_output_was_not_read_is_marked():
    """What a reader of recorded outputs says it stumbled over stands in the message, in the reader's language."""
    unmarked = []
    for file in sorted((ROOT / "console").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "fail" and len(node.args) == 2 and list(_strings(node.args[1])):
                unmarked.append(f"{file.name}:{node.lineno}")
    assert not unmarked


def _strings(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        yield ast.unparse(node)
    yield from _literals(node)
