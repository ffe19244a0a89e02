"""Scheduling policies: how many tokens of which requests the next step computes.

A policy sees the requests that could start now (in order of arrival), the requests that run (in order of admission) and
the token budget of the step. It returns slices of at least one token that together fit the budget, at most one a
request and none beyond what the request asks for: what it has pending and, when it decodes, its drafts. To draw a
request from `waiting` starts it. A policy that grants something whenever anything runs or could start lets every
request finish: requests start in order of arrival, and `Scheduler` sees to the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import Protocol

from bench.native.request import Request, Slice


class Policy(Protocol):
    def grant(self, waiting: Iterator[Request], running: Collection[Request], budget: int) -> list[Slice]:
        """What the next step computes."""
        ...

    def observe(self, seconds: float, prefill_tokens: int, decode_tokens: int) -> None:
        """Learn how long a step took. Only what adapts to it does."""


class Static(Policy):
    """A batch of as many requests as fit runs to its end before the next one starts: prompts first, then decodes."""

    def grant(self, waiting: Iterator[Request], running: Collection[Request], budget: int) -> list[Slice]:
        batch = running or list(waiting)
        decodes, prefills = _by_phase(batch)
        return _prefill(prefills, budget) or _decode(decodes, budget)


class PrefillFirst(Policy):
    """Steps of one kind: all prefill while any prompt is left to compute, and all decode otherwise.

    First tokens come as early as they can, and decodes stall meanwhile.
    """

    def grant(self, waiting: Iterator[Request], running: Collection[Request], budget: int) -> list[Slice]:
        decodes, prefills = _by_phase(running)
        return _prefill(chain(prefills, waiting), budget) or _decode(decodes, budget)


class DecodeFirst(Policy):
    """Chunked prefill behind decodes: every decode gets its token, prefills share what is left, oldest first.

    A long prompt therefore never stalls the tokens of requests that already answer; it is cut into chunks of the
    budget they leave. After "Sarathi-Serve" (Agrawal et al., OSDI 2024, arXiv:2403.02310).
    """

    def grant(self, waiting: Iterator[Request], running: Collection[Request], budget: int) -> list[Slice]:
        decodes, prefills = _by_phase(running)
        slices = _decode(decodes, budget)
        left = budget - sum(tokens for _, tokens, _ in slices)
        return slices + _prefill(chain(prefills, waiting), left)


class LatencyBudget(Policy):
    """Decodes first, and beside them only as much prefill as keeps a step within the target.

    The allowance follows each measured step in proportion to target ÷ duration, at most twofold. A step takes about
    a + b · (prefill tokens), so this nears the allowance that meets the target from below without passing it; where
    decodes alone exceed the target it falls to one token a step, and never to none.
    """

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._allowance = math.inf

    def grant(self, waiting: Iterator[Request], running: Collection[Request], budget: int) -> list[Slice]:
        decodes, prefills = _by_phase(running)
        slices = _decode(decodes, budget)
        left = budget - sum(tokens for _, tokens, _ in slices)
        # Without a decode nobody's next token waits for this step.
        allowed = int(min(left, self._allowance)) if slices else left
        return slices + _prefill(chain(prefills, waiting), allowed)

    def observe(self, seconds: float, prefill_tokens: int, decode_tokens: int) -> None:
        if not (prefill_tokens and decode_tokens):
            return
        if seconds > self._target_s:
            self._allowance = max(1.0, min(self._allowance, prefill_tokens * max(self._target_s / seconds, 0.5)))
        else:
            # Rounded up, or an allowance of one token would never grow.
            grown = math.ceil(prefill_tokens * min(self._target_s / max(seconds, 1e-9), 2.0))
            self._allowance = max(self._allowance, grown)


def make_policy(name: str, *, tpot_target_ms: float) -> Policy:
    """The policy of that name in `bench.core.spec.PolicyName`, as new."""
    makers: dict[str, Callable[[], Policy]] = {
        "static": Static,
        "prefill_first": PrefillFirst,
        "decode_first": DecodeFirst,
        "latency_budget": lambda: LatencyBudget(tpot_target_ms / 1000),
    }
    return makers[name]()


def _by_phase(requests: Iterable[Request]) -> tuple[list[Request], list[Request]]:
    """Those that decode and those that do not yet, each in the order given."""
    decodes: list[Request] = []
    prefills: list[Request] = []
    for request in requests:
        # `request.decoding`, without the price of a property: this runs for every request in every step.
        (decodes if request.computed >= request.prefill_tokens else prefills).append(request)
    return decodes, prefills


def _decode(requests: list[Request], budget: int) -> list[Slice]:
    """The next token of each, oldest first, and drafts from what the budget then leaves."""
    left = budget - len(requests)
    if left < 0:
        return [Slice(request, 1) for request in requests[:budget]]
    slices: list[Slice] = []
    for request in requests:
        drafts = request.drafts
        if drafts:
            # The step yields one token more than the drafts it accepts.
            drafts = min(drafts, left, request.max_tokens - request.generated - 1)
            left -= drafts
        slices.append(Slice(request, 1 + drafts, drafts))
    return slices


def _prefill(requests: Iterable[Request], budget: int) -> list[Slice]:
    """Whole prompts, oldest first, and of the last one what the budget leaves. Draws none that would get nothing."""
    slices: list[Slice] = []
    drawn = iter(requests)
    while budget > 0 and (request := next(drawn, None)) is not None:
        tokens = min(request.pending, budget)
        slices.append(Slice(request, tokens))
        budget -= tokens
    return slices
