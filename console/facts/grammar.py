"""What the readers of recorded outputs share: clean lines, values without a guess, errors that name the line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from console.facts.fact import MAX_OUTPUT_BYTES, TOO_LONG, UNREADABLE
from console.i18n import N_

MAX_LINE_CHARS = 64 << 10
MAX_JSON_DEPTH = 64

NONE_WORDS = frozenset({
    "", "-", "--", "na", "n/a", "[n/a]", "err!", "[not supported]", "not supported", "unknown error", "[unknown error]",
    "[unknown]", "none", "[gpu is lost]", "gpu is lost", "[gpu requires reset]", "gpu requires reset",
    "[insufficient permissions]", "insufficient permissions", "[no permission]",
    "requested functionality has been deprecated", "[requested functionality has been deprecated]", "<redacted>"})
"""What tools print where they have no value; compared without case."""

# Colours and cursor moves, titles, and two-byte escapes, as terminals of the ECMA-48 family know them.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]?[0-~]?"
                      r"|\x9b[0-?]*[ -/]*[@-~]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff]")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,12})?")


def clean(raw: bytes | str, tool: str = "the tool") -> str:
    """Text of a recording: decoded, without terminal escapes and control characters, lines ended by ``\\n``.

    Raises:
        InputError: ``inventory.output-too-long``.
    """
    if len(raw) > MAX_OUTPUT_BYTES:
        raise TOO_LONG(tool=tool, limit=MAX_OUTPUT_BYTES >> 20)
    text = raw if isinstance(raw, str) else _decoded(raw)
    text = _ESCAPES.sub("", text) if "\x1b" in text or "\x9b" in text else text
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _decoded(raw: bytes) -> str:
    # Windows shells write UTF-16 with a mark when output is sent to a file.
    for mark, name in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark):
            return raw.decode(name, "replace")
    return raw.decode("utf-8-sig", "replace")


_PADDED_KEY = re.compile(r"\S {4,}\S[^:]{0,80} : |[A-Za-z)\]] {2,}: |[A-Za-z)\]]: {3,}\S|(?:\S|^) {4,}[A-Z][A-Z_0-9]+:(?: |$)")


class Page:
    """A recorded output as lines. Line numbers in errors count from 1."""

    def __init__(self, text: str, tool: str):
        self.tool, self.text = tool, text
        self.lines = text.split("\n")
        if self.lines and self.lines[-1] == "":
            self.lines.pop()
        self.ended = text.endswith("\n") or not text

    def fail(self, index: int, reason: str) -> NoReturn:
        """Raise ``inventory.unreadable-output`` for the line at ``index`` (from 0)."""
        text = self.lines[index] if 0 <= index < len(self.lines) else ""
        raise UNREADABLE(tool=self.tool, line=index + 1, text=text.strip()[:200], reason=reason)

    def numbered(self, start: int = 0) -> Iterator[tuple[int, str]]:
        """(index, line without trailing blanks); refuses a line too long to be any tool's."""
        for index in range(start, len(self.lines)):
            if len(self.lines[index]) > MAX_LINE_CHARS:
                self.fail(index, N_("the line is too long"))
            yield index, self.lines[index].rstrip()

    def one_entry(self, index: int, value: str) -> None:
        """Refuse a value that holds a padded key of its own: the end of its line got lost."""
        if "  " in value and _PADDED_KEY.search(value[:MAX_LINE_CHARS]):
            self.fail(index, N_("two entries stand on one line"))

    def whole(self) -> None:
        """Refuse a page whose last line was not ended: what stands there may be part of a value."""
        if not self.ended:
            self.fail(len(self.lines) - 1, N_("the page is cut off"))

    def empty(self) -> NoReturn:
        """Raise for a page that holds nothing of what was looked for."""
        self.fail(max(0, len(self.lines) - 1), N_("nothing that this tool prints was found"))


def framed(page: Page) -> Page:
    """A page of tables in frames without the text behind the last rule; line numbers stay as they are."""
    last = next((n for n in range(len(page.lines) - 1, -1, -1) if "|" in page.lines[n] or page.lines[n].lstrip().startswith("+")), -1)
    closed = last >= 0 and re.fullmatch(r"\+[-=+]{3,}\+", page.lines[last].strip())
    return Page("\n".join(page.lines[: last + 1]) + "\n", page.tool) if closed and any(map(str.strip, page.lines[last + 1 :])) else page


def shown(value: str | None) -> str | None:
    """The value as printed, None where the tool printed a word for "no value"."""
    text = (value or "").strip()
    return None if text.lower() in NONE_WORDS else text


def measured(text: str | None) -> str | None:
    """What stands where a reading is expected; None for no value, also when words without a digit say why."""
    value = shown(text)
    return value if value is not None and re.search(r"\d|[^\w\s\[\]().,/!-]", value) else None


def version(text: str | None) -> str | None:
    """The first word of a version; builds and dates that may follow it are no part of it. Words such as "Not Found" are none."""
    word = next(iter((shown(text) or "").split()), "")
    return word if re.search("[0-9]", word) else None


def titled(text: str | None) -> str | None:
    """A name as printed; words that tools print instead of a reading may be all that they name a process by."""
    name = (text or "").strip()
    return None if name.lower() in ("", "-", "na", "n/a", "[n/a]", "none") else name


def number(text: str | None) -> int | float | None:
    """``"12"`` as int, ``"12.8"`` as float, None for anything that is not wholly a number."""
    if text and text.isdigit() and text.isascii() and len(text) <= 20:
        return int(text)
    match = _NUMBER.fullmatch((text or "").strip())
    if not match:
        return None
    return float(match[0]) if match[1] else int(match[0])


def whole(text: str | None) -> int | None:
    """``number`` where only a whole one makes sense."""
    value = number(text)
    return value if isinstance(value, int) else None


def tidy(value: float) -> int | float:
    """At most 3 decimals; whole values as int."""
    rounded = round(value, 3)
    return int(rounded) if rounded == int(rounded) else rounded


_TO_MIB = {"b": 1 / 1048576, "kb": 1 / 1024, "kib": 1 / 1024, "mb": 1, "mib": 1, "m": 1, "gb": 1024, "gib": 1024,
           "tb": 1048576, "tib": 1048576}


def mib(value: int | float | None, unit: str) -> int | float | None:
    """A size in MiB. Tools print MB and mean MiB; bytes and KB are converted.

    Raises:
        KeyError: not a unit of size.
    """
    return None if value is None else tidy(value * _TO_MIB[unit.lower()])


def drop_none(record: dict[str, Any]) -> dict[str, Any]:
    """Without the keys that hold None."""
    return {k: v for k, v in record.items() if v is not None}


def strict_json(text: str, page: Page) -> Any:
    """JSON of a tool, refused when broken, too deep, or with a name twice in an object."""
    start = re.search(r"[\[{]", text)
    if not start:
        page.empty()
    if _depth(text) > MAX_JSON_DEPTH:
        page.fail(0, N_("the JSON is nested too deep"))
    try:
        decoder = json.JSONDecoder(parse_constant=_no_constant, parse_int=_bounded_int)
        value, end = decoder.raw_decode(text, start.start())
    except RecursionError:
        page.fail(0, N_("the JSON is nested too deep"))
    except ValueError as problem:
        at = getattr(problem, "pos", 0)
        page.fail(text.count("\n", 0, at), N_("this is not JSON"))
    if text[end:].strip():
        page.fail(text.count("\n", 0, end), N_("there is more after the JSON"))
    return value


def _depth(text: str) -> int:
    deepest = depth = 0
    quoted = False
    for match in re.finditer(r'\\.|["\[\]{}]', text, re.DOTALL):
        if match[0] == '"':
            quoted = not quoted
        elif not quoted and match[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
            if depth > MAX_JSON_DEPTH:
                break  # a hostile one is not counted to its end
        elif not quoted and match[0] in "]}":
            depth -= 1
    return deepest


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _bounded_int(text: str) -> int:
    if len(text) > 40:
        raise ValueError("a number too long")
    return int(text)


def pairs(lines: Iterable[str], separator: str = ":") -> Iterator[tuple[str, str]]:
    """(key, value) of the lines that hold the separator, both stripped."""
    for line in lines:
        key, found, value = line.partition(separator)
        if found:
            yield key.strip(), value.strip()
