"""The engine itself: requests in, one step at a time, tokens out. It knows nothing of processes."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import torch

from bench.core.records import Counters, FinishReason, Sampling, StepRow
from bench.native.batch import BatchItem, HostBatch
from bench.native.device import is_out_of_memory
from bench.native.failures import Failure
from bench.native.generation import Generation, ThinkTags
from bench.native.kv_pool import KvPool
from bench.native.messages import Ended, Submit, Tokens
from bench.native.models import Model
from bench.native.request import Slice
from bench.native.sampler import Sampler
from bench.native.scheduler import Scheduler
from bench.native.step_timer import StepTimer


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step brought, for every request in it."""

    tokens: list[Tokens]
    ended: list[Ended]
    row: StepRow


class EngineCore:
    """Owns the model, the KV pool, the scheduler and the sampler."""

    def __init__(
        self, model: Model, pool: KvPool, scheduler: Scheduler, sampler: Sampler, tags: ThinkTags, device: torch.device
    ) -> None:
        self._model = model
        self._pool = pool
        self._scheduler = scheduler
        self._sampler = sampler
        self._tags = tags
        self._device = device
        self._eos_ids = frozenset(model.config.eos_ids)
        self._generations: dict[int, Generation] = {}
        self._prompt_tokens = 0
        self._output_tokens = 0

    @property
    def has_work(self) -> bool:
        return bool(self._generations)

    def counters(self) -> Counters:
        return Counters(
            running=self._scheduler.running,
            waiting=self._scheduler.waiting,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
            kv_blocks_used=self._scheduler.blocks.used_blocks,
            kv_blocks_total=self._scheduler.blocks.blocks,
        )

    def add(self, submit: Submit) -> Failure | None:
        """Take a request, or say why it can never be served."""
        generation = Generation(submit, self._tags)
        refusal = self._unknown_token(submit) or self._scheduler.add(generation.request)
        if refusal is None:
            self._generations[submit.id] = generation
        return refusal

    def remove(self, request_id: int) -> None:
        """Forget a request, wherever it is; one that has ended already is no matter."""
        self._scheduler.remove(request_id)
        self._generations.pop(request_id, None)

    def generate_first_token(self) -> None:
        """One token that no counter sees, so that what is made on first use is made before a turn waits for it."""
        submit = Submit(-1, array("i", [0]), 1, ignore_eos=True, thinking_tokens=0, sampling=Sampling())
        if self.add(submit) is None:
            self.step()
        self._prompt_tokens = self._output_tokens = 0

    def step(self) -> StepResult:
        """Compute what the policy grants and sample for every request that is due. There must be work.

        A request whose logits are not numbers fails alone; a step that runs out of memory fails the requests in it.
        """
        timer = StepTimer(self._device)
        slices = self._scheduler.schedule()
        prefill_tokens = sum(tokens for request, tokens, _ in slices if not request.decoding)
        decode_tokens = sum(tokens for _, tokens, _ in slices) - prefill_tokens
        outcomes = self._outcomes(slices, timer)
        self._prompt_tokens += prefill_tokens
        tokens: list[Tokens] = []
        ended: list[Ended] = []
        for request_id, outcome in outcomes:
            self._conclude(request_id, outcome, tokens, ended)
        row = timer.row(
            prefill_tokens=prefill_tokens,
            decode_tokens=decode_tokens,
            requests=len(slices),
            context_tokens=sum(request.computed for request, _, _ in slices),
            kv_bytes=0,
            attention_flops=0,
            logit_rows=len(outcomes),
            drafted_tokens=0,
            accepted_tokens=0,
            discarded_tokens=0,
            padding_tokens=0,
        )
        return StepResult(tokens, ended, row)

    def _outcomes(self, slices: list[Slice], timer: StepTimer) -> list[tuple[int, int | Failure]]:
        """Compute `slices`. Gives the next token, or why there is none, for each request that is due one."""
        items = [BatchItem(self._generations[r.id].pending_ids(n), r.computed, r.block_table) for r, n, _ in slices]
        for request in (request for request, _, _ in slices if request.computed == 0):
            generation = self._generations[request.id]
            self._sampler.begin(request.row, generation.sampling, generation.pending_ids(request.total))
        due = self._scheduler.advance(slices)
        requests = [slices[index].request for index in due]
        rows = self._sampler.rows(
            np.array([request.row for request in requests], dtype=np.int64),
            np.array([request.total - 1 for request in requests], dtype=np.int64),
        )
        try:
            batch = HostBatch.of(items, self._pool.block_tokens).on(self._device)
            with timer.model():
                logits = self._model.forward(batch, self._pool)
                tokens = self._sampler.choose(logits if len(due) == len(slices) else logits[due], rows)
                chosen = tokens.tolist()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            size = sum(len(item.token_ids) for item in items)
            failure = Failure("out_of_memory", f"a step of {size} tokens did not fit the memory of {self._device}")
            return [(request.id, failure) for request, _, _ in slices]
        not_finite = Failure("not_a_number", "the model's logits are not finite")
        return [
            (request.id, not_finite if token < 0 else token) for request, token in zip(requests, chosen, strict=True)
        ]

    def _conclude(self, request_id: int, outcome: int | Failure, tokens: list[Tokens], ended: list[Ended]) -> None:
        """Book the outcome of one request, and end it if that was its last."""
        if isinstance(outcome, Failure):
            self.remove(request_id)
            ended.append(Ended(request_id, "failed", str(outcome), 0))
            return
        generation = self._generations[request_id]
        tokens.append(Tokens(request_id, generation.append(outcome), (outcome,)))
        self._output_tokens += 1
        reason: FinishReason | None = None
        if outcome in self._eos_ids and not generation.ignore_eos:
            reason = "stop"
        elif generation.request.generated == generation.request.max_tokens:
            reason = "length"
        if reason is not None:
            self.remove(request_id)
            ended.append(Ended(request_id, reason, None, generation.request.cached_tokens))

    def _unknown_token(self, submit: Submit) -> Failure | None:
        # An id outside the embedding would be an error of the whole step, and on a GPU the end of the process.
        vocabulary = self._model.config.vocabulary
        biased = [token_id for token_id, _ in submit.sampling.logit_bias]
        for token_id in (min(submit.prompt_ids, default=0), max(submit.prompt_ids, default=0), max(biased, default=0)):
            if not 0 <= token_id < vocabulary:
                return Failure("unknown_token", f"token {token_id} in a vocabulary of {vocabulary}")
        return None
