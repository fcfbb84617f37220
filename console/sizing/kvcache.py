"""Bytes of the KV cache of a request, and how a layout splits them.

Formulas: grouped attention keeps keys and values of its KV heads; MLA one latent for all heads, which tensor parallelism
does not split; V4's compressed layers an entry for every 4 or 128 tokens (vLLM blog on DeepSeek V4, 2026-04-24).
"""

from __future__ import annotations

import math

from console.sizing.architecture import Architecture

BYTES = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "q8_0": 34 / 32}
"""Bytes of one value, by the type of the cache."""

PAGE_TOKENS, PAGE_ALIGN = 256, 576
V41_BYTES_PER_TOKEN = {"fp4": 890, "bf16": 890, "fp16": 890, "q8_0": 890, "fp8": 1780}
"""V4.1-Flash keeps FP4 latents whatever is asked (maker's figure, 2026-09-15); engines that keep FP8 take about twice."""


def page(entries: int, entry_bytes: int) -> int:
    """Bytes of a page of V4's FP8 layout, padded to a multiple of 576."""
    return math.ceil(entries * entry_bytes / PAGE_ALIGN) * PAGE_ALIGN


def request_bytes(model: Architecture, tokens: int, cache: str = "bf16", tp: int = 1, pp: int = 1, *, fp4_indexer: bool = False) -> int:
    """Bytes that one request of ``tokens`` takes on the fullest device of a layout.

    Args:
        cache: ``bf16``, ``fp16``, ``fp8`` or ``q8_0``. tp, pp: tensor and pipeline parallel sizes.
    """
    if model.attention == "gqa":
        whole = _grouped(model, tokens, cache, tp)
    elif model.attention in ("mla", "dsa"):
        whole = _latent(model, tokens, cache)
    elif model.attention == "csa2":
        whole = V41_BYTES_PER_TOKEN[cache] * tokens + model.layers * _window(model, tokens) * model.head_dim * 2
    else:
        whole = _compressed(model, tokens, cache, fp4_indexer)
    return math.ceil(whole * math.ceil(model.layers / pp) / model.layers)


def bytes_per_token(model: Architecture, cache: str = "bf16") -> int:
    """Bytes of a token over the whole model, one copy. Where layers keep a constant besides, the mean at the longest context."""
    if model.attention in ("mla", "dsa"):
        return request_bytes(model, 1, cache)
    if model.attention == "csa2":
        return V41_BYTES_PER_TOKEN[cache]
    if model.attention == "gqa":
        # Windowed and linear layers keep a constant, not so much a token; where all are windowed, it is so much up to the window.
        return round(2 * (model.full_layers or model.windowed_layers) * model.kv_heads * model.head_dim * BYTES[cache])
    if cache == "fp8":
        return round(fp8_slope(model))
    tokens = model.context or 1 << 20
    return round(request_bytes(model, tokens, cache) / tokens)


def _window(model: Architecture, tokens: int) -> int:
    return min(tokens, model.window or tokens)


def _grouped(model: Architecture, tokens: int, cache: str, tp: int) -> float:
    heads = max(1, math.ceil(model.kv_heads / tp))
    in_layer = 2 * heads * model.head_dim * BYTES[cache]
    return in_layer * (model.full_layers * tokens + model.windowed_layers * _window(model, tokens)) + model.state_bytes / tp


def _latent(model: Architecture, tokens: int, cache: str) -> float:
    latent = model.latent
    assert latent is not None
    if model.attention == "mla":
        return model.layers * (latent.kv_rank + latent.rope) * BYTES[cache] * tokens
    if cache == "fp8":
        # fp8_ds_mla: FP8 latent, four FP32 scales, and the rotary part in BF16; the indexer's key with one scale.
        return model.layers * (latent.kv_rank + 16 + 2 * latent.rope + (model.index_dim or 0) + 4) * tokens
    return model.layers * (latent.kv_rank + latent.rope + (model.index_dim or 0)) * BYTES[cache] * tokens


def _compressed(model: Architecture, tokens: int, cache: str, fp4_indexer: bool) -> float:
    window = _window(model, tokens)
    if cache == "fp8":
        return fp8_slope(model, fp4_indexer) * tokens + model.layers * window * _entry_fp8(model)
    entry, key, total = model.head_dim * BYTES[cache], (model.index_dim or 0) * BYTES[cache], 0.0
    for ratio in model.ratios:
        total += window * entry
        if ratio > 1:
            total += tokens / ratio * entry + (tokens / ratio * key if ratio == 4 else 0)
    return total


def _entry_fp8(model: Architecture) -> int:
    """448 values in FP8, 64 rotary ones in BF16, and 8 bytes of scales: 584 for an entry of 512."""
    return model.head_dim - 64 + 128 + 8


def fp8_slope(model: Architecture, fp4_indexer: bool = False) -> float:
    """Bytes of a token of V4 in vLLM's FP8 layout: pages of 256 tokens, without the constants of a request."""
    entry, key = _entry_fp8(model), (68 if fp4_indexer else 132)
    total = 0
    for ratio in model.ratios:
        if ratio > 1:
            total += page(PAGE_TOKENS // ratio, entry) + (page(PAGE_TOKENS // ratio, key) if ratio == 4 else 0)
    return total / PAGE_TOKENS


def blocks(pool_bytes: float, bytes_a_token: int, block_tokens: int = 16) -> int:
    """How many whole blocks of tokens a pool holds."""
    return int(pool_bytes // (bytes_a_token * block_tokens))


def indexer_logits(model: Architecture, batch_tokens: int, context: int) -> int:
    """Bytes of the indexer's logits in FP32, on every device: a batch's tokens by the compressed context (vLLM PR 58068)."""
    ratio = {"dsa": 1, "csa": 4, "csa2": 2}.get(model.attention)
    return 0 if ratio is None else batch_tokens * math.ceil(context / ratio) * 4
