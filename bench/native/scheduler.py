"""The one rule that schedules everything: each request has computed tokens chasing its total.

A policy says how many tokens of which requests the next step computes; there is no prefill phase and no decode phase.
This file knows neither a clock nor a tensor, so the simulated engine runs it on virtual time unchanged.

Requests start in order of arrival and none overtakes; one that could never fit is refused when it arrives. Admission
decides when there is room for the next:

* worst case: when blocks for its prompt and its longest output are free. It keeps them until it ends, so whatever was
  admitted can run to its end;
* optimistic: when blocks for the tokens it has are free, and one more for each that runs. Further blocks are taken as
  tokens need them. When none is left the request that started last is preempted: it loses its blocks, goes back to the
  front of the queue and later computes its prompt and its output so far again.

Either way none waits for ever. What runs ends: only a request that has generated tokens asks for more blocks, and these
tokens are kept through a preemption, so there are only so many. The first of the queue starts at the latest when all
that run have ended.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from bench.native.failures import Failure
from bench.native.kv_cache import BlockAllocator
from bench.native.policies import Policy
from bench.native.request import Request, Slice


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """What admission and the prefix cache did, in totals."""

    preemptions: int
    recomputed_tokens: int
    """Tokens computed more than once because of preemptions."""
    looked_up_tokens: int
    """Prompt tokens of the requests that started, counted when they first did."""
    hit_tokens: int
    """Those of them that the prefix cache had."""
    cached_blocks: int
    """Blocks the prefix cache knows now."""
    evictions: int


class Scheduler:
    """The queue, the requests that run, and the blocks they hold."""

    def __init__(
        self,
        policy: Policy,
        blocks: BlockAllocator,
        *,
        step_tokens: int,
        max_running: int,
        max_context_tokens: int,
        optimistic: bool = False,
    ) -> None:
        self._policy = policy
        self.blocks = blocks
        self._step_tokens = step_tokens
        self._max_context_tokens = max_context_tokens
        self._optimistic = optimistic
        self._waiting: OrderedDict[int, Request] = OrderedDict()
        self._running: dict[int, Request] = {}
        # Those that were promised their last token: nothing is left to compute, but they keep what they hold until
        # that token has been booked and they are removed.
        self._ending: dict[int, Request] = {}
        self._free_rows = list(range(max_running - 1, -1, -1))
        # The first of the queue found no room, and nothing was given back since: no need to look again.
        self._blocked = False
        self._preemptions = 0
        self._recomputed_tokens = 0
        self._looked_up_tokens = 0
        self._hit_tokens = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running) + len(self._ending)

    def stats(self) -> SchedulerStats:
        return SchedulerStats(
            preemptions=self._preemptions,
            recomputed_tokens=self._recomputed_tokens,
            looked_up_tokens=self._looked_up_tokens,
            hit_tokens=self._hit_tokens,
            cached_blocks=self.blocks.prefixes.cached_blocks,
            evictions=self.blocks.prefixes.evictions,
        )

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
        """What the next step computes. Requests in it hold the blocks it needs.

        Empty when nothing is left to compute, or when what is left needs what requests that have been promised their
        last token still hold: then remove those first.
        """
        if self._ending and not self._running:
            return []
        started: list[Request] = []
        slices = self._policy.grant(self._startable(started), self._running.values(), self._step_tokens)
        for request in started:
            self._running[request.id] = request
        return self._with_blocks(slices) if self._optimistic else slices

    def advance(self, slices: list[Slice]) -> list[int]:
        """Count what `slices` compute, drafts aside, and promise a token to each request that has then computed all it
        had. Returns the indices of those.

        Blocks that are now full become known to the prefix cache; a block table then names the block known to hold the
        same, if there is one, instead of its own.
        """
        block_tokens = self.blocks.block_tokens
        due: list[int] = []
        for index, (request, tokens, drafts) in enumerate(slices):
            computed = request.computed = request.computed + tokens - drafts
            if computed == request.total:
                due.append(index)
                self._promise(request, 1)
            if len(request.block_hashes) > request.registered_blocks < computed // block_tokens:
                self._register(request)
        return due

    def accept(self, request: Request, accepted: int) -> None:
        """Count `accepted` drafts of the step that `advance` counted last as computed tokens of the output."""
        if request.row >= 0:
            request.computed += accepted
        else:
            request.prefill_tokens += accepted
        self._promise(request, accepted)

    def observe(self, seconds: float, prefill_tokens: int, decode_tokens: int) -> None:
        """Tell the policy how long a step took, and what was in it."""
        self._policy.observe(seconds, prefill_tokens, decode_tokens)

    def remove(self, request_id: int, *, failed: bool = False) -> None:
        """Forget a request that ended or was cancelled, wherever it is, and take its blocks back.

        `failed` says that what its blocks hold is not to be trusted: nobody else is served from them.
        """
        for place in (self._waiting, self._running, self._ending):
            request = place.pop(request_id, None)
            if request is not None:
                self._give_back(request, failed=failed)

    def integrity_errors(self) -> list[str]:
        """What is wrong between the requests, the rows and the blocks they hold; empty when nothing is."""
        running = [*self._running.values(), *self._ending.values()]
        errors = self.blocks.integrity_errors(request.block_table for request in running)
        for request in running:
            if request.computed > len(request.block_table) * self.blocks.block_tokens:
                errors.append(f"request {request.id} computed more than its blocks hold")
        for request in self._waiting.values():
            if request.block_table or request.row >= 0 or request.computed:
                errors.append(f"request {request.id} waits but holds blocks, a row or computed tokens")
        rows = sorted(self._free_rows + [request.row for request in running])
        if rows != list(range(len(rows))):
            errors.append(f"rows {rows} are not each free or held once")
        return errors

    def _startable(self, started: list[Request]) -> Iterator[Request]:
        """The front of the queue while there is room; each is started, and noted in `started`, as it is drawn."""
        while self._waiting and self._free_rows and not self._blocked:
            request = next(iter(self._waiting.values()))
            shared = self.blocks.admit(
                request.block_table,
                request.total if self._optimistic else request.peak_cached_tokens,
                request.block_hashes,
                # The newest token is always computed: its logits are what is asked for.
                most_shared=(request.total - 1) // self.blocks.block_tokens,
                spare=len(self._running) + len(started) if self._optimistic else 0,
            )
            self._blocked = shared is None
            if shared is None:
                return
            del self._waiting[request.id]
            request.row = self._free_rows.pop()
            request.registered_blocks = shared
            request.computed = shared * self.blocks.block_tokens
            self._count_hit(request)
            started.append(request)
            yield request

    def _count_hit(self, request: Request) -> None:
        if request.preemptions:
            request.recomputed_cached_tokens += request.computed
            self._recomputed_tokens -= request.computed
        else:
            request.cached_tokens = request.computed
            self._looked_up_tokens += request.prompt_tokens
            self._hit_tokens += request.computed

    def _with_blocks(self, slices: list[Slice]) -> list[Slice]:
        """`slices` with blocks for all their tokens, less those for which none are left."""
        block_tokens = self.blocks.block_tokens
        preemptions = self._preemptions
        without = False
        for index, (request, tokens, drafts) in enumerate(slices):
            if request.computed + tokens > len(request.block_table) * block_tokens:
                slices[index] = granted = self._obtain(request, tokens, drafts)
                without = without or granted.tokens == 0
        if without or self._preemptions > preemptions:
            return [granted for granted in slices if granted.tokens and granted.request.row >= 0]
        return slices

    def _obtain(self, request: Request, tokens: int, drafts: int) -> Slice:
        """Blocks for the next tokens of `request`, if need be without drafts or by preemption.

        Of no tokens where it has to wait: for those that are about to end, or in the queue.
        """
        while request.row >= 0:
            if self.blocks.extend(request.block_table, request.computed + tokens):
                return Slice(request, tokens, drafts)
            if drafts:
                tokens, drafts = tokens - drafts, 0
            elif self._ending:
                break
            else:
                self._preempt()
        return Slice(request, 0)

    def _preempt(self) -> None:
        """Put the request that started last back to the front of the queue."""
        _, request = self._running.popitem()
        request.preemptions += 1
        self._preemptions += 1
        self._recomputed_tokens += request.computed
        self._give_back(request)
        request.computed = request.registered_blocks = request.drafts = 0
        request.prefill_tokens = request.total
        self._waiting[request.id] = request
        self._waiting.move_to_end(request.id, last=False)

    def _promise(self, request: Request, tokens: int) -> None:
        request.total += tokens
        if request.total - request.prompt_tokens == request.max_tokens and request.id in self._running:
            self._ending[request.id] = self._running.pop(request.id)

    def _register(self, request: Request) -> None:
        """Make the blocks known that are full and whose hashes are."""
        full = min(request.computed // self.blocks.block_tokens, len(request.block_hashes))
        for index in range(request.registered_blocks, full):
            self.blocks.register(request.block_table, index, request.block_hashes[index])
        request.registered_blocks = full

    def _give_back(self, request: Request, *, failed: bool = False) -> None:
        """Take back the blocks and the row of `request`, if it has any."""
        self._blocked = False
        if request.row >= 0:
            if not failed:
                self._register(request)
            self.blocks.release(request.block_table, forget=failed)
            self._free_rows.append(request.row)
            request.row = -1
