"""The published numbers: every vector of the arithmetic (F1 to F20), and how configurations are read."""

from __future__ import annotations

import pytest

from console.catalog.catalog import built_in
from console.sizing import kvcache, parameters
from console.sizing.architecture import Architecture, from_config
from console.sizing.ask import by_name

CATALOG = built_in()
GIB = 1 << 30
MILLION = 1 << 20


def arch(name: str) -> Architecture:
    entry = CATALOG.find("models", name, "architectures")
    assert entry is not None
    return from_config(entry["config"])


def test_f1_v3_latent() -> None:
    assert kvcache.bytes_per_token(arch("deepseek_v3")) == 70272


def test_f2_v32_with_indexer() -> None:
    assert kvcache.request_bytes(arch("deepseek_v32"), MILLION) / GIB == pytest.approx(83.875, abs=0.1)


def test_f3_v4_pro() -> None:
    assert kvcache.request_bytes(arch("deepseek_v4_pro"), MILLION) / GIB == pytest.approx(9.6246, abs=0.01)


def test_f4_v4_flash() -> None:
    assert kvcache.request_bytes(arch("deepseek_v4_flash"), MILLION) / GIB == pytest.approx(6.724, abs=0.01)


def test_f5_v4_pages() -> None:
    assert [kvcache.page(64, 584), kvcache.page(64, 132), kvcache.page(64, 68), kvcache.page(2, 584)] == [37440, 8640, 4608, 1728]


def test_f6_quantised_latent() -> None:
    assert kvcache.request_bytes(arch("deepseek_v3"), 32768, "q8_0") / MILLION == pytest.approx(1166.625, abs=0.01)


def test_f7_parameters_of_v3() -> None:
    counted = parameters.count(arch("deepseek_v3"))
    assert counted is not None and counted.total / 1e9 == pytest.approx(670.919, abs=0.01)
    assert counted.draft / 1e9 == pytest.approx(11.5, abs=0.1)


def test_f8_v3_over_eight() -> None:
    found = by_name(CATALOG, "DeepSeek-V3", "H200", 8)
    assert found.per_device["weights_bytes"] / GIB == pytest.approx(80.162, abs=0.001)


@pytest.mark.parametrize(("pool_gib", "blocks"), [(3.8125, 1952), (2.88671875, 1478)])
def test_f9_f10_pool_of_llama(pool_gib: float, blocks: int) -> None:
    held = kvcache.blocks(pool_gib * GIB, kvcache.bytes_per_token(arch("llama_8b")))
    assert held == blocks and held * 16 == {1952: 31232, 1478: 23648}[blocks]
    assert held * 16 > 29000 or blocks == 1478


def test_f11_kv_heads_are_repeated_beyond_their_count() -> None:
    assert [kvcache.request_bytes(arch("qwen3_235b_a22b"), 1, tp=n) for n in (4, 8)] == [48128, 48128]


def test_f12_v41_experts() -> None:
    assert parameters.routed(arch("deepseek_v41_flash")) / 1e9 == pytest.approx(557.17, abs=0.01)


def test_f13_indexer_logits() -> None:
    assert kvcache.indexer_logits(arch("deepseek_v41_flash"), 16384, MILLION) == 32 * GIB
    assert kvcache.indexer_logits(arch("deepseek_v4_pro"), 8192, MILLION) == 8 * GIB
    assert kvcache.indexer_logits(arch("deepseek_v32"), 8192, 163840) == 5 * GIB
    assert kvcache.indexer_logits(arch("deepseek_v3"), 8192, 163840) == 0


def test_f14_v4_flash_experts() -> None:
    flash = arch("deepseek_v4_flash")
    assert parameters.routed(flash, draft=False) == pytest.approx(277.025e9, abs=1e6)
    assert parameters.routed(flash) == pytest.approx(283.468e9, abs=1e6)


def test_f15_v4_pro_experts() -> None:
    counted = parameters.routed(arch("deepseek_v4_pro"), draft=False)
    assert counted / 1e9 == pytest.approx(1547.396, abs=0.1)
    assert counted * CATALOG.values("rules", "bytes-per-parameter")["values"]["fp4"] / 1e9 == pytest.approx(822.05, abs=0.1)


def test_f16_r1_bf16_on_sixteen() -> None:
    for count, nodes in ((16, 1), (8, 2)):
        found = by_name(CATALOG, "DeepSeek-R1", "H100", count, nodes=nodes, precision="bf16")
        assert found.verdict == "does-not-fit" and found.per_device["weights_bytes"] / GIB == pytest.approx(78.1, abs=0.1)


def test_f17_r1_on_eight_h100() -> None:
    found = by_name(CATALOG, "DeepSeek-R1", "H100", 8)
    assert found.verdict == "does-not-fit" and found.minimum_count == 16 and found.reasons[0].code == "weights.too-large"


@pytest.mark.parametrize("device", ["H200", "H20-141GB", "MI300X"])
def test_f18_r1_on_eight_large(device: str) -> None:
    assert by_name(CATALOG, "DeepSeek-R1", device, 8).verdict == "fits"


def test_f19_distilled_on_one() -> None:
    found = by_name(CATALOG, "DeepSeek-R1-Distill-Qwen-32B", "H100", 1, context=32768, fraction=0.9)
    assert found.verdict in ("fits", "tight")
    assert found.per_device["weights_bytes"] / GIB == pytest.approx(61.0, abs=0.1) and found.per_device["kv_cache_bytes"] == 8 * GIB
    assert found.per_device["usable_bytes"] / GIB == pytest.approx(71.2, abs=0.1)


def test_f20_four_bits_on_two_small() -> None:
    found = by_name(CATALOG, "Llama-3.3-70B-Instruct", "RTX 4090", 2, precision="int4", context=8192)
    assert found.verdict == "fits" and found.per_device["kv_cache_bytes"] == 1.25 * GIB
    assert found.per_device["weights_bytes"] / GIB == pytest.approx(18, abs=0.5)


@pytest.mark.parametrize(("name", "bf16", "fp8"), [
    ("deepseek_v3", 70272, 35136), ("deepseek_v32", 85888, 48068), ("deepseek_v4_pro", 9856, 5609), ("deepseek_v4_flash", 6885, 3915), ("deepseek_v41_flash", 890, 1780),
    ("llama_8b", 131072, 65536), ("llama_70b", 327680, 163840), ("llama_405b", 516096, 258048), ("qwen2_72b", 327680, 163840), ("qwen3_8b", 147456, 73728),
    ("qwen3_32b", 262144, 131072), ("qwen3_30b_a3b", 98304, 49152), ("qwen3_235b_a22b", 192512, 96256), ("qwen3_5_397b_a17b", 30720, 15360), ("glm_4_5", 376832, 188416),
    ("r1_distill_qwen_1_5b", 28672, 14336), ("r1_distill_qwen_7b", 57344, 28672), ("r1_distill_qwen_14b", 196608, 98304), ("r1_distill_qwen_32b", 262144, 131072),
    ("kimi_k2", 70272, 35136), ("glm_moe_dsa", 109824, 61464)])
def test_cache_of_a_token(name: str, bf16: int, fp8: int) -> None:
    assert kvcache.bytes_per_token(arch(name)) == bf16 and kvcache.bytes_per_token(arch(name), "fp8") == fp8


def test_slopes_of_v4() -> None:
    pro, flash = arch("deepseek_v4_pro"), arch("deepseek_v4_flash")
    assert [round(kvcache.fp8_slope(m, fp4)) for m in (pro, flash) for fp4 in (False, True)] == [5609, 5137, 3915, 3584]


def test_sliding_windows_keep_a_constant() -> None:
    gemma = from_config({"model_type": "gemma3_text", "num_hidden_layers": 12, "hidden_size": 100, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
                         "sliding_window": 1024, "sliding_window_pattern": 6})
    assert (gemma.full_layers, gemma.windowed_layers) == (2, 10)
    one = 2 * 4 * 256 * 2
    assert kvcache.request_bytes(gemma, 512) == 12 * 512 * one and kvcache.request_bytes(gemma, 100_000) == (2 * 100_000 + 10 * 1024) * one


def test_hybrids_keep_a_state() -> None:
    config = {"model_type": "qwen3_5_moe", "text_config": {
        "model_type": "qwen3_5_moe_text", "num_hidden_layers": 40, "full_attention_interval": 4, "hidden_size": 2048, "num_attention_heads": 16,
        "num_key_value_heads": 2, "head_dim": 256, "linear_num_value_heads": 32, "linear_num_key_heads": 16, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 512}}
    model = from_config(config)
    assert (model.full_layers, model.linear_layers, model.known, model.missing) == (10, 30, True, ())
    assert model.state_bytes == 30 * (32 * 128 * 128 * 4 + (2 * 16 * 128 + 32 * 128) * 3 * 2)


def test_gpt_oss_alternates() -> None:
    model = from_config({"model_type": "gpt_oss", "num_hidden_layers": 4, "hidden_size": 2880, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
                         "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 128, "num_local_experts": 128, "intermediate_size": 2880,
                         "quantization_config": {"quant_method": "mxfp4"}})
    assert (model.full_layers, model.windowed_layers, model.window, model.precision) == (2, 2, 128, "fp4")


@pytest.mark.parametrize(("quantization", "wanted"), [
    ({"quant_method": "fp8"}, "fp8"), ({"quant_method": "awq", "bits": 4}, "int4"), ({"quant_method": "gptq", "bits": 8}, "w8a16"),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
    ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"type": "int", "num_bits": 8}, "input_activations": {"num_bits": 8}}}}, "w8a8"),
    ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"type": "int", "num_bits": 4}}}}, "int4"), (None, "bf16")])
def test_published_precision(quantization: dict | None, wanted: str) -> None:
    config = {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "torch_dtype": "bfloat16", "quantization_config": quantization}
    assert from_config(config).precision == wanted
