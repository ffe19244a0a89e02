"""Which drafted tokens stand, by the logits that one step of the model gives for all of them.

Drafts that come without probabilities stand when they are the token that the model's own draw gives in their place. For
greedy requests that is the definition; for a draft that is certain it is speculative sampling itself, which accepts
with the probability of the token; and a draft drawn with the noise of the model's own draw meets it often (Daliri,
Musco & Suresh 2024, arXiv:2408.07978). What is generated is then, token by token, what would be without speculation, as
far as a row's logits do not depend on how many rows a step has: batch-invariant numerics promise that.
Drafts with probabilities are judged by rejection, which accepts more of them and keeps the distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from neokernels.registry import Registry, Target
from neokernels.rejection import accept, redraw
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
    starts: NDArray[np.int64]
    """[R]: the first row of each request."""
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
        self._accept: Callable[..., Tensor] = registry.resolve(accept, target)
        self._redraw: Callable[..., Tensor] = registry.resolve(redraw, target)

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
        judging = np.flatnonzero(place < counts[request])
        by_place = np.argsort(place[judging], kind="stable")
        tokens = np.array([token for tokens in drafts for token in tokens], dtype=np.int64)
        return DraftedRows(
            sampling=sampling,
            starts=starts,
            request=request,
            place=place,
            tokens=tokens[by_place],
            where=judging[by_place],
            said=_said(starts, drafts) if sampling.penalised is not None else _said([], []),
        )

    @torch.inference_mode()
    def verify(self, logits: Tensor, rows: DraftedRows, probabilities: Tensor | None = None) -> Tensor:
        """The tokens that each request gets, [R, 1 + most drafts] int64 on the device, filled up with −1.

        They are its drafts up to the first that is not taken, and one in that one's place, or behind them all. They end
        where logits are not finite; where those of the first token are not, there is none.

        logits [L, V] float32, changed in place; probabilities [D, V]: `Drafts.probabilities`.
        """
        there = self._sampler.there
        finite = is_finite(logits)
        logits = self._sampler.adjust(logits, rows.sampling, (there(rows.said[0]), there(rows.said[1])))
        if probabilities is None:
            taken, newest = self._match(logits, finite, rows)
        else:
            taken, newest = self._judge(logits, finite, rows, probabilities)
        given = self._given(taken, torch.where(finite[there(rows.starts) + taken], newest, -1), rows)
        self._remember(given, rows)
        return given

    def _match(self, logits: Tensor, finite: Tensor, rows: DraftedRows) -> tuple[Tensor, Tensor]:
        """How many drafts each request takes, and the token behind them, [R] int64 each: by the model's own draws."""
        there = self._sampler.there
        chosen, where = self._sampler.draw(logits, rows.sampling), there(rows.where)
        taken = self._taken((chosen[where] == there(rows.tokens)) & finite[where], rows)
        return taken, chosen[there(rows.starts) + taken]

    def _judge(self, logits: Tensor, finite: Tensor, rows: DraftedRows, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """The same by rejection."""
        there = self._sampler.there
        target, where = self._sampler.probabilities(logits, rows.sampling), there(rows.where)
        accepted = self._accept(target, probabilities, there(rows.tokens), where, *self._at(where, rows))
        taken = self._taken(accepted & finite[where], rows)
        last = there(rows.starts) + taken
        draft = torch.full_like(finite, -1, dtype=torch.int64)
        draft[where] = torch.arange(len(where), device=where.device)
        return taken, self._redraw(target[last], probabilities, draft[last], *self._at(last, rows))

    def _at(self, where: Tensor, rows: DraftedRows) -> tuple[Tensor, Tensor]:
        """Seeds and positions of some rows."""
        there = self._sampler.there
        return there(rows.sampling.seeds)[where], there(rows.sampling.positions)[where]

    def _taken(self, accepted: Tensor, rows: DraftedRows) -> Tensor:
        """How many drafts each request takes, those before the first that is not accepted, [R] int64."""
        return self._by_request(accepted, rows, fill=False).cumprod(-1).sum(-1)

    def _given(self, taken: Tensor, newest: Tensor, rows: DraftedRows) -> Tensor:
        drafted = self._by_request(self._sampler.there(rows.tokens), rows, fill=-1)
        places = torch.arange(drafted.shape[1], device=taken.device)
        drafted = drafted.masked_fill_(places >= taken[:, None], -1)
        return drafted.scatter_(-1, taken[:, None], newest[:, None])

    def _by_request(self, values: Tensor, rows: DraftedRows, *, fill: int) -> Tensor:
        """A value of each drafted token by request and place, [R, 1 + most drafts]."""
        shape = (len(rows.starts), int(rows.place.max()) + 1)
        at = (self._sampler.there(rows.request[rows.where]), self._sampler.there(rows.place[rows.where]))
        return values.new_full(shape, fill).index_put_(at, values)

    def _remember(self, given: Tensor, rows: DraftedRows) -> None:
        penalised = rows.sampling.penalised
        if penalised is None:
            return
        request = self._sampler.there(rows.request[penalised.where])
        tokens = given[request, self._sampler.there(rows.place[penalised.where])]
        # The host does not know which rows gave no token; the first of their request is remembered again.
        self._sampler.remember(penalised, torch.where(tokens < 0, given[request, 0], tokens))


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
