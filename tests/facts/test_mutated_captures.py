"""Shared recordings as terminals, other products and newer tools would have changed them: right values or a named error."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.errors import InputError
from console.facts.recorded import parse_recorded
from tests.facts.test_captures import CAPTURES, INDEX, _told, _truth, needs_captures

GREETINGS = (
    b"sudo: unable to resolve host gpu-01: Name or service not known\n", b"[sudo] password for ops: \n",
    "[sudo] ops 的密码：\n".encode(), b"bash: warning: setlocale: LC_ALL: cannot change locale (zh_CN.UTF-8)\n",
    b"Welcome to Ubuntu 22.04.5 LTS (GNU/Linux 5.15.0-94-generic x86_64)\n\n * Documentation:  https://help.ubuntu.com\n",
    b"Last login: Mon Sep  1 10:00:00 2025 from 192.0.2.7\n", b"\n", b"Authorized users only. All activities may be monitored and reported.\n",
    b"[root@node-1 ~]# COMMAND\n", b"ops@gpu-01:~$ sudo COMMAND\n")
ENDINGS = (b"", b"\n\n", b"[root@node-1 ~]# ", b"ops@gpu-01:~$ \n", b"Connection to gpu-01 closed.\r\n", b"logout\nConnection to gpu-01 closed.\n")
COLOURS = st.sampled_from([b"", b"\x1b[0m", b"\x1b[1;31m", b"\x1b[38;5;10m", b"\x1b]0;title\x07", b"\x1b[K"])
CHOSEN = st.sampled_from(INDEX) if INDEX else st.nothing()
slow = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@needs_captures
@slow
@given(chosen=CHOSEN, ahead=st.lists(st.sampled_from(GREETINGS), max_size=4), behind=st.sampled_from(ENDINGS), returns=st.booleans(),
       colour=COLOURS, mark=st.booleans())  # fmt: skip
def test_what_a_terminal_adds_changes_nothing(chosen, ahead, behind, returns, colour, mark) -> None:
    path, tool = chosen
    raw = (CAPTURES / path).read_bytes()
    if not raw.endswith(b"\n") and behind:
        raw += b"\n"
    lines = [colour + line + (b"\x1b[0m" if colour else b"") if line.strip() else line for line in raw.split(b"\n")]
    text = b"".join(ahead).replace(b"COMMAND", tool.encode()) + b"\n".join(lines) + behind
    if returns:
        text = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if mark and not text.startswith((b"\xff\xfe", b"\xef\xbb\xbf")):
        text = b"\xef\xbb\xbf" + text
    try:
        found = parse_recorded(tool, text)
    except InputError as problem:
        # A recording that is itself cut off is not made whole by what follows it.
        assert not raw.endswith(b"\n") or (CAPTURES / path).read_bytes() != raw, problem
        return
    assert _told(found) == _told(_truth(path))


def _names(value: Any) -> set[str]:
    """Every product name of a truth."""
    if isinstance(value, dict):
        own = {value["name"]} if isinstance(value.get("name"), str) and "index" in value else set()
        return own.union(*map(_names, value.values())) if value else own
    return set().union(*map(_names, value)) if isinstance(value, list) and value else set()


NAMED = [(path, tool, name) for path, tool in INDEX for name in sorted(_names(_truth(path))) if len(name) > 3]


@needs_captures
@slow
@given(chosen=st.sampled_from(NAMED) if NAMED else st.nothing(), letters=st.text("ABCDEFGHKLMXYZ0123456789-", min_size=1, max_size=14),
       longer=st.integers(-2, 8))  # fmt: skip
def test_another_product_is_read_as_named_and_nothing_else_changes(chosen, letters, longer) -> None:
    path, tool, name = chosen
    head = re.match(r"(?:NVIDIA |AMD |Ascend ?|Tesla )?", name)[0]
    size = max(len(head) + 2, len(name) + longer)
    other = (head + "Q" + letters * 20)[:size].rstrip("-")
    raw, truth = (CAPTURES / path).read_bytes(), json.dumps(_truth(path))
    if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", raw.decode("utf-8", "replace")):
        return
    pattern = rf"(?<![\w.-]){re.escape(name)}(?![\w.-])"
    text = re.sub(pattern, other, raw.decode("utf-8-sig"))
    try:
        found = parse_recorded(tool, text.encode())
    except InputError as problem:
        assert problem.code == "inventory.unreadable-output"
        return
    assert _told(found) == _told(json.loads(re.sub(pattern, other, truth))), (path, name, other)


def _widened(lines: list[str], place: int, more: int) -> list[str]:
    """A table in frames, a column of it wider: at every line's ``place`` where a frame stands, filled up before it."""
    out = []
    for line in lines:
        # Columns of the heading and of the processes stand elsewhere; their frames end at the same edge only.
        at = place if line[place : place + 1] in ("|", "+") else len(line.rstrip()) - 1
        if line[at : at + 1] in ("|", "+") and line[:1] in ("|", "+"):
            fill = " " if line[at] == "|" and line[at - 1] not in "=-" else line[at - 1]
            line = line[:at] + fill * more + line[at:]
        out.append(line)
    return out


TABLES = [(path, tool) for path, tool in INDEX if "/smi-table/" in path or "/npu-smi-info/" in path]


@needs_captures
@slow
@given(chosen=st.sampled_from(TABLES) if TABLES else st.nothing(), column=st.integers(0, 3), more=st.integers(1, 25))
def test_wider_columns_of_a_recording_change_nothing(chosen, column, more) -> None:
    path, tool = chosen
    lines = (CAPTURES / path).read_bytes().decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    rules = [line for line in lines if re.fullmatch(r"[|+][-=+|]+[|+]\s*", line) and line.count("+") > 2]
    places = [m.start() for m in re.finditer(r"[|+]", rules[0])][1:] if rules else []
    if not places:
        return
    text = "\n".join(_widened(lines, places[column % len(places)], more))
    try:
        found = parse_recorded(tool, text.encode())
    except InputError as problem:
        assert problem.code == "inventory.unreadable-output"
        return
    assert _told(found) == _told(_truth(path))


def _added(raw: str, path: str, word: str) -> str | None:
    """A recording with an entry more at many places, in its own grammar; None for one that has no entries."""
    if path.endswith(".xml"):
        return re.sub(r"(\n\s*)(</?(?:product_name|pci|power_draw|ecc_mode|uuid)[> ])", rf"\1<{word}>7 W</{word}>\1\2",
                      raw) if "</" in raw else None
    if "/smi-q/" in path:
        return re.sub(r"(?m)^( +)(\S[^:\n]* : .*)$", lambda m: f"{m[0]}\n{m[1]}{word.title():<37} : 7 W", raw)
    if path.endswith(".json"):
        start = raw.index("{")
        return raw[:start] + re.sub(r"\{(?=\s*\")", '{"' + word + '": "7 W", ', raw[start:])
    return None


ENTRIES = [(path, tool) for path, tool in INDEX if "/smi-q" in path or path.endswith((".xml", ".json"))]


@needs_captures
@slow
@given(chosen=st.sampled_from(ENTRIES) if ENTRIES else st.nothing(), word=st.sampled_from(["brand_new_reading", "fresh", "zeta_power"]))
def test_entries_of_a_newer_tool_change_nothing(chosen, word) -> None:
    path, tool = chosen
    text = _added((CAPTURES / path).read_bytes().decode("utf-8-sig").replace("\r\n", "\n"), path, word)
    if text is None:
        return
    try:
        found = parse_recorded(tool, text.encode())
    except InputError as problem:
        assert problem.code == "inventory.unreadable-output"
        return
    assert _told(found) == _told(_truth(path))


COUNTS = {"device_count", "npu_count", "pci_function_count", "physical_gpu_count", "xid_line_count", "rows_still_printed", "vendor", "truncated"}
"""What is counted over the page; a page that lost a line may well count less."""


def _values(value: Any, path: tuple = ()) -> dict[tuple, Any]:
    """Every single value by where it stands; devices by their numbers, so that one that is missing shifts no other."""
    if isinstance(value, dict):
        return {k: v for name, part in value.items() if name not in COUNTS for k, v in _values(part, (*path, name)).items()}
    if isinstance(value, list) and path[-1:] == ("devices",) and all(isinstance(part, dict) and "index" in part for part in value):
        return {k: v for part in value for k, v in _values(part, (*path, part["index"], part.get("chip"))).items()}
    return {} if isinstance(value, list) else {path: value}


def _changed(chosen: tuple[str, str], text: bytes) -> dict[tuple, tuple[Any, Any]]:
    """What is said of the same thing, and otherwise, once a recording is changed; nothing when that is refused."""
    path, tool = chosen
    try:
        found = _values(_told(parse_recorded(tool, text)))
    except InputError as problem:
        assert problem.code == "inventory.unreadable-output"
        return {}
    truth = _values(_told(_truth(path)))
    return {key: (truth[key], value) for key, value in found.items() if key in truth and truth[key] != value}


PADDED = [(path, tool) for path, tool in INDEX if any(part in path for part in (
    "/smi-q/", "/version/", "/npu-smi-t-", "/os-release/", "/lscpu/", "/list-L/", "/amd-smi-static/", "/amd-smi-list/", "/version-info/",
    "/toolkit-install-info/", "/rocm-smi-a/", "/smi-table/", "/npu-smi-info/", "/topo-m/", "/npu-smi-m/", "/meminfo/"))]  # fmt: skip


@needs_captures
@slow
@given(chosen=st.sampled_from(PADDED) if PADDED else st.nothing(), data=st.data())
def test_a_line_end_that_got_lost_makes_no_value_of_two(chosen, data) -> None:
    lines = (CAPTURES / chosen[0]).read_bytes().split(b"\n")
    at = data.draw(st.integers(0, len(lines) - 2))
    text = b"\n".join([*lines[:at], lines[at] + lines[at + 1], *lines[at + 2 :]])
    assert not _changed(chosen, text), (chosen[0], lines[at : at + 2])


# Where an entry is missed, another one of the same meaning is taken: a draw of power of the module, a second sensor, another name.
OTHERS = {"power_w", "temperature_c", "temperature_sensor", "device_id", "name", "model_name", "error_codes", "ret_code"}


@needs_captures
@slow
@given(chosen=st.sampled_from([entry for entry in INDEX if "lspci" not in entry[0]]) if INDEX else st.nothing(), data=st.data())
def test_a_line_that_got_lost_gives_no_device_the_values_of_another(chosen, data) -> None:
    lines = (CAPTURES / chosen[0]).read_bytes().split(b"\n")
    at = data.draw(st.integers(0, len(lines) - 1))
    changed = _changed(chosen, b"\n".join([*lines[:at], *lines[at + 1 :]]))
    assert not {key for key in changed if key[-1] not in OTHERS and "fields" not in key and key[0] != "error_kind"}, (chosen[0], lines[at], changed)
