"""An engine without a model or a clock: it drives the scheduler as the real one does, and its KV cache can be read."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from bench.native.kv_cache import BlockAllocator
from bench.native.policies import Policy, make_policy
from bench.native.prefix_cache import extend_hashes
from bench.native.request import Request, Slice
from bench.native.scheduler import Scheduler

SALT = b"one run"


@dataclass
class Run:
    """A scheduler, its requests, and what a real cache would hold: in each slot all the tokens a key was made of."""

    scheduler: Scheduler
    hashing: bool = False
    """Give requests hashes, so that they share blocks."""
    overlap: bool = False
    """Book what a step computed only when the next is on its way."""
    draft: Callable[[Request], tuple[int, int]] = lambda request: (0, 0)
    """How many tokens to draft for the next step of a request, and how many of them come true."""
    token_ids: dict[int, array[int]] = field(default_factory=dict)
    started: list[int] = field(default_factory=list)
    """Ids in the order of their first tokens computed."""
    finished: list[int] = field(default_factory=list)
    computed_tokens: int = 0
    requests: dict[int, Request] = field(default_factory=dict)
    _slots: dict[tuple[int, int], array[int]] = field(default_factory=dict)
    _in_flight: list[tuple[Request, int]] = field(default_factory=list)

    def add(self, id: int, prompt: int | Sequence[int], max_tokens: int) -> Request:
        """Queue a request of these prompt tokens, or of so many that nobody else has."""
        prompt_ids = array("i", [1000 + id] * prompt if isinstance(prompt, int) else prompt)
        request = Request(id, len(prompt_ids), max_tokens)
        self.requests[id], self.token_ids[id] = request, prompt_ids
        self._hash(request)
        assert self.scheduler.add(request) is None
        return request

    def step(self) -> list[Slice]:
        """Schedule, compute, and give each request that is due its token and the drafts that come true."""
        for request in self.requests.values():
            request.drafts = self.draft(request)[0] if request.row >= 0 and request.decoding else 0
        slices = self.scheduler.schedule()
        self.started += [request.id for request, _, _ in slices if request.id not in self.started]
        for request, tokens, drafts in slices:
            self._compute(request, tokens - drafts)
            self.computed_tokens += tokens - drafts
        due = [(slices[index].request, slices[index].drafts) for index in self.scheduler.advance(slices)]
        if self.overlap:
            due, self._in_flight = self._in_flight, due
        for request, drafts in due:
            self._book(request, drafts)
        assert self.scheduler.integrity_errors() == []
        return slices

    def until_done(self) -> Run:
        while self.scheduler.waiting + self.scheduler.running:
            self.step()
        return self

    def _compute(self, request: Request, tokens: int) -> None:
        token_ids = self.token_ids[request.id]
        block_tokens = self.scheduler.blocks.block_tokens
        slots = [(block, row) for block in request.block_table for row in range(block_tokens)]
        for position in range(request.computed):
            assert self._slots[slots[position]] == token_ids[: position + 1]
        for position in range(request.computed, request.computed + tokens):
            # A token that is still in flight is known by its rule alone.
            known = token_ids if position < len(token_ids) else token_ids + array("i", [_next(token_ids)])
            self._slots[slots[position]] = known[: position + 1]

    def _book(self, request: Request, drafts: int) -> None:
        if request.id in self.finished:
            return
        accepted = min(self.draft(request)[1], drafts)
        if accepted:
            for _ in range(accepted):
                self._say(request)
                self._compute_accepted(request)
            self.scheduler.accept(request, accepted)
        self._say(request)
        self._hash(request)
        if len(self.token_ids[request.id]) == request.prompt_tokens + request.max_tokens:
            self.scheduler.remove(request.id)
            self.finished.append(request.id)

    def _compute_accepted(self, request: Request) -> None:
        """The newest token was a draft that came true: the step has computed it already."""
        token_ids = self.token_ids[request.id]
        block, row = divmod(len(token_ids) - 1, self.scheduler.blocks.block_tokens)
        self._slots[request.block_table[block], row] = token_ids[:]
        self.computed_tokens += 1

    def _say(self, request: Request) -> None:
        self.token_ids[request.id].append(_next(self.token_ids[request.id]))

    def _hash(self, request: Request) -> None:
        if self.hashing:
            block_tokens = self.scheduler.blocks.block_tokens
            extend_hashes(request.block_hashes, self.token_ids[request.id], block_tokens, SALT)


def _next(token_ids: array[int]) -> int:
    """What is said after `token_ids`; it depends on all of them."""
    return sum(place * token for place, token in enumerate(token_ids, 1)) % 997


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """A run of decode-first on 16 blocks of 4 tokens, 8 tokens a step and 4 requests, unless overridden."""

    def make(
        *,
        policy: str | Policy = "decode_first",
        blocks: int = 16,
        block_tokens: int = 4,
        step_tokens: int = 8,
        max_running: int = 4,
        context: int = 1000,
        optimistic: bool = False,
        hashing: bool = False,
        overlap: bool = False,
    ) -> Run:
        scheduler = Scheduler(
            make_policy(policy, tpot_target_ms=50) if isinstance(policy, str) else policy,
            BlockAllocator(blocks, block_tokens),
            step_tokens=step_tokens,
            max_running=max_running,
            max_context_tokens=context,
            optimistic=optimistic,
        )
        return Run(scheduler, hashing, overlap)

    return make
