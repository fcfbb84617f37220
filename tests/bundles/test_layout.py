"""Paths, collisions, headers and cuts: tables, and properties over any input."""

from __future__ import annotations

import io
import unicodedata

import pytest
from bundle_samples import safetensors, weights
from hypothesis import given
from hypothesis import strategies as st

from console.bundles import archives, chunking, gguf, headers, layout, manifest, onnx, screening
from console.bundles.manifest import FileEntry, known_files, make_index, read_index, read_statement
from console.errors import SealiftError

GOOD = ["a", "a/b", "model/config.json", "模型/权重.safetensors", "a b/c d.txt", ".hidden", "a..b", "com10", "console", "nulls.txt",
        "a/" * 31 + "b", "x" * 240, unicodedata.normalize("NFC", "é"), "lpt", "a.con"]
BAD = ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\\b", "c:d", "a?b", "a*b", 'a"b', "a<b", "a>b", "a|b", "a\tb",
       "a\x00b", "a\x7fb", "a ", "a.", "a /b", "a./b", "con", "CON", "Con.txt", "aux", "nul.tar.gz", "com1", "LPT9.x", "com¹",
       "conin$", "x" * 241, "a/" * 32 + "b", "é" * 121, "/".join(["x" * 200] * 6), "e\u0301", "a\u200b", "a\u202eb",
       "a\ufeffb", "\ud800", "a\u2028b", "a\ue000b"]


@pytest.mark.parametrize("path", GOOD)
def test_good_paths(path):
    assert layout.path_problem(path) is None


@pytest.mark.parametrize("path", BAD)
def test_bad_paths(path):
    assert layout.path_problem(path)


@pytest.mark.parametrize(("paths", "count"), [
    (["a", "b"], 0), (["a/b", "a/c"], 0), (["a", "A"], 1), (["ß", "ss"], 1), (["a/x", "A/y"], 1), (["a", "a/b"], 1),
    (["ſ", "s"], 1), (["İ", "i̇"], 1), (["K", "k"], 1), (["a/b/c", "a/B/d"], 1), (["A/x", "a"], 1),
])
def test_collisions(paths, count):
    assert bool(layout.collisions(paths)) == bool(count)


@given(st.text(max_size=60))
def test_what_passes_stays_inside(path):
    if layout.path_problem(path) is None:
        from pathlib import PurePosixPath, PureWindowsPath

        for kind in (PurePosixPath, PureWindowsPath):
            assert not kind(path).is_absolute() and ".." not in kind(path).parts and not kind(path).drive
        assert "\\" not in path and unicodedata.normalize("NFC", path) == path


def an_index():
    """Files with none, one and many chunks, and names of more than one byte a character."""
    files = [FileEntry("模型/empty", 0, manifest.EMPTY_SHA256, "m", False, ())]
    for number in range(40):
        digests = tuple((f"{number:032x}{n:032x}", 7 + n) for n in range(1 + number % 7 * 5))
        whole = digests[0][0] if len(digests) == 1 else f"{number:064x}"
        files.append(FileEntry(f"模型/{number:03}", sum(n for _, n in digests), whole, "m", number % 2 == 0, digests))
    return make_index(files)


@pytest.mark.parametrize("piece", [1, 7, 1000, 1 << 20])
def test_an_index_that_is_known_is_read_in_pieces_and_the_same(piece, monkeypatch):
    monkeypatch.setattr(manifest, "READ_CHARS", piece)
    raw = an_index()
    assert known_files(io.BytesIO(raw)) == read_index(raw).files


@given(st.integers(0, 20_000), st.binary(max_size=3))
def test_an_index_that_is_not_the_known_one_is_refused_or_harmless(where, other):
    raw = an_index()
    where %= len(raw)
    try:
        files = known_files(io.BytesIO(raw[:where] + other + raw[where + len(other) :] if other else raw[:where]))
    except SealiftError as problem:
        assert problem.exit_code == 1
    else:
        assert all(layout.path_problem(f.path) is None for f in files)


@given(st.binary(max_size=400))
def test_readers_take_any_bytes(raw):
    for read in (lambda: read_index(raw), lambda: read_statement(raw), lambda: known_files(io.BytesIO(b'{"files":[' + raw)),
                 lambda: headers.safetensors(io.BytesIO(raw), len(raw), "x"),
                 lambda: gguf.read(io.BytesIO(b"GGUF\x03\x00\x00\x00" + raw), len(raw) + 8, "x"),
                 lambda: onnx.outline(io.BytesIO(raw), len(raw), "x")):
        try:
            read()
        except SealiftError as problem:
            assert problem.exit_code == 1
    for head in (b"", b"PK\x03\x04", b"\x1f\x8b"):
        whole = head + raw
        archives.problem(whole[:512], len(whole), io.BytesIO(whole))
        for name in ("m/a.json", "m/a.model", "m/a.gguf", "m/a.onnx", "m/a.safetensors"):
            for kind in ("model", "runtime", "docs"):
                screening.screen(kind, name, len(whole), io.BytesIO(whole))


@given(st.binary(min_size=1, max_size=6), st.integers(0, 2000))
def test_flipped_archives_are_judged_and_never_crash(flips, where):
    import tarfile
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/b.txt", b"x" * 100)
        archive.writestr("c", b"y")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
    for whole in (out.getvalue(), tar.getvalue()):
        raw = bytearray(whole)
        for number, byte in enumerate(flips):
            raw[(where + number * 37) % len(raw)] ^= byte
        archives.problem(bytes(raw[:512]), len(raw), io.BytesIO(bytes(raw)))


# Cuts ----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 300)), max_size=30), st.integers(16, 128))
def test_cuts_cover_the_file_and_stay_small(spans, chunk_max):
    tensors, at = [], 40
    for module, size in spans:
        tensors.append(headers.Tensor(f"layers.{module}.w{len(tensors)}", "U8", (size,), at, at + size))
        at += size
    sizes = chunking.along_tensors(40, tensors, at, chunk_max)
    assert sum(sizes) == at and all(0 < n <= chunk_max for n in sizes)


def cut(raw: bytes) -> list[bytes]:
    header, tensors, _ = headers.safetensors(io.BytesIO(raw), len(raw), "x")
    parts, at = [], 0
    for size in chunking.along_tensors(header, tensors, len(raw), 4096):
        parts.append(raw[at : at + size])
        at += size
    return parts


def test_a_longer_header_and_a_changed_tensor_leave_the_other_chunks_equal():
    tensors = {f"model.layers.{i}.{kind}": ("U8", [2048], weights(i * 10 + n, 2048))
               for i in range(12) for n, kind in enumerate(("a", "b"))}
    before = cut(safetensors(tensors))
    longer = cut(safetensors(tensors, {"note": "x" * 5000}))
    assert set(before[1:]) <= set(longer)
    tensors["model.layers.3.a"] = ("U8", [2048], weights(999, 2048))
    assert len(set(before) - set(cut(safetensors(tensors)))) == 1


def test_plain_files_are_cut_at_fixed_places():
    assert chunking.fixed(0) == [] and chunking.fixed(10, 4) == [4, 4, 2] and chunking.fixed(8, 4) == [4, 4]


def test_a_good_gguf_is_read():
    import struct

    body = struct.pack("<Q", 17) + b"general.alignment" + struct.pack("<II", 4, 64)
    info = struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 32, 8, 0)
    start = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + body + info
    raw = start + b"\x00" * (-len(start) % 64) + b"\x01" * 34
    header, tensors, _ = gguf.read(io.BytesIO(raw), len(raw), "x")
    assert header % 64 == 0 and tensors[0].dtype == "Q8_0" and tensors[0].end == len(raw)
