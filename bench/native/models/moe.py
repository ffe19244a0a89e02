"""The routed feed-forward, and how its experts lie in the files of most families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from neokernels.linear import Linear
from neokernels.moe import NO_EXPERT, Experts, ExpertWeights
from torch import Tensor

from bench.native.model_config import ModelConfig, MoeConfig
from bench.native.models.layer import FeedForward
from bench.native.models.operations import Operations
from bench.native.models.projection import Hidden
from bench.native.weights import WeightSource


class Router(Protocol):
    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The experts each row of hidden [T, H] goes to, [T, k] int64, and their weights, [T, k]."""


@dataclass(frozen=True, slots=True)
class SoftmaxRouter:
    logits: Linear
    route: Callable[[Tensor, int, bool], tuple[Tensor, Tensor]]
    experts_per_token: int
    normalise: bool

    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self.route(self.logits(hidden), self.experts_per_token, self.normalise)


@dataclass(frozen=True, slots=True)
class MixtureOfExperts:
    router: Router
    experts: Experts
    shared: FeedForward | None = None
    """What every row goes to beside the experts it is routed to."""

    @property
    def reads_fp8(self) -> bool:
        return False  # a router reads rows as they are

    def __call__(self, hidden: Hidden, live: Tensor | None) -> Tensor:
        assert isinstance(hidden, Tensor)
        expert_ids, weights = self.router(hidden)
        if live is not None:
            # A padding row would make the step read the weights of experts that no token chose.
            expert_ids = expert_ids.where(live[:, None], NO_EXPERT)
        routed = self.experts(hidden, expert_ids, weights)
        return routed if self.shared is None else routed + self.shared(hidden, live)


def read_softmax_router(
    source: WeightSource, config: ModelConfig, moe: MoeConfig, name: str, operations: Operations
) -> SoftmaxRouter:
    weight = source.read({f"{name}.weight": (moe.experts, config.hidden)})
    bias = source.read({f"{name}.bias": (moe.experts,)}) if moe.router_bias else None
    return SoftmaxRouter(
        operations.prepare_router(weight, bias), operations.route_softmax, moe.experts_per_token, moe.normalise_top_k
    )


def read_experts(
    source: WeightSource, config: ModelConfig, moe: MoeConfig, name: str, operations: Operations
) -> Experts:
    """Experts that lie one by one in their files, each with the three projections of a gated feed-forward."""
    hidden, intermediate = config.hidden, moe.expert_intermediate
    one_by_one = [f"{name}.{index}" for index in range(moe.experts)]
    gate_up = source.read(
        {
            f"{expert}.{part}.weight": (intermediate, hidden)
            for expert in one_by_one
            for part in ("gate_proj", "up_proj")
        }
    )
    down = source.read({f"{expert}.down_proj.weight": (hidden, intermediate) for expert in one_by_one})
    weights = ExpertWeights(gate_up.view(moe.experts, -1, hidden), down.view(moe.experts, hidden, -1))
    return operations.prepare_experts(weights, clamp=None)
