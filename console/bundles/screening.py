"""What may stand in a model component: told by content, not by name. Refusal beats scanning.

Of 26 dangerous pickle imports two scanners caught 20 and 7; the third flagged plain tensors too. So nothing that can
hold a pickle, and no code, is let in with a model, whoever signed it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from console.bundles import headers
from console.errors import SealiftError
from console.i18n import N_

HEAD_BYTES = 4096
MAX_JSON_BYTES = 256 << 20

_WEIGHTS = (".safetensors", ".gguf", ".onnx")
_TEXTS = (".json", ".jsonl", ".txt", ".md", ".jinja", ".model", ".tiktoken", ".vocab", ".bpe", ".merges", ".yaml", ".yml")
_IMAGES = (".png", ".jpg", ".jpeg", ".svg", ".webp", ".gif")
_BARE = ("license", "licence", "notice", "readme", ".gitattributes", "use_policy")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".hdf5", ".keras", ".nemo", ".engine",
            ".plan", ".msgpack", ".pb", ".mar")
_CODE = (".py", ".pyc", ".pyo", ".so", ".dll", ".dylib", ".sh", ".bat", ".ps1", ".exe", ".js", ".jar", ".pyd")
_TEMPLATE_DANGER = re.compile(rb"__\w+__|\battr\s*\(|\bimport\b|\bos\.|\bsubprocess\b|\bgetattr\b|\bself\._|\bcycler\b|\blipsum\b|"
                              rb"\bjoiner\b|\bnamespace\.__|\|\s*attr")

WHY_PICKLE = N_("it can hold pickle code; convert the weights to safetensors")
WHY_CODE = N_("it is program code, which belongs into a component of type runtime")
WHY_UNKNOWN = N_("it is none of the kinds of file that a model may hold")
WHY_TEMPLATE = N_("its chat template reaches for more than text")
WHY_ARCHIVE = N_("it is an archive; a model's files travel unpacked")


@dataclass(frozen=True)
class Finding:
    """Something screened. ``code`` is content-refused or header; ``remark`` ones are for the approver to read."""

    code: str
    path: str
    message: str
    remark: bool = False


def screen(component_type: str, path: str, size: int, source: BinaryIO) -> list[Finding]:
    """Findings on one file; ``source`` is at its start and is left anywhere. Only models are screened by content."""
    if component_type != "model" or size == 0:
        return []
    head = source.read(HEAD_BYTES)
    source.seek(0)
    reason = _dangerous(head) or _by_name(path, head)
    if reason:
        return [Finding("content-refused", path, reason)]
    name = PurePosixPath(path).name.lower()
    if name.endswith((".safetensors", ".gguf")):
        return _header(path, size, source)
    if name.endswith((".json", ".jinja")) and size <= MAX_JSON_BYTES:
        return _template(path, name, source)
    return []


def _dangerous(head: bytes) -> str | None:
    """Why these first bytes are refused whatever the file is called."""
    if len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return WHY_PICKLE
    if re.match(rb"(\(dp|\(lp|c[a-z_]+\n[a-zA-Z_]+\n|\]q\x00|\}q\x00|\(i[a-z_]+\n)", head):
        return WHY_PICKLE
    if head.startswith((b"\x89HDF\r\n\x1a\n", b"\x93NUMPY")):
        return WHY_PICKLE
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return WHY_PICKLE if b".pkl" in head or b"data/" in head else WHY_ARCHIVE
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")) or head[257:262] == b"ustar":
        return WHY_ARCHIVE
    if head.startswith((b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"#!")):
        return WHY_CODE
    return None


def _by_name(path: str, head: bytes) -> str | None:
    name = PurePosixPath(path).name.lower()
    if name.endswith(_PICKLED):
        return WHY_PICKLE
    if name.endswith(_CODE):
        return WHY_CODE
    if name.endswith(_WEIGHTS + _IMAGES):
        return None
    if name.endswith(_TEXTS) or name.split(".")[0] in _BARE or name in _BARE:
        # A sentencepiece tokenizer (.model) is binary by nature; the others are text.
        return None if name.endswith(".model") or b"\x00" not in head else WHY_UNKNOWN
    return WHY_UNKNOWN


def _header(path: str, size: int, source: BinaryIO) -> list[Finding]:
    read = headers.safetensors if path.lower().endswith(".safetensors") else headers.gguf
    try:
        _, _, metadata = read(source, size, path)
    except SealiftError as problem:
        return [Finding("header", path, str(problem.params.get("reason", problem)))]
    template = metadata.get("tokenizer.chat_template", "").encode()
    return [Finding("content-refused", path, WHY_TEMPLATE)] if _TEMPLATE_DANGER.search(template) else []


def _template(path: str, name: str, source: BinaryIO) -> list[Finding]:
    raw = source.read(MAX_JSON_BYTES)
    if name == "config.json" and b'"auto_map"' in raw:
        return [Finding("content-refused", path, N_("it asks for code of its own (auto_map), which is never loaded"), remark=True)]
    templated = name.endswith(".jinja") or name in ("tokenizer_config.json", "chat_template.json")
    if templated and b"{" in raw:
        blocks = b" ".join(re.findall(rb"\{[{%].*?[%}]\}", raw, re.DOTALL))
        if _TEMPLATE_DANGER.search(blocks):
            return [Finding("content-refused", path, WHY_TEMPLATE)]
    return []
