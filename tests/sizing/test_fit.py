"""Verdicts: hard rules, limits, monotony, sums, hostile configurations, and the command line's form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.catalog.catalog import built_in
from console.cli.main import main
from console.errors import InputError, SealiftError, UsageError
from console.sizing.architecture import from_config, parse_config
from console.sizing.ask import by_config, by_name
from console.sizing.fit import PARTS, Fit

CATALOG = built_in()
RANK = {"fits": 0, "tight": 1, "does-not-fit": 2, "unknown": 3, "unsupported": 3}
LLAMA = {"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
         "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072, "torch_dtype": "bfloat16"}


def ask(model: str, device: str, count: int, **more) -> Fit:
    return by_name(CATALOG, model, device, count, **more)


@pytest.mark.parametrize(("model", "device", "count", "more", "verdicts"), [
    ("DeepSeek-R1", "A100", 8, {"nodes": 4}, "unsupported"), ("DeepSeek-R1", "A100", 8, {"nodes": 4, "precision": "bf16"}, "fits tight"),
    ("DeepSeek-V3", "A800", 8, {}, "unsupported"), ("DeepSeek-R1", "A100", 8, {"nodes": 2, "precision": "int8"}, "fits tight"),
    ("DeepSeek-R1", "910B3", 8, {"nodes": 4}, "unsupported"), ("DeepSeek-R1", "910B3", 8, {"nodes": 4, "precision": "bf16"}, "fits tight"),
    ("DeepSeek-R1", "910B3", 8, {"nodes": 2, "precision": "bf16"}, "does-not-fit"), ("DeepSeek-R1", "910B3", 8, {"nodes": 2, "precision": "w8a8", "context": 131072}, "fits tight"),
    ("DeepSeek-R1", "910C", 16, {"precision": "w8a8", "context": 131072}, "fits tight"), ("DeepSeek-R1", "910B3", 8, {"precision": "w8a8"}, "does-not-fit"),
    ("DeepSeek-R1", "310P", 8, {}, "unsupported"), ("DeepSeek-V3", "310P", 8, {"precision": "int8"}, "unsupported"), ("DeepSeek-V3", "910A", 8, {"precision": "int8"}, "unsupported"),
    ("Qwen3-8B", "310P", 1, {}, "fits tight"), ("DeepSeek-V3", "H100", 8, {"nodes": 2}, "fits tight"), ("DeepSeek-V3", "H800", 8, {"nodes": 2}, "fits tight"),
    ("DeepSeek-V4-Flash", "A100", 8, {}, "unsupported"), ("DeepSeek-V4-Pro", "A100", 8, {"nodes": 4, "precision": "bf16"}, "unsupported"),
    ("DeepSeek-V4-Flash", "H200", 4, {}, "fits tight"), ("DeepSeek-V4-Flash", "H200", 8, {"context": 1048576}, "fits tight"), ("DeepSeek-V4-Flash", "MI300X", 8, {}, "unsupported"),
    ("DeepSeek-V4-Flash", "MI325X", 8, {}, "fits tight"), ("DeepSeek-V4-Pro", "MI325X", 8, {}, "unsupported"), ("DeepSeek-V4-Pro", "H200", 8, {"context": 200000}, "fits tight"),
    ("DeepSeek-V4-Pro", "H100", 8, {}, "does-not-fit"), ("DeepSeek-V4-Flash", "910B3", 8, {}, "unsupported"), ("DeepSeek-V4-Flash", "910B3", 8, {"precision": "w8a8"}, "fits tight"),
    ("DeepSeek-V4-Flash", "H200", 8, {"framework": "tensorrt-llm"}, "unsupported"), ("DeepSeek-V4-Flash", "B200", 8, {"framework": "trtllm"}, "fits tight"),
    ("DeepSeek-V4.1-Flash", "H200", 8, {}, "fits tight"), ("DeepSeek-V3.2", "H200", 8, {"context": 163840}, "fits tight"),
    ("DeepSeek-R1", "H200", 8, {"framework": "mindie"}, "unsupported"), ("DeepSeek-R1", "910B3", 8, {"nodes": 4, "precision": "bf16", "framework": "mindie"}, "fits tight"),
    ("DeepSeek-V3", "H200", 8, {"context": 1048576}, "does-not-fit"), ("Qwen3-8B", "H100", 1, {"context": 131072}, "does-not-fit"),
    ("DeepSeek-R1-Distill-Qwen-7B", "RTX 4090", 1, {}, "fits tight"), ("DeepSeek-R1-Distill-Qwen-14B", "L4", 1, {}, "does-not-fit"),
    ("DeepSeek-R1-Distill-Qwen-32B", "L40S", 2, {}, "fits tight"), ("DeepSeek-R1-Distill-Llama-70B", "H100", 2, {}, "fits tight"),
    ("DeepSeek-R1-Distill-Llama-70B", "H100", 1, {}, "does-not-fit"), ("DeepSeek-R1", "B200", 4, {"precision": "nvfp4"}, "fits tight"),
    ("DeepSeek-R1", "MI300X", 8, {"precision": "nvfp4"}, "unsupported"), ("DeepSeek-R1", "V100", 8, {}, "unsupported"),
    ("DeepSeek-R1-Distill-Qwen-1.5B", "T4", 1, {}, "fits tight"), ("Qwen3-8B", "910B3", 1, {"precision": "int4"}, "unknown"),
    ("Llama-3.1-8B", "H100", 1, {"framework": "mindie"}, "unsupported"), ("Kimi-K2", "H200", 8, {"framework": "lmdeploy"}, "unknown does-not-fit")])
def test_verdicts(model: str, device: str, count: int, more: dict, verdicts: str) -> None:
    found = ask(model, device, count, **more)
    assert found.verdict in verdicts.split(), [r.message() for r in found.reasons]
    assert found.reasons and all(r.message() and "{" not in r.message() and r.confidence in ("high", "medium", "low") for r in found.reasons)


def test_reasons_name_the_way_out() -> None:
    said = ask("DeepSeek-R1", "910B3", 8).reasons[0]
    assert said.code == "precision.unsupported" and "W8A8" in said.message() and "BF16" in said.message() and said.source
    said = ask("DeepSeek-V3", "H200", 8, context=1_000_000).reasons[0]
    assert said.code == "context.beyond-limit" and "163840" in said.message()
    assert "accelerator.assumed" in {r.code for r in ask("DeepSeek-R1-Distill-Qwen-7B", "A100", 1).reasons}
    assert "memory.below-floor" in {r.code for r in ask("DeepSeek-R1", "H100", 8).reasons}


def test_the_sum_is_the_usable_memory() -> None:
    for model, device, count, more in (("DeepSeek-R1", "H200", 8, {}), ("DeepSeek-R1", "H100", 8, {}), ("DeepSeek-V4-Flash", "B200", 4, {"context": 100000}),
                                       ("Qwen3-32B", "L40S", 4, {"concurrency": 8})):
        per = ask(model, device, count, **more).per_device
        assert per["weights_bytes"] + per["kv_cache_bytes"] + per["overhead_bytes"] + per["free_bytes"] == per["usable_bytes"] <= per["memory_bytes"]


def test_a_good_answer_leaves_something_free_and_holds_what_it_promises() -> None:
    for device in ("L4", "RTX 4090", "L40S", "A100", "H100", "H200", "MI300X", "910B3", "910C"):
        for model in ("DeepSeek-R1-Distill-Qwen-7B", "DeepSeek-R1-Distill-Llama-8B", "DeepSeek-R1-Distill-Qwen-32B", "Qwen3-30B-A3B"):
            found = ask(model, device, 4, context=16384)
            assert (found.per_device["free_bytes"] >= 0) == (found.verdict in ("fits", "tight"))
            if found.good:
                assert found.max_context_tokens >= 16384 and found.max_concurrency >= 1 and found.minimum_count <= 4
                assert ask(model, device, 4, context=found.max_context_tokens).good


def test_layouts_divide_the_model() -> None:
    found = ask("DeepSeek-R1-Distill-Qwen-7B", "RTX 4090", 8)
    assert found.layout.tp == 4 and found.layout.dp == 2
    assert ask("Qwen3-235B-A22B", "H100", 8, tp=8).layout.as_dict() == {"tp": 8, "pp": 1, "ep": 8, "dp": 1, "nodes": 1}
    assert ask("DeepSeek-R1-Distill-Qwen-7B", "RTX 4090", 8, tp=8).verdict == "does-not-fit"
    assert ask("DeepSeek-R1", "H100", 8, nodes=2, tp=8, pp=2).layout.as_dict() == {"tp": 8, "pp": 2, "ep": 8, "dp": 1, "nodes": 2}


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 300), st.integers(1, 60), st.sampled_from(["DeepSeek-R1", "DeepSeek-R1-Distill-Llama-70B", "Qwen3-30B-A3B", "DeepSeek-V4-Flash"]),
       st.sampled_from([1, 2, 4, 8, 16]), st.integers(1, 128), st.integers(1, 40000))
def test_more_memory_never_worsens(gib: int, more: int, model: str, count: int, concurrency: int, context: int) -> None:
    small, large = (ask(model, "H200", count, memory_bytes=size << 30, concurrency=concurrency, context=context) for size in (gib, gib + more))
    assert RANK[large.verdict] <= RANK[small.verdict]
    assert large.per_device["usable_bytes"] > small.per_device["usable_bytes"]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["DeepSeek-R1", "DeepSeek-R1-Distill-Qwen-32B", "DeepSeek-V4-Pro"]), st.sampled_from(["H100", "H200", "MI300X"]), st.integers(1, 150000), st.integers(1, 200000),
       st.sampled_from([8, 16]))
def test_a_longer_context_never_helps(model: str, device: str, context: int, longer: int, count: int) -> None:
    short, long = (ask(model, device, count, context=n) for n in (context, context + longer))
    assert RANK[long.verdict] >= RANK[short.verdict]


def test_a_model_by_its_configuration() -> None:
    found = by_config(CATALOG, LLAMA, "RTX 3090", 1, weights_bytes=16_060_000_000)
    assert found.good and found.kv_bytes_per_token == 131072
    counted = by_config(CATALOG, LLAMA, "RTX 3090", 1)
    assert counted.per_device["weights_bytes"] == pytest.approx(16.06e9, rel=0.01)


@pytest.mark.parametrize(("change", "word"), [
    ({"model_type": "novel"}, "novel"), ({"num_hidden_layers": None}, "num_hidden_layers"), ({"model_type": None}, "model_type"),
    ({"layer_types": ["full_attention"] * 31 + ["dream_attention"]}, "layer_types")])
def test_an_unknown_architecture_is_unknown_and_says_what_is_missing(change: dict, word: str) -> None:
    found = by_config(CATALOG, LLAMA | change, "H100", 1, weights_bytes=16 << 30)
    assert found.verdict == "unknown" and any(word in r.message() for r in found.reasons)


def test_unknown_weights_are_unknown() -> None:
    found = by_config(CATALOG, {k: v for k, v in LLAMA.items() if k != "vocab_size"}, "H100", 1)
    assert found.verdict == "unknown" and found.reasons[0].code == "weights.unknown"


@pytest.mark.parametrize("change", [
    {"num_hidden_layers": 10**30}, {"num_hidden_layers": "many"}, {"num_hidden_layers": -1}, {"hidden_size": True}, {"num_attention_heads": 1.5}, {"layer_types": "all"},
    {"layer_types": [1, 2]}, {"head_dim": {}}, {"max_position_embeddings": []}])
def test_a_hostile_configuration_is_refused_by_field(change: dict) -> None:
    with pytest.raises(InputError) as caught:
        from_config(LLAMA | change)
    assert caught.value.code == "sizing.bad-config" and next(iter(change)) in caught.value.message()


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"a": NaN}', b'{"a": Infinity}', b"\xff", b'{"a":' * 5000, b"[" * 100000, b'{"num_hidden_layers": ' + b"9" * 5000 + b"}"])
def test_what_is_no_configuration_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError):
        parse_config(raw)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*LLAMA, "layer_types", "sliding_window", "kv_lora_rank", "qk_rope_head_dim", "compress_ratios", "n_routed_experts", "text_config",
                                        "quantization_config", "full_attention_interval", "expert_dtype", "index_head_dim"]), JSON, max_size=4))
def test_no_configuration_crashes(change: dict) -> None:
    try:
        found = by_config(CATALOG, LLAMA | change, "H100", 8, weights_bytes=1 << 34)
    except SealiftError:
        return
    assert found.verdict in RANK and json.dumps(found.as_dict("zh_CN"))


@pytest.mark.parametrize("more", [{"context": 0}, {"concurrency": 0}, {"fraction": 2.0}, {"nodes": 0}, {"tp": 9}, {"cache": "fp2"}, {"precision": "q9"}, {"count": 0}, {"count": 99999}])
def test_values_out_of_range_are_a_wrong_command(more: dict) -> None:
    with pytest.raises(UsageError):
        ask("Qwen3-8B", "H100", more.pop("count", 1), **more)


def run(capsys: pytest.CaptureFixture, *words: str) -> tuple[int, dict]:
    code = main(["--json", *words])
    return code, json.loads(capsys.readouterr().out)


def test_command_line(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    base = ("--workspace", str(tmp_path / "none"), "fit")
    code, found = run(capsys, *base, "--model", "DeepSeek-R1", "--accelerator", "H200", "--count", "8")
    assert code == 0 and found["verdict"] == "fits" and set(found["per_device"]) == set(PARTS)
    assert {"kv_bytes_per_token", "kv_cache_tokens", "max_context_tokens", "max_concurrency", "layout", "minimum_count", "reasons"} <= set(found)
    assert set(found["layout"]) == {"tp", "pp", "ep", "dp", "nodes"} and {"code", "message", "source", "confidence"} <= set(found["reasons"][0])
    assert not (tmp_path / "none").exists()
    assert run(capsys, *base, "--model", "DeepSeek-R1", "--accelerator", "H100", "--count", "8")[0] == 1
    assert run(capsys, *base, "--model", "nothing", "--accelerator", "H100", "--count", "8")[0] == 3
    assert run(capsys, *base, "--accelerator", "H100", "--count", "8")[0] == 2
    assert run(capsys, *base, "--model", "DeepSeek-R1", "--accelerator", "H100", "--count", "0")[0] == 2
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA))
    code, found = run(capsys, *base, "--config", str(file), "--weights-bytes", "15GiB", "--accelerator", "RTX 4090", "--count", "1", "--context", "4096")
    assert code == 0 and found["per_device"]["weights_bytes"] == 15 << 30
    file.write_text("[]")
    assert run(capsys, *base, "--config", str(file), "--accelerator", "H100", "--count", "1")[0] == 3
    code, found = run(capsys, "--workspace", str(tmp_path / "none"), "catalog", "show", "devices", "910B3")
    assert code == 0 and found["entries"][0]["sources"] and found["entries"][0]["grade"] == "documented"
    assert run(capsys, "--workspace", str(tmp_path / "none"), "catalog", "show", "devices", "nothing")[0] == 3


def test_a_group_over_several_servers_pays_for_the_buffers_between_them() -> None:
    """One copy of the model over two servers takes more on each device than two copies, each within a server."""
    across = ask("DeepSeek-R1", "910B3", 8, nodes=2, precision="w8a8", tp=16)
    assert across.layout is not None and across.layout.span == 2
    assert across.verdict == "tight"
    two = ask("Qwen3-8B", "H100", 8, nodes=2, tp=8)
    assert two.layout is not None and (two.layout.dp, two.layout.span) == (2, 1)
    assert not [r for r in two.reasons if r.code == "layout.nodes"]


@pytest.mark.parametrize("device", ["H100", "H200", "910B3", "910C", "MI300X", "B200"])
@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_what_fits_even_in_the_worst_case_says_how_much_is_left(device: str, nodes: int) -> None:
    for model in ("DeepSeek-R1", "DeepSeek-V4-Flash", "Qwen3-32B", "Qwen3-235B-A22B"):
        for precision in (None, "bf16", "w8a8"):
            found = ask(model, device, 8, nodes=nodes, precision=precision)
            left = [r.params["free"] for r in found.reasons if r.code == "memory.fits"]
            if found.verdict == "fits":
                assert left and not left[0].startswith(("-", "0 B"))
