"""Drafts by a smaller model of the same vocabulary, which follows every request in a KV cache of its own.

Its pool has as many blocks as the model's and the same block tables: what the scheduler and the prefix cache decide
about blocks holds for both. It computes whatever the model computes, in the same step, so a block that the prefix cache
serves is filled in both pools. Only the last draft of a step is not fed to it until it has been accepted: where that
ends a request, its slot stays unwritten in a block that others may share, and costs them a worse guess, nothing else.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import torch
from neokernels.counter_random import Purpose
from torch import Tensor

from bench.core.errors import InputError
from bench.native.batch import BatchItem, HostBatch
from bench.native.kv_pool import KvPool
from bench.native.models import Model
from bench.native.request import Request, Slice
from bench.native.sampler import Said, Sampler
from bench.native.sampling_rows import SamplingRows
from bench.native.speculative.speculator import Drafts, Judgement, most_drafts


class DraftModelSpeculator:
    """A model and its KV pool, and how far it has followed each running request."""

    on_device = True

    def __init__(
        self,
        model: Model,
        pool: KvPool,
        sampler: Sampler,
        device: torch.device,
        *,
        vocabulary: int,
        tokens: int,
        max_running: int,
        coupled: bool,
    ) -> None:
        """`coupled` draws drafts with the noise of the model's own draws: what is generated is then the same, token by
        token, as without speculation, whatever was drafted. Otherwise drafts are judged by rejection, which accepts
        more of them.

        Raises InputError where `model` has not the `vocabulary` of the one it drafts for.
        """
        if model.config.vocabulary != vocabulary:
            raise InputError(
                f"a draft model of {model.config.vocabulary} tokens",
                where="engine.speculation.model",
                allowed=f"one of the model's vocabulary of {vocabulary}",
            )
        self._model = model
        self._pool = pool
        self._sampler = sampler
        self._device = device
        self._tokens = tokens
        self.judged_by: Judgement = "match" if coupled else "rejection"
        self._token_ids: list[array[int]] = [array("i")] * max_running
        self._computed = [0] * max_running

    def begin(self, request: Request, token_ids: array[int]) -> None:
        self._token_ids[request.row] = token_ids
        self._computed[request.row] = request.computed

    def plan(self, request: Request) -> int:
        tokens = most_drafts(request, self._tokens)
        # The last draft is not fed to the draft model.
        return max(0, min(tokens, self._model.config.max_positions + 1 - request.total))

    @torch.inference_mode()
    def draft(self, slices: Sequence[Slice]) -> Drafts:
        feeds = [feed for feed in slices if _end(feed) <= self._model.config.max_positions]
        tokens: dict[int, list[int]] = {feed.request.row: [] for feed in slices}
        if not feeds:
            return Drafts(list(tokens.values()))
        logits = self._forward([self._catch_up(feed) for feed in feeds])
        probabilities: list[Tensor] = []
        drafting, place, rejected = [feed for feed in feeds if feed.drafts], 0, False
        while drafting:
            rows = self._rows([feed.request for feed in drafting], place)
            rejected = rejected or bool(rows.drawn and self.judged_by == "rejection")
            # A draft model that breaks down guesses at random; its guesses are judged like any other.
            logits = logits.nan_to_num_(0.0, posinf=0.0, neginf=0.0)
            logits = self._sampler.adjust(logits, rows, self._said(drafting, tokens, rows))
            if rejected:
                probabilities.append(self._sampler.probabilities(logits, rows))
            chosen = self._sampler.draw(logits, rows, Purpose.DRAFT if rejected else Purpose.TOKEN)
            for feed, token in zip(drafting, chosen.tolist(), strict=True):
                tokens[feed.request.row].append(token)
            place += 1
            drafting = [feed for feed in drafting if feed.drafts > place]
            if drafting:
                logits = self._forward([self._next(feed.request, tokens[feed.request.row]) for feed in drafting])
        return Drafts(list(tokens.values()), torch.cat(probabilities) if probabilities else None)

    def _catch_up(self, feed: Slice) -> BatchItem:
        """All that the model will have computed of a request before the drafts of this step."""
        request, _, drafts = feed
        start, end = min(self._computed[request.row], request.computed), _end(feed)
        self._computed[request.row] = end
        return BatchItem(self._token_ids[request.row][start:end], start, request.block_table, 1 if drafts else 0)

    def _next(self, request: Request, drafted: list[int]) -> BatchItem:
        """The newest of the tokens that were drafted for a request."""
        start = self._computed[request.row]
        self._computed[request.row] += 1
        return BatchItem(drafted[-1:], start, request.block_table)

    def _rows(self, requests: Sequence[Request], place: int) -> SamplingRows:
        return self._sampler.rows(
            np.array([request.row for request in requests], dtype=np.int64),
            np.array([request.total + place for request in requests], dtype=np.int64),
        )

    def _said(self, drafting: Sequence[Slice], tokens: dict[int, list[int]], rows: SamplingRows) -> Said | None:
        """What was drafted for each row already: where repetition is penalised, that counts too."""
        if rows.penalised is None:
            return None
        pairs = [(row, token) for row, feed in enumerate(drafting) for token in tokens[feed.request.row]]
        where, said = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        return self._sampler.there(where.copy()), self._sampler.there(said.copy())

    def _forward(self, items: Sequence[BatchItem]) -> Tensor:
        batch = HostBatch.of(items, self._pool.block_tokens).on(self._device)
        return self._model.forward(batch, self._pool)


def _end(feed: Slice) -> int:
    """How many tokens of the request the model will have computed after this step, drafts aside."""
    return feed.request.computed + feed.tokens - feed.drafts
