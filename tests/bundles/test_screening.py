"""What is told by content: pickles in every form, chat templates, JSON in little memory, archives to their end."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import random
import struct
import tarfile
import zipfile
import zlib

import pytest
from bundle_samples import ar, deb, raw_safetensors, safetensors, weights
from hypothesis import given
from hypothesis import strategies as st

from console.bundles import archives, gguf, headers, jsontext, pickles, screening, tars, templates
from console.errors import SealiftError


class Boom:
    def __reduce__(self):
        return (os.system, ("true",))


def judged(raw: bytes, path: str = "m/x.txt", kind: str = "model", **more) -> list[screening.Finding]:
    return screening.screen(kind, path, len(raw), io.BytesIO(raw), **more)


def codes(raw: bytes, path: str = "m/x.txt", kind: str = "model", **more) -> set[str]:
    return {f.code for f in judged(raw, path, kind, **more) if not f.remark}


# Pickles -------------------------------------------------------------------------------------------------------------

CALL = b"cos\nsystem\n(S'id'\ntR"


@pytest.mark.parametrize("raw", [
    *(pickle.dumps(value, protocol) for protocol in range(6) for value in (Boom(), {"a": [Boom()]}, [1] * 20)),
    CALL + b".", CALL + b"\xff", b"V" + b"x" * 9000 + b"\n0" + CALL, b"C\x01a0" + CALL, b"I0x10\n0" + CALL, b"\x80\x00" + CALL,
    b"(S'id'\nios\nsystem\n.", b"N0" * 6000 + CALL, b"T\x03\x00\x00\x00abc0" + CALL, b"N" * 30_000,
], ids=lambda raw: repr(raw[:12]))
def test_what_would_run_is_a_pickle(raw):
    assert pickles.is_pickle(io.BytesIO(raw), len(raw))
    assert codes(raw) == codes(raw, "d/x.md", "docs") == codes(raw, "r/x", "runtime") == {"content-refused"}


@pytest.mark.parametrize("text", [
    "", "cat\ndog\nmouse\n", "the\nand\n", "import os\n", "License\n\nfor all", "(c) Copyright 2026\n", "Version 1.0\nKind\n", "I am\nhere\n", "# Notes",
    "The smoke model (a, b) and what belongs to it\n", "p\nq\n", "Silence\n.\n", "Xylophone", "BOOK", "tttttttt", "N.", "()", "{}", "Q: what?\nA: that.\n"])
def test_texts_are_none(text):
    assert not pickles.is_pickle(io.BytesIO(text.encode()), len(text)) and codes(text.encode()) == set()


@given(st.text(alphabet="abcdefghilostINSV().\n 0123'", max_size=200))
def test_plain_words_are_judged_at_once(text):
    pickles.is_pickle(io.BytesIO(text.encode()), len(text.encode()))


def test_a_zip_that_happens_to_read_like_opcodes_is_none():
    """Of 3,200 wheels, jars and packages two did: their first byte is an opcode whose argument ends with a line."""
    raw = zipped(**{"a\nN0N0N0N0N0.": b"x"})
    with pytest.raises(pickle.UnpicklingError, match="persistent"):
        pickle.loads(raw)
    assert not pickles.is_pickle(io.BytesIO(raw), len(raw)) and codes(raw, "p/a.whl", "runtime") == set()


def test_an_endless_line_is_no_text():
    raw = b"V" + b"x" * pickles.MAX_LINE_BYTES + b"xx"
    assert pickles.is_pickle(io.BytesIO(raw), len(raw)) and not pickles.is_pickle(io.BytesIO(raw), len(raw), patient=False)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zlib.compress], ids=["gz", "bz2", "xz", "zlib"])
@pytest.mark.parametrize("name", ["m/a.txt", "m/a.model", "m/a.onnx_data", "m/LICENSE", "m/a.joblib"])
def test_packed_pickles_are_refused_in_models(pack, name):
    assert codes(pack(pickle.dumps(Boom()) + b"x" * 500), name) == {"content-refused"}


def npy(objects: bool) -> bytes:
    told = f"{{'descr': '{'|O' if objects else '<f4'}', 'fortran_order': False, 'shape': (1,), }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(told)) + told + b"\x00" * 8


def zipped(**entries: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("__", "/"), data)
    return out.getvalue()


def test_arrays_of_objects_and_torch_archives_are_refused_everywhere():
    for kind in ("runtime", "docs", "config", "model"):
        assert codes(npy(True), "p/x.dat", kind) == {"content-refused"}, kind
        assert codes(zipped(archive__data_pkl=b"", **{"x/data.pkl": b"1"}), "p/x.dat", kind) == {"content-refused"}, kind
        assert codes(zipped(**{"a.npy": npy(True)}), "p/x.npz", kind) == {"content-refused"}, kind
        assert codes(b"anything", "p/x.pt", kind) == {"content-refused"}, kind
    assert codes(npy(False), "p/x.npy", "runtime") == set()
    assert codes(zipped(**{"a.npy": npy(False)}), "p/x.npz", "runtime") == set()
    assert codes(zipped(**{"pkg/tests/a.pkl": b"1"}), "p/x.whl", "runtime") == set()  # a wheel is code anyway


@pytest.mark.parametrize(("raw", "name"), [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "m/a.safetensors"), (b"", "m/a.json"), (b"", "m/a.safetensors"),
    (b"", "m/a.gguf"), (b"", "m/a.bin"), (b"a" * 9000 + b"\x00", "m/a.txt"), (b"\x0a\x02\x08\x01\x00", "m/a.model"), (b"\x08\x00" * 9, "m/a.spm"),
    (b"RIFF\x00\x00\x00\x00WAVE", "m/a.webp"), (b"<svg><script>x</script></svg>", "m/a.svg"), (b"U\r\r\n\x00\x00\x00\x00" + b"\x00" * 9, "m/a.model"),
    (b"IMOD" + b"\x00" * 60, "m/a.model"), (b"a,b", "m/a.html"), (b"\x89PNG" + b"a" * 99 + zipped(a=b"1"), "m/a.png")])
def test_what_is_not_what_it_is_called(raw, name):
    assert codes(raw, name)


def test_tokenizers_are_let_in():
    piece = b"\x0a\x05\x0a\x03abc"
    for name in ("m/tokenizer.model", "m/source.spm", "m/tokenizer.model.v3"):
        assert codes(piece * 50 + b"\x12\x00", name) == set()
    assert codes(b"IQ== 0\nIg== 1\n", "m/tokenizer.model") == set() and codes(b"x", "m/LICENSE-MODEL") == codes(b"x", "m/license_v2.txt") == set()


# Chat templates ------------------------------------------------------------------------------------------------------

REACHING = [
    "{{ ''.__class__.__mro__ }}", "{{ cycler.__init__ }}", "{{ x|attr('a') }}", r"{{ ''['\x5f\x5fclass\x5f\x5f'] }}", "{% import 'os' as o %}",
    "{%- include '/etc/passwd' -%}", "{{ lipsum }}", "{{ self._x }}", "{{ request.args }}", "{{ ''['__cla'~'ss__'] }}",
    "{{ ''['_'*2~'class'~'_'*2] }}", "{{ '}}' ~ ''.__class__ }}", "{% set a = '_' * 2 %}", "{{ x['a'|reverse] }}", r"{{ ''['\137\137class'] }}",
    "{{ '%c%c'|format(95,95) }}", "{{ x._secret }}", "{{ os.popen('x') }}", "{% from 'a' import b %}", "{% extends 'a' %}", "{{ dict(__class__=x) }}",
    "{{ {'a': {'b': x.__class__}} }}", "{{ x.__class__", "{{ x . \n __class__ }}", "{{ ['_','_']|join }}", "{{ '_' ~ '_class_' ~ '_' }}",
    "{% raw %}{{ a }}{% endraw %}{{ a.__b__ }}", r"{{ ''['\u005f'] }}", "{{ x.f_globals }}", r"{{ '\N{LOW LINE}' }}", "{{ ''['xxclassxx'.replace('x','_')] }}", "{% set a = 'XXclassXX' | replace('X', '_') %}{{ ''[a] }}",
    "{{ ''[['', '', 'class', '', ''] | join('_')] }}", "{{ [x] | map('attr', 'a') | list }}", "{{ '{0.x}'.format(a) }}", "{{ '{a[x]}' | format(a=b) }}"]
HARMLESS = [
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] | trim }}{% endfor %}", "{{ raise_exception('import os.path please') }}",
    "{% set ns = namespace(found=false) %}{{ messages[loop.index0 - 1]['content'] }}", "{{ x | tojson(indent=4) }}", "{# x.__class__ #}",
    "{% raw %}{{ x.__class__ }}{% endraw %}", "{{ x | replace('_', ' ') }}{{ x.split('_')[0] }}", "{{ '{}: {:>3}'.format(a, b) }}", "{{ '%s' | format(x) }}", "{{ x.lstrip('_') }}", "{{ strftime_now('%d %b %Y') }}",
    "{{ '<｜tool▁calls▁begin｜>' + '\\u2581' }}", "{%- macro render(x, _y) -%}{{ x }}{%- endmacro -%}", "__ plain text {", "{{ messages[1:][0]['x'] }}"]


@pytest.mark.parametrize("template", REACHING)
def test_templates_that_reach_out(template):
    assert templates.problem(template)
    for raw, name in ((json.dumps({"chat_template": template}).encode(), "m/tokenizer_config.json"), (template.encode(), "m/chat_template.jinja"),
                      (json.dumps({"deep": [{"chat_template": [{"name": "a", "template": template}]}]}).encode(), "m/a.json")):
        assert codes(raw, name) == {"content-refused"} == codes(raw, name, "config")


@pytest.mark.parametrize("template", HARMLESS)
def test_templates_of_text(template):
    assert templates.problem(template) is None
    assert all(f.remark for f in judged(template.encode(), "m/a.jinja"))


@given(st.text(alphabet="{}%#'\"\\ ab_.[]()|~\n", max_size=60))
def test_any_template_is_judged(template):
    templates.problem(template)


def gguf_file(*pairs: tuple[bytes, bytes], tail: bytes = b"", tensors: int = 0) -> bytes:
    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    body = b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in pairs)
    infos = b"".join(text(b"t%d" % n) + struct.pack("<IQIQ", 1, 8, 0, 32 * n) for n in range(tensors))
    start = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(pairs)) + body + infos
    return start + (b"\x00" * (-len(start) % 32) + b"\x01" * 32 * tensors if tensors else b"") + tail


def test_every_chat_template_of_a_gguf_is_judged():
    for key in (b"tokenizer.chat_template", b"tokenizer.chat_template.tool_use"):
        assert codes(gguf_file((key, REACHING[0].encode())), "m/a.gguf") == {"content-refused"}
        assert codes(gguf_file((key, HARMLESS[0].encode())), "m/a.gguf") == set()
    assert codes(gguf_file((b"tokenizer.chat_template", b"x" * (gguf.KEPT_BYTES + 1))), "m/a.gguf") == {"header"}


def test_a_gguf_carries_nothing_behind_its_tensors():
    assert codes(gguf_file(tensors=2), "m/a.gguf") == codes(gguf_file(tensors=2, tail=b"\x00" * 31), "m/a.gguf") == set()
    assert codes(gguf_file(tensors=2, tail=b"\x00" * 32), "m/a.gguf") == {"header"}
    assert codes(gguf_file(tensors=2, tail=zipped(a=b"1")), "m/a.gguf") == {"header", "content-refused"}


def test_a_vocabulary_is_stepped_through_in_its_window(monkeypatch):
    words = b"".join(struct.pack("<Q", n % 40) + b"w" * (n % 40) for n in range(3000))
    raw = (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 6) + b"tokens" + struct.pack("<IIQ", 9, 8, 3000) + words)
    for window in (16, 100, 1 << 20):
        monkeypatch.setattr(gguf, "WINDOW_BYTES", window)
        assert gguf.read(io.BytesIO(raw), len(raw), "x")[0] == len(raw)
        with pytest.raises(SealiftError):
            gguf.read(io.BytesIO(raw[:-1]), len(raw) - 1, "x")


# JSON ----------------------------------------------------------------------------------------------------------------


def both_ways(raw: bytes) -> list:
    found = []
    for read in (lambda held: jsontext._collect(raw, held), lambda held: jsontext._read_through(raw, held)):
        held: dict[str, list] = {"auto_map": []}
        try:
            read(held)
            found.append(sorted(json.dumps(list(screening._strings(value))) for value in held["auto_map"]))
        except (ValueError, jsontext.TooLong, RecursionError) as problem:
            found.append("long" if isinstance(problem, jsontext.TooLong) else "bad")
    return found


@pytest.mark.parametrize("text", ['{"a":1}', '[1,{"x":[{"auto_map":3}]}]', '{"auto_map":{"auto_map":1}}', '{"auto_ma\\u0070":1}', '{"a":}', "[1,]", '{"a":1,}',
                                  "[1 2]", '"x"', "1", "", "{", "[}", '{"a" 1}', "nul", '{"a":"\\u12"}', "[01]", "[[[]]", "{}{}", '"\\x"', '{"auto_map":"}"}'])
def test_json_read_by_token_is_the_same_json(text):
    one, two = both_ways(text.encode())
    assert one == two


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
    st.sampled_from(["a", "auto_map", "é", '"']), inner, max_size=3), max_leaves=20), st.integers(0, 200), st.sampled_from(["", "}", '"', ",", "\\", "x"]))
def test_any_json_is_read_by_token_as_by_value(value, at, junk):
    text = json.dumps(value, indent=1)
    place = at % (len(text) + 1)
    for whole in (text, text[:place] + junk + text[place:]):
        one, two = both_ways(whole.encode())
        assert one == two, whole


def test_json_without_measure_is_refused():
    assert codes(b"[" + b"[]," * jsontext.MAX_PIECES + b"[]]", "m/a.json") == {"content-refused"}
    assert codes(b"[" * 3000 + b"]" * 3000, "m/a.json") == {"content-refused"}


# safetensors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [
    b'{"a" : {"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b'{ "a":{"shape":[1],"dtype":"U8","data_offsets":[0,1]} }   ',
    b'{"__metadata__":{"k":"v}{"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b'{"\\u0061":{"dtype":"U8","shape":[ 1 ],"data_offsets":[0,1]}}',
    '{"é":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.encode()])
def test_every_honest_way_to_write_a_header(header):
    raw = raw_safetensors(header, b"x")
    assert len(headers.safetensors(io.BytesIO(raw), len(raw), "x")[1]) == 1
    headers.check_safetensors(io.BytesIO(raw), len(raw), "x")


@pytest.mark.parametrize("header", [
    b'{"a":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}}', b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},}', b'{,}', b"{}x", b"{} {}",
    b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}', b'{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b'{"a":[]}', b'{"a":1}',
    b'{"a":{"dtype":["U8"],"shape":[1],"data_offsets":[0,1]}}', b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}\n', b'{"\xff":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
    b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}'])
def test_every_dishonest_one(header):
    raw = raw_safetensors(header, b"x")
    for read in (headers.safetensors, headers.check_safetensors):
        with pytest.raises(SealiftError):
            read(io.BytesIO(raw), len(raw), "x")


def test_both_readings_of_a_header_agree_on_damage():
    good = safetensors({f"t{n}": ("U8", [4], weights(n, 32)[:4]) for n in range(4)}, {"k": "v"})
    dice = random.Random(3)
    for _ in range(400):
        raw = bytearray(good)
        raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        answers = []
        for read in (headers.safetensors, headers.check_safetensors):
            try:
                read(io.BytesIO(bytes(raw)), len(raw), "x")
                answers.append(None)
            except SealiftError as problem:
                answers.append(problem.code)
        assert answers[0] == answers[1]


# Archives ------------------------------------------------------------------------------------------------------------


def tar(*members: tuple[str, bytes, str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, kind, target, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


LINK, HARD, FILE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.REGTYPE


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("members", [
    [("../x", FILE, "", b"x")], [("/x", FILE, "", b"x")], [("a", LINK, "../x", b"")], [("a", LINK, "/x", b"")], [("a", HARD, "../x", b"")],
    [("a", tarfile.CHRTYPE, "", b"")], [("a", tarfile.FIFOTYPE, "", b"")], [("a", LINK, "b", b""), ("a/x", FILE, "", b"")],
    [("p/q/r", LINK, "../../s", b""), ("l", LINK, "p/q/r/../..", b"")], [("a" * 200 + "/../../x", FILE, "", b"")]],
    ids=lambda members: str(members[0])[:30] if isinstance(members, list) else None)
def test_tars_that_lead_astray(mode, members):
    raw = tar(*members, mode=mode)
    assert archives.problem(raw[:512], len(raw), io.BytesIO(raw)) in (tars.OUTSIDE, tars.LINK, tars.DEVICE)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_honest_tars(mode):
    raw = tar(("a", tarfile.DIRTYPE, "", b""), ("a/" + "n" * 150, FILE, "", b"hello"), ("a/l", LINK, "n", b""), ("bin/n", LINK, "../a/l", b""),
              ("b", HARD, "a/l", b""), mode=mode)
    assert archives.problem(raw[:512], len(raw), io.BytesIO(raw)) is None
    cut = raw[:1000] if mode == "w" else raw[: len(raw) // 2]
    assert archives.problem(cut[:512], len(cut), io.BytesIO(cut)) == archives.BROKEN


def test_what_hides_behind_a_tars_end_is_noticed():
    raw = tar(("a", FILE, "", b"x")) + tar(("../b", FILE, "", b"x"))
    assert archives.problem(raw[:512], len(raw), io.BytesIO(raw)) == tars.DISAGREE
    broken = bytearray(tar(("a", FILE, "", b"x"), ("../b", FILE, "", b"x")))
    broken[1024 + 148] ^= 1
    assert archives.problem(bytes(broken[:512]), len(broken), io.BytesIO(bytes(broken))) == archives.BROKEN


def test_a_layer_of_an_image_may_hold_links_of_its_own_root():
    raw = tar(("etc/x", LINK, "/usr/x", b""), ("dev/null", tarfile.CHRTYPE, "", b""))
    assert codes(raw, "p/blobs/sha256/" + "0" * 64, "runtime") == set() and codes(raw, "p/x.tar", "runtime") == {"content-refused"}
    raw = tar(("../x", FILE, "", b""))
    assert codes(raw, "p/blobs/sha256/" + "0" * 64, "runtime") == {"content-refused"}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_bombs(pack):
    raw = pack(b"\x00" * (30 << 20))
    assert archives.problem(raw[:512], len(raw), io.BytesIO(raw)) == archives.BOMB
    two = pack(os.urandom(1 << 16)) + pack(b"abc")
    assert archives.problem(two[:512], len(two), io.BytesIO(two)) is None


def test_a_zip_that_lies_about_its_sizes():
    for honest in (b"\x00" * (5 << 20), os.urandom(5000)):
        raw = bytearray(zipped(a=honest))
        assert archives.problem(bytes(raw[:512]), len(raw), io.BytesIO(bytes(raw))) == (archives.BOMB if len(honest) > 1 << 20 else None)
        at = raw.index(b"PK\x01\x02")
        raw[at + 24 : at + 28] = raw[22:26] = struct.pack("<I", 10)
        assert archives.problem(bytes(raw[:512]), len(raw), io.BytesIO(bytes(raw))) == tars.DISAGREE
    raw = bytearray(zipped(a=os.urandom(1000)))
    raw[400] ^= 1
    assert archives.problem(bytes(raw[:512]), len(raw), io.BytesIO(bytes(raw))) in (archives.BROKEN, tars.DISAGREE)


def test_the_contents_of_a_saved_layer_are_passed_over():
    """An image of gigabytes is not read a second time for its names."""
    class Counting(io.BytesIO):
        taken = 0

        def read(self, count: int = -1) -> bytes:
            data = super().read(count)
            self.taken += len(data)
            return data

    raw = tar(("0/layer.tar", FILE, "", tar(*((f"f{n}", FILE, "", b"x" * (1 << 20)) for n in range(8)))))
    source = Counting(raw)
    assert archives.problem(raw[:512], len(raw), source) is None and source.taken < 100_000


class Pipe(io.RawIOBase):
    """What is written to it, without a way back."""

    def __init__(self):
        super().__init__()
        self.held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.held += data
        return len(data)


def streamed() -> bytes:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"x" * 500)
        archive.writestr("b", os.urandom(500))
    return bytes(pipe.held)


def wide() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        with archive.open("big", "w", force_zip64=True) as entry:
            entry.write(b"x" * 1000)
        archive.comment = b"made by hand"
    return out.getvalue()


ROOTED = tar(("etc/x", FILE, "", b"1"), ("l", LINK, "../../usr", b""), ("h", HARD, "/etc/x", b""), ("a/.wh..wh..opq", FILE, "", b""), ("a/.wh.x", FILE, "", b""))
OLD = bytearray(tar(("a", FILE, "", b"hello")))
OLD[257:265] = bytes(8)
OLD[148:156] = b"%06o\x00 " % (sum(OLD[:148]) + sum(OLD[156:512]) + 8 * 32)


@pytest.mark.parametrize(("name", "raw"), [
    ("a.whl", streamed()), ("a.whl", wide()), ("a.whl", zipped()), ("a.run", b"#!/bin/sh\nexit\n" + zipped(a=b"x")), ("a.tar", bytes(OLD)),
    ("a.deb", deb(ROOTED, Package="x")), ("liba.a", ar({"/": bytes(4), "//": b"a_long_name_here.o/\n", "/0": b"xx", "b.o/": b"y"})),
    ("image.tar", tar(("manifest.json", FILE, "", b"[]"), ("0/layer.tar", FILE, "", ROOTED), ("1/layer.tar", LINK, "../0/layer.tar", b""))),
    ("image.tar.gz", gzip.compress(tar(("blobs/sha256/" + "a" * 64, FILE, "", gzip.compress(ROOTED)), ("repositories", FILE, "", b"{}")))),
    ("blobs/sha256/" + "0" * 64, ROOTED), ("blobs/sha256/" + "0" * 64, gzip.compress(ROOTED)), ("blobs/sha256/" + "0" * 64, b"{}"),
    ("a.txt.gz", gzip.compress(b"the quick brown fox\n" * 99)), ("a.lzma", lzma.compress(b"text " * 99, format=lzma.FORMAT_ALONE))],
    ids=lambda value: value[-20:] if isinstance(value, str) else "")
def test_honest_archives_of_every_kind(name, raw):
    assert codes(raw, f"p/{name}", "runtime") == set()


@given(st.binary(min_size=1, max_size=4), st.integers(0, 3000), st.sampled_from(["w", "w:gz", "w:xz", "zip", "deb", "saved"]))
def test_damaged_archives_are_judged(flips, where, mode):
    made = {"zip": zipped(a=b"x" * 300, b=b"y"), "deb": deb(ROOTED, Package="x"), "saved": tar(("0/layer.tar", FILE, "", ROOTED))}
    raw = bytearray(made[mode] if mode in made else tar(("a", FILE, "", b"x" * 700), ("b", LINK, "a", b""), mode=mode))
    for number, byte in enumerate(flips):
        raw[(where + number * 37) % len(raw)] ^= byte
    archives.problem(bytes(raw[:512]), len(raw), io.BytesIO(bytes(raw)))
    archives.unpacked_bytes(bytes(raw[:512]), len(raw), io.BytesIO(bytes(raw)))


# ONNX ----------------------------------------------------------------------------------------------------------------


def onnx_file(place: bytes, offset: bytes = b"", length: bytes = b"") -> bytes:
    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    told = b"".join(field(13, field(1, key) + field(2, value)) for key, value in
                    ((b"location", place), (b"offset", offset), (b"length", length)) if value)
    return b"\x08\x0a" + field(7, field(5, told) + field(1, field(4, b"Add")))


@pytest.mark.parametrize(("place", "siblings", "found"), [
    (b"w.data", {"m/w.data": 16}, set()), (b"sub/../w.data", {"m/w.data": 16}, {"content-refused"}), (b"../w.data", {"w.data": 16}, {"content-refused"}),
    (b"/etc/passwd", {}, {"content-refused"}), (b"none", {}, {"content-refused"}), (b"w.data", {"m/w.data": 15}, {"header"})])
def test_data_beside_an_onnx_model(place, siblings, found):
    assert codes(onnx_file(place, b"8", b"8"), "m/a.onnx", siblings=siblings) == found


def test_data_that_a_model_names_is_let_in_under_any_name():
    raw = weights(1, 64)
    named = frozenset(screening.external_data("m/a.onnx", len(onnx_file(b"MatMul_12")), io.BytesIO(onnx_file(b"MatMul_12"))))
    assert named == {"m/MatMul_12"} and codes(raw, "m/MatMul_12", external=named) == set() and codes(raw, "m/MatMul_12")
    assert codes(pickle.dumps(Boom()), "m/MatMul_12", external=named)
    assert codes(onnx_file(b"w", b"-1"), "m/a.onnx", siblings={"m/w": 9}) == {"header"}
