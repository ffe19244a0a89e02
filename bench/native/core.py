"""The engine itself: requests in, one step at a time, tokens out. It knows nothing of processes.

A step is launched and then booked. In between it runs, and with overlap the next one is scheduled and launched: a
request counts a token as soon as the step that makes it is launched, and learns which it is when the step is booked.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from neokernels.registry import Registry

from bench.core.records import Counters, StepRow
from bench.core.sessions import Sampling
from bench.core.units import NS_PER_S
from bench.native.batch import BatchItem, HostBatch
from bench.native.device import is_out_of_memory
from bench.native.executor import Executor
from bench.native.failures import Failure
from bench.native.generation import Generation, unknown_token
from bench.native.graphs.runner import StepRunner
from bench.native.launched import Launched
from bench.native.ledger import Ledger
from bench.native.log_probabilities import AskedRows, Likely
from bench.native.messages import Begun, Ended, Submit, Tokens
from bench.native.prefix_cache import extend_hashes
from bench.native.request import Slice
from bench.native.sampler import Sampler
from bench.native.scheduler import Scheduler
from bench.native.speculative.speculation import Speculation
from bench.native.thinking import Harmony, ThinkTags
from bench.native.token_step import TokenSteps
from bench.native.work import AttentionWork


@dataclass(frozen=True, slots=True)
class StepResult:
    """What was launched and what was booked. Nothing is booked while the first of overlapping steps runs."""

    begun: list[Begun]
    tokens: list[Tokens]
    ended: list[Ended]
    row: StepRow | None


class EngineCore:
    """Owns what steps: scheduler, runner of the model, sampler, and the device's order of work."""

    def __init__(
        self,
        *,
        runner: StepRunner,
        registry: Registry,
        scheduler: Scheduler,
        sampler: Sampler,
        speculation: Speculation | None,
        executor: Executor,
        attention_work: AttentionWork,
        marks: ThinkTags | Harmony,
        vocabulary: int,
        eos_ids: Sequence[int],
        prefix_cache: bool,
        overlap: bool,
        max_running: int,
        device: torch.device,
    ) -> None:
        """`registry` is the one that the model's operations were resolved by.

        `speculation` and `overlap` exclude one another: how long a request is after a step has to be known."""
        self._runner = runner
        self._registry = registry
        self._scheduler = scheduler
        self._sampler = sampler
        self._speculation = speculation
        self._executor = executor
        self._attention_work = attention_work
        self._marks = marks
        self._vocabulary = vocabulary
        self._ledger = Ledger(eos_ids)
        # Drawn anew by every engine: what one run left is unknown to the next.
        self._prefix_salt = os.urandom(16) if prefix_cache else None
        self._overlap = overlap
        self._token_steps = TokenSteps(
            runner,
            sampler,
            None if speculation is None else speculation.verifier,
            imposable=[token_id for token_id in marks.imposable if token_id < vocabulary],
            max_running=max_running,
            device=device,
            overlap=overlap,
        )
        self._in_flight: Launched | None = None
        self._work_since_ns = 0
        self._prompt_tokens = 0
        self._discarded_tokens = 0

    @property
    def has_work(self) -> bool:
        return bool(len(self._ledger)) or self._in_flight is not None

    def counters(self) -> Counters:
        return Counters(
            running=self._scheduler.running,
            waiting=self._scheduler.waiting,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._ledger.output_tokens,
            kv_blocks_used=self._scheduler.blocks.used_blocks,
            kv_blocks_total=self._scheduler.blocks.blocks,
            preemptions=self._scheduler.stats().preemptions,
        )

    def statistics(self) -> dict[str, Any]:
        """What the axes of the configuration did so far, warm-up included, in plain values."""
        return {
            "scheduler": asdict(self._scheduler.stats()),
            "graphs": self._runner.statistics(),
            "collectives": self._runner.collectives(),
            "speculation": None if self._speculation is None else self._speculation.describe(),
            "discarded_tokens": self._discarded_tokens,
            "schedules": [look_up.as_dict() for look_up in self._registry.look_ups],
        }

    def add(self, submit: Submit) -> Failure | None:
        """Take a request, or say why it can never be served."""
        generation = Generation(submit, self._marks)
        refusal = unknown_token(submit, self._vocabulary) or self._scheduler.add(generation.request)
        if refusal is None:
            if not self.has_work:
                self._work_since_ns = time.monotonic_ns()
            self._ledger.open(generation)
            self._hash_blocks(generation)
        return refusal

    def remove(self, request_id: int) -> None:
        """Forget a request, wherever it is; one that has ended already is no matter."""
        self._scheduler.remove(request_id)
        self._ledger.drop(request_id)

    def generate_first_token(self) -> bool:
        """One token that no counter sees, so that what is made on first use is made before a turn waits for it.

        False where the engine could not.
        """
        submit = Submit(-1, array("i", [0]), 1, ignore_eos=True, thinking_tokens=0, sampling=Sampling())
        if self.add(submit) is None:
            while self.has_work:
                self.step()
        generated = self._ledger.output_tokens > 0
        self._runner.clear_statistics()
        self._prompt_tokens = self._ledger.output_tokens = 0
        return generated

    def step(self) -> StepResult:
        """Launch what the policy grants and book the step that is due to be. There must be work.

        A request whose logits are not numbers fails alone; a step that runs out of memory fails the requests in it.
        """
        launched = self._launch()
        if self._overlap:
            launched, self._in_flight = self._in_flight, launched
        row = None if launched is None else self._book(launched)
        return StepResult(*self._ledger.take(), row)

    def _launch(self) -> Launched | None:
        """None when all that is left is in flight."""
        if self._speculation is not None:
            self._speculation.plan(generation.request for generation in self._ledger)
        slices = self._scheduler.schedule()
        if not slices:
            return None
        self._begin(slices)
        try:
            drafts = None if self._speculation is None else self._speculation.draft(slices)
        except (RuntimeError, MemoryError) as error:
            self._fail_step(error, slices, sum(one.tokens for one in slices))
            return None
        items = [self._item(one, drafts.tokens[index] if drafts else ()) for index, one in enumerate(slices)]
        prefill_tokens = sum(one.tokens for one in slices if not one.request.decoding)
        host = HostBatch.of(items, self._runner.block_tokens)  # before block tables change hands
        due = self._scheduler.advance(slices)
        planned = self._runner.plan(host)
        rows = np.array([slices[index].request.row for index in due], dtype=np.int64)
        positions = np.array([slices[index].request.total - 1 for index in due], dtype=np.int64)
        asked = self._asked(slices, items, due)
        if drafts is not None and any(drafts.tokens):
            drafted = [drafts.tokens[index] for index in due]
            work = self._token_steps.verification(planned, rows, positions, drafted, drafts.probabilities, asked)
        else:
            work = self._token_steps.sampling(planned, rows, positions, asked)
        pending = self._executor.launch(work, self._work_since_ns)
        self._prompt_tokens += prefill_tokens
        counts = self._attention_work.counts(slices, host, prefill_tokens)
        return Launched(slices, due, asked, planned, counts, pending)

    def _begin(self, slices: Sequence[Slice]) -> None:
        """Set down what requests ask for that have started, or started again, since the last step."""
        for request, _, _ in slices:
            generation = self._ledger[request.id]
            if generation.placed_anew():
                self._ledger.begin(generation)
                self._sampler.begin(request.row, generation.sampling, generation.token_ids, generation.ends_from)
                if self._speculation is not None:
                    self._speculation.speculator.begin(request, generation.token_ids)

    def _item(self, one: Slice, drafts: Sequence[int]) -> BatchItem:
        request, tokens, _ = one
        known = tokens - len(drafts)
        token_ids = self._ledger[request.id].fed(known)
        token_ids.extend(drafts)
        due = request.computed + known == request.total
        return BatchItem(token_ids, request.computed, request.block_table, (1 + len(drafts)) * due)

    def _asked(self, slices: Sequence[Slice], items: Sequence[BatchItem], due: Sequence[int]) -> AskedRows | None:
        wanted = [self._ledger[slices[index].request.id].logprobs for index in due]
        return AskedRows.of(wanted, [items[index].logit_tokens for index in due]) if any(wanted) else None

    def _book(self, launched: Launched) -> StepRow | None:
        try:
            result, took = launched.pending.result()
        except (RuntimeError, MemoryError) as error:
            # What was launched since may read blocks that this step was to fill.
            since = () if self._in_flight is None else self._in_flight.slices
            self._fail_step(error, (*launched.slices, *since), len(launched.planned.batch.token_ids))
            return None
        accepted = discarded = 0
        told = self._token_steps.read(result, launched.asked)
        for index, row, likely in zip(launched.due, told.token_ids, told.likely, strict=True):
            said = [token_id for token_id in row if token_id >= 0]
            accepted += max(0, len(said) - 1)
            discarded += self._conclude(launched.slices[index], said, likely)
        self._discarded_tokens += discarded
        counts = launched.counts
        self._scheduler.observe(took.duration_ns / NS_PER_S, counts["prefill_tokens"], counts["decode_tokens"])
        if self._speculation is not None:
            self._speculation.count_step(took.duration_ns)
        return launched.row(
            took,
            host_ns=took.host_ns if self._speculation is None else self._speculation.host_ns(took.host_ns),
            accepted=accepted,
            discarded=discarded,
            experts_touched=told.experts_touched,
        )

    def _fail_step(self, error: RuntimeError | MemoryError, slices: Sequence[Slice], tokens: int) -> None:
        """End the requests of a step of `tokens` that ran out of memory. Any other error is the engine's own."""
        if not is_out_of_memory(error):
            raise error
        failure = Failure("out_of_memory", f"a step of {tokens} tokens did not fit the device's memory")
        for request, *_ in slices:
            self._fail(request.id, failure)
        # A request of the step that was cancelled or preempted meanwhile left blocks there that were never filled.
        self._scheduler.blocks.forget_idle()

    def _conclude(self, one: Slice, said: Sequence[int], likely: Sequence[Likely]) -> int:
        """Book what one request was told. Returns how many tokens came too late, after its end or its budget's."""
        request = one.request
        generation = self._ledger.get(request.id)
        if generation is None:
            return len(said)
        if not said:
            self._fail(request.id, Failure("not_a_number", "the model's logits are not finite"))
            return 0
        kept = generation.kept(said)
        if kept[-1] != said[len(kept) - 1] and request.row >= 0:
            self._sampler.replace(request.row, said[len(kept) - 1 :], kept[-1], (*generation.token_ids, *kept))
        if self._speculation is not None:
            self._speculation.statistics.count_request(one.drafts, len(kept) - 1)
            self._scheduler.accept(request, len(kept) - 1)
        late = self._ledger.tell(generation, kept, likely)
        self._hash_blocks(generation)
        if late is not None:
            self._scheduler.remove(request.id)
        return len(said) - len(kept) + (late or 0)

    def _hash_blocks(self, generation: Generation) -> None:
        """Name the blocks that the known tokens of a request have filled since, for the prefix cache to find."""
        if self._prefix_salt is not None:
            block_tokens = self._runner.block_tokens
            extend_hashes(generation.request.block_hashes, generation.token_ids, block_tokens, self._prefix_salt)

    def _fail(self, request_id: int, failure: Failure) -> None:
        """End a request, unless it was dropped meanwhile."""
        generation = self._ledger.get(request_id)
        if generation is not None:
            self._scheduler.remove(request_id, failed=True)
            self._ledger.fail(generation, failure)
