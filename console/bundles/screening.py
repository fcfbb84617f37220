"""What may stand in a component: told by content, not by name. Refusal beats scanning.

Of 26 dangerous pickle imports two scanners caught 20 and 7; the third flagged plain tensors too. So nothing that can
hold a pickle, and no code, is let in with a model, whoever signed it. Code goes only into components of type runtime.
"""

from __future__ import annotations

import json
import pickletools
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from console.bundles import archives, headers, onnx
from console.errors import SealiftError
from console.i18n import N_

HEAD_BYTES = 4096
MAX_JSON_BYTES = 256 << 20

_WEIGHTS = (".safetensors", ".gguf", ".onnx", ".onnx_data", ".onnx.data")
_TEXTS = (".json", ".jsonl", ".txt", ".md", ".jinja", ".model", ".tiktoken", ".vocab", ".bpe", ".merges", ".yaml",
          ".yml", ".csv")
_IMAGES = {".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff", ".gif": b"GIF8", ".webp": b"RIFF",
           ".svg": b""}
_BARE = ("license", "licence", "notice", "readme", "use_policy", "copying", "changelog", "authors")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".hdf5", ".keras",
            ".nemo", ".msgpack", ".mar", ".dill")
_ENGINES = (".engine", ".plan", ".trt", ".pb", ".om", ".tflite")
_CODE = (".py", ".pyc", ".pyo", ".so", ".dll", ".dylib", ".sh", ".bat", ".cmd", ".ps1", ".exe", ".js", ".jar", ".pyd",
         ".o", ".a", ".ipynb", ".rb", ".pl", ".vbs", ".msi", ".com", ".scr", ".lnk", ".desktop")
_TEMPLATE_DANGER = re.compile(
    rb"__\w+__|\battr\s*\(|\bimport\b|\bos\.|\bsubprocess\b|\bgetattr\b|\bself\._|\bcycler\b|\blipsum\b|\bjoiner\b|"
    rb"\bnamespace\.__|\|\s*attr|\b(?:func_globals|gi_frame|cr_frame|mro|f_back|request\.|config\.items)\b|"
    rb"\{%-?\s*(?:include|extends|from)\b|\\x5f|\\u005f")
_OPENERS = (b"(", b"c", b"]", b"}", b")", b"l", b"d", b"i", b"t", b"F", b"I", b"L", b"S", b"V", b"U", b"X", b"N", b"K",
            b"M", b"J", b"\x8c", b"\x8e", b"\x95")
_DOTTED = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*")

WHY_PICKLE = N_("it can hold pickle code; convert the weights to safetensors")
WHY_CODE = N_("it is program code, which belongs into a component of type runtime")
WHY_ENGINE = N_("it is a compiled engine, which runs as code; carry the weights it was made from")
WHY_UNKNOWN = N_("it is none of the kinds of file that a model may hold")
WHY_TEMPLATE = N_("its chat template reaches for more than text")
WHY_ARCHIVE = N_("it is an archive; a model's files travel unpacked")
WHY_NOT_JSON = N_("it is called JSON and is something else")
WHY_IMAGE = N_("it is called an image and is something else")
WHY_EXTERNAL = N_("it points at data outside of the model's folder, or at a file that is not there")
WHY_TAIL = N_("an archive hangs on its end")
SAYS_AUTO_MAP = N_("it asks for code of its own (auto_map), which is never loaded")
SAYS_TEMPLATE = N_("it holds a chat template, which shapes every prompt")


@dataclass(frozen=True)
class Finding:
    """Something screened. ``code`` is content-refused or header; ``remark`` ones are for the approver to read."""

    code: str
    path: str
    message: str
    remark: bool = False


def screen(component_type: str, path: str, size: int, source: BinaryIO,
           siblings: frozenset[str] = frozenset()) -> list[Finding]:
    """Findings on one file; ``source`` is at its start and is left anywhere.

    Args:
        component_type: of the component that holds it. siblings: paths of all files of the bundle, for what one file
            may point at.
    """
    if size == 0:
        return []
    head = source.read(HEAD_BYTES)
    source.seek(0)
    if component_type == "runtime":
        return _refusals(path, _pickle(head), lambda: archives.problem(head, size, source)[0])
    if component_type != "model":
        return _refusals(path, _dangerous(head, size, source), lambda: _code_by_name(path))
    found = _refusals(path, _dangerous(head, size, source), lambda: _by_name(path, head))
    return found or list(_by_kind(path, size, head, source, siblings))


def _refusals(path: str, first: str | None, then: Callable[[], str | None]) -> list[Finding]:
    reason = first or then()
    return [Finding("content-refused", path, reason)] if reason else []


def _by_kind(path: str, size: int, head: bytes, source: BinaryIO, siblings: frozenset[str]) -> Iterator[Finding]:
    name = PurePosixPath(path).name.lower()
    try:
        if name.endswith(".safetensors"):
            headers.safetensors(source, size, path)
        elif name.endswith(".gguf"):
            _, _, metadata = headers.gguf(source, size, path)
            yield from _chat_template(path, metadata.get("tokenizer.chat_template", "").encode())
        elif name.endswith(".onnx"):
            yield from _onnx(path, size, source, siblings)
    except SealiftError as problem:
        yield Finding("header", path, str(problem.params.get("reason", problem)))
        return
    if name.endswith((".json", ".jinja")) and size <= MAX_JSON_BYTES:
        yield from _texts(path, name, source)
    # A safetensors file is filled by its tensors to the last byte; the others could carry a rider.
    if not name.endswith((".safetensors", ".json", ".txt", ".md")) and archives.is_zip(source):
        yield Finding("content-refused", path, WHY_TAIL)


def _dangerous(head: bytes, size: int, source: BinaryIO) -> str | None:
    """Why these first bytes are refused whatever the file is called."""
    if reason := _pickle(head):
        return reason
    if any(head[at : at + 8] == b"\x89HDF\r\n\x1a\n" for at in (0, 512, 1024, 2048)) or head.startswith(b"\x93NUMPY"):
        return WHY_PICKLE
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return WHY_PICKLE if b".pkl" in head or b"data/" in head else WHY_ARCHIVE
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd", b"7z\xbc\xaf", b"Rar!", b"\x04\"M\x18")):
        return WHY_ARCHIVE
    if head[257:262] == b"ustar":
        return WHY_ARCHIVE
    if head.startswith((b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"#!",
                        b"!<arch>", b"\x00asm", b"\xa7\r\r\n", b"\xcb\r\r\n", b"L\x00\x00\x00\x01\x14\x02\x00")):
        return WHY_CODE
    return WHY_ENGINE if head.startswith((b"ptrt", b"ftrt")) else None


def _pickle(head: bytes) -> str | None:
    if len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return WHY_PICKLE
    return WHY_PICKLE if _old_pickle(head) else None


def _old_pickle(head: bytes) -> bool:
    """Whether the bytes read as a pickle of the old text form, by its opcodes; none of them is run."""
    if head[:1] not in _OPENERS:
        return False
    reaches = count = 0
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(head), 1):
            if opcode.name in ("GLOBAL", "INST"):
                if not _DOTTED.fullmatch(str(argument)):
                    return False
                reaches += 1
            elif opcode.name == "STACK_GLOBAL":
                reaches += 1
            elif opcode.name == "STOP":
                return reaches > 0 or count > 8
    except Exception as problem:  # genops says "no pickle" in many ways; that the bytes ran out is another matter
        ran_out = any(word in str(problem) for word in ("exhausted", "expected", "no newline"))
        return ran_out and len(head) == HEAD_BYTES and (reaches > 0 or count > 20)
    return False


def _by_name(path: str, head: bytes) -> str | None:
    name = PurePosixPath(path).name.lower()
    if name.endswith(_WEIGHTS):
        return None
    if name.endswith(_PICKLED):
        return WHY_PICKLE
    if name.endswith(_ENGINES):
        return WHY_ENGINE
    if name.endswith(_CODE):
        return WHY_CODE
    for ending, magic in _IMAGES.items():
        if name.endswith(ending):
            return None if head.startswith(magic) and (magic or b"\x00" not in head) else WHY_IMAGE
    if name.endswith(_TEXTS) or name.split(".")[0].split("-")[0] in _BARE:
        # A sentencepiece tokenizer (.model) is binary by nature; the others are text.
        return None if name.endswith(".model") or b"\x00" not in head else WHY_UNKNOWN
    return WHY_UNKNOWN


def _code_by_name(path: str) -> str | None:
    name = PurePosixPath(path).name.lower()
    return WHY_CODE if name.endswith(_CODE) else WHY_PICKLE if name.endswith(_PICKLED) else None


def _onnx(path: str, size: int, source: BinaryIO, siblings: frozenset[str]) -> Iterator[Finding]:
    outline = onnx.outline(source, size, path)
    folder = posixpath.dirname(path)
    for location in sorted(outline.locations):
        if location.startswith("/") or "\\" in location or ".." in location.split("/") or (
                f"{folder}/{posixpath.normpath(location)}" not in siblings):
            yield Finding("content-refused", path, WHY_EXTERNAL)
            break
    for domain in sorted(outline.domains)[:20]:
        yield Finding("content-refused", path, f"it calls operators of {domain[:80]}, which the runtime must bring", True)


def _texts(path: str, name: str, source: BinaryIO) -> Iterator[Finding]:
    source.seek(0)
    raw = source.read(MAX_JSON_BYTES)
    if name.endswith(".jinja"):
        yield from _chat_template(path, raw)
        return
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        yield Finding("content-refused", path, WHY_NOT_JSON)
        return
    if not isinstance(value, dict):
        return
    if "auto_map" in value:
        yield Finding("content-refused", path, SAYS_AUTO_MAP, remark=True)
    if name in ("tokenizer_config.json", "chat_template.json", "processor_config.json"):
        yield from _chat_template(path, "\n".join(_strings(value.get("chat_template"))).encode("utf-8", "replace"))


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    """All texts in a value; a chat template may be one text, or a list of named ones."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list) and depth < 8:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner, depth + 1)


def _chat_template(path: str, template: bytes) -> Iterator[Finding]:
    blocks = b" ".join(re.findall(rb"\{[{%].*?[%}]\}", template, re.DOTALL))
    if _TEMPLATE_DANGER.search(blocks):
        yield Finding("content-refused", path, WHY_TEMPLATE)
    elif blocks:
        yield Finding("content-refused", path, SAYS_TEMPLATE, remark=True)
