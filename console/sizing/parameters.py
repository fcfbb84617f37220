"""Counts of parameters by part, from the shapes. Norms, routers and biases are left out: some thousandths."""

from __future__ import annotations

from dataclasses import dataclass

from console.sizing.architecture import Architecture


@dataclass(frozen=True)
class Parameters:
    """Parameters by part; ``draft`` is what predicts ahead and is loaded only when used."""

    routed: int
    attention: int
    dense: int
    shared: int
    embedding: int
    draft: int

    @property
    def total(self) -> int:
        """Without the draft."""
        return self.routed + self.attention + self.dense + self.shared + self.embedding


def count(model: Architecture) -> Parameters | None:
    """The model's parameters, None where a size is missing that cannot be done without."""
    experts = model.experts
    if model.vocabulary is None or (experts is not None and experts.ffn is None):
        return None
    layers = model.layers
    moe_layers = layers - experts.dense_layers if experts else 0
    if moe_layers < layers and model.dense_ffn is None:
        return None
    one_expert = 3 * model.hidden * (experts.ffn or 0) if experts else 0
    attention = _attention(model)
    embedding = model.vocabulary * model.hidden * (1 if model.tied else 2)
    draft = model.draft_layers * (one_expert * ((experts.routed + experts.shared) if experts else 0) + attention)
    return Parameters(moe_layers * one_expert * (experts.routed if experts else 0), attention * layers,
                      (layers - moe_layers) * 3 * model.hidden * (model.dense_ffn or 0),
                      moe_layers * one_expert * (experts.shared if experts else 0), embedding, draft)


def routed(model: Architecture, *, draft: bool = True) -> int:
    """Parameters of the routed experts, with those of the draft; 0 for a dense model or where a size is missing."""
    experts = model.experts
    if experts is None or experts.ffn is None:
        return 0
    sets = (model.layers - experts.dense_layers) * experts.routed
    if draft:
        sets += model.draft_experts if model.type == "deepseek_v41" else model.draft_layers * experts.routed
    return sets * 3 * model.hidden * experts.ffn


def _attention(model: Architecture) -> int:
    hidden, heads, latent = model.hidden, model.heads, model.latent
    if latent is None:
        return hidden * model.head_dim * (2 * heads + 2 * model.kv_heads)
    nope, value = latent.nope or 128, latent.value or 128
    rank = latent.q_rank
    query = hidden * rank + rank * heads * (nope + latent.rope) if rank else hidden * heads * (nope + latent.rope)
    return query + hidden * (latent.kv_rank + latent.rope) + latent.kv_rank * heads * (nope + value) + heads * value * hidden
