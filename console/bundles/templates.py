"""Whether a chat template reaches for more than text. It is read as Jinja's own lexer would, and never rendered.

What renders templates inside an engine is a sandbox at best. So nothing gets in that names an object's inner parts, spells such
a name out of pieces, or loads other files. Grammar: Jinja 3.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_OPEN = re.compile(r"\{\{|\{%|\{#")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}")
_END_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_TOKEN = re.compile(r"""\s+|(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<name>[^\W\d]\w*)|(?P<number>\d[\w.]*)|(?P<sign>.)""", re.DOTALL)
_ESCAPED = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{|[0-7]{1,3})")
_ENDS = {"{{": "}}", "{%": "%}"}
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_STATEMENTS = frozenset(("import", "from", "include", "extends"))
_OBJECTS = frozenset(("cycler", "joiner", "lipsum", "url_for", "get_flashed_messages", "getattr", "setattr", "eval", "exec", "compile", "open",
                      "subprocess", "globals", "locals", "vars", "builtins", "importlib", "breakpoint"))
"""Names that no template of a model needs, and that lead out of it."""
_PARTS = frozenset(("mro", "subclasses", "func_globals", "func_code", "gi_frame", "gi_code", "cr_frame", "cr_code", "ag_frame", "f_back",
                    "f_globals", "f_builtins", "popen", "system", "environ", "format_map"))
_OWNERS = frozenset(("self", "request", "os", "sys"))
"""Objects whose parts are out of bounds, whatever they are called."""
_HARMLESS_CALLS = frozenset(("replace", "split", "rsplit", "strip", "lstrip", "rstrip", "startswith", "endswith", "partition"))
"""What may be asked for underscores, as the first thing: to look for them or take them away. Putting them in makes names."""
_FIELD = re.compile(r"\{[^{}]*[.\[][^{}]*\}")
"""A field of a format that reaches into what it is filled with."""

Token = tuple[str, str]


def blocks(template: str) -> Iterator[list[Token]]:
    """The tokens of each expression and statement: (``text``, ``name``, ``number`` or ``sign``, what is written)."""
    at = 0
    while found := _OPEN.search(template, at):
        if raw := _RAW.match(template, found.start()):
            end = _END_RAW.search(template, raw.end())
            at = end.end() if end else len(template)
        elif found[0] == "{#":
            end_at = template.find("#}", found.end())
            at = end_at + 2 if end_at >= 0 else len(template)
        else:
            tokens: list[Token] = [("sign", found[0])]
            at = _block(template, found.end(), _ENDS[found[0]], tokens)
            yield tokens


def _block(template: str, at: int, end: str, tokens: list[Token]) -> int:
    """Where the block ends: not inside of a text, nor of brackets. One without an end goes on to the template's."""
    depth = 0
    while at < len(template):
        if depth == 0 and template.startswith(end, at):
            return at + len(end)
        match = _TOKEN.match(template, at)
        if match is None:
            return len(template)
        at = match.end()
        if match.lastgroup:
            tokens.append((match.lastgroup, match[0]))
            depth += (match[0] in _PAIRS) - (depth > 0 and match[0] in _PAIRS.values())
    return at


def problem(template: str) -> str | None:
    """The piece of a template for which it is refused, or None."""
    for tokens in blocks(template):
        for reach in (_reaches, _spells):
            if (piece := reach(tokens)) is not None:
                return piece
    return None


def _reaches(tokens: list[Token]) -> str | None:
    """What names an inner part, or something outside, outright."""
    words = [value for kind, value in tokens if kind == "name"]
    if tokens[0][1] == "{%" and words and words[0] in _STATEMENTS:
        return words[0]
    for number, (kind, value) in enumerate(tokens):
        before = tokens[number - 1][1] if number else ""
        after = tokens[number + 1][1] if number + 1 < len(tokens) else ""
        if kind == "text" and ("__" in value or "%c" in value or value[1:-1] == "attr" or any(map(_disguised, _ESCAPED.findall(value)))):
            return value
        if kind == "text" and "format" in words and _FIELD.search(value):
            return value
        if kind != "name":
            continue
        if "__" in value or value in _OBJECTS or (before == "|" and value == "attr") or (value in _OWNERS and after in (".", "[")):
            return value
        if before == "." and (value.startswith("_") or value in _PARTS):
            return value
    return None


def _disguised(escape: str) -> bool:
    """Whether an escape stands for a letter or sign that could have been typed; foreign ones may have to be escaped."""
    if escape[0] in "xuU":
        return 0x20 < int(escape[1:], 16) < 0x7F
    return escape[0] == "N" or 0x20 < int(escape, 8) < 0x7F


def _spells(tokens: list[Token]) -> str | None:
    """What puts a name together from pieces: in brackets behind an object, or out of underscores."""
    stack: list[tuple[str, str, bool]] = []  # bracket, the name before it, whether it picks a part of an object
    last: Token = ("sign", "")
    for number, token in enumerate(tokens):
        kind, value = token
        if kind == "sign" and value in _PAIRS:
            stack.append((value, last[1], value == "[" and (last[0] in ("name", "text") or last[1] in (")", "]"))))
        elif kind == "sign" and value in _PAIRS.values() and stack:
            stack.pop()
        elif kind == "text":
            after = tokens[number + 1] if number + 1 < len(tokens) else ("sign", "")
            if stack and stack[-1][2] and (last[1] in "~+*%|" or after[1] in "~+*%|"):
                return value
            inner = value[1:-1]
            harmless = bool(stack) and stack[-1][0] == "(" == last[1] and stack[-1][1] in _HARMLESS_CALLS
            if inner.strip("_") == "" and inner and not harmless:
                return value
            if last[1] in ("~", "+") and inner.startswith("_") and number > 1 and tokens[number - 2][0] == "text" and tokens[number - 2][1][-2:-1] == "_":
                return value
        last = token
    return None
