"""Which part of each tensor a rank holds.

Outputs are cut where what follows works on each alone, heads and columns of a feed-forward; inputs are cut where those
are read, so that a layer's ranks have partial sums and nothing else to exchange: one all-reduce behind attention and
one behind the feed-forward (Megatron-LM, Shoeybi et al. 2019, arXiv:1909.08053 §3). Experts are cut like any other
feed-forward, not dealt out whole: so each rank has as much to do as the others, whatever the router chooses.

A rank quantises its own part. Scales of whole rows then see only its columns where inputs are cut, and are finer than
those of one rank; scales of blocks are the same where a block is no longer than a cut is wide.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.errors import InputError
from bench.native.model_config import ModelConfig
from bench.native.parallel.ranks import Ranks

Part = tuple[slice, ...]

_CUT: dict[str, int] = {
    "q_proj.weight": 0,
    "q_proj.bias": 0,
    "k_proj.weight": 0,
    "k_proj.bias": 0,
    "v_proj.weight": 0,
    "v_proj.bias": 0,
    "q_b_proj.weight": 0,
    "kv_b_proj.weight": 0,
    "self_attn.sinks": 0,
    "o_proj.weight": 1,
    "gate_proj.weight": 0,
    "gate_proj.bias": 0,
    "up_proj.weight": 0,
    "up_proj.bias": 0,
    "down_proj.weight": 1,
    "experts.gate_up_proj": 2,
    "experts.gate_up_proj_bias": 1,
    "experts.gate_up_proj_blocks": 1,
    "experts.down_proj": 1,
    "experts.down_proj_blocks": 2,
    "lm_head.weight": 0,
}
"""The dimension that is cut, by the last two parts of a tensor's name."""
_ADDED_ONCE = ("o_proj.bias", "down_proj.bias", "experts.down_proj_bias")
"""Biases of sums: whole on rank 0, and zero on the others."""
_WHOLE = (
    "embed_tokens.weight",
    "norm.weight",
    "gate.weight",
    "gate.e_score_correction_bias",
    "router.weight",
    "router.bias",
    "q_a_proj.weight",
    "kv_a_proj_with_mqa.weight",
)
"""Endings of what every rank has whole. The latent of keys and values is one head, which all of them need."""
_KV = ("k_proj", "v_proj")
_KV_HEADS = "KV heads"


@dataclass(frozen=True, slots=True)
class Shards:
    ranks: Ranks
    kv_heads: int
    """Of the whole model."""

    @staticmethod
    def of(config: ModelConfig, ranks: Ranks) -> Shards:
        """Raises InputError where the model cannot be cut into as many equal parts."""
        size, moe = ranks.size, config.moe
        counts = {"attention heads": config.query_heads, "tokens of vocabulary": config.vocabulary}
        if moe is None or moe.dense_layers:
            counts["columns of the feed-forward"] = config.intermediate
        if moe is not None:
            counts["columns of an expert"] = moe.expert_intermediate
        if config.latent is None and size % config.kv_heads:
            counts[_KV_HEADS] = config.kv_heads
        for what, count in counts.items():
            if count % size:
                raise InputError(
                    f"tensor_parallel = {size} for {count} {what}",
                    where="engine.tensor_parallel",
                    allowed=f"a divisor of {count}{' or a multiple' if what == _KV_HEADS else ''}",
                )
        return Shards(ranks, config.kv_heads)

    @property
    def local_kv_heads(self) -> int:
        """KV heads of this rank. Where there are more ranks than heads, some have the same one."""
        return max(1, self.kv_heads // self.ranks.size)

    def part(self, name: str, shape: tuple[int, ...]) -> Part:
        """Of the tensor `name` of the whole `shape`, as it lies in its file. Raises LookupError for an unknown one."""
        whole = [slice(None)] * len(shape)
        if self.ranks.size > 1 and (dimension := _dimension(name)) is not None:
            whole[dimension] = self._share(name, shape[dimension])
        return tuple(whole)

    def shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of that part."""
        parts = zip(self.part(name, shape), shape, strict=True)
        return tuple(len(range(*part.indices(length))) for part, length in parts)

    def holds_all(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether this rank has the tensor `name` as it lies in its file."""
        return self.shape(name, shape) == shape and self.adds(name)

    def adds(self, name: str) -> bool:
        """Whether this rank is one to add the tensor `name`, where it must be added once."""
        return self.ranks.rank == 0 or not name.endswith(_ADDED_ONCE)

    def _share(self, name: str, length: int) -> slice:
        rank, size = self.ranks.rank, self.ranks.size
        if name.split(".")[-2] in _KV and size > self.kv_heads:
            rank, size = rank * self.kv_heads // size, self.kv_heads
        share = length // size
        return slice(rank * share, (rank + 1) * share)


WHOLE = Shards(Ranks(), kv_heads=1)
"""Of a single rank, which holds everything."""


def _dimension(name: str) -> int | None:
    """The one that is cut; None where a rank has all of it."""
    if name.endswith((*_WHOLE, *_ADDED_ONCE)):
        return None
    known = ".".join(name.split(".")[-2:])
    if known not in _CUT:
        raise LookupError(f"no rule says how ranks share {name!r}")
    return _CUT[known]
