"""The whole way on real FAT32 file systems, mounted read-only one at a time in one slot. Needs root and mkfs.vfat."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from bundle_samples import deb, model, safetensors, tar, weights

from console.bundles import copying, layout, packages, receipts
from console.bundles import drives as places
from console.bundles.build import Built, build
from console.bundles.inspection import inspect
from console.bundles.verify import verify
from console.errors import WorldError
from console.jobs.job import NullContext
from console.trust import dsse
from console.trust.keys import PrivateKey

CTX = NullContext()
KEY = PrivateKey.generate("ecdsa-p256")
TRUSTED = {KEY.public.keyid: (KEY.public, "builder")}
IMAGE_BYTES = 40 << 20
"""FAT32 asks for 65,525 clusters at least, which is 33 MiB of the smallest ones."""
ROOM = 38 << 20
"""What is planned for on each: FAT32 through FUSE does not tell its free bytes."""

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 2048, "torch_dtype": "bfloat16"}

DEB = {"Package": "tool", "Version": "1:2.0-1", "Architecture": "amd64", "Installed_Size": "3072"}


def rpm() -> bytes:
    """An RPM package's lead and headers."""
    def header(*entries: tuple[int, int, bytes]) -> bytes:
        index, store = b"", b""
        for tag, kind, data in entries:
            store += b"\x00" * (-len(store) % 4)
            index += struct.pack(">IIII", tag, kind, len(store), 1)
            store += data
        return b"\x8e\xad\xe8\x01" + b"\x00" * 4 + struct.pack(">II", len(entries), len(store)) + index + store

    signature = header((1000, 4, struct.pack(">I", 7)))
    lead = b"\xed\xab\xee\xdb" + b"\x00" * 92
    return lead + signature + b"\x00" * (-len(signature) % 8) + header(
        (1000, 6, b"driver\x00"), (1001, 6, b"550.54\x00"), (1002, 6, b"1.el9\x00"), (1009, 4, struct.pack(">I", 4 << 20)),
        (1014, 6, b"NVIDIA\x00"), (1022, 6, b"x86_64\x00")) + weights(9, 4096)


def wheel() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("tiny/__init__.py", "x = 1\n")
        archive.writestr("tiny-1.2.dist-info/METADATA", "Metadata-Version: 2.4\nName: Tiny\nVersion: 1.2\nLicense-Expression: MIT\n")
        archive.writestr("tiny-1.2.dist-info/RECORD", "")
    return out.getvalue()


def gguf(tensor: bytes) -> bytes:
    """A GGUF model of one tensor."""
    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    pairs = text(b"general.architecture") + struct.pack("<I", 8) + text(b"qwen2")
    info = text(b"blk.0.weight") + struct.pack("<IQIQ", 1, len(tensor) // 4, 0, 0)
    start = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + pairs + info
    return start + b"\x00" * (-len(start) % 32) + tensor


def oci(folder: Path) -> None:
    """An OCI image layout with one layer."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes, kind: str) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    layer, config = blob(weights(5, 8 << 20), "layer.v1.tar"), blob(b"{}", "config.v1+json")
    manifest = blob(json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode(), "manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "vllm:0.11"}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))


def contents(folder: Path) -> Path:
    """Three families of models, a wheelhouse, an image, packages and a vendor's installer, with their description."""
    model(folder / "llama")
    (folder / "llama" / "config.json").write_text(json.dumps(LLAMA))
    (folder / "llama" / "model-00001-of-00002.safetensors").write_bytes(
        safetensors({"model.layers.0.w": ("F32", [1 << 20], weights(1, 4 << 20)), "model.layers.0.w_bias": ("F32", [8], weights(9, 32))}))
    for name, file, data in (("qwen-gguf", "qwen-q8.gguf", gguf(weights(2, 24 << 20))), ("wheelhouse", "tiny-1.2-py3-none-any.whl", wheel()),
                             ("debs", "tool_2.0-1_amd64.deb", deb(tar({"./usr/bin/tool": weights(7, 1 << 20)}), **DEB)), ("rpms", "driver-550.54-1.el9.x86_64.rpm", rpm()),
                             ("cann", "Ascend-cann-toolkit_8.0.RC2_linux-aarch64.run",
                              b"#!/bin/sh\n# Uncompressed size: 2048 KB\n" + weights(6, 2 << 20))):
        (folder / name).mkdir()
        (folder / name / file).write_bytes(data)
    onnx_folder = folder / "bert-onnx"
    onnx_folder.mkdir()
    onnx = pytest.importorskip("onnx")
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1 << 18], weights(3, 1 << 20), raw=True)
    node = onnx.helper.make_node("Identity", ["w"], ["y"])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1 << 18])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [out], [tensor])), str(onnx_folder / "model.onnx"))
    oci(folder / "image")
    kinds = {"llama": "model", "qwen-gguf": "model", "bert-onnx": "model"}
    parts = [{"id": name, "type": kinds.get(name, "runtime"), "version": "1", "license": "MIT", "source": {"uri": f"hf:test/{name}", "revision": "a1"}}
             for name in ("llama", "qwen-gguf", "bert-onnx", "wheelhouse", "debs", "rpms", "cann", "image")]
    (folder / "bundle.yaml").write_text(json.dumps({"title": "Everything", "channel": "all", "components": parts}))
    return folder / "bundle.yaml"


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """What is bundled; not to be changed."""
    folder = tmp_path_factory.mktemp("everything")
    contents(folder)
    return folder


def test_what_packages_say_of_themselves_stands_in_the_manifest_and_the_bill(source, tmp_path, open_site):
    built = build(CTX, source / "bundle.yaml", tmp_path / "drive", [KEY])
    told = {c.id: c for c in inspect([tmp_path / "drive"], {}).statement.components}
    assert {c.id: c.format for c in told.values()} == {
        "llama": "safetensors", "qwen-gguf": "gguf", "bert-onnx": "onnx", "wheelhouse": "wheel", "debs": "deb", "rpms": "rpm", "cann": "run",
        "image": "oci", "sbom": "other"}
    assert told["debs"].installed_bytes == 3072 << 10 and told["rpms"].installed_bytes == 4 << 20 and told["cann"].installed_bytes == 2048 << 10
    assert told["llama"].summary["values_by_dtype"]["f32"] > 1 << 20 and told["qwen-gguf"].summary["bytes_by_dtype"] == {"f32": 24 << 20}
    release = open_site(KEY).library.import_(CTX, built.folders).release
    assert {c.id: c.source["uri"] for c in release.components if c.source}["llama"] == "hf:test/llama"
    bill = json.loads((tmp_path / "site" / "library" / "files").joinpath(*_place(release, "sbom/bom.cdx.json")).read_bytes())
    assert bill["bomFormat"] == "CycloneDX" and bill["specVersion"] == "1.6"
    held = [inner for part in bill["components"] for file in part["components"] for inner in file.get("components", [])]
    assert {p["purl"] for p in held} >= {"pkg:pypi/tiny@1.2", "pkg:deb/tool@1:2.0-1?arch=amd64", "pkg:rpm/driver@550.54-1.el9?arch=x86_64",
                                         "pkg:generic/Ascend-cann-toolkit@8.0.RC2"}
    assert {f.path for f in release.files if f.component != "sbom"} == {
        file["name"] for part in bill["components"] for file in part["components"]}
    assert {h["hashes"][0]["content"] for part in bill["components"] for h in part["components"]} <= {f.sha256 for f in release.files}
    assert packages.image_names(source / "image" / "index.json") == ["vllm:0.11"]


def _place(release, path: str) -> tuple[str, str]:
    digest = next(f.sha256 for f in release.files if f.path == path)
    return digest[:2], digest


def test_whether_it_will_run_is_answered_from_the_drive(source, tmp_path, capsys):
    from console.cli.main import main

    build(CTX, source / "bundle.yaml", tmp_path / "drive", [KEY])
    words = ["--workspace", str(tmp_path / "ws"), "--json", "fit", "--bundle", str(tmp_path / "drive"), "--accelerator", "H200", "--count", "1"]
    assert main([*words, "--model", "llama"]) == 0
    assert json.loads(capsys.readouterr().out)["per_device"]["weights_bytes"] > 4 << 20
    assert main([*words, "--model", "nobody"]) == 3


# FAT32 ---------------------------------------------------------------------------------------------------------------


class Drives:
    """Three FAT32 images and the one slot that they are mounted in."""

    def __init__(self, folder: Path):
        self.folder, self.slot = folder, folder / "slot"
        self.slot.mkdir()
        self.images = [folder / f"drive{n}.img" for n in (1, 2, 3)]
        self.built: Built | None = None
        for number, image in enumerate(self.images, 1):
            with open(image, "wb") as out:
                out.truncate(IMAGE_BYTES)
            run("mkfs.vfat", "-F", "32", "-s", "1", "-n", f"SEALIFT{number}", str(image))

    @contextlib.contextmanager
    def plugged(self, image: Path, options: str = "ro,noexec,nosuid,nodev", place: Path | None = None) -> Iterator[Path]:
        """Mount one image; the folder."""
        place = place or self.slot
        if vfat_in_kernel():
            run("mount", "-t", "vfat", "-o", f"loop,{options}", str(image), str(place))
        elif shutil.which("fusefat"):
            run("fusefat", "-o", "rw+" if options == "rw" else "ro", str(image), str(place))
        else:
            pytest.skip("neither the kernel's vfat nor fusefat is here to mount FAT32 drives")
        try:
            yield place
        finally:
            run("umount", str(place))


def vfat_in_kernel() -> bool:
    """Whether the kernel knows FAT; in slim virtual machines only FUSE does."""
    with contextlib.suppress(OSError):
        return "vfat" in Path("/proc/filesystems").read_text().split() or shutil.which("modprobe") is not None
    return False


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"{words[0]} does not work here: {done.stderr.strip()[:200]}")


@pytest.fixture(scope="module")
def written(source, tmp_path_factory) -> Drives:
    """The bundle on three drives, the largest of them with the repair data; not to be changed."""
    if os.geteuid() != 0 or not shutil.which("mkfs.vfat"):
        pytest.skip("needs root and mkfs.vfat to make and mount FAT32 drives")
    drives = Drives(tmp_path_factory.mktemp("fat32"))
    places = [drives.folder / f"at{n}" for n in (1, 2, 3)]
    with contextlib.ExitStack() as stack:
        for place, image in zip(places, drives.images, strict=True):
            place.mkdir()
            stack.enter_context(drives.plugged(image, "rw", place))
        drives.built = build(CTX, source / "bundle.yaml", places, [KEY], ROOM, parity="volume")
    return drives


@pytest.fixture
def drives(written, tmp_path) -> Drives:
    """Copies of the images, to be spoiled."""
    mine = Drives.__new__(Drives)
    mine.folder, mine.slot, mine.built = tmp_path, tmp_path / "slot", written.built
    mine.slot.mkdir()
    mine.images = [Path(shutil.copy(image, tmp_path / image.name)) for image in written.images]
    return mine


def compare(engine, release, source: Path) -> None:
    """Every file of the library against the source, byte for byte."""
    files = {p.relative_to(source).as_posix(): p for p in source.rglob("*") if p.is_file() and p.name != "bundle.yaml"}
    assert {f.path for f in release.files if f.component != "sbom"} == set(files)
    for path, file in files.items():
        assert engine.library.open_file(release, path).read_bytes() == file.read_bytes()


def bring_in(engine, drives: Drives, order: list[Path]):
    """Import with one drive after the other in the slot."""
    for image in order[:-1]:
        with drives.plugged(image) as slot, pytest.raises(WorldError) as caught:
            engine.library.import_(CTX, [slot])
        assert caught.value.code == "bundle.volume-missing"
    with drives.plugged(order[-1]) as slot:
        return engine.library.import_(CTX, [slot]).release


def test_three_drives_read_only_one_at_a_time(drives, source, open_site):
    before = [hashlib.sha256(image.read_bytes()).hexdigest() for image in drives.images]
    assert len(drives.built.folders) == 3 and drives.built.parity_bytes
    data = [image for image, n in zip(drives.images, numbers(drives), strict=True) if n < 3]
    engine = open_site(KEY)
    compare(engine, bring_in(engine, drives, data), source)
    assert [hashlib.sha256(image.read_bytes()).hexdigest() for image in drives.images] == before


def numbers(drives: Drives) -> list[int]:
    """The volume on each image."""
    found = []
    for image in drives.images:
        with drives.plugged(image) as slot:
            found.append(json.loads(next(slot.rglob(layout.VOLUME)).read_bytes())["number"])
    return found


@pytest.mark.parametrize("harm", ["bit", "lost"])
def test_a_damaged_or_lost_drive_is_made_up_for(drives, source, open_site, harm):
    of = dict(zip(numbers(drives), drives.images, strict=True))
    order = [of[1], of[2], of[3]]
    if harm == "lost":
        del order[1]
    else:
        with drives.plugged(of[2], "rw") as slot:
            victim = max(slot.rglob(f"{layout.OBJECTS}/*/*"), key=lambda p: p.stat().st_size)
            with open(victim, "r+b") as file:
                file.seek(victim.stat().st_size // 3)
                byte = file.read(1)[0]
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte ^ 0x10]))
        with drives.plugged(of[2]) as slot:
            told = verify(CTX, [slot], TRUSTED)
        assert told["verdict"] == "failed" and any("(volume 2)" in f["message"] for f in told["findings"])
    engine = open_site(KEY)
    compare(engine, bring_in(engine, drives, order), source)


def test_a_drive_that_is_pulled_while_it_is_read(drives, source, open_site, monkeypatch):
    """The file system's own process is ended in the midst: every read fails from then on, as of a drive that is gone."""
    if vfat_in_kernel():
        pytest.skip("a file system of the kernel cannot be taken away while it is read")
    of = dict(zip(numbers(drives), drives.images, strict=True))
    engine, real, taken = open_site(KEY), copying.open_plain, []

    def pulling(path):
        taken.append(path)
        if len(taken) == 4:
            for process in psutil.process_iter(["cmdline"]):
                if str(of[1]) in (process.info["cmdline"] or []):
                    process.kill()
                    process.wait(10)
        return real(path)

    monkeypatch.setattr(copying, "open_plain", pulling)
    with drives.plugged(of[1]) as slot:
        with pytest.raises(WorldError) as caught:
            engine.library.import_(CTX, [slot])
        assert caught.value.code == "bundle.media-removed" and caught.value.retryable
        assert places.place(slot, drive=True).state == "gone"
    monkeypatch.undo()
    kept = engine.library.unfinished()[0]
    assert kept.title == "Everything" and engine.library.list() == []
    release = bring_in(engine, drives, [of[1], of[2]])
    compare(engine, release, source)
    receipt = json.loads(dsse.parse(engine.library.receipt(release), receipts.TYPE).payload)
    assert receipt["bytes_copied"] == sum({f.sha256: f.size for f in release.files}.values()), "nothing is copied twice"


def test_the_states_of_a_real_drive(drives, open_site, tmp_path):
    of = dict(zip(numbers(drives), drives.images, strict=True))
    release = bring_in(open_site(KEY), drives, [of[1], of[2]])
    assert release.title == "Everything"
    with drives.plugged(of[1], "rw") as slot:
        assert places.place(slot, drive=True).state == "ready"
        next(slot.rglob(layout.SEALED)).unlink()
        assert places.place(slot, drive=True).state == "unfinished"
    with drives.plugged(of[1]) as slot:
        assert verify(CTX, [slot], TRUSTED)["verdict"] == "failed"
