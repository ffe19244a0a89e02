"""Which drafted tokens stand, by the logits that one step of the model gives for all of them.

Drafts that come without probabilities stand when they are the token that the model's own draw gives in their place. For
greedy requests that is the definition; for a draft that is certain it is speculative sampling itself, which accepts
with the probability of the token; and a draft drawn with the noise of the model's own draw meets it often (Daliri,
Musco & Suresh 2024, arXiv:2408.07978). What is generated is then, token by token, what would be without speculation, as
far as a row's logits do not depend on how many rows a step has: batch-invariant numerics promise that.
Drafts with probabilities are judged by rejection, which accepts more of them and keeps the distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from neokernels.registry import Registry, Target
from neokernels.rejection import reject
from numpy.typing import NDArray
from torch import Tensor

from bench.native.sampler import Sampler, is_finite
from bench.native.sampling_rows import SamplingRows


@dataclass(frozen=True, slots=True)
class DraftedRows:
    """A step's R requests over its L rows of logits, as the host lays it out: 1 + drafts consecutive rows each.

    A drafted token is judged by the row of the token before it.
    """

    sampling: SamplingRows
    requests: int
    request: NDArray[np.int64]
    """[L]: the request of each row."""
    place: NDArray[np.int64]
    """[L]: the place of each row among those of its request."""
    tokens: NDArray[np.int64]
    """[D]: drafted tokens, in the order of `Drafts.probabilities`."""
    where: NDArray[np.int64]
    """[D]: the row that judges each of them."""
    said: tuple[NDArray[np.int64], NDArray[np.int64]]
    """Rows, and a drafted token that comes before the token of each; only where repetition is penalised."""


class Verifier:
    """Turns the logits of drafted rows into tokens."""

    def __init__(self, sampler: Sampler, registry: Registry, target: Target) -> None:
        self._sampler = sampler
        self._reject = registry.resolve(reject, target)

    def rows(
        self, rows: NDArray[np.int64], positions: NDArray[np.int64], drafts: Sequence[Sequence[int]]
    ) -> DraftedRows:
        """The step of R requests, each with its drafts or none.

        rows [R]: as given to `Sampler.begin`. positions [R]: how many tokens of the request come before the first to
        be chosen.
        """
        counts = np.array([len(tokens) for tokens in drafts], dtype=np.int64)
        starts = np.cumsum(counts + 1) - counts - 1
        request = np.repeat(np.arange(len(counts)), counts + 1)
        place = np.arange(len(request)) - starts[request]
        sampling = self._sampler.rows(rows[request], positions[request] + place)
        judged = np.flatnonzero(place < counts[request])
        by_place = np.argsort(place[judged], kind="stable")
        tokens = np.array([token for tokens in drafts for token in tokens], dtype=np.int64)
        return DraftedRows(
            sampling=sampling,
            requests=len(counts),
            request=request,
            place=place,
            tokens=tokens[by_place],
            where=judged[by_place],
            said=_said(starts, drafts) if sampling.penalised is not None else _said([], []),
        )

    @torch.inference_mode()
    def verify(self, logits: Tensor, rows: DraftedRows, probabilities: Tensor | None = None) -> Tensor:
        """The tokens that each request gets, [R, 1 + most drafts] int64 on the device, filled up with −1.

        They are its drafts up to the first that falls, and the one in that one's place, or behind them all. They end
        where logits are not finite; where those of the first token are not, there is none.

        logits [L, V] float32, changed in place; probabilities [D, V]: `Drafts.probabilities`.
        """
        there = self._sampler.there
        finite = is_finite(logits)
        said = (there(rows.said[0]), there(rows.said[1]))
        logits = self._sampler.adjust(logits, rows.sampling, said)
        tokens, where = there(rows.tokens), there(rows.where)
        if probabilities is None:
            chosen = self._sampler.draw(logits, rows.sampling)
            stands = torch.zeros_like(finite)
            stands[where] = chosen[where] == tokens
        else:
            target = self._sampler.probabilities(logits, rows.sampling)
            seeds, positions = there(rows.sampling.seeds), there(rows.sampling.positions)
            chosen, stands = self._reject(target, probabilities, tokens, where, seeds, positions)
            chosen[where] = torch.where(stands[where], tokens, chosen[where])
        given = self._given(torch.where(finite, chosen, -1), stands & finite, rows)
        self._remember(given, rows)
        return given

    def _given(self, chosen: Tensor, stands: Tensor, rows: DraftedRows) -> Tensor:
        at = (self._sampler.there(rows.request), self._sampler.there(rows.place))
        shape = (rows.requests, int(rows.place.max()) + 1)
        tokens = chosen.new_full(shape, -1).index_put_(at, chosen)
        standing = stands.new_zeros(shape).index_put_(at, stands).cumprod(-1).sum(-1)
        places = torch.arange(shape[1], device=chosen.device)
        return tokens.masked_fill_(places > standing[:, None], -1)

    def _remember(self, given: Tensor, rows: DraftedRows) -> None:
        penalised = rows.sampling.penalised
        if penalised is None:
            return
        request, place = rows.request[penalised.where], rows.place[penalised.where]
        first = given[self._sampler.there(request), 0]
        tokens = given[self._sampler.there(request), self._sampler.there(place)]
        # The host does not know which rows gave no token; the first of their request is remembered again.
        self._sampler.remember(penalised, torch.where(tokens < 0, first, tokens))


def _said(
    starts: Sequence[int] | NDArray[np.int64], drafts: Sequence[Sequence[int]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each row that judges or follows a draft, with each drafted token before it."""
    pairs = [
        (int(start) + place, token)
        for start, tokens in zip(starts, drafts, strict=True)
        for place in range(1, len(tokens) + 1)
        for token in tokens[:place]
    ]
    where, said = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return where.copy(), said.copy()
