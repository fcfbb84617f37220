"""Every word of the window has its translation, and every translation fills the same fields."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from ui.screens import wording

ROOT = Path(__file__).resolve().parents[2]
SAYING = {"t", "tr", "N_", "say", "_say"}


def _texts() -> dict[str, str]:
    found = {}
    for file in sorted((ROOT / "ui").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                for argument in _strings(node.args[0]) if name in SAYING else ():
                    found.setdefault(argument, f"{file.relative_to(ROOT)}:{node.lineno}")
    return found


def _strings(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return _strings(node.body) + _strings(node.orelse)
    return []


@pytest.fixture(scope="module")
def chinese() -> dict[str, str]:
    table: dict[str, str] = {}
    for file in sorted((ROOT / "assets" / "translations" / "zh_CN").glob("*.json")):
        table.update(json.loads(file.read_text(encoding="utf-8")))
    return table


def test_every_text_of_the_window_is_translated(chinese):
    missing = [f"{where}: {text!r}" for text, where in _texts().items() if text and text not in chinese]
    assert not missing, "\n".join(missing)


def test_translations_fill_the_same_fields(chinese):
    def fields(text: str) -> list[str]:
        return sorted(re.findall(r"\{(\w+)[^}]*\}", text))

    wrong = [text for text in _texts() if text in chinese and fields(text) != fields(chinese[text])]
    assert not wrong


def test_the_windows_own_table_has_no_left_overs():
    own = json.loads((ROOT / "assets/translations/zh_CN/ui.json").read_text(encoding="utf-8"))
    assert not sorted(set(own) - set(_texts()))


def _emitted() -> tuple[dict[str, str], dict[str, str]]:
    """Events that the engine records and kinds of object it names in them, each with a place where it does."""
    events, kinds = {}, {}
    for file in sorted((ROOT / "console").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict):
                keys = {key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)}
                if {"kind", "id", "digest"} <= set(keys):
                    kinds |= dict.fromkeys(_strings(keys["kind"]), f"{file.relative_to(ROOT)}:{node.lineno}")
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                said = node.args[:1] if name in {"append", "act", "_write", "_record"} else []
                said += [keyword.value for keyword in node.keywords if keyword.arg == "event"]
                for text in (text for part in said for text in _strings(part)):
                    if re.fullmatch(r"[a-z]+\.[a-z-]+", text):
                        events[text] = f"{file.relative_to(ROOT)}:{node.lineno}"
    return events, kinds


def test_everything_the_record_can_hold_has_words():
    events, kinds = _emitted()
    assert len(events) > 30 and len(kinds) > 10
    assert not {text: where for text, where in events.items() if text not in wording.EVENTS}
    assert not {text: where for text, where in kinds.items() if text not in wording.OBJECTS}


def test_no_words_are_kept_for_events_that_are_never_recorded():
    asked = {"approval.grant", "approval.deny"}  # their name is put together
    assert set(wording.EVENTS) - asked == set(_emitted()[0]) - asked
