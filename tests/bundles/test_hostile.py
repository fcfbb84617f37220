"""Hostile bundles: each is refused with its code, by verification and by import, and leaves nothing behind."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_samples import fifo, make, raw_safetensors, safetensors, weights

from console.bundles import layout
from console.bundles.verify import verify
from console.errors import SealiftError
from console.jobs.job import NullContext
from console.trust import dsse
from console.trust.keys import PrivateKey

CTX = NullContext()
CASES: list = []


def case(name: str, *codes: str) -> Callable:
    """Register a way to spoil a bundle, and the finding codes of which one must be there."""
    def take(spoil: Callable) -> Callable:
        CASES.append(pytest.param(spoil, codes, id=name))
        return spoil

    return take


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] ^= 1
    path.write_bytes(raw)


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def envelope(copy, change: Callable[[dict], None]) -> None:
    path = copy.folder / layout.RELEASE
    value = json.loads(path.read_bytes())
    change(value)
    path.write_bytes(json.dumps(value).encode())


# Bytes on the drive --------------------------------------------------------------------------------------------------

SHARD = "model/model-00001-of-00002.safetensors"
for where in (0, 9, -1):
    case(f"bit-in-object-{where}", "object-digest")(lambda c, w=where: flip(c.object_of(SHARD, 1), w))
case("bit-in-header-object", "object-digest")(lambda c: flip(c.object_of(SHARD), 12))
case("bit-in-package", "object-digest")(lambda c: flip(c.object_of("packages/tool_1.0_amd64.deb"), 100))
for where in (1, 40, -2):
    case(f"bit-in-index-{where}", "index")(lambda c, w=where: flip(c.folder / layout.INDEX, w))
for where in (0, 60, 500, -40, -2):
    case(f"bit-in-release-{where}", "json", "signature", "threshold", "payload-type")(
        lambda c, w=where: flip(c.folder / layout.RELEASE, w))
case("bit-in-model-signature", "digest")(lambda c: flip(c.folder / "oms/weights.oms.sig", 80))
case("object-cut", "object-size")(lambda c: cut(c.object_of(SHARD, 1), 17))
case("object-empty", "object-size")(lambda c: cut(c.object_of(SHARD, 1), 0))
case("object-longer", "object-size")(lambda c: c.object_of(SHARD).write_bytes(c.object_of(SHARD).read_bytes() + b"x"))
case("object-missing", "object-missing")(lambda c: c.object_of("model/config.json").unlink())
case("index-cut", "index")(lambda c: cut(c.folder / layout.INDEX, 300))
case("index-empty", "index")(lambda c: cut(c.folder / layout.INDEX, 0))
case("index-missing", "missing")(lambda c: (c.folder / layout.INDEX).unlink())
case("release-cut", "json")(lambda c: cut(c.folder / layout.RELEASE, 200))
case("release-missing", "missing")(lambda c: (c.folder / layout.RELEASE).unlink())
case("model-signature-missing", "missing")(lambda c: (c.folder / "oms/weights.oms.sig").unlink())
case("not-sealed", "missing")(lambda c: (c.folder / layout.SEALED).unlink())


@case("objects-swapped", "object-size", "object-digest")
def _(c):
    one, two = c.object_of(SHARD, 1), c.object_of("model/model-00002-of-00002.safetensors", 1)
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)


@case("folder-renamed", "index")
def _(c):
    c.folder = c.folder.rename(c.folder.with_name("0" * 32))


# Names on the drive --------------------------------------------------------------------------------------------------


@case("object-is-link", "symlink")
def _(c):
    path = c.object_of(SHARD)
    moved = c.drive / "elsewhere"
    path.rename(moved)
    path.symlink_to(moved)


@case("object-folder-is-link", "symlink")
def _(c):
    folder = c.object_of(SHARD).parent
    moved = c.drive / "elsewhere"
    folder.rename(moved)
    folder.symlink_to(moved)


@case("index-is-link", "symlink")
def _(c):
    path = c.folder / layout.INDEX
    path.rename(c.drive / "elsewhere")
    path.symlink_to(c.drive / "elsewhere")


@case("signature-folder-is-link", "symlink")
def _(c):
    (c.folder / "oms").rename(c.drive / "elsewhere")
    (c.folder / "oms").symlink_to(c.drive / "elsewhere")


case("object-is-fifo", "special-file")(lambda c: fifo(c.object_of(SHARD)))
case("release-is-fifo", "special-file")(lambda c: fifo(c.folder / layout.RELEASE))
case("object-is-folder", "special-file")(lambda c: (c.object_of(SHARD).unlink(), c.object_of(SHARD).mkdir()))


# Signatures ----------------------------------------------------------------------------------------------------------

OTHER = PrivateKey.generate("ecdsa-p256")


@case("signed-by-another", "threshold")
def _(c):
    c.resign(lambda i, s: None, key=OTHER)


@case("signed-by-another-under-a-trusted-name", "signature")
def _(c):
    c.resign(lambda i, s: None, key=OTHER)
    envelope(c, lambda e: e["signatures"][0].update(keyid=c.sample.key.public.keyid))


case("no-signature", "sig-count")(lambda c: envelope(c, lambda e: e.update(signatures=[])))
case("too-many-signatures", "sig-count")(lambda c: envelope(c, lambda e: e.update(signatures=e["signatures"] * 17)))
case("other-payload-type", "payload-type")(lambda c: envelope(c, lambda e: e.update(payloadType="text/plain")))
case("envelope-extra-field", "json")(lambda c: envelope(c, lambda e: e.update(more=1)))
case("envelope-bad-base64", "json")(lambda c: envelope(c, lambda e: e.update(payload=e["payload"] + "=")))
case("envelope-nul", "json")(lambda c: (c.folder / layout.RELEASE).write_bytes(b"\x00" * 64))
case("envelope-deep", "json")(lambda c: (c.folder / layout.RELEASE).write_bytes(b"[" * 200_000))
case("envelope-huge", "size")(lambda c: (c.folder / layout.RELEASE).write_bytes(b" " * (2 << 20)))


@case("envelope-duplicate-key", "json")
def _(c):
    path = c.folder / layout.RELEASE
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + b',"payloadType":"application/vnd.in-toto+json"}')


@case("payload-of-another-release", "signature")
def _(c):
    def change(e):
        payload = json.loads(base64.b64decode(e["payload"]))
        payload["predicate"]["sequence"] = 99
        e["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()

    envelope(c, change)


@case("signature-over-plain-payload", "signature")
def _(c):
    def change(e):
        sig = c.sample.key.sign(base64.b64decode(e["payload"]))
        e["signatures"][0]["sig"] = base64.b64encode(sig).decode()

    envelope(c, change)


# What a hostile packager would sign ----------------------------------------------------------------------------------

for bad in ("../escape", "/etc/passwd", "model/../../x", "model//x", "model/./x", "C:/x", "model/con", "model/aux.json",
            "model/a\\b", "model/x ", "model/x.", "model/a\u202eb", "model/a\u200bb", "model/cafe\u0301", "model/a\nb",
            "model/" + "x" * 241, "model/" + "d/" * 40 + "x", "model/COM¹", "model/a\x7f"):
    name = bad.encode("ascii", "backslashreplace").decode()[:40]
    case(f"path-{name}", "path", "index")(lambda c, b=bad: c.add(b, b"{}", "weights"))
case("case-collision", "dup-name")(lambda c: c.add("model/CONFIG.json", b"{}", "weights"))
case("folder-case-collision", "dup-name")(lambda c: c.add("MODEL/x.json", b"{}", "weights"))
case("file-is-folder", "dup-name")(lambda c: c.add("model/config.json/x.json", b"{}", "weights"))
case("file-of-no-component", "index")(lambda c: c.add("elsewhere/x.json", b"{}", "weights"))
case("file-of-unknown-component", "index")(lambda c: c.add("model/x.json", b"{}", "nobody"))


def first(index: dict) -> dict:
    return next(f for f in index["files"] if f["path"] == SHARD)


def signed(name: str, *codes: str, **how):
    """A case that changes index and statement and signs them again."""
    def take(change: Callable) -> Callable:
        case(name, *codes)(lambda c: c.resign(change, **how))
        return change

    return take


signed("sizes-do-not-add-up", "index")(lambda i, s: first(i).update(size=first(i)["size"] + 1))
signed("chunk-too-large", "index")(lambda i, s: first(i)["chunks"][0].__setitem__(1, 1 << 30))
signed("chunk-empty", "index")(lambda i, s: first(i)["chunks"].append(["0" * 64, 0]))
signed("chunk-name-upper-case", "index")(
    lambda i, s: first(i)["chunks"][0].__setitem__(0, first(i)["chunks"][0][0].upper()))
signed("chunk-name-is-a-path", "index")(lambda i, s: first(i)["chunks"][0].__setitem__(0, "../../../../outside"))
signed("one-chunk-two-sizes", "index")(lambda i, s: (i["files"][0]["chunks"].append([first(i)["chunks"][0][0], 1]),
                                                     i["files"][0].update(size=i["files"][0]["size"] + 1)))
signed("file-twice", "index")(lambda i, s: i["files"].append(dict(i["files"][0])))
signed("no-files", "index")(lambda i, s: i.update(files=[]))
signed("index-extra-field", "index")(lambda i, s: i.update(more=1))
signed("file-extra-field", "index")(lambda i, s: first(i).update(mode=0o4755))
signed("size-is-a-float", "json")(lambda i, s: first(i).update(size=1.5))
signed("size-is-negative", "index")(lambda i, s: first(i).update(size=-1))
signed("size-is-huge", "json")(lambda i, s: first(i).update(size=1 << 60))
signed("size-is-true", "index")(lambda i, s: first(i).update(size=True))
signed("other-hash", "index")(lambda i, s: i.update(hash="md5"))
signed("other-index-version", "index")(lambda i, s: i.update(v=2))
signed("index-not-canonical", "index", raw_index=lambda r: r + b"\n")(lambda i, s: None)
signed("index-duplicate-key", "json", raw_index=lambda r: r.replace(b'"v":1', b'"v":1,"v":1'))(lambda i, s: None)
signed("index-lone-surrogate", "json", raw_index=lambda r: r.replace(b"READ ME", b"READ\\ud800"))(lambda i, s: None)
signed("index-invalid-utf8", "json", raw_index=lambda r: r.replace(b"READ ME", b"READ\xff\xff"))(lambda i, s: None)
signed("payload-not-canonical", "statement", raw_payload=lambda r: r + b" ")(lambda i, s: None)
signed("payload-not-json", "json", raw_payload=lambda r: b"no")(lambda i, s: None)
signed("payload-duplicate-key", "json", raw_payload=lambda r: r.replace(b'"sequence":5', b'"sequence":5,"sequence":6'))(
    lambda i, s: None)
signed("totals-lie", "index", totals=False)(lambda i, s: s["predicate"]["bundle"].update(bytes=1))
signed("sequence-zero", "statement")(lambda i, s: s["predicate"].update(sequence=0))
signed("min-above-sequence", "statement")(lambda i, s: s["predicate"].update(min_sequence=99))
signed("channel-is-a-path", "statement")(lambda i, s: s["predicate"].update(channel="../x"))
signed("no-audience", "statement")(lambda i, s: s["predicate"].update(audience=[]))
signed("bad-time", "statement")(lambda i, s: s["predicate"].update(issued_at="2026-13-40T00:00:00.000000Z"))
signed("component-twice", "statement")(lambda i, s: s["predicate"]["components"].append(
    dict(s["predicate"]["components"][0])))
signed("component-type-unknown", "statement")(lambda i, s: s["predicate"]["components"][0].update(type="root"))
signed("component-path-escapes", "path")(lambda i, s: s["predicate"]["components"][1].update(path="../packages"))
signed("components-nested", "statement")(lambda i, s: s["predicate"]["components"][1].update(path="model/inner"))
signed("statement-extra-field", "statement")(lambda i, s: s["predicate"].update(run="me"))
signed("statement-other-type", "statement")(lambda i, s: s.update(predicateType="urn:other"))
signed("two-subjects", "statement")(lambda i, s: s["subject"].append(dict(s["subject"][0])))
signed("model-signature-name-escapes", "statement", totals=False)(
    lambda i, s: s["predicate"]["components"][0].update(oms="../../outside"))
signed("model-without-signature", "missing", totals=False)(
    lambda i, s: s["predicate"]["components"][0].update(oms=None, oms_sha256=None))


@case("model-signature-of-other-files", "digest", "extra", "missing")
def _(c):
    from console.trust import oms

    raw = oms.sign("model", [("config.json", "0" * 64)], c.sample.key)

    def change(_i, s):
        s["predicate"]["components"][0]["oms_sha256"] = hashlib.sha256(raw).hexdigest()

    c.resign(change, totals=False)
    (c.folder / "oms/weights.oms.sig").write_bytes(raw)


# Contents that are refused whoever signed them ------------------------------------------------------------------------


class _Boom:
    def __reduce__(self):
        return (os.system, ("true",))


def zipped(**entries: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def carries(name: str, path: str, data: bytes, component: str = "weights", code: str = "content-refused") -> None:
    case(name, code)(lambda c: c.add(path, data, component))


for protocol in range(6):
    carries(f"pickle-{protocol}-as-txt", "model/notes.txt", pickle.dumps(_Boom(), protocol))
carries("pickle-as-model", "model/tokenizer.model", pickle.dumps(_Boom()))
carries("pickle-in-docs", "notes/a.md", pickle.dumps(_Boom()), "notes")
carries("pickle-in-runtime", "packages/state", pickle.dumps(_Boom()), "packages")
carries("torch-zip", "model/extra.safetensors", zipped(**{"archive/data.pkl": pickle.dumps(_Boom())}))
carries("bin-by-name", "model/pytorch_model.bin", b"harmless")
carries("npy", "model/x.npy", b"\x93NUMPY\x01\x00" + b" " * 64)
carries("hdf5-as-json", "model/x.json", b"\x89HDF\r\n\x1a\n" + b"\x00" * 64)
carries("python", "model/modeling.py", b"import os\n")
carries("script-as-txt", "model/run.txt", b"#!/bin/sh\nid\n")
carries("elf-as-model", "model/vocab.model", b"\x7fELF\x02\x01\x01" + b"\x00" * 64)
carries("script-in-docs", "notes/run.sh", b"id\n", "notes")
carries("archive-in-model", "model/more.txt", b"\x1f\x8b\x08\x00" + b"\x00" * 64)
carries("unknown-kind", "model/data.xyz", b"anything")
carries("json-that-is-not", "model/extra.json", b"not json")
carries("image-that-is-not", "model/x.png", b"GIF89a")
carries("template-reaches-out", "model/tokenizer_config.json", json.dumps(
    {"chat_template": "{{ ''.__class__.__mro__[1].__subclasses__() }}"}).encode())
carries("template-list-reaches-out", "model/tokenizer_config.json", json.dumps(
    {"chat_template": [{"name": "x", "template": "{% set x = cycler.__init__ %}"}]}).encode())
carries("safetensors-with-rider", "model/r.safetensors", safetensors({"a": ("F32", [8], weights(0, 32))}) + zipped(a=b"b"),
        code="header")
carries("gguf-with-rider", "model/r.gguf", b"GGUF\x03\x00\x00\x00" + b"\x00" * 16 + b"\x00" * 8 + zipped(**{"d.pkl": b"x"}))

HEADERS = {
    "short": b"\x01\x02",
    "longer-than-file": b"\xff\xff\x00\x00\x00\x00\x00\x00{}",
    "length-overflow": b"\xff" * 8 + b"{}",
    "not-an-object": raw_safetensors(b"[]"),
    "leading-space": raw_safetensors(b' {"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "duplicate-tensor": raw_safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                                        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "extra-field": raw_safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}', b"x"),
    "unknown-dtype": raw_safetensors(b'{"a":{"dtype":"X8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "shape-lies": raw_safetensors(b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', b"x"),
    "shape-overflows": raw_safetensors(b'{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,1]}}', b"x"),
    "negative-shape": raw_safetensors(b'{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}', b"x"),
    "hole": raw_safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"xx"),
    "overlap": raw_safetensors(b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
                               b'"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}', b"xxx"),
    "tail": raw_safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"xyz"),
    "data-missing": raw_safetensors(b'{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}', b"x"),
    "metadata-number": raw_safetensors(b'{"__metadata__":{"a":1}}'),
    "control-in-name": raw_safetensors(b'{"a\\u0007":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "float-offset": raw_safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1.0]}}', b"x"),
}
for name, raw in HEADERS.items():
    carries(f"safetensors-{name}", "model/extra.safetensors", raw, code="header")


def gguf(tensors: int = 0, pairs: int = 0, body: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + version.to_bytes(4, "little") + tensors.to_bytes(8, "little") + pairs.to_bytes(8, "little") + body


def text(value: bytes) -> bytes:
    return len(value).to_bytes(8, "little") + value


def tensor(name: bytes, dims: list[int], kind: int, offset: int) -> bytes:
    return (text(name) + len(dims).to_bytes(4, "little") + b"".join(d.to_bytes(8, "little") for d in dims)
            + kind.to_bytes(4, "little") + offset.to_bytes(8, "little"))


for name, raw in {
    "magic": b"GGML" + b"\x00" * 40,
    "version": gguf(version=9),
    "counts": gguf(1 << 40, 1 << 40),
    "long-text": gguf(0, 1, (1 << 62).to_bytes(8, "little") + b"x"),
    "deep-arrays": gguf(0, 1, text(b"k") + (9).to_bytes(4, "little") + ((9).to_bytes(4, "little") + (1).to_bytes(8, "little")) * 9),
    "huge-array": gguf(0, 1, text(b"k") + (9).to_bytes(4, "little") + (8).to_bytes(4, "little") + (1 << 60).to_bytes(8, "little")),
    "unknown-kind": gguf(0, 1, text(b"k") + (77).to_bytes(4, "little")),
    "twice-the-key": gguf(0, 2, (text(b"k") + (0).to_bytes(4, "little") + b"\x00") * 2),
    "alignment": gguf(0, 1, text(b"general.alignment") + (4).to_bytes(4, "little") + (3).to_bytes(4, "little")),
    "tensor-outside": gguf(1, 0, tensor(b"t", [1024], 0, 0) + b"\x00" * 64),
    "tensor-overflow": gguf(1, 0, tensor(b"t", [1 << 40, 1 << 40], 0, 0) + b"\x00" * 64),
    "tensor-kind": gguf(1, 0, tensor(b"t", [1], 200, 0) + b"\x00" * 64),
    "tensor-dims": gguf(1, 0, tensor(b"t", [1] * 9, 0, 0) + b"\x00" * 64),
    "tensor-twice": gguf(2, 0, (tensor(b"t", [8], 0, 0)) * 2 + b"\x00" * 256),
    "tensors-overlap": gguf(2, 0, tensor(b"t", [8], 0, 0) + tensor(b"u", [8], 0, 0) + b"\x00" * 256),
}.items():
    carries(f"gguf-{name}", "model/extra.gguf", raw, code="header")


def field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def external(location: bytes) -> bytes:
    entry = field(13, field(1, b"location") + field(2, location))
    return field(7, field(5, entry))


carries("onnx-not-a-model", "model/extra.onnx", b"not a protocol buffer", code="header")
carries("onnx-cut", "model/extra.onnx", field(7, field(5, b"x" * 50))[:20], code="header")
carries("onnx-external-above", "model/extra.onnx", external(b"../../etc/passwd"))
carries("onnx-external-absolute", "model/extra.onnx", external(b"/etc/passwd"))
carries("onnx-external-missing", "model/extra.onnx", external(b"weights.onnx_data"))


def tarred(change: Callable[[tarfile.TarInfo], None], size: int = 0) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("file")
        info.size = size
        change(info)
        archive.addfile(info, io.BytesIO(b"\x00" * info.size))
    return out.getvalue()


def named(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name
    return info


def zip_of(info: zipfile.ZipInfo, data: bytes = b"x", method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    info.compress_type = method
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, data)
    return out.getvalue()


def link() -> zipfile.ZipInfo:
    info = named("link")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


for name, raw in {
    "zip-bomb": zip_of(named("zeros"), b"\x00" * (8 << 20), zipfile.ZIP_DEFLATED),
    "zip-above": zip_of(named("../../escape")),
    "zip-absolute": zip_of(named("/etc/cron.d/x")),
    "zip-drive": zip_of(named("C:\\x")),
    "zip-link": zip_of(link()),
    "zip-damaged": zip_of(named("a"))[:-8],
    "zip-names-disagree": zip_of(named("aaaa")).replace(b"aaaa", b"bbbb", 1),
    "tar-above": tarred(lambda t: setattr(t, "name", "../../escape")),
    "tar-absolute": tarred(lambda t: setattr(t, "name", "/etc/passwd")),
    "tar-link-out": tarred(lambda t: (setattr(t, "type", tarfile.SYMTYPE), setattr(t, "linkname", "../../etc"))),
    "tar-hard-link-out": tarred(lambda t: (setattr(t, "type", tarfile.LNKTYPE), setattr(t, "linkname", "/etc/shadow"))),
    "tar-device": tarred(lambda t: setattr(t, "type", tarfile.CHRTYPE)),
    "tar-fifo": tarred(lambda t: setattr(t, "type", tarfile.FIFOTYPE)),
}.items():
    carries(name, "packages/thing.whl", raw, "packages")


# What is on the drive besides is no part of it: reported by verification, never opened by import -----------------------

EXTRAS = [
    pytest.param(lambda c: (c.folder / "autorun.inf").write_text("x"), "extra", id="file"),
    pytest.param(lambda c: (c.folder / "objects" / "zz").mkdir() or (c.folder / "objects/zz/x").write_text("x"), "extra",
                 id="object-nobody-lists"),
    pytest.param(lambda c: c.put_object(b"stray"), "extra", id="stray-object"),
    pytest.param(lambda c: (c.folder / "link").symlink_to("/etc"), "extra", id="link-to-folder"),
    pytest.param(lambda c: fifo(c.folder / layout.VOLUME), "special-file", id="hint-is-fifo"),
    pytest.param(lambda c: (c.folder / layout.SEALED).write_text("x"), "extra", id="seal-not-empty"),
]


def held(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) if folder.exists() else []


@pytest.fixture(scope="module")
def site(sample, tmp_path_factory):
    """One site for all cases: each must leave it as it was."""
    from console.engine import Engine

    engine = Engine.open(tmp_path_factory.mktemp("site") / "workspace")
    engine.site.init("Test", "other", "internal", "test-site")
    engine.trust.add(sample.key.public, "builder", sample.key.public.fingerprint)
    yield engine
    engine.close()


@pytest.mark.parametrize(("spoil", "codes"), CASES)
def test_hostile_bundles_are_refused(spoil, codes, copy, site):
    spoil(copy)
    told = verify(CTX, [copy.drive], copy.sample.trusted)
    found = {f["code"] for f in told["findings"]}
    assert told["verdict"] == "failed" and found & set(codes), (told["verdict"], told["findings"])
    with pytest.raises(SealiftError) as caught:
        site.library.import_(CTX, [copy.drive])
    assert caught.value.exit_code == 1 and caught.value.code != "internal.bug"
    assert held(site.library.root / "files") == [] and held(site.library.root / "staging") == []
    assert site.library.list() == []
    assert copy.outside.read_bytes() == b"out of bounds"


@pytest.mark.parametrize(("add", "code"), EXTRAS)
def test_strays_fail_verification(add, code, copy):
    add(copy)
    told = verify(CTX, [copy.drive], copy.sample.trusted)
    assert told["verdict"] == "failed" and code in {f["code"] for f in told["findings"]}, told["findings"]


def test_the_corpus_is_large_enough():
    assert len(CASES) + len(EXTRAS) >= 60


def test_the_untouched_copy_is_verified(copy):
    """Else every refusal above could have another reason."""
    assert verify(CTX, [copy.drive], copy.sample.trusted)["verdict"] == "verified"
    copy.add("model/more.json", b"{}", "weights")
    assert verify(CTX, [copy.drive], copy.sample.trusted)["verdict"] == "verified"


def test_all_findings_are_listed(copy):
    flip(copy.object_of(SHARD, 1), 0)
    copy.object_of("model/config.json").unlink()
    (copy.folder / "stray").write_text("x")
    codes = {f["code"] for f in verify(CTX, [copy.drive], copy.sample.trusted)["findings"]}
    assert {"object-digest", "object-missing", "extra"} <= codes


def test_a_drive_that_answers_differently_the_second_time_gains_nothing(copy, open_site, monkeypatch):
    """What import hashes is what it keeps: other bytes after the check are never read."""
    from console.bundles import copying

    engine = open_site(copy.sample.key)
    opened: list[Path] = []
    real = copying.open_plain

    def once(path: Path):
        assert path not in opened or path.name == hashlib.sha256(path.read_bytes()).hexdigest()
        opened.append(path)
        handle = real(path)
        return handle

    monkeypatch.setattr(copying, "open_plain", once)
    release = engine.library.import_(CTX, [copy.drive]).release
    shutil.rmtree(copy.drive)
    assert engine.library.verify(CTX, release) == []
    assert opened


def test_an_envelope_signed_for_another_purpose_is_no_release(copy):
    payload = base64.b64decode(json.loads((copy.folder / layout.RELEASE).read_bytes())["payload"])
    other = dsse.seal("application/vnd.sealift.root+json", payload, [copy.sample.key])
    (copy.folder / layout.RELEASE).write_bytes(other)
    assert "payload-type" in {f["code"] for f in verify(CTX, [copy.drive], copy.sample.trusted)["findings"]}


def test_a_mistrusted_drive_cannot_hold_us_up(tmp_path):
    sample = make(tmp_path / "one")
    copy = sample.copy(tmp_path / "two")
    (copy.folder / layout.INDEX).write_bytes(b'"' + b'\\"' * (1 << 20))
    assert verify(CTX, [copy.drive], sample.trusted)["verdict"] == "failed"
