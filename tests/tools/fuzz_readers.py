"""Feeds damaged documents, headers, archives and whole drives to every reader of bundles, for as long as it is told.

Run from the project's root: ``.venv/bin/python tests/tools/fuzz_readers.py --minutes 15 --seed 1``. A reader may answer, or
refuse with an error of ours that is not a bug of ours. Anything else, and any input that takes longer than a few seconds,
is written below ``--keep`` and makes the exit code 1. The last lines tell how many inputs each reader was given.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import io
import lzma
import random
import shutil
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from console.bundles import archives, gguf, headers, layout, onnx, receipts, screening, spec, verify  # noqa: E402
from console.bundles.manifest import read_index, read_statement  # noqa: E402
from console.errors import SealiftError  # noqa: E402
from console.jobs.job import NullContext  # noqa: E402
from console.trust import canonical, dsse, oms, root  # noqa: E402
from console.trust.keys import PrivateKey, load_public  # noqa: E402

SLOW_S = 5.0
DRIVE_SHARE = 0.01
"""Part of the rounds that damage a whole drive: one of those costs as much as a few hundred of the others."""

_spec = importlib.util.spec_from_file_location("bundle_samples", ROOT / "tests" / "bundles" / "samples.py")
samples = importlib.util.module_from_spec(_spec)
sys.modules["bundle_samples"] = samples
_spec.loader.exec_module(samples)

NUMBERS = [0, 1, 2, 7, 8, 127, 128, 255, 256, 65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 53, (1 << 63) - 1, (1 << 64) - 1]
WORDS = [b"", b"{}", b"[]", b"null", b"true", b"-1", b"1e999", b"NaN", b"\\ud800", b"..", b"/", b"../../x", b"\x00", b"\xff\xfe", b"0" * 64,
         b'"v":1,"v":1', b"sha256", b"PK\x05\x06", b"ustar", b"GGUF", b"\x80\x04"]  # fmt: skip


def damage(raw: bytes, dice: random.Random) -> bytes:
    """``raw`` with one to six injuries: flipped bits, cuts, repeats, moved parts, extreme numbers, telling words."""
    data = bytearray(raw)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(data) + 1)
        what = dice.randrange(8)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << dice.randrange(8)
        elif what == 1:
            del data[at:]
        elif what == 2:
            del data[at : at + dice.randint(1, 32)]
        elif what == 3:
            data[at:at] = data[at : at + dice.randint(1, 64)] * dice.randint(1, 4)
        elif what == 4:
            width = dice.choice((1, 2, 4, 8))
            number = dice.choice(NUMBERS) & ((1 << 8 * width) - 1)
            data[at : at + width] = number.to_bytes(width, dice.choice(("little", "big")))
        elif what == 5:
            word = dice.choice(WORDS)
            data[at : at + dice.choice((0, len(word)))] = word
        elif what == 6 and data:
            data[at % len(data)] = dice.randrange(256)
        else:
            other = dice.randrange(len(data) + 1)
            part = bytes(data[other : other + dice.randint(1, 48)])
            data[at : at + len(part)] = part
    return bytes(data)


def gguf_file() -> bytes:
    """A GGUF file with a text, a list and two tensors."""
    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    pairs = text(b"general.alignment") + struct.pack("<II", 4, 64)
    pairs += text(b"tokenizer.chat_template") + struct.pack("<I", 8) + text(b"{% for m in messages %}{{ m }}{% endfor %}")
    pairs += text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + text(b"a") + text(b"b") + text(b"c")
    infos = text(b"blk.0.w") + struct.pack("<IQIQ", 1, 32, 8, 0) + text(b"blk.1.w") + struct.pack("<IQQIQ", 2, 16, 2, 0, 64)
    start = b"GGUF" + struct.pack("<IQQ", 3, 2, 3) + pairs + infos
    return start + b"\x00" * (-len(start) % 64) + b"\x01" * (64 + 128)


def onnx_model() -> bytes:
    """An ONNX file with a node of a foreign domain and a tensor whose data lies beside it."""
    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    entry = field(13, field(1, b"location") + field(2, b"weights.onnx_data"))
    node = field(1, field(4, b"MatMul") + field(7, b"custom.domain"))
    return b"\x08\x0a" + field(7, node + field(5, entry))


def archive_zip() -> bytes:
    """A zip with two entries."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pkg/module.txt", b"x" * 300)
        archive.writestr("pkg-1.dist-info/METADATA", b"Name: pkg\nVersion: 1\n")
    return out.getvalue()


def archive_tar() -> bytes:
    """A tar with a file, a folder and a link inside."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        file = tarfile.TarInfo("a/file")
        file.size = 5
        archive.addfile(file, io.BytesIO(b"hello"))
        link = tarfile.TarInfo("a/link")
        link.type, link.linkname = tarfile.SYMTYPE, "file"
        archive.addfile(link)
    return out.getvalue()


def saved_image() -> bytes:
    """An image as docker saves it, with a packed layer."""
    layer = samples.tar({"etc/x": b"1" * 300})
    return samples.tar({"manifest.json": b"[]", "0/layer.tar": layer, "blobs/sha256/" + "a" * 64: gzip.compress(layer, mtime=0)})


def unpacked(raw: bytes) -> str | None:
    """What the reader of archives says."""
    return archives.problem(raw[:512], len(raw), io.BytesIO(raw))


class Readers:
    """Every reader by name, with seeds to damage."""

    def __init__(self, folder: Path):
        self.sample = samples.make(folder / "sample")
        self._trusted = self.sample.trusted
        held = next(folder.glob(f"sample/drive/{layout.BUNDLES}/*"))
        self.held, self.folder = held, folder
        key = self.sample.key
        envelope = (held / layout.RELEASE).read_bytes()
        shard = samples.safetensors({"a.w": ("F32", [8, 8], samples.weights(1)), "a.b": ("U8", [32], samples.weights(2, 32))}, {"k": "v"})
        anchor = PrivateKey.generate("ecdsa-p256")
        chain = root.make(version=1, prev=None, issued_at="2026-01-01T00:00:00.000000Z", expires_at=None, keys=[(anchor.public, "Ann")],
                          roles={"root": (1, [anchor.public.keyid]), "release": (1, [anchor.public.keyid])})
        listing = {"config.json": "0" * 64, "a/b.safetensors": "1" * 64}
        model_signature = oms.sign("model", listing.items(), key)
        template = b'{"chat_template": "{{ bos_token }}{% for m in messages %}{{ m[\'content\'] }}{% endfor %}", "auto_map": {"A": "b.C"}}'
        self.table: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
            "index": ((held / layout.INDEX).read_bytes(), read_index),
            "statement": (dsse.parse(envelope, layout.PAYLOAD_TYPE).payload, read_statement),
            "envelope": (envelope, lambda raw: dsse.open_(raw, layout.PAYLOAD_TYPE, self._trusted, 1)),
            "canonical": (b'{"a":[1,{"b":"x"}],"c":null,"d":"\xc3\xa9"}', lambda raw: canonical.decode(raw, max_bytes=1 << 20, floats=True)),
            "root": (chain, lambda raw: root.read(raw, raw)),
            "root-envelope": (root.seal(chain, [anchor]), lambda raw: root.first(raw, "00" * 32)),
            "model-signature": (model_signature, lambda raw: oms.check_listing(raw, listing, [key.public])),
            "public-key": (key.public.pem, load_public),
            "safetensors": (shard, lambda raw: headers.safetensors(io.BytesIO(raw), len(raw), "x")),
            "gguf": (gguf_file(), lambda raw: gguf.read(io.BytesIO(raw), len(raw), "x")),
            "onnx": (onnx_model(), lambda raw: onnx.outline(io.BytesIO(raw), len(raw), "x")),
            "zip": (archive_zip(), unpacked),
            "tar": (archive_tar(), unpacked),
            "image": (saved_image(), unpacked),
            "deb": (samples.deb(archive_tar(), Package="x", Version="1"), unpacked),
            "lzma": (lzma.compress(archive_tar(), format=lzma.FORMAT_ALONE), unpacked),
            "receipt": (receipts.seal({"v": 1, "site": "x", "media": [], "sequence": 1}, key), lambda raw: receipts.verify(raw, [key.public])),
            "screen-json": (template, self._screened("m/tokenizer_config.json")),
            "screen-gguf": (gguf_file(), self._screened("m/a.gguf")),
            "screen-onnx": (onnx_model(), self._screened("m/a.onnx")),
            "screen-text": (b"(dp0\nS'a'\np1\nI1\ns." + b"text " * 40, self._screened("m/a.txt")),
            "screen-wheel": (archive_zip(), self._screened("p/a.whl", "runtime")),
            "screen-packed": (gzip.compress(b"(dp0\nS'a'\np1\nI1\ns." * 9, mtime=0), self._screened("p/a.gz", "runtime")),
            "description": (b"title: x\nchannel: c\ncomponents:\n- {id: a, type: docs, from: ., exclude: ['*']}\n", self._described),
        }

    def _described(self, raw: bytes) -> object:
        place = self.folder / "spec" / "bundle.yaml"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(raw)
        return spec.read(place)

    def _screened(self, path: str, kind: str = "model") -> Callable[[bytes], object]:
        return lambda raw: screening.screen(kind, path, len(raw), io.BytesIO(raw), {path: 1 << 20})

    def drive(self, dice: random.Random) -> tuple[str, Callable[[], object]]:
        """Damage one file of a copy of a drive; what was damaged, and the check of it."""
        place = self.folder / "damaged"
        shutil.rmtree(place, ignore_errors=True)
        target = place / layout.BUNDLES / self.held.name
        shutil.copytree(self.held, target)
        victim = dice.choice(sorted(p for p in target.rglob("*") if p.is_file()))
        before = victim.read_bytes()
        after = damage(before, dice)
        victim.write_bytes(after)

        def check() -> None:
            told = verify.verify(NullContext(), [place], self._trusted)
            # The hint on a volume is unsigned and counts for nothing; everything else must be noticed.
            if after != before and told["verdict"] == "verified" and victim.name != layout.VOLUME:
                raise AssertionError(f"damage to {victim.name} was not noticed")

        return victim.relative_to(target).as_posix(), check


def judged(work: Callable[[], object]) -> str | None:
    """None when ``work`` answers or refuses as it should within the time; else what went wrong."""
    begun = time.monotonic()
    try:
        work()
    except SealiftError as problem:
        if problem.code.startswith("internal."):
            return f"{problem.code}: {problem}"
    except Exception:  # whatever it is, it is what is looked for
        return traceback.format_exc()
    took = time.monotonic() - begun
    return f"took {took:.1f} s" if took > SLOW_S else None


def main() -> int:
    """Run until the time is up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="where inputs that broke something are written")
    args = parser.parse_args()
    dice, counts, broken = random.Random(args.seed), Counter(), 0
    end = time.monotonic() + args.minutes * 60
    with tempfile.TemporaryDirectory(prefix="sealift-fuzz-") as scratch:
        readers = Readers(Path(scratch))
        names = list(readers.table)
        while time.monotonic() < end:
            if dice.random() < DRIVE_SHARE:
                what, work = readers.drive(dice)
                name, raw = "drive", b""
            else:
                name = dice.choice(names)
                seed, reader = readers.table[name]
                raw = damage(seed, dice)
                what, work = name, lambda raw=raw, reader=reader: reader(raw)
            counts[name] += 1
            if (problem := judged(work)) is not None:
                broken += 1
                args.keep.mkdir(parents=True, exist_ok=True)
                (args.keep / f"{name}-{args.seed}-{broken}").write_bytes(raw)
                print(f"{what}, input {broken}:\n{problem}", flush=True)
                if broken >= 50:
                    break
    for name, count in sorted(counts.items()):
        print(f"{name:16} {count}")
    print(f"inputs {sum(counts.values())}, broken {broken}, seed {args.seed}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
