"""What may stand in a component: told by content, not by name. Refusal beats scanning.

Of 26 dangerous pickle imports two scanners caught 20 and 7; the third flagged plain tensors too. So nothing that can
hold a pickle, and no code, is let in with a model, whoever signed it. Code goes only into components of type runtime.
"""

from __future__ import annotations

import io
import posixpath
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from console.bundles import archives, debs, gguf, headers, jsontext, onnx, pickles, templates
from console.errors import SealiftError, later, why
from console.i18n import N_, Said
from console.trust import oms

HEAD_BYTES = 4096
REMARK = "remark"
"""Code of a finding that is for people to read and spoils no verdict."""
BLOCK_BYTES = 1 << 20
MAX_TOLD = 20
"""Findings of one kind in one file that are listed."""

_WEIGHTS = (".safetensors", ".gguf", ".onnx", ".onnx_data", ".onnx.data")
_TEXTS = (".json", ".jsonl", ".txt", ".md", ".rst", ".jinja", ".tiktoken", ".vocab", ".bpe", ".merges", ".yaml", ".yml", ".csv", ".sha256")
_TOKENIZER = re.compile(r"\.(model|spm)(\.v\d+\w*)?$")
_IMAGES = {".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff", ".gif": b"GIF8", ".webp": b"RIFF",
           ".svg": b""}
_BARE = ("license", "licence", "notice", "readme", "use_policy", "copying", "copyright", "changelog", "authors", "sha256sums", "sha256sum", "checksums")
_ONLY_PICKLED = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill")
"""Endings of files that nothing but a pickle reader opens: refused in every component."""
_PICKLED = (*_ONLY_PICKLED, ".bin", ".npy", ".npz", ".h5", ".hdf5", ".keras", ".nemo", ".msgpack", ".mar")
_ENGINES = (".engine", ".plan", ".trt", ".pb", ".om", ".tflite")
_CODE = (".py", ".pyc", ".pyo", ".so", ".dll", ".dylib", ".sh", ".bat", ".cmd", ".ps1", ".exe", ".js", ".jar", ".pyd",
         ".o", ".a", ".ipynb", ".rb", ".pl", ".vbs", ".msi", ".com", ".scr", ".lnk", ".desktop")
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd", b"7z\xbc\xaf", b"Rar!", b"\x04\"M\x18", b"]\x00\x00")
_PACKED_NAME = re.compile(r"\.(gz|bz2|xz|lzma|zst|lz4|z|br)$")
_DRAWN_CODE = re.compile(rb"<script|<foreignobject|<!entity|javascript:|[\s/\"']on[a-z]+\s*=")
_PROGRAMS = (b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"#!", b"!<arch>", b"\x00asm", b"dex\n",
             b"BC\xc0\xde", b"\x1bLua", b"L\x00\x00\x00\x01\x14\x02\x00")
_COMPILED = (b"ptrt", b"ftrt", b"IMOD", b"RKNN")
_POINTER = b"version https://git-lfs.github.com/spec/"

WHY_PICKLE = archives.PICKLE
WHY_CODE = N_("it is program code, which belongs into a component of type runtime")
WHY_ENGINE = N_("it is a compiled engine, which runs as code; carry the weights it was made from")
WHY_UNKNOWN = N_("it is none of the kinds of file that a model may hold")
WHY_TEMPLATE = N_("its chat template reaches for more than text: {piece}")
WHY_ARCHIVE = N_("it is an archive, which belongs into a component of type runtime; a model's files travel unpacked")
WHY_NOT_JSON = N_("it is called JSON and is something else")
WHY_LONG_JSON = N_("it is larger, or deeper, than any model's JSON")
WHY_NOT_TEXT = N_("it is called text and is something else")
WHY_NOT_TOKENIZER = N_("it is called a tokenizer and is neither text nor of SentencePiece")
WHY_IMAGE = N_("it is called an image and is something else")
WHY_EXTERNAL = N_("it points at data outside of the model's folder, or at a file that is not there: {place}")
WHY_SHORT_DATA = N_("it points at more data than there are in {place}")
WHY_TAIL = N_("an archive hangs on its end")
WHY_POINTER = N_("it is a pointer of Git LFS; the file itself was not downloaded")
SAYS_AUTO_MAP = N_("it asks for code of its own (auto_map), which is never loaded")
SAYS_TEMPLATE = N_("it holds a chat template, which shapes every prompt")
SAYS_DOMAIN = N_("it calls operators of {domain}, which the runtime must bring")


@dataclass(frozen=True)
class Finding:
    """Something screened. ``code`` is content-refused or header; ``remark`` ones are for the approver to read. ``message`` is a
    marked text, ``params`` what stands in it."""

    code: str
    path: str
    message: str
    remark: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> Said:
        """The message, in English until it is rendered otherwise."""
        return Said(self.message, **later(self.params))

    def told(self) -> dict[str, Any]:
        """As documents hold it."""
        return {"code": self.code, "path": self.path, "message": self.text}


def screen(component_type: str, path: str, size: int, source: BinaryIO, siblings: Mapping[str, int] | None = None,
           external: frozenset[str] = frozenset()) -> list[Finding]:
    """Findings on one file; ``source`` is at its start and is left anywhere.

    Args:
        component_type: of the component that holds it. siblings: bytes by path of all files of the bundle, for what one file
            may point at. external: paths that an ONNX model names as its data, whatever they are called.
    """
    head = source.read(HEAD_BYTES)
    source.seek(0)
    if component_type == "runtime":
        return _refusals(path, _runtime(path, head, size, source))
    name = path.rpartition("/")[2].lower()
    if component_type != "model":
        reason = _dangerous(head, size, source) or _code_by_name(name) or (WHY_TAIL if archives.is_zip(source) else None)
        return _refusals(path, reason) or list(_templates(path, name, size, source, strict=False))
    own = path in external
    refused = _dangerous(head, size, source, any_bytes=own or name.endswith(_WEIGHTS)) or _by_name(name, head, size, source, external=own)
    return _refusals(path, refused) or list(_by_kind(path, name, size, source, siblings or {}))


def external_data(path: str, size: int, source: BinaryIO) -> set[str]:
    """Paths that an ONNX model names as its data; one that cannot be read names none, and is refused for itself."""
    try:
        places = onnx.outline(source, size, path).locations
    except SealiftError:
        return set()
    return {inside for place in places if (inside := _inside(path, place)) is not None}


def _refusals(path: str, reason: str | None) -> list[Finding]:
    return [Finding("content-refused", path, reason)] if reason else []


def _runtime(path: str, head: bytes, size: int, source: BinaryIO) -> str | None:
    """Why a file is refused where code is let in: for what hides in it, or would lead an unpacker astray."""
    if reason := _anywhere(head, size, source):
        return reason
    name = _PACKED_NAME.sub("", path.rpartition("/")[2].lower())
    if name.endswith(_ONLY_PICKLED) or (not name.endswith((".whl", ".egg")) and archives.holds_pickles(head, source, anywhere=False)):
        return WHY_PICKLE
    source.seek(0)
    return archives.problem(head, size, source, layer=bool(re.search(r"(^|/)blobs/sha256/[0-9a-f]{64}$", path)))


def _anywhere(head: bytes, size: int, source: BinaryIO, *, any_bytes: bool = False) -> str | None:
    if head.startswith(_POINTER):
        return WHY_POINTER
    if len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return WHY_PICKLE
    source.seek(0)
    found = pickles.is_pickle(source, size, patient=not any_bytes)
    source.seek(0)
    return WHY_PICKLE if found or archives.object_array(head) or _deflated_pickle(head) else None


def _deflated_pickle(head: bytes) -> bool:
    """Whether it is a pickle as joblib packs it."""
    try:
        return head[:1] == b"x" and archives.is_packed_pickle(io.BytesIO(zlib.decompressobj().decompress(head, 1 << 16)))
    except zlib.error:
        return False


def _dangerous(head: bytes, size: int, source: BinaryIO, *, any_bytes: bool = False) -> str | None:
    """Why content is refused, whatever the file is called, in a component that no code is let into."""
    if reason := _anywhere(head, size, source, any_bytes=any_bytes):
        return reason
    if any(head[at : at + 8] == b"\x89HDF\r\n\x1a\n" for at in (0, 512, 1024, 2048)) or head.startswith(b"\x93NUMPY"):
        return WHY_PICKLE
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return WHY_PICKLE if archives.holds_pickles(head, source) or b".pkl" in head else WHY_ARCHIVE
    if head.startswith(_PACKED) or archives.kind_of(head) is not None or _deflated(head):
        return WHY_CODE if head.startswith(debs.MAGIC) else WHY_ARCHIVE
    if head.startswith(_PROGRAMS) or _bytecode(head):
        return WHY_CODE
    return WHY_ENGINE if head.startswith(_COMPILED) or head[4:8] == b"TFL3" else None


def _deflated(head: bytes) -> bool:
    """Whether it is a bare zlib stream, as joblib writes its pickles."""
    if head[:1] != b"x" or int.from_bytes(head[:2], "big") % 31:
        return False
    try:
        return len(zlib.decompressobj().decompress(head, 64)) > 16
    except zlib.error:
        return False


def _bytecode(head: bytes) -> bool:
    """Whether it is compiled Python: the mark of a version, then flags."""
    return head[1:4] == b"\r\r\n" and len(head) > 8 and head[4] <= 3 and head[5:8] == b"\x00\x00\x00"


def _by_name(name: str, head: bytes, size: int, source: BinaryIO, *, external: bool) -> str | None:
    if name.endswith(_PICKLED):
        return WHY_PICKLE
    if name.endswith(_ENGINES):
        return WHY_ENGINE
    if name.endswith(_CODE):
        return WHY_CODE
    if external or name.endswith(_WEIGHTS):
        return None
    if _TOKENIZER.search(name):
        return None if _is_text(source) or _is_sentencepiece(source, size) else WHY_NOT_TOKENIZER
    for ending, magic in _IMAGES.items():
        if name.endswith(ending):
            return _image(ending, magic, head, source)
    if name.endswith(".sig"):
        source.seek(0)
        return None if size <= oms.MAX_SIGNATURE_BYTES and oms.is_signature(source.read(size)) else WHY_UNKNOWN
    if name.endswith(_TEXTS) or re.split(r"[.\-_]", name.replace("use_policy", "readme"))[0] in _BARE:
        return None if _is_text(source) else WHY_NOT_TEXT
    return WHY_UNKNOWN


def _image(ending: str, magic: bytes, head: bytes, source: BinaryIO) -> str | None:
    if ending == ".svg":
        drawn = _is_text(source)
        source.seek(0)
        return WHY_IMAGE if not drawn else WHY_CODE if _DRAWN_CODE.search(source.read(BLOCK_BYTES * 16).lower()) else None
    whole = head.startswith(magic) and (ending != ".webp" or head[8:12] == b"WEBP")
    return None if whole else WHY_IMAGE


def _is_text(source: BinaryIO) -> bool:
    """Whether no byte of it is nought, to the end: behind a page of text, anything could follow."""
    source.seek(0)
    while block := source.read(BLOCK_BYTES):
        if b"\x00" in block:
            return False
    return True


def _is_sentencepiece(source: BinaryIO, size: int) -> bool:
    """Whether it is a SentencePiece model: pieces, then the parts of its description (sentencepiece_model.proto)."""
    source.seek(0)
    wire = onnx.Wire(source, "")
    try:
        for count, (number, length) in enumerate(wire.fields(size)):
            if length is None or (count == 0 and number != 1) or not (number <= 5 or number >= 200):
                return False
            wire.skip(length)
    except SealiftError:
        return False
    return size > 0


def _code_by_name(name: str) -> str | None:
    return WHY_CODE if name.endswith(_CODE) else WHY_PICKLE if name.endswith(_PICKLED) else None


def _by_kind(path: str, name: str, size: int, source: BinaryIO, siblings: Mapping[str, int]) -> Iterator[Finding]:
    source.seek(0)
    try:
        if name.endswith(".safetensors"):
            headers.check_safetensors(source, size, path)
        elif name.endswith(".gguf"):
            _, _, metadata = gguf.read(source, size, path)
            for key, text in metadata.items():
                if key.startswith(gguf.TEMPLATE):
                    yield from _chat_template(path, text)
        elif name.endswith(".onnx"):
            yield from _onnx(path, size, source, siblings)
    except SealiftError as problem:
        yield Finding("header", path, problem.params.get("reason") or why(problem))
    yield from _templates(path, name, size, source)
    if not name.endswith(_TEXTS) and archives.is_zip(source):  # no text has a nought, and every archive has some
        yield Finding("content-refused", path, WHY_TAIL)


def _onnx(path: str, size: int, source: BinaryIO, siblings: Mapping[str, int]) -> Iterator[Finding]:
    outline = onnx.outline(source, size, path)
    for place, end in sorted(outline.locations.items())[:MAX_TOLD]:
        inside = _inside(path, place)
        if inside is None or inside not in siblings:
            yield Finding("content-refused", path, WHY_EXTERNAL, params={"place": place[:200]})
        elif end > siblings[inside]:
            yield Finding("header", path, WHY_SHORT_DATA, params={"place": place[:200]})
    for domain in sorted(outline.domains)[:MAX_TOLD]:
        yield Finding("content-refused", path, SAYS_DOMAIN, True, {"domain": domain[:80]})


def _inside(path: str, place: str) -> str | None:
    """The path in the bundle of what a model names as its data; None where that leaves its folder."""
    if not place or place.startswith("/") or "\\" in place or ".." in place.split("/"):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), place))


def _templates(path: str, name: str, size: int, source: BinaryIO, *, strict: bool = True) -> Iterator[Finding]:
    """What texts hold that is carried out: chat templates, and the wish for code of one's own."""
    if name.endswith(".jinja"):
        if size > jsontext.MAX_BYTES:
            yield Finding("content-refused", path, WHY_LONG_JSON)
            return
        source.seek(0)
        yield from _chat_template(path, source.read(size).decode("utf-8", "replace"))
    elif name.endswith(".json"):
        source.seek(0)
        try:
            found = jsontext.find(source, size, ("auto_map", "chat_template"), strict=strict)
        except jsontext.TooLong:
            yield Finding("content-refused", path, WHY_LONG_JSON)
            return
        except ValueError:
            yield Finding("content-refused", path, WHY_NOT_JSON)
            return
        if found["auto_map"]:
            yield Finding("content-refused", path, SAYS_AUTO_MAP, remark=True)
        for value in found["chat_template"]:
            yield from _chat_template(path, "\n".join(_strings(value)))


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    """All texts in a value; a chat template may be one text, or a list of named ones."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth < 8:
        for inner in value:
            yield from _strings(inner, depth + 1)


def _chat_template(path: str, template: str) -> Iterator[Finding]:
    piece = templates.problem(template)
    if piece is not None:
        yield Finding("content-refused", path, WHY_TEMPLATE, params={"piece": piece[:80]})
    elif next(templates.blocks(template), None) is not None:
        yield Finding("content-refused", path, SAYS_TEMPLATE, remark=True)
