"""A model's ``config.json`` read into what memory depends on, by fields; a hostile file is refused, nothing is run.

Field names as Hugging Face configurations use them; where several are in use for one thing, all are known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from console.errors import InputError, code
from console.i18n import N_

BAD_CONFIG = code(
    "sizing.bad-config", InputError, N_("The model's config.json cannot be used: {field} {reason}."),
    N_("Take the file from the model's own snapshot folder; nothing was assumed in its place."))

MAX_CONFIG_BYTES = 4 << 20
LIMITS = {"layers": 10_000, "size": 10_000_000, "count": 1_000_000, "vocabulary": 100_000_000, "tokens": 1_000_000_000}
"""Above these a value cannot be meant; they also bound the arithmetic."""

PLAIN = frozenset({
    "llama", "llama4", "mistral", "mistral3", "ministral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next",
    "qwen3_5", "qwen3_5_moe", "qwen2_5_vl", "qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "glm", "glm4", "glm4_moe", "chatglm", "gpt_oss",
    "gemma", "gemma2", "gemma3", "gemma4", "phi", "phi3", "phi4", "phimoe", "internlm2", "internlm3", "yi", "baichuan", "olmo",
    "olmo2", "olmoe", "starcoder2", "granite", "granitemoe", "cohere", "cohere2", "exaone", "exaone4", "ernie4_5",
    "ernie4_5_moe", "hunyuan_v1_dense", "hunyuan_v1_moe", "seed_oss", "smollm3", "stablelm", "minimax_m2", "gpt_neox",
    "dbrx", "nemotron", "falcon", "bailing_moe", "dots1", "mimo", "step3"})
LATENT = frozenset({"deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "glm_moe_dsa", "longcat_flash"})
COMPRESSED = frozenset({"deepseek_v4", "deepseek_v41"})
_FULL = ("full_attention", "attention", "global", "chunked_attention")
_WINDOWED, _LINEAR = ("sliding_attention", "local"), ("linear_attention", "mamba", "mamba2", "recurrent", "gated_delta_net")


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: how many are routed to, shared, used for a token; their inner size; layers without them."""

    routed: int
    shared: int
    per_token: int
    ffn: int | None
    dense_layers: int


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention: what is kept of a token in a layer is ``kv_rank + rope`` values for all heads."""

    kv_rank: int
    rope: int
    q_rank: int | None
    nope: int | None
    value: int | None


@dataclass(frozen=True)
class Architecture:
    """What memory depends on.

    Attributes:
        type: the configuration's ``model_type``, without ``_text``.
        attention: ``gqa``, ``mla``, ``dsa`` (latent with an indexer), ``csa`` (V4) or ``csa2`` (V4.1).
        full_layers, windowed_layers, linear_layers: by what they keep of a request; they add up to ``layers``.
        state_bytes: what the linear layers keep of one request. index_dim: values of an indexer's key.
        ratios: of V4, one for each layer. window: tokens that a sliding layer keeps.
        precision: of the published weights. block: of FP8 scales.
        missing: fields that are needed and not there. known: whether the type is one whose cache is understood.
    """

    type: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    attention: str
    full_layers: int
    windowed_layers: int = 0
    linear_layers: int = 0
    window: int | None = None
    state_bytes: int = 0
    index_dim: int | None = None
    ratios: tuple[int, ...] = ()
    dense_ffn: int | None = None
    vocabulary: int | None = None
    context: int | None = None
    experts: Experts | None = None
    latent: Latent | None = None
    draft_layers: int = 0
    draft_experts: int = 0
    tied: bool = False
    precision: str | None = None
    block: int | None = None
    missing: tuple[str, ...] = ()
    known: bool = True
    assumed: tuple[str, ...] = field(default=())


def read_config(path: Path) -> dict[str, Any]:
    """A config.json as an object.

    Raises:
        InputError: ``sizing.bad-config``.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise BAD_CONFIG(field=str(path), reason="is too large to be one")
        return parse_config(path.read_bytes())
    except OSError as problem:
        raise BAD_CONFIG(field=str(path), reason=problem.strerror or "cannot be read") from None


def parse_config(raw: bytes | str) -> dict[str, Any]:
    """The text of a config.json as an object; not-a-number, deep nesting and other JSON than an object are refused.

    Raises:
        InputError: ``sizing.bad-config``.
    """
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a value")

    try:
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        value = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as problem:
        raise BAD_CONFIG(field="the file", reason=f"is not JSON ({str(problem)[:120]})") from None
    if not isinstance(value, dict):
        raise BAD_CONFIG(field="the file", reason="is not an object")
    return value


class _Reader:
    """Takes whole numbers out of a configuration, within bounds; collects what is missing."""

    def __init__(self, config: Mapping[str, Any]):
        inner = next((config[k] for k in ("text_config", "llm_config", "language_config") if isinstance(config.get(k), dict)), {})
        self.config = {**config, **inner}
        self.quantization = inner.get("quantization_config") or config.get("quantization_config") or config.get("compression_config")
        kind = inner.get("model_type") or config.get("model_type")
        self.type = kind.strip().removesuffix("_text")[:100] if isinstance(kind, str) else ""
        self.missing: list[str] = []

    def number(self, limit: str, *names: str) -> int | None:
        """The first of these fields that is there. Raises ``sizing.bad-config`` for one that cannot be meant."""
        for name in names:
            value = self.config.get(name)
            if value is None:
                continue
            if isinstance(value, float) and value.is_integer() and abs(value) < 1e12:
                value = int(value)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LIMITS[limit]:
                raise BAD_CONFIG(field=name, reason=f"is {str(value)[:60]!r}, and a whole number up to {LIMITS[limit]} is wanted")
            return value
        return None

    def need(self, limit: str, *names: str) -> int:
        """As :meth:`number`; what is missing or 0 is noted and stands as 1."""
        value = self.number(limit, *names)
        if not value:
            self.missing.append(names[0])
            return 1
        return value

    def words(self, name: str) -> tuple[str, ...]:
        value = self.config.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > LIMITS["layers"] or not all(isinstance(v, str) for v in value):
            raise BAD_CONFIG(field=name, reason="is not a list of words")
        return tuple(value)

    def numbers(self, name: str) -> tuple[int, ...]:
        value = self.config.get(name)
        if value is None:
            return ()
        good = isinstance(value, list) and len(value) <= LIMITS["layers"]
        if not good or not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= LIMITS["size"] for v in value):
            raise BAD_CONFIG(field=name, reason="is not a list of whole numbers")
        return tuple(value)


def from_config(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a configuration describes. What is missing is named in ``missing``, never made up.

    Raises:
        InputError: ``sizing.bad-config`` for a value that cannot be meant.
    """
    reader = _Reader(config)
    if not reader.type:
        reader.missing.append("model_type")
    layers, hidden = reader.need("layers", "num_hidden_layers", "n_layer", "num_layers", "n_layers"), reader.need("size", "hidden_size", "n_embd", "d_model")
    heads = reader.need("count", "num_attention_heads", "n_head", "n_heads")
    common: dict[str, Any] = {
        "type": reader.type, "layers": layers, "hidden": hidden, "heads": heads,
        "dense_ffn": reader.number("size", "intermediate_size", "ffn_hidden_size", "n_inner"),
        "vocabulary": reader.number("vocabulary", "vocab_size", "padded_vocab_size"),
        "context": _context(reader), "experts": _experts(reader, layers), "tied": reader.config.get("tie_word_embeddings") is True,
        "draft_layers": min(reader.number("layers", "num_nextn_predict_layers", "mtp_num_hidden_layers") or 0, 64),
        "draft_experts": (reader.number("count", "dspark_n_routed_experts") or 0) * (reader.number("count", "dspark_num_stages") or 3)}
    common["precision"], common["block"] = _precision(reader)
    shape = _compressed if reader.type in COMPRESSED else _latent if _is_latent(reader) else _plain
    common |= shape(reader, layers, hidden, heads)
    known = reader.type in PLAIN | LATENT | COMPRESSED
    return Architecture(**common, known=known, missing=tuple(dict.fromkeys(reader.missing)))


def _context(reader: _Reader) -> int | None:
    return reader.number("tokens", "max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "max_sequence_length") or None


def _is_latent(reader: _Reader) -> bool:
    return reader.type in LATENT or reader.config.get("kv_lora_rank") is not None


def _experts(reader: _Reader, layers: int) -> Experts | None:
    routed = reader.number("count", "n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts") or 0
    if routed < 2:
        return None
    ffn = reader.number("size", "moe_intermediate_size", "expert_ffn_hidden_size")
    if ffn is None and reader.config.get("num_local_experts") is not None:
        ffn = reader.number("size", "intermediate_size")
    shared = reader.number("count", "n_shared_experts", "num_shared_experts")
    if shared is None:
        shared = 1 if reader.number("size", "shared_expert_intermediate_size") else 0
    dense = min(reader.number("layers", "first_k_dense_replace") or 0, layers)
    return Experts(routed, shared, reader.number("count", "num_experts_per_tok", "num_experts_per_token", "moe_topk") or 1, ffn, dense)


def _plain(reader: _Reader, layers: int, hidden: int, heads: int) -> dict[str, Any]:
    """Multi-head, grouped and multi-query attention; sliding windows; hybrids with linear layers."""
    kv_heads = reader.number("count", "num_key_value_heads", "multi_query_group_num", "num_kv_heads", "n_head_kv")
    if kv_heads is None and reader.config.get("multi_query") is True:
        kv_heads = 1
    head_dim = reader.number("size", "head_dim", "kv_channels", "attention_head_dim")
    full, windowed, linear = _kinds(reader, layers)
    window = reader.number("tokens", "sliding_window", "sliding_window_size") if windowed else None
    if windowed and not window:
        reader.missing.append("sliding_window")
        window = 1
    state, assumed = _state(reader, hidden) if linear else (0, ())
    return {"attention": "gqa", "kv_heads": kv_heads or heads, "head_dim": head_dim or max(1, hidden // heads),
            "full_layers": full, "windowed_layers": windowed, "linear_layers": linear, "window": window,
            "state_bytes": state * linear, "assumed": assumed}


def _kinds(reader: _Reader, layers: int) -> tuple[int, int, int]:
    """How many layers keep everything, a window, or a fixed state."""
    listed = reader.words("layer_types") or reader.words("layers_block_type")
    if listed:
        attending = [w for w in listed if w not in ("moe", "mlp")]
        strange = [w for w in attending if w not in _FULL + _WINDOWED + _LINEAR]
        if strange or len(listed) != layers:
            reader.missing.append(f"layer_types ({strange[0][:40] if strange else len(listed)})")
        windowed, linear = sum(w in _WINDOWED for w in attending), sum(w in _LINEAR for w in attending)
        return max(0, len(attending) - windowed - linear), windowed, linear
    if reader.config.get("hybrid_override_pattern") is not None:
        reader.missing.append("layer_types")
    interval = reader.number("layers", "full_attention_interval")
    if interval:
        return layers // interval, 0, layers - layers // interval
    if reader.number("tokens", "sliding_window") and reader.config.get("use_sliding_window") is not False:
        pattern = reader.number("layers", "sliding_window_pattern", "_sliding_window_pattern")
        pattern = pattern or {"gemma2": 2, "gemma3": 6, "cohere2": 4}.get(reader.type)
        if pattern:
            return layers // pattern, layers - layers // pattern, 0
        if reader.type in ("mistral", "mixtral", "phi3", "starcoder2", "ministral"):
            return 0, layers, 0
    return layers, 0, 0


def _state(reader: _Reader, hidden: int) -> tuple[int, tuple[str, ...]]:
    """Bytes that one linear layer keeps of a request: the state in fp32, and the tail of its convolution."""
    names = ("linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim", "linear_num_key_heads")
    values, key, value, keys = (reader.number("size", name) for name in names)
    if None in (values, key, value, keys):
        return hidden * 2 * 128 * 4, ("linear_num_value_heads",)
    kernel = reader.number("count", "linear_conv_kernel_dim") or 4
    return values * key * value * 4 + (2 * keys * key + values * value) * max(0, kernel - 1) * 2, ()


def _latent(reader: _Reader, layers: int, hidden: int, heads: int) -> dict[str, Any]:
    latent = Latent(reader.need("size", "kv_lora_rank"), reader.need("size", "qk_rope_head_dim"), reader.number("size", "q_lora_rank"),
                    reader.number("size", "qk_nope_head_dim"), reader.number("size", "v_head_dim"))
    index = reader.number("size", "index_head_dim")
    return {"attention": "dsa" if index else "mla", "kv_heads": 1, "head_dim": latent.kv_rank + latent.rope, "latent": latent,
            "full_layers": layers, "index_dim": index}


def _compressed(reader: _Reader, layers: int, hidden: int, heads: int) -> dict[str, Any]:
    """DeepSeek V4 (compressed and windowed layers) and V4.1 (few layers store for all)."""
    common = {"kv_heads": 1, "head_dim": reader.number("size", "head_dim") or 512, "index_dim": reader.number("size", "index_head_dim") or 128,
              "window": reader.number("tokens", "sliding_window") or 128}
    if reader.type == "deepseek_v41":
        stored = len(reader.numbers("kv_source_layer_ids")) or 4
        return common | {"attention": "csa2", "full_layers": min(stored, layers), "windowed_layers": layers - min(stored, layers)}
    ratios = reader.numbers("compress_ratios")[:layers]
    if len(ratios) < layers:
        reader.missing.append("compress_ratios")
        ratios = ratios + (4,) * (layers - len(ratios))
    full = sum(ratio > 1 for ratio in ratios)
    return common | {"attention": "csa", "ratios": ratios, "full_layers": full, "windowed_layers": layers - full}


def _precision(reader: _Reader) -> tuple[str | None, int | None]:
    """The precision of the weights as published, and the edge of its blocks of scales."""
    from console.catalog.catalog import precision

    told = reader.quantization if isinstance(reader.quantization, dict) else {}
    block = told.get("weight_block_size")
    edge = block[0] if isinstance(block, list) and block and isinstance(block[0], int) and 0 < block[0] <= 4096 else None
    if reader.config.get("expert_dtype") in ("fp4", "mxfp4"):
        return "fp4", edge
    method = str(told.get("quant_method") or told.get("quant_algo") or told.get("quant_type") or "").lower()
    if method == "compressed-tensors":
        return _compressed_tensors(told), edge
    if method == "modelopt":
        method = str(told.get("quant_algo") or "").lower()
    if method:
        bits = told.get("bits")
        if method in ("gptq", "awq") and bits == 8:
            return "w8a16", edge
        return precision(method) or precision(method.removesuffix("_dynamic")) or None, edge
    dtype = reader.config.get("torch_dtype") or reader.config.get("dtype")
    return (precision(dtype) if isinstance(dtype, str) else None), None


def _compressed_tensors(told: Mapping[str, Any]) -> str | None:
    groups = told.get("config_groups")
    group = next((g for g in groups.values() if isinstance(g, dict)), {}) if isinstance(groups, dict) else {}
    weights, inputs = group.get("weights"), group.get("input_activations")
    if not isinstance(weights, dict):
        return None
    key = (weights.get("type"), weights.get("num_bits"), isinstance(inputs, dict))
    return {("float", 8, True): "fp8", ("float", 8, False): "fp8", ("int", 8, True): "w8a8", ("int", 8, False): "w8a16",
            ("int", 4, False): "int4", ("int", 4, True): "w4a8", ("float", 4, True): "nvfp4", ("float", 4, False): "nvfp4"}.get(key)
