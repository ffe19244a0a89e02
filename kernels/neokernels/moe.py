"""A routed feed-forward: each row goes to the few experts its router chose, and their answers are added by weight.

y_t = Σ_j w_tj · D_e(act(G_e x_t + a_e)) + w_tj · b_e,  e = id_tj

with G_e the gate and up projections of expert e, D_e its down projection, a_e and b_e their biases. The softmax router
gives p = softmax(logits); id_t are the k largest of p_t and w_t their values, divided by their sum where it normalises.

Sources: Shazeer et al. 2017 (arXiv:1701.06538) §2; the order of softmax and top-k as in Qwen3 (arXiv:2505.09388) §2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm

from neokernels.cuda.requirements import without_e4m3, without_triton
from neokernels.launcher import Launcher
from neokernels.linear import Linear, keeps, prepare_linear
from neokernels.registry import Implementation, Operation, Target, any_of, promises_nothing
from neokernels.silu_mul import SwigluClamp

NO_EXPERT = -1
"""The id of an expert that a row does not go to."""

PrepareLinear = Callable[[Tensor, Tensor | None], Linear]


class ExpertWeights(NamedTuple):
    """All experts of a layer, stacked."""

    gate_up: Tensor
    """[E, 2·I, H], the gate's I rows first."""
    down: Tensor
    """[E, H, I]."""
    gate_up_bias: Tensor | None = None
    """[E, 2·I]."""
    down_bias: Tensor | None = None
    """[E, H]."""


@dataclass(frozen=True, slots=True)
class GatedActivation:
    """What is computed between the two projections, for those that call it and for those that fuse it."""

    function: Callable[[Tensor], Tensor]
    """[rows, 2·I] to [rows, I]: `silu_mul`, or `clamped_swiglu` with its clamp."""
    clamp: SwigluClamp | None = None
    """None is plain SwiGLU."""

    def __call__(self, gate_up: Tensor) -> Tensor:
        return self.function(gate_up)


class Experts(Protocol):
    """The experts of one layer, their weights in the layout and format its implementation reads."""

    @property
    def nbytes(self) -> int:
        """Bytes of all experts."""

    @property
    def bytes_per_expert(self) -> int:
        """Bytes a call must read for each expert it touches."""

    @property
    def touched(self) -> Tensor:
        """[] int64 on the device: how many experts calls have touched, each counted once a call, since the first."""

    def __call__(self, x: Tensor, expert_ids: Tensor, weights: Tensor) -> Tensor:
        """x [T, H], expert_ids [T, k] int64 with `NO_EXPERT` for none, weights [T, k]; returns [T, H].

        A row that goes to no expert is zero.
        """


class ExpertLoop:
    """The reference: rows sorted by expert, then one expert after another. It asks the device which were touched."""

    def __init__(self, weights: ExpertWeights, activate: GatedActivation, prepare: PrepareLinear) -> None:
        """`prepare` readies one expert's projection."""
        self._gate_up = _prepared(weights.gate_up, weights.gate_up_bias, prepare)
        self._down = _prepared(weights.down, weights.down_bias, prepare)
        self._activate = activate
        self.nbytes = sum(linear.nbytes for linear in (*self._gate_up, *self._down))
        self.bytes_per_expert = self.nbytes // len(self._down)
        self.touched = torch.zeros((), dtype=torch.int64, device=weights.down.device)

    def __call__(self, x: Tensor, expert_ids: Tensor, weights: Tensor) -> Tensor:
        sorted_ids, order = expert_ids.flatten().sort(stable=True)
        rows = order // expert_ids.shape[1]
        by_expert = torch.bincount(sorted_ids - NO_EXPERT, minlength=len(self._down) - NO_EXPERT).tolist()
        chosen = weights.flatten()[order, None].float()
        total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        first = by_expert[0]
        for expert, count in enumerate(by_expert[1:]):
            if count:
                mine = slice(first, first + count)
                answer = self._down[expert](self._activate(self._gate_up[expert](x[rows[mine]])))
                total.index_add_(0, rows[mine], answer.float() * chosen[mine])
                first += count
        self.touched += sum(count > 0 for count in by_expert[1:])
        return total.to(x.dtype)


class GroupedExperts:
    """All experts in one product each way, its groups found on the device, so that nothing waits to know them.

    On a GPU torch reads the weights of those groups alone that have rows. H and I are multiples of 8.
    """

    def __init__(
        self,
        weights: ExpertWeights,
        activate: GatedActivation,
        prepare: PrepareLinear,  # noqa: ARG002 - of those that go expert by expert
    ) -> None:
        """As `ExpertLoop`; the weights are kept as they are."""
        self._weights = weights
        self._activate = activate
        self._numbers = torch.arange(len(weights.down), device=weights.down.device)
        self.nbytes = sum(part.nbytes for part in weights if part is not None)
        self.bytes_per_expert = self.nbytes // len(weights.down)
        self.touched = torch.zeros((), dtype=torch.int64, device=weights.down.device)

    def __call__(self, x: Tensor, expert_ids: Tensor, weights: Tensor) -> Tensor:
        if not len(x):
            return torch.zeros_like(x)
        # Those that go nowhere come last, beyond every group.
        nowhere = len(self._numbers)
        sorted_ids, order = expert_ids.flatten().masked_fill(expert_ids.flatten() < 0, nowhere).sort(stable=True)
        ends = torch.searchsorted(sorted_ids, self._numbers, right=True, out_int32=True)
        expert = sorted_ids.clamp(max=nowhere - 1)
        gate_up, down, gate_up_bias, down_bias = self._weights
        inner = _grouped(x[order // expert_ids.shape[1]], gate_up, gate_up_bias, ends, expert)
        answer = _grouped(self._activate(inner), down, down_bias, ends, expert).float()
        # What lies beyond every group was never computed: it may be anything.
        answer = answer.masked_fill(sorted_ids[:, None] == nowhere, 0)
        by_row = torch.empty_like(answer).index_copy_(0, order, answer).view(*expert_ids.shape, -1)
        self.touched += (ends.diff(prepend=ends.new_zeros(1)) > 0).sum()
        return (by_row * weights.float()[:, :, None]).sum(1).to(x.dtype)


def _grouped(x: Tensor, weight: Tensor, bias: Tensor | None, ends: Tensor, expert: Tensor) -> Tensor:
    """x [rows, K], sorted by expert, through weight [E, N, K]; `ends` [E] are where the rows of each expert end."""
    y: Tensor = grouped_mm(x, weight.transpose(1, 2), offs=ends)
    return y if bias is None else y + bias[expert]


def _prepared(weight: Tensor, bias: Tensor | None, prepare: PrepareLinear) -> tuple[Linear, ...]:
    biases = [None] * len(weight) if bias is None else bias.unbind()
    return tuple(prepare(*pair) for pair in zip(weight.unbind(), biases, strict=True))


def _without_grouped_product(target: Target) -> str | None:
    # Elsewhere torch's product is a loop of its own, which asks the device where the groups end.
    if target.device.type != "cuda" or torch.cuda.get_device_capability(target.device) < (9, 0):
        return "needs a CUDA device of compute capability 9.0"
    return None if target.dtype == torch.bfloat16 else "multiplies bfloat16 only"


_Prepare = Launcher[[ExpertWeights, GatedActivation, PrepareLinear], Experts]
_dense: _Prepare = Launcher("experts.feed_forward", "dense_experts")
_int8: _Prepare = Launcher("experts.feed_forward", "int8_experts")
_fp8: _Prepare = Launcher("experts.feed_forward", "fp8_experts")
_mxfp4: _Prepare = Launcher("experts.feed_forward", "mxfp4_experts")
_nvfp4: _Prepare = Launcher("experts.feed_forward", "nvfp4_experts")

prepare_experts: Operation[[ExpertWeights, GatedActivation, PrepareLinear], Experts] = Operation(
    "experts",
    Implementation("triton", _dense, any_of(keeps("dense"), without_triton)),
    Implementation("int8_triton", _int8, any_of(keeps("int8"), without_triton)),
    Implementation("fp8_triton", _fp8, any_of(keeps("fp8"), without_triton, without_e4m3)),
    Implementation("mxfp4_triton", _mxfp4, any_of(keeps("mxfp4"), without_triton)),
    Implementation("nvfp4_triton", _nvfp4, any_of(keeps("nvfp4"), without_triton)),
    Implementation(
        "grouped", GroupedExperts, any_of(keeps("dense"), promises_nothing, _without_grouped_product), source="library"
    ),
    Implementation("loop", ExpertLoop, graphs="never"),
)
"""What `ExpertLoop` takes in, `Experts` out."""


def route_softmax_reference(logits: Tensor, experts_per_token: int, normalise: bool) -> tuple[Tensor, Tensor]:
    """logits [T, E]; returns the chosen ids [T, k] int64, the likeliest first, and their weights [T, k] float32.

    Torch computes each row alike, whatever the others are.
    """
    weights, expert_ids = logits.float().softmax(-1).topk(experts_per_token)
    return expert_ids, weights / weights.sum(-1, keepdim=True) if normalise else weights


route_softmax = Operation(
    "route_softmax",
    Implementation("triton", Launcher("experts.routing", "route_softmax"), without_triton),
    Implementation("reference", route_softmax_reference),
)

prepare_router = Operation("router", *prepare_linear.implementations)
"""`prepare_linear` for the projection to the logits of experts, resolved dense: quantised, it would choose others."""
