"""The catalog that ships is whole and graded; look-ups understand the names that people and tools use; bad files are refused by name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.assets import asset
from console.catalog import imports
from console.catalog.catalog import Catalog, built_in, load, precision
from console.catalog.reading import GRADES, read
from console.catalog.versions import Version, matches, version
from console.engine import Engine
from console.errors import DeniedError, InputError, SealiftError, UsageError
from console.sizing.architecture import from_config

CATALOG = built_in()

GOOD = b"""schema: 1
kind: devices
vendor: nvidia
sources: {me: {title: a test, date: "2026-01-01"}}
entries:
- {name: X1, pci: ["ffff"], family: hopper, level: "9.0", memory_gb: 80, memory_mib: 80000, precision: {fp16: native, bf16: native, int8: native, fp8: native, fp4: none}, source: [me], grade: documented, confidence: high}
"""


def test_every_entry_is_graded_and_sourced() -> None:
    assert len(CATALOG.all()) > 250
    for entry in CATALOG.all():
        assert entry.grade in GRADES and entry.sources and all(title and date for title, date in entry.sources) and entry.date, entry.name


def test_vendors_and_systems_of_the_requirements_are_there() -> None:
    for name in ("H800", "H100", "H200", "V100", "B300", "L4", "RTX 4090", "310P", "910A", "910B1", "910B2", "910B3", "910B4", "910C", "950PR", "MI300X", "MI325X"):
        assert CATALOG.device(name)
    for name in ("DeepSeek-V3", "DeepSeek-V3-0324", "DeepSeek-V3.1", "DeepSeek-V3.2", "DeepSeek-R1", "DeepSeek-R1-0528", "DeepSeek-R1-Distill-Qwen-32B",
                 "DeepSeek-V4-Pro", "DeepSeek-V4-Flash", "DeepSeek-V4.1-Flash"):
        assert CATALOG.model(name)
    for name in ("vllm", "vllm-ascend", "sglang", "tensorrt-llm", "lmdeploy", "mindie", "onnxruntime"):
        assert CATALOG.framework(name)


@pytest.mark.parametrize(("name", "wanted"), [
    ("NVIDIA H200", "H200 SXM"), ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"), ("nvidia h100 pcie", "H100 PCIe 80GB"), ("H100 NVL", "H100 NVL 94GB"),
    ("NVIDIA A100-SXM4-40GB", "A100 40GB"), ("910B3", "Ascend 910B3"), ("Ascend910B3", "Ascend 910B3"), ("ascend 910b4", "Ascend 910B4"),
    ("Ascend910", "Ascend 910C"), ("AMD Instinct MI325X OAM", "MI325X"), ("MI300X", "MI300X"), ("10de:2335", "H200 SXM"), ("0x1002:74a1", "MI300X"),
    ("19e5:d803", "Ascend 910C"), ("H20-3e", "H20 141GB"), ("RTX4090", "GeForce RTX 4090")])
def test_devices_by_any_name(name: str, wanted: str) -> None:
    assert CATALOG.device(name).entry.name == wanted


def test_memory_tells_boards_of_one_name_apart() -> None:
    assert CATALOG.device("NVIDIA H20", 143771).entry.name == "H20 141GB"
    assert CATALOG.device("A100", 40960).entry.name == "A100 40GB"
    assert CATALOG.device("910B", 32768).entry.name == "Ascend 910B4"
    assert CATALOG.device("A100").assumed == ("A100 40GB",) and CATALOG.device("H20").assumed == ("H20 141GB",)
    assert CATALOG.device("H200").assumed == ()


@pytest.mark.parametrize(("name", "wanted", "told"), [
    ("deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-V3", None), ("deepseek v3", "deepseek-ai/DeepSeek-V3", None),
    ("DeepSeek-R1-W8A8", "deepseek-ai/DeepSeek-R1", "w8a8"), ("Qwen3-32B-FP8", "Qwen/Qwen3-32B", "fp8"),
    ("deepseek-r1-distill-llama-70b-awq", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "int4"), ("GLM-4.6", "zai-org/GLM-4.6", None)])
def test_models_by_any_name(name: str, wanted: str, told: str | None) -> None:
    found = CATALOG.model(name)
    assert (found.entry.name, found.precision) == (wanted, told)


def test_unknown_names_are_refused_with_close_ones() -> None:
    for ask, code in ((CATALOG.device, "catalog.unknown-accelerator"), (CATALOG.model, "catalog.unknown-model"), (CATALOG.framework, "catalog.unknown-framework")):
        with pytest.raises(InputError) as caught:
            ask("DeepSeek-H300X")
        assert caught.value.code == code
    with pytest.raises(InputError) as caught:
        CATALOG.model("DeepSeek-V9")
    assert "DeepSeek-V" in caught.value.remedy()


def test_architectures_of_models_can_all_be_read() -> None:
    for entry in CATALOG.all("models", "entries"):
        declared = CATALOG.find("models", entry["architecture"], "architectures")
        assert declared is not None, entry.name
        shape = from_config(declared["config"])
        assert shape.known and not shape.missing, entry.name


def test_aliases_are_unique() -> None:
    for kind in ("devices", "models"):
        names = [alias.lower() for e in CATALOG.all(kind, "entries") for alias in {e.name, *e.get("aliases", ())}]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(("change", "word"), [
    ((b"grade: documented", b"grade: sure"), "X1"), ((b"source: [me]", b"source: [you]"), "source"), ((b"memory_mib: 80000", b"memory_mib: '80000'"), "memory_mib"),
    ((b"fp4: none", b"fp4: maybe"), "precision"), ((b"level:", b"levels:"), "levels"), ((b"kind: devices", b"kind: dreams"), "kind"), ((b"schema: 1", b"schema: 2"), "schema"),
    ((b"vendor: nvidia", b"vendor: other"), "vendor"), ((b"entries:", b"entries: &a"), ""), ((b"memory_gb: 80,", b"memory_gb: 80, memory_gb: 90,"), "twice"),
    ((b"high}", b"high}\n- {name: X1}"), "missing"), ((b"schema", b"!!python/object:os.system {} #"), "")])
def test_a_malformed_file_is_refused_by_file_and_entry(change: tuple[bytes, bytes], word: str) -> None:
    raw = GOOD.replace(*change)
    if raw.count(b"&a"):
        assert read(raw, "x.yaml")
        return
    with pytest.raises(InputError) as caught:
        read(raw, "x.yaml")
    assert caught.value.code == "catalog.malformed" and "x.yaml" in caught.value.message() and word in caught.value.message()


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_reader(raw: bytes) -> None:
    with pytest.raises(InputError):
        read(raw, "x.yaml")


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=3))
def test_damaged_files_are_refused_or_read(place: int, put: bytes) -> None:
    try:
        read(GOOD[:place] + put + GOOD[place + len(put):], "x.yaml")
    except SealiftError as problem:
        assert problem.code == "catalog.malformed"


@pytest.mark.parametrize(("older", "newer"), [
    ("570.26", "570.124.06"), ("8.3.RC1", "8.3.0"), ("8.3.RC1", "8.3.RC2"), ("2.7.1", "2.7.1.post1"), ("9.0.1", "9.1.0"), ("580.9", "580.65.06"), ("0.9.2", "0.10.0")])
def test_versions_are_compared_as_numbers(older: str, newer: str) -> None:
    assert Version(older) < Version(newer) and not Version(newer) < Version(older)


@given(st.lists(st.integers(0, 9999), min_size=1, max_size=5), st.lists(st.integers(0, 9999), min_size=1, max_size=5))
def test_versions_order_like_their_numbers(a: list[int], b: list[int]) -> None:
    size = max(len(a), len(b))
    first, second = (Version(".".join(map(str, x))) for x in (a, b))
    assert (first < second) == (a + [0] * (size - len(a)) < b + [0] * (size - len(b)))


def test_versions_that_are_none() -> None:
    assert version("no numbers") is None and version(None) is None and version("v1.2+cu130") == Version("1.2")
    assert matches("25.3.RC1", "25.3.X") and matches("9.1.0", "9.1.X") and not matches("9.10.0", "9.1.X") and matches("26.0.RC1", "26.0.rc1")


def test_precisions_by_any_name() -> None:
    assert [precision(n) for n in ("FP8", "int8", "W8A8", "bfloat16", "AWQ", "w4a16", "MXFP4", "nvfp4", "q3_k")] == [
        "fp8", "w8a8", "w8a8", "bf16", "int4", "int4", "fp4", "nvfp4", None]


def test_the_files_ship_beside_the_program() -> None:
    assert {p.stem for p in asset("catalog").glob("*.yaml")} == {"amd", "ascend", "models", "nvidia", "rules", "serving", "stacks", "thresholds"}


def test_import_needs_the_right_digest_and_is_kept_beside(tmp_path: Path) -> None:
    newer = tmp_path / "newer.yaml"
    newer.write_bytes(GOOD.replace(b"name: X1", b"name: H200 SXM"))
    with Engine.open(tmp_path / "workspace") as engine:
        with pytest.raises(UsageError):
            imports.import_file(engine, newer, None)
        with pytest.raises(DeniedError) as caught:
            imports.import_file(engine, newer, "0" * 64)
        assert caught.value.code == "catalog.not-vouched" and imports.imported(engine.workspace) == []
        digest = hashlib.sha256(newer.read_bytes()).hexdigest()
        assert imports.import_file(engine, newer, digest) == [{"file": "newer.yaml", "sha256": digest, "count": 1, "replaced": 1}]
        assert [f["sha256"] for f in imports.imported(engine.workspace)] == [digest]
        events = [r["event"] for r in engine.audit.list(limit=10)]
        assert events.count("catalog.import") == 3
        later = load(engine.workspace / "catalog")
        assert later.find("devices", "H200 SXM")["memory_mib"] == 80000 and CATALOG.find("devices", "H200 SXM")["memory_mib"] == 143771
    assert isinstance(later, Catalog)
