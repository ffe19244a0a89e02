"""What a mixture of experts is made of, and how a `config.json` says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from bench.core.errors import InputError
from bench.native.json_file import JsonObject


@dataclass(frozen=True, slots=True)
class MoeConfig:
    """The routed feed-forward of a decoder."""

    experts: int
    experts_per_token: int
    expert_intermediate: int
    normalise_top_k: bool
    """The weights of a token's experts add up to 1, before `routed_scaling`."""
    dense_layers: frozenset[int] = frozenset()
    """Layers whose feed-forward is dense."""
    router_bias: bool = False
    swiglu_limit: float | None = None
    """Bound of the experts' gate and up, as `neokernels.silu_mul.clamped_swiglu` takes it; None is plain SwiGLU."""
    swiglu_alpha: float = 1.0
    """Slope of the sigmoid in a bounded one."""
    groups: int = 1
    """Experts lie in so many equal groups,"""
    groups_per_token: int = 1
    """of which a token chooses so many, and its experts among them."""
    shared_experts: int = 0
    """Experts every token goes to, beside those it is routed to; as one they are so many times as wide."""
    routed_scaling: float = 1.0
    """Multiplies what the routed experts give."""


def read_qwen3_moe(fields: JsonObject, layers: int) -> MoeConfig:
    """Raises InputError naming file and key."""
    step = fields.integer("decoder_sparse_step", 1)
    dense = fields.get("mlp_only_layers", [])
    if not isinstance(dense, list) or not all(isinstance(index, int) for index in dense):
        raise InputError(f"mlp_only_layers = {dense!r}", where=fields.path, allowed="a list of layer numbers")
    return MoeConfig(
        # Qwen's own files say num_experts, those that transformers 5 saves num_local_experts.
        **_experts(fields, "num_experts" if fields.get("num_experts", None) is not None else "num_local_experts"),
        expert_intermediate=fields.integer("moe_intermediate_size"),
        normalise_top_k=fields.flag("norm_topk_prob", False),
        dense_layers=frozenset(index for index in range(layers) if index in dense or (index + 1) % step),
    )


def read_gpt_oss(fields: JsonObject, layers: int) -> MoeConfig:
    """Raises InputError naming file and key."""
    del layers  # every one is routed
    return MoeConfig(
        **_experts(fields, "num_local_experts"),
        expert_intermediate=fields.integer("intermediate_size"),
        # It takes the softmax over the chosen logits alone, which is the same.
        normalise_top_k=True,
        router_bias=True,
        swiglu_limit=fields.number("swiglu_limit", 7.0),
        swiglu_alpha=fields.number("swiglu_alpha", 1.702),
    )


def read_deepseek_v3(fields: JsonObject, layers: int) -> MoeConfig:
    """Raises InputError naming file and key."""
    for key, only in {"scoring_func": "sigmoid", "topk_method": "noaux_tc"}.items():
        if (value := fields.get(key, only)) != only:
            raise InputError(f"{key} = {value!r}", where=fields.path, allowed=only)
    counts = _experts(fields, "n_routed_experts")
    groups, chosen = fields.integer("n_group"), fields.integer("topk_group")
    if counts["experts"] % groups or counts["experts"] // groups < 2:
        raise InputError(
            f"n_group = {groups}", where=fields.path, allowed="a divisor of n_routed_experts that leaves two a group"
        )
    if chosen > groups or counts["experts_per_token"] > chosen * (counts["experts"] // groups):
        raise InputError(
            f"topk_group = {chosen}", where=fields.path, allowed="at most n_group, with num_experts_per_tok in them"
        )
    first, step = fields.integer("first_k_dense_replace", least=0), fields.integer("moe_layer_freq", 1)
    return MoeConfig(
        **counts,
        expert_intermediate=fields.integer("moe_intermediate_size"),
        normalise_top_k=fields.flag("norm_topk_prob", True),
        dense_layers=frozenset(index for index in range(layers) if index < first or index % step),
        groups=groups,
        groups_per_token=chosen,
        shared_experts=fields.integer("n_shared_experts"),
        routed_scaling=fields.number("routed_scaling_factor", 1.0),
    )


class _Counts(TypedDict):
    experts: int
    experts_per_token: int


def _experts(fields: JsonObject, key: str) -> _Counts:
    experts, chosen = fields.integer(key), fields.integer("num_experts_per_tok")
    if chosen > experts:
        raise InputError(f"num_experts_per_tok = {chosen}", where=fields.path, allowed=f"at most {key} = {experts}")
    return {"experts": experts, "experts_per_token": chosen}
