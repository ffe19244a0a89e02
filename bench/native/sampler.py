"""From logits to token ids that stay on the device, one for each row, and what a row that holds no numbers gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from neokernels.argmax import argmax
from neokernels.counter_random import Purpose
from neokernels.logit_filters import Filters, keep_likely, penalise_repetition
from neokernels.registry import Registry, Target
from neokernels.sampling import sample
from numpy.typing import NDArray
from torch import Tensor

from bench.core.sessions import Sampling
from bench.native.device import on_device
from bench.native.sampling_rows import DrawnRows, PenalisedRows, SamplingColumns, SamplingRows

Said = tuple[Tensor, Tensor]
"""Rows of the logits, and a token each, [P] int64: tokens that come before the row's and are not remembered yet."""


class Sampler:
    """Chooses tokens with the settings and the seed that are each request's own.

    `begin`, `replace` and `rows` are the host's; `choose` and the rest run in the order of the steps on the device,
    where the tokens stay. The tokens a request has already are kept there too, for requests with a repetition penalty:
    [rows, V] bool, made when the first such request is due.
    """

    def __init__(
        self, registry: Registry, target: Target, *, max_running: int, vocabulary: int, eos_ids: Sequence[int] = ()
    ) -> None:
        self._device = target.device
        self._argmax: Callable[[Tensor], Tensor] = registry.resolve(argmax, target)
        self._sample: Callable[..., Tensor] = registry.resolve(sample, target)
        self._columns = SamplingColumns(max_running, [token_id for token_id in eos_ids if token_id < vocabulary])
        self._seen_shape = (max_running, vocabulary)
        self._seen: Tensor | None = None

    def begin(self, row: int, sampling: Sampling, token_ids: Sequence[int], ends_from: int = 0) -> None:
        """A request starts, or starts again after a preemption, at `row` of the per-request state.

        token_ids: its prompt and what it has said so far. ends_from: how many tokens of both come before the first
        that may be EOS.
        """
        self._columns.begin(row, sampling, token_ids, ends_from)

    def replace(self, row: int, chosen: Sequence[int], given: int, token_ids: Sequence[int]) -> None:
        """The request at `row` was given `given` and not the tokens `chosen` for it; it has `token_ids` by now."""
        self._columns.replace(row, chosen, given, token_ids)

    def rows(self, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> SamplingRows:
        """How the R rows of a step's logits are to become tokens.

        rows [R]: the requests' rows, as given to `begin`. positions [R]: how many tokens of the request come before
        the one to be chosen.
        """
        return self._columns.gather(rows, positions)

    @torch.inference_mode()
    def choose(self, logits: Tensor, rows: SamplingRows) -> Tensor:
        """The next token of each of the R rows, [R] int64 on the device; −1 where its logits are not finite.

        logits [R, V] float32, changed in place.
        """
        finite = is_finite(logits)
        tokens = torch.where(finite, self.draw(self.adjust(logits, rows), rows), -1)
        if rows.penalised is not None:
            self.remember(rows.penalised, tokens[self.there(rows.penalised.where)])
        return tokens

    def adjust(self, logits: Tensor, rows: SamplingRows, said: Said | None = None) -> Tensor:
        """`logits` [R, V] with what is biased added and what is repeated penalised, in place."""
        if (biased := rows.biased) is not None:
            at = (self.there(biased.where), self.there(biased.tokens))
            logits.index_put_(at, self.there(biased.values), accumulate=True)
        if (penalised := rows.penalised) is not None:
            where = self.there(penalised.where)
            seen = self._seen_by(penalised)
            if said is not None:
                every = torch.zeros_like(logits, dtype=torch.bool)
                every[said] = True
                seen |= every[where]
            logits[where] = penalise_repetition(logits[where], seen, self.there(penalised.penalties))
        return logits

    def draw(self, logits: Tensor, rows: SamplingRows, purpose: Purpose = Purpose.TOKEN) -> Tensor:
        """A token for each row of adjusted `logits` [R, V], [R] int64."""
        if len(rows.drawn) == 1 and rows.drawn[0].where is None:
            return self._draw(logits, rows, rows.drawn[0], purpose)
        tokens = self._argmax(logits)
        for where, drawn in self._groups(rows):
            tokens[where] = self._draw(logits[where], rows, drawn, purpose)
        return tokens

    def probabilities(self, logits: Tensor, rows: SamplingRows) -> Tensor:
        """What `draw` draws from, [R, V] float32; all of it at the most likely token where a row is greedy."""
        probabilities = torch.zeros_like(logits).scatter_(-1, self._argmax(logits)[:, None], 1.0)
        for where, drawn in self._groups(rows):
            scaled = logits[where] / self.there(drawn.temperatures)[:, None]
            probabilities[where] = keep_likely(scaled, self._filters(drawn)).softmax(-1)
        return probabilities

    def remember(self, penalised: PenalisedRows, tokens: Tensor) -> None:
        """Tokens that were chosen for penalised rows, [P] int64, are repetitions from now on."""
        # A token of −1 marks the last of the vocabulary, in the row of a request that fails.
        if self._seen is not None:
            self._seen[self.there(penalised.rows), tokens] = True

    def _seen_by(self, penalised: PenalisedRows) -> Tensor:
        """[P, V] bool, after what begins and what was replaced have been written down."""
        if self._seen is None:
            self._seen = torch.zeros(self._seen_shape, dtype=torch.bool, device=self._device)
        for row, token_ids in penalised.begun:
            self._seen[row] = False
            self._seen[row, self.there(token_ids)] = True
        for row, forgotten, given in penalised.replaced:
            self._seen[row, self.there(forgotten)] = False
            self._seen[row, given] = True
        return self._seen[self.there(penalised.rows)]

    def _groups(self, rows: SamplingRows) -> Iterator[tuple[Tensor | slice, DrawnRows]]:
        for drawn in rows.drawn:
            yield slice(None) if drawn.where is None else self.there(drawn.where), drawn

    def _draw(self, logits: Tensor, rows: SamplingRows, drawn: DrawnRows, purpose: Purpose) -> Tensor:
        where = slice(None) if drawn.where is None else drawn.where
        return self._sample(
            logits,
            self.there(drawn.temperatures),
            self.there(rows.seeds[where]),
            self.there(rows.positions[where]),
            self._filters(drawn),
            purpose,
        )

    def _filters(self, drawn: DrawnRows) -> Filters:
        return Filters(
            top_k=None if drawn.top_k is None else self.there(drawn.top_k),
            most_k=0 if drawn.top_k is None else int(drawn.top_k.max()),
            top_p=None if drawn.top_p is None else self.there(drawn.top_p),
            min_p=None if drawn.min_p is None else self.there(drawn.min_p),
        )

    def there(self, values: NDArray[Any]) -> Tensor:
        """`values` on the sampler's device."""
        return on_device(values, self._device)


def is_finite(logits: Tensor) -> Tensor:
    """Which rows of [R, V] hold a likeliest token, [R] bool."""
    # The maximum carries every NaN and +inf of its row, and costs one pass where a test of each logit costs two.
    return logits.amax(-1).isfinite()
