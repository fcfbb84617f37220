"""Small content to build bundles of, and ways to spoil a bundle."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from console.bundles import layout
from console.bundles.build import Built, build
from console.jobs.job import NullContext
from console.trust import dsse
from console.trust.canonical import encode
from console.trust.keys import PrivateKey

CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "rope_theta": 10000.0}


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]], metadata: dict[str, str] | None = None) -> bytes:
    """A file with these tensors: dtype, shape, data."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw + b"".join(data for _, _, data in tensors.values())


def raw_safetensors(header: bytes, data: bytes = b"") -> bytes:
    """A file with a header of one's own."""
    return struct.pack("<Q", len(header)) + header + data


def weights(seed: int = 0, size: int = 256) -> bytes:
    """Bytes that differ by seed."""
    return b"".join(hashlib.sha256(b"%d %d" % (seed, i)).digest() for i in range(size // 32))


def tar(files: dict[str, bytes]) -> bytes:
    """A tar archive of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def ar(members: dict[str, bytes]) -> bytes:
    """An ar archive of these members."""
    made = b"!<arch>\n"
    for name, data in members.items():
        made += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return made


def deb(contents: bytes, **control: str) -> bytes:
    """A Debian package of this tar archive; ``control`` is what it says of itself, with lines for dashes."""
    told = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in control.items()).encode()
    return ar({"debian-binary": b"2.0\n", "control.tar.gz": gzip.compress(tar({"./control": told}), mtime=0),
               "data.tar.gz": gzip.compress(contents, mtime=0)})


def model(folder: Path) -> Path:
    """A model of two shards with its index."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text('{"model": {}}')
    names = ["model.layers.0.w", "model.layers.1.w"]
    for number, name in enumerate(names, 1):
        shard = safetensors({name: ("F32", [8, 8], weights(number)), f"{name}_bias": ("F32", [8], weights(9, 32))})
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(shard)
    index = {"weight_map": {f"{n}{end}": f"model-0000{i}-of-00002.safetensors"
                            for i, n in enumerate(names, 1) for end in ("", "_bias")}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def content(folder: Path, note: str = "# Notes\n", **top: Any) -> Path:
    """A model, a package and a document, with their description."""
    model(folder / "weights")
    (folder / "packages").mkdir()
    (folder / "packages" / "tool_1.0_amd64.deb").write_bytes(deb(tar({"./usr/bin/tool": weights(4, 4096)}), Package="tool", Version="1.0"))
    (folder / "packages" / "empty").write_bytes(b"")
    (folder / "notes").mkdir()
    (folder / "notes" / "READ ME.md").write_text(note)
    own = {"license": "MIT", "source": {"uri": "test", "revision": "1"}}
    spec = {"title": "Sample", "channel": "sample", "sequence": 5, "components": [
        {"id": "weights", "type": "model", "path": "model", "from": "weights", "version": "1", **own},
        {"id": "packages", "type": "runtime", "version": "1", **own},
        {"id": "notes", "type": "docs", "version": "1", **own}]} | top
    (folder / "bundle.yaml").write_text(json.dumps(spec))
    return folder / "bundle.yaml"


class Sample:
    """A bundle that was built, and its key. Copies are made to be spoiled."""

    def __init__(self, built: Built, key: PrivateKey, drive: Path):
        self.built, self.key, self.drive = built, key, drive

    @property
    def trusted(self) -> dict:
        """The key as a site believes it."""
        return {self.key.public.keyid: (self.key.public, "builder")}

    def copy(self, to: Path) -> Copy:
        """A copy to be spoiled."""
        shutil.copytree(self.drive, to)
        return Copy(self, to)


class Copy:
    """One copy of a bundle with one volume."""

    def __init__(self, sample: Sample, drive: Path):
        self.sample, self.drive = sample, drive
        self.folder = drive / layout.BUNDLES / sample.built.bundle_id
        self.outside = drive / "outside"
        self.outside.write_bytes(b"out of bounds")

    def index(self) -> dict:
        """The index as a value."""
        return json.loads((self.folder / layout.INDEX).read_bytes())

    def statement(self) -> dict:
        """The statement as a value."""
        envelope = json.loads((self.folder / layout.RELEASE).read_bytes())
        import base64

        return json.loads(base64.b64decode(envelope["payload"]))

    def object_of(self, path: str, number: int = 0) -> Path:
        """The file of a chunk."""
        entry = next(f for f in self.index()["files"] if f["path"] == path)
        return layout.object_path(self.folder, entry["chunks"][number][0])

    def put_object(self, data: bytes) -> list:
        """Add a chunk; its entry for an index."""
        digest = hashlib.sha256(data).hexdigest()
        target = layout.object_path(self.folder, digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return [digest, len(data)]

    def replace(self, path: str, data: bytes) -> None:
        """Put other content in place of a file's and sign it all anew, as a hostile packager would."""
        def change(index: dict, _statement: dict) -> None:
            entry = next(f for f in index["files"] if f["path"] == path)
            entry["chunks"] = [self.put_object(data)] if data else []
            entry["size"], entry["sha256"] = len(data), hashlib.sha256(data).hexdigest()

        self.resign(change)

    def add(self, path: str, data: bytes, component: str) -> None:
        """Add a file and sign it all anew."""
        def change(index: dict, _statement: dict) -> None:
            chunks = [self.put_object(data)] if data else []
            index["files"].append({"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(),
                                   "component": component, "exec": False, "chunks": chunks})

        self.resign(change)

    def resign(self, change: Callable[[dict, dict], Any], *, raw_index: Callable[[bytes], bytes] = bytes,
               raw_payload: Callable[[bytes], bytes] = bytes, totals: bool = True, key: PrivateKey | None = None) -> None:
        """Change index and statement, make them agree again, sign with the trusted key."""
        from console.trust import oms

        index, statement = self.index(), self.statement()
        change(index, statement)
        index["files"].sort(key=lambda f: f["path"])
        new_raw = raw_index(json.dumps(index, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
            "utf-8", "surrogatepass"))
        predicate = statement["predicate"]
        if totals:
            predicate["bundle"] |= {"bytes": sum(f["size"] for f in index["files"]), "files": len(index["files"]),
                                    "objects": len({c[0] for f in index["files"] for c in f["chunks"]})}
            for component in predicate["components"]:
                if component.get("oms"):
                    prefix = component["path"] + "/"
                    inside = [(f["path"].removeprefix(prefix), f["sha256"]) for f in index["files"]
                              if f["component"] == component["id"]]
                    signature = oms.sign(component["path"], inside, self.sample.key)
                    (self.folder / component["oms"]).write_bytes(signature)
                    component["oms_sha256"] = hashlib.sha256(signature).hexdigest()
        statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(new_raw).hexdigest()
        payload = raw_payload(json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
        (self.folder / layout.INDEX).write_bytes(new_raw)
        (self.folder / layout.RELEASE).write_bytes(dsse.seal(layout.PAYLOAD_TYPE, payload, [key or self.sample.key]))
        moved = self.folder.with_name(hashlib.sha256(new_raw).hexdigest()[:32])
        if moved != self.folder:
            self.folder.rename(moved)
            self.folder = moved


def make(folder: Path, key: PrivateKey | None = None, note: str = "# Notes\n", **top: Any) -> Sample:
    """A sample bundle below ``folder``."""
    key = key or PrivateKey.generate("ecdsa-p256")
    spec = content(folder / "source", note, **top)
    built = build(NullContext(), spec, folder / "drive", [key])
    return Sample(built, key, folder / "drive")


def fifo(path: Path) -> None:
    """A pipe in place of a file."""
    path.unlink()
    os.mkfifo(path)


__all__ = ["Copy", "Sample", "content", "encode", "fifo", "make", "model", "raw_safetensors", "safetensors", "weights"]
