"""Hostile bundles: each is refused with its code, by verification and by import, and leaves nothing behind."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_samples import ar, fifo, make, raw_safetensors, safetensors, tar, weights

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
            "model/" + "x" * 241, "model/" + "d/" * 40 + "x", "model/COM¹", "model/a\x7f", "model/CON.txt", "model/lpt9.tar.gz", "model/nul .txt",
            "model/a:b", "\\\\?\\C:\\x", "model/x..", "model/a\u2066b", "model/a\ufeffb", "model/~/../x", "model\\..\\x", "model/a|b", "model/?"):
    name = bad.encode("ascii", "backslashreplace").decode()[:40]
    case(f"path-{name}", "path", "index")(lambda c, b=bad: c.add(b, b"{}", "weights"))
case("case-collision", "dup-name")(lambda c: c.add("model/CONFIG.json", b"{}", "weights"))
case("folder-case-collision", "dup-name")(lambda c: c.add("MODEL/x.json", b"{}", "weights"))
case("folded-collision", "dup-name")(lambda c: (c.add("model/stra\u00dfe.json", b"{}", "weights"), c.add("model/STRASSE.json", b"{}", "weights")))
case("ligature-collision", "dup-name")(lambda c: (c.add("model/\ufb00.json", b"{}", "weights"), c.add("model/ff.json", b"{}", "weights")))
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
signed("index-overlong-utf8", "json", raw_index=lambda r: r.replace(b"READ ME", b"READ\xc0\xaf"))(lambda i, s: None)
signed("index-number-of-digits", "json", raw_index=lambda r: r.replace(b'"v":1', b'"v":' + b"1" * 9000))(lambda i, s: None)
signed("payload-deep", "json", raw_payload=lambda r: b'{"a":' * 4000 + b"1" + b"}" * 4000)(lambda i, s: None)
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


# What readers would disagree on, or go through to the end ---------------------------------------------------------------

UP = tar({"../../etc/x": b"1"})
DEB = {"debian-binary": b"2.0\n", "control.tar.gz": gzip.compress(tar({"./control": b"Package: x\n"}))}
ZEROS = b"\x00" * (24 << 20)


def header(name: bytes, kind: bytes = b"0", data: bytes = b"", size: int | None = None, link: bytes = b"", mark: bytes = b"ustar\x0000") -> bytes:
    """One entry of a tar, with a size that need not be that of its data."""
    raw = bytearray(512)
    for at, field_ in ((0, name), (100, b"0000644"), (124, b"%011o" % (len(data) if size is None else size)), (136, b"%011o" % 0),
                       (148, b" " * 8), (156, kind), (157, link), (257, mark)):
        raw[at : at + len(field_)] = field_
    raw[148:156] = b"%06o\x00 " % sum(raw)
    return bytes(raw) + data.ljust(-(-len(data) // 512) * 512, b"\x00")


def told(kind: bytes = b"x", **pairs: bytes) -> bytes:
    """An extended header of a tar; lines in names stand for dots."""
    data = b""
    for name, value in pairs.items():
        line = b" %s=%s\n" % (name.replace("_", ".").encode(), value)
        length = next(n for n in range(len(line), len(line) + 9) if n == len(line) + len(str(n)))
        data += b"%d%s" % (length, line)
    return header(b"told", kind, data)


def layer(raw: bytes, name: str = "blobs/sha256/" + "a" * 64) -> bytes:
    """An image as docker saves it, with one layer."""
    return tar({"manifest.json": b"[]", name: raw})


def hidden_entry() -> bytes:
    """A zip with an entry that its list does not name, for those who read from the start."""
    raw = zipped(good=b"good")
    more = raw[: raw.index(b"PK\x01\x02")].replace(b"good", b"evil")
    at, end = raw.index(b"PK\x01\x02"), raw.index(b"PK\x05\x06")
    last = bytearray(raw[end:])
    last[16:20] = (at + len(more)).to_bytes(4, "little")
    return raw[:at] + more + raw[at:end] + bytes(last)


def second_list() -> bytes:
    """A zip with another zip in its comment."""
    inner = zipped(evil=b"x")
    return zipped(good=b"x")[:-2] + len(inner).to_bytes(2, "little") + inner


def zip_extra(extra: bytes) -> bytes:
    info = named("ok")
    info.extra = extra
    return zip_of(info)


def zip64(lie: int) -> bytes:
    """A zip whose entry has its sizes in 64 bits; those beside the data are another's."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("big", "w", force_zip64=True) as entry:
        entry.write(b"x" * 1000)
    raw = bytearray(out.getvalue())
    at = raw.index(b"\x01\x00\x10\x00")
    raw[at + 4 : at + 12] = lie.to_bytes(8, "little")
    return bytes(raw)


def npy(kind: str, version: int = 1, room: int = 117) -> bytes:
    text_ = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': (1,), }}".ljust(room).encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text_).to_bytes(2 if version == 1 else 4, "little") + text_ + b"\x00" * 8


DISAGREEING = {
    "zip-two-lists": zipped(good=b"x") + zipped(evil=b"x"),
    "zip-tail": zipped(a=b"x") + b"tail",
    "zip-hidden-entry": hidden_entry(),
    "zip-list-in-comment": second_list(),
    "zip-unicode-name": zip_extra(b"\x75\x70\x0f\x00\x01" + zlib.crc32(b"ok").to_bytes(4, "little") + b"../../evil"),
    "zip64-sizes-disagree": zip64(1 << 40),
    "zip-behind-something": b"#!/bin/sh\n" + zip_of(named("../../escape")),
    "tar-pax-name": told(path=b"../../escape") + header(b"ok") + bytes(1024),
    "tar-pax-link": told(linkpath=b"/etc/passwd") + header(b"ok", b"2", link=b"a") + bytes(1024),
    "tar-pax-size": told(size=b"512") + header(b"f", data=b"y" * 512, size=0) + bytes(1024),
    "tar-name-for-all": told(b"g", path=b"f") + header(b"f") + bytes(1024),
    "tar-two-names": header(b"././@LongLink", b"L", b"ok\x00") + told(path=b"other") + header(b"f") + bytes(1024),
    "tar-gnu-long-name": header(b"././@LongLink", b"L", b"a/" * 120 + b"../" * 130 + b"x\x00") + header(b"f") + bytes(1024),
    "tar-folder-with-data": header(b"d", b"5", b"z" * 512) + bytes(1024),
    "tar-sparse-name": told(GNU_sparse_name=b"../x", GNU_sparse_realsize=b"9") + header(b"f") + bytes(1024),
    "tar-sparse-size": told(GNU_sparse_name=b"x", GNU_sparse_realsize=b"99999999999") + header(b"f") + bytes(1024),
    "tar-without-mark": header(b"../../escape", b"\x00", b"x", mark=b"") + bytes(1024),
    "tar-negative-size": header(b"f")[:124] + b"\xff" * 12 + header(b"f")[136:] + bytes(1024),
    "image-layer-above": layer(UP),
    "image-layer-packed": layer(gzip.compress(UP)),
    "image-packed-layer-above": gzip.compress(layer(UP, "abc/layer.tar")),
    "image-layer-bomb": layer(gzip.compress(ZEROS)),
    "gzip-bomb": gzip.compress(ZEROS), "bzip2-bomb": bz2.compress(ZEROS), "xz-bomb": lzma.compress(ZEROS),
    "lzma-bomb": lzma.compress(ZEROS, format=lzma.FORMAT_ALONE),
    "deb-above": ar(DEB | {"data.tar.gz": gzip.compress(UP)}), "deb-above-plain": ar(DEB | {"data.tar": UP}),
    "deb-above-xz": ar(DEB | {"data.tar.xz": lzma.compress(UP)}), "deb-above-lzma": ar(DEB | {"data.tar.lzma": lzma.compress(UP, format=lzma.FORMAT_ALONE)}),
    "deb-scripts-above": ar({"debian-binary": b"2.0\n", "control.tar": UP}), "deb-mark-with-slash": ar({"debian-binary/": b"2.0\n", "data.tar/": UP}),
    "deb-bomb": ar(DEB | {"data.tar.gz": gzip.compress(ZEROS)}), "deb-cut": ar(DEB | {"data.tar.gz": gzip.compress(UP)})[:-40],
    "deb-size-is-no-number": ar(DEB).replace(b"2.0".ljust(4), b"2.0\n")[:56] + b"9x" + ar(DEB)[58:],
    "ar-member-above": ar({"../../x": b"1"}), "ar-long-name-above": ar({"//": b"../../x.o/\n", "/0": b"1"}), "ar-bsd-name-above": ar({"#1/9": b"../../x.oy"}),
    "gzip-pickle": gzip.compress(pickle.dumps(_Boom())), "xz-pickle": lzma.compress(pickle.dumps(_Boom(), 0)),
    "bzip2-pickle": bz2.compress(pickle.dumps(_Boom(), 1)), "zlib-pickle": zlib.compress(pickle.dumps(_Boom())),
}
for name, raw in DISAGREEING.items():
    carries(name, "packages/thing.bin", raw, "packages")
BLOB = "packages/blobs/sha256/" + "0" * 64
carries("layer-takes-away-what-is-above", BLOB, tar({"a/.wh...": b""}), "packages")
carries("layer-takes-away-its-root", BLOB, tar({".wh..": b""}), "packages")
carries("layer-hard-link-out", BLOB, header(b"h", b"1", link=b"../../etc/shadow") + bytes(1024), "packages")
for name, (path, raw) in {
    "npz-of-objects": ("packages/a.npz", zipped(**{"a.npy": npy("|O")})), "npz-of-objects-no-ending": ("packages/b.npz", zipped(a=npy("|O"))),
    "npz-of-objects-capitals": ("packages/c.npz", zipped(**{"a.NPY": npy("|O", 2)})), "npy-of-objects-far-behind": ("packages/d.npy", npy("|O", 2, 9000)),
    "torch-without-folder": ("packages/e.dat", zipped(**{"data.pkl": b"x"})), "torch-behind-something": ("packages/f.dat", b"x" * 99 + zipped(**{"a/data.pkl": b"x"})),
    "packed-pickle-by-name": ("packages/g.pkl.zst", b"(\xb5/\xfd" + bytes(60)),
}.items():
    carries(name, path, raw, "packages")
carries("pickle-as-safetensors", "model/p.safetensors", pickle.dumps(_Boom(), 4))
carries("pickle-0-as-safetensors", "model/p0.safetensors", pickle.dumps(_Boom(), 0))
carries("old-tar-as-txt", "model/t.txt", header(b"ok", b"\x00", b"x", mark=b"") + bytes(1024))
carries("archive-behind-notes", "notes/n.md", b"# Notes\n" + zipped(a=b"x"), "notes")
carries("deb-in-docs", "notes/x", ar(DEB), "notes")
carries("drawing-with-code", "model/x.svg", b'<svg onload="x()"></svg>')
carries("json-deep", "model/deep.json", b"[" * 100_000)
carries("json-number-without-measure", "model/n.json", b'{"a":' + b"9" * 100_000 + b"}")
carries("json-of-another-encoding", "model/u.json", '{"chat_template":"{{ x.__class__ }}"}'.encode("utf-16"))
carries("template-under-an-escaped-name", "model/tokenizer_config.json", b'{"chat\\u005ftemplate":"{{ x.__class__ }}"}')
carries("template-named-twice", "model/tokenizer_config.json", b'{"chat_template":"{{ x.__class__ }}","chat_template":"hello"}')


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
    assert len(CASES) + len(EXTRAS) >= 250


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
