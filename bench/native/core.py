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
from torch import Tensor

from bench.core.records import Counters, FinishReason, Sampling, StepRow
from bench.core.units import NS_PER_S
from bench.native.batch import BatchItem, HostBatch
from bench.native.device import is_out_of_memory
from bench.native.executor import Executor, Pending
from bench.native.failures import Failure
from bench.native.generation import Generation, ThinkTags
from bench.native.messages import Ended, Submit, Tokens
from bench.native.prefix_cache import extend_hashes
from bench.native.request import Slice
from bench.native.runner import Runner
from bench.native.sampler import Sampler
from bench.native.sampling_rows import SamplingRows
from bench.native.scheduler import Scheduler
from bench.native.work import AttentionWork


@dataclass(frozen=True, slots=True)
class StepResult:
    """What was booked: of every request in the step. Nothing while the first of overlapping steps runs."""

    tokens: list[Tokens]
    ended: list[Ended]
    row: StepRow | None


@dataclass(frozen=True, slots=True)
class _Launched:
    """A step on its way."""

    slices: list[Slice]
    due: list[int]
    """Indices of the slices that are due a token, in the order of the result's rows."""
    tokens: int
    counts: dict[str, int]
    """Fields of its StepRow by name, as far as they are known."""
    pending: Pending


class EngineCore:
    """Owns what steps: scheduler, runner of the model, sampler, and the device's order of work."""

    def __init__(
        self,
        *,
        runner: Runner,
        scheduler: Scheduler,
        sampler: Sampler,
        executor: Executor,
        attention_work: AttentionWork,
        tags: ThinkTags,
        vocabulary: int,
        eos_ids: Sequence[int],
        prefix_cache: bool,
        overlap: bool,
        max_running: int,
        device: torch.device,
    ) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._sampler = sampler
        self._executor = executor
        self._attention_work = attention_work
        self._tags = tags
        self._vocabulary = vocabulary
        self._eos_ids = frozenset(eos_ids)
        # Drawn anew by every engine: what one run left is unknown to the next.
        self._prefix_salt = os.urandom(16) if prefix_cache else None
        self._overlap = overlap
        self._newest = torch.zeros(max_running, dtype=torch.int64, device=device)
        """The newest token of each request, by its row: the next step may need it before the host knows it."""
        self._generations: dict[int, Generation] = {}
        self._in_flight: _Launched | None = None
        self._work_since_ns = 0
        self._prompt_tokens = 0
        self._output_tokens = 0
        self._discarded_tokens = 0

    @property
    def has_work(self) -> bool:
        return bool(self._generations) or self._in_flight is not None

    def counters(self) -> Counters:
        return Counters(
            running=self._scheduler.running,
            waiting=self._scheduler.waiting,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
            kv_blocks_used=self._scheduler.blocks.used_blocks,
            kv_blocks_total=self._scheduler.blocks.blocks,
            preemptions=self._scheduler.stats().preemptions,
        )

    def statistics(self) -> dict[str, Any]:
        """What the axes of the configuration did so far, warm-up included, in plain values."""
        return {"scheduler": asdict(self._scheduler.stats()), "discarded_tokens": self._discarded_tokens}

    def add(self, submit: Submit) -> Failure | None:
        """Take a request, or say why it can never be served."""
        generation = Generation(submit, self._tags)
        refusal = self._unknown_token(submit) or self._scheduler.add(generation.request)
        if refusal is None:
            if not self.has_work:
                self._work_since_ns = time.monotonic_ns()
            self._generations[submit.id] = generation
            self._hash_blocks(generation)
        return refusal

    def remove(self, request_id: int, *, failed: bool = False) -> None:
        """Forget a request, wherever it is; one that has ended already is no matter."""
        self._scheduler.remove(request_id, failed=failed)
        self._generations.pop(request_id, None)

    def generate_first_token(self) -> None:
        """One token that no counter sees, so that what is made on first use is made before a turn waits for it."""
        submit = Submit(-1, array("i", [0]), 1, ignore_eos=True, thinking_tokens=0, sampling=Sampling())
        if self.add(submit) is None:
            while self.has_work:
                self.step()
        self._prompt_tokens = self._output_tokens = 0

    def step(self) -> StepResult:
        """Launch what the policy grants and book the step that is due to be. There must be work.

        A request whose logits are not numbers fails alone; a step that runs out of memory fails the requests in it.
        """
        launched = self._launch()
        if self._overlap:
            launched, self._in_flight = self._in_flight, launched
        return StepResult([], [], None) if launched is None else self._book(launched)

    def _launch(self) -> _Launched | None:
        """None when all that is left is in flight."""
        slices = self._scheduler.schedule()
        if not slices:
            return None
        items = [self._item(one) for one in slices]
        prefill_tokens = sum(one.tokens for one in slices if not one.request.decoding)
        host = HostBatch.of(items, self._runner.block_tokens)  # before block tables change hands
        due = self._scheduler.advance(slices)
        requests = [slices[index].request for index in due]
        rows = np.array([request.row for request in requests], dtype=np.int64)
        sampling = self._sampler.rows(rows, np.array([request.total - 1 for request in requests], dtype=np.int64))
        kv_bytes, attention_flops = self._attention_work.of_step(host.query_lens, host.context_lens)
        counts = {
            "prefill_tokens": prefill_tokens,
            "decode_tokens": len(host.token_ids) - prefill_tokens,
            "requests": len(slices),
            "context_tokens": int(host.context_lens.sum()),
            "kv_bytes": kv_bytes,
            "attention_flops": attention_flops,
            "logit_rows": len(host.logit_rows),
        }
        self._prompt_tokens += prefill_tokens
        pending = self._executor.launch(lambda: self._compute(host, sampling, rows), self._work_since_ns)
        return _Launched(slices, due, len(host.token_ids), counts, pending)

    def _item(self, one: Slice) -> BatchItem:
        request, tokens, _ = one
        generation = self._generations[request.id]
        if generation.placed_anew():
            self._sampler.begin(request.row, generation.sampling, generation.token_ids)
        token_ids = generation.token_ids[request.computed : request.computed + tokens]
        if len(token_ids) < tokens:
            token_ids.append(-1 - request.row)
        due = request.computed + tokens == request.total
        return BatchItem(token_ids, request.computed, request.block_table, logit_tokens=int(due))

    @torch.inference_mode()
    def _compute(self, host: HostBatch, sampling: SamplingRows, rows: Any) -> Tensor:
        """What runs on the device: the next token of each of the R rows that are due one, [R, 1] int64."""
        logits = self._runner.run(host, self._newest if self._overlap else None)
        tokens = self._sampler.choose(logits, sampling)
        if self._overlap:
            # A failed row holds −1; its request will be dropped, but the next step may be on its way already.
            self._newest[torch.from_numpy(rows).to(tokens.device)] = tokens.clamp(min=0)
        return tokens[:, None]

    def _book(self, launched: _Launched) -> StepResult:
        tokens: list[Tokens] = []
        ended: list[Ended] = []
        try:
            said, took = launched.pending.result()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = Failure("out_of_memory", f"a step of {launched.tokens} tokens did not fit the device's memory")
            for request, *_ in launched.slices:
                self._fail(request.id, failure, ended)
            return StepResult([], ended, None)
        discarded = 0
        for index, row in zip(launched.due, said.tolist(), strict=True):
            discarded += self._conclude(launched.slices[index].request.id, row, tokens, ended)
        self._discarded_tokens += discarded
        counts = launched.counts
        self._scheduler.observe(took.duration_ns / NS_PER_S, counts["prefill_tokens"], counts["decode_tokens"])
        row = StepRow(
            t_ns=took.t_ns,
            duration_ns=took.duration_ns,
            drafted_tokens=0,
            accepted_tokens=0,
            discarded_tokens=discarded,
            padding_tokens=0,
            graph_key="eager",
            device_ns=took.device_ns,
            host_ns=took.host_ns,
            **counts,
        )
        return StepResult(tokens, ended, row)

    def _conclude(self, request_id: int, said: list[int], tokens: list[Tokens], ended: list[Ended]) -> int:
        """Book what one request was told, and end it if that was its last. Returns how many tokens came too late."""
        generation = self._generations.get(request_id)
        if generation is None:
            return len(said)
        for place, token_id in enumerate(said):
            if token_id < 0:
                self._fail(request_id, Failure("not_a_number", "the model's logits are not finite"), ended)
                return 0
            tokens.append(Tokens(request_id, generation.append(token_id), (token_id,)))
            self._output_tokens += 1
            reason: FinishReason | None = None
            if token_id in self._eos_ids and not generation.ignore_eos:
                reason = "stop"
            elif generation.output_tokens == generation.request.max_tokens:
                reason = "length"
            if reason is not None:
                self.remove(request_id)
                ended.append(Ended(request_id, reason, None, generation.request.cached_tokens))
                return len(said) - place - 1
        self._hash_blocks(generation)
        return 0

    def _hash_blocks(self, generation: Generation) -> None:
        """Name the blocks that the known tokens of a request have filled since, for the prefix cache to find."""
        if self._prefix_salt is not None:
            block_tokens = self._runner.block_tokens
            extend_hashes(generation.request.block_hashes, generation.token_ids, block_tokens, self._prefix_salt)

    def _fail(self, request_id: int, failure: Failure, ended: list[Ended]) -> None:
        """End a request that was not dropped meanwhile."""
        if request_id in self._generations:
            self.remove(request_id, failed=True)
            ended.append(Ended(request_id, "failed", str(failure), 0))

    def _unknown_token(self, submit: Submit) -> Failure | None:
        # An id outside the embedding would be an error of the whole step, and on a GPU the end of the process.
        biased = [token_id for token_id, _ in submit.sampling.logit_bias]
        for token_id in (min(submit.prompt_ids, default=0), max(submit.prompt_ids, default=0), max(biased, default=0)):
            if not 0 <= token_id < self._vocabulary:
                return Failure("unknown_token", f"token {token_id} in a vocabulary of {self._vocabulary}")
        return None
