"""The one rule that schedules everything: each request has computed tokens chasing its total.

A policy says how many tokens of which requests the next step computes; there is no prefill phase and no decode phase.
This file knows neither a clock nor a tensor, so the simulated engine runs it on virtual time unchanged.

Admission reserves the worst case: a request starts when blocks for its prompt and its longest output are free, and
keeps them until it ends. Whatever was admitted can therefore always run to its end: nothing is preempted and there is
no deadlock. Requests start in order of arrival and none overtakes; one that could never fit is refused when it arrives,
so the first of the queue starts at the latest when all before it have ended, and none waits for ever.
"""

from __future__ import annotations

from itertools import islice

from bench.native.failures import Failure
from bench.native.kv_cache import BlockAllocator
from bench.native.policies import Policy
from bench.native.request import Request, Slice


class Scheduler:
    """The queue, the requests that run, and the blocks they hold."""

    def __init__(
        self, policy: Policy, blocks: BlockAllocator, *, step_tokens: int, max_running: int, max_context_tokens: int
    ) -> None:
        self._policy = policy
        self.blocks = blocks
        self._step_tokens = step_tokens
        self._max_running = max_running
        self._free_rows = list(range(max_running - 1, -1, -1))
        self._max_context_tokens = max_context_tokens
        self._waiting: dict[int, Request] = {}
        self._running: dict[int, Request] = {}

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    def add(self, request: Request) -> Failure | None:
        """Queue `request`, or say why it can never be served."""
        if request.prompt_tokens < 1 or request.max_tokens < 1:
            return Failure("empty_request", f"{request.prompt_tokens} prompt and {request.max_tokens} output tokens")
        asked = f"{request.prompt_tokens} prompt and {request.max_tokens} output tokens"
        if request.prompt_tokens + request.max_tokens > self._max_context_tokens:
            return Failure("context_exceeded", f"{asked} in a context of {self._max_context_tokens}")
        if self.blocks.blocks_for(request.peak_cached_tokens) > self.blocks.blocks:
            pool_tokens = self.blocks.blocks * self.blocks.block_tokens
            return Failure("kv_pool_exceeded", f"{asked} in a KV pool of {pool_tokens}")
        self._waiting[request.id] = request
        return None

    def schedule(self) -> list[Slice]:
        """What the next step computes; empty only when nothing is left to do. Requests it starts hold their blocks."""
        slices = self._policy(self._startable(), list(self._running.values()), self._step_tokens)
        for request, _, _ in slices:
            if request.id in self._waiting:
                del self._waiting[request.id]
                self.blocks.extend(request.block_table, request.peak_cached_tokens)
                request.row = self._free_rows.pop()
                self._running[request.id] = request
        return slices

    def advance(self, slices: list[Slice]) -> list[int]:
        """Count what `slices` compute, drafts aside, and promise a token to each request that has then computed all it
        had. Returns the indices of those.
        """
        due: list[int] = []
        for index, (request, tokens, drafts) in enumerate(slices):
            request.computed += tokens - drafts
            if request.computed == request.total:
                request.total += 1
                due.append(index)
        return due

    def accept(self, request: Request, accepted: int) -> None:
        """Count `accepted` drafts of the step that `advance` counted last as computed tokens of the output."""
        request.total += accepted
        request.computed += accepted

    def observe(self, seconds: float, prefill_tokens: int, decode_tokens: int) -> None:
        """Tell the policy how long a step took, and what was in it."""

    def remove(self, request_id: int, *, failed: bool = False) -> None:
        """Forget a request that ended or was cancelled, wherever it is, and take its blocks back.

        `failed` says that what its blocks hold is not to be trusted: nobody else is served from them.
        """
        request = self._waiting.pop(request_id, None) or self._running.pop(request_id, None)
        if request is not None:
            self.blocks.release(request.block_table)
            if request.row >= 0:
                self._free_rows.append(request.row)
                request.row = -1

    def integrity_errors(self) -> list[str]:
        """What is wrong between the requests and the blocks they hold; empty when nothing is."""
        errors = self.blocks.integrity_errors(request.block_table for request in self._running.values())
        holding = [request.id for request in self._waiting.values() if request.block_table]
        return errors + [f"request {id} waits but holds blocks" for id in holding]

    def _startable(self) -> list[Request]:
        """The front of the queue that free places and free blocks allow to start together."""
        startable: list[Request] = []
        free_blocks = self.blocks.free_blocks
        for request in islice(self._waiting.values(), self._max_running - len(self._running)):
            free_blocks -= self.blocks.blocks_for(request.peak_cached_tokens)
            if free_blocks < 0:
                break
            startable.append(request)
        return startable
