"""What a step does on its device, from the batch to the tokens: run the model, then sample or verify."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.native.executor import Work
from bench.native.graphs.runner import PlannedStep, StepRunner
from bench.native.log_probabilities import AskedRows, Likely, LogProbabilities
from bench.native.sampler import Sampler
from bench.native.sampling_rows import SamplingRows
from bench.native.speculative.verify import DraftedRows, Verifier


class Told(NamedTuple):
    """What a step gave, on the host."""

    token_ids: list[list[int]]
    """Of each request; −1 where it gets none."""
    likely: list[list[Likely]]
    """Of each token that each request gets, or nothing where it did not ask."""
    experts_touched: int | None
    """None where the model routes to none."""


class TokenSteps:
    """Makes the work of one step after another; each gives the tokens of the R requests that are due some."""

    def __init__(
        self,
        runner: StepRunner,
        sampler: Sampler,
        verifier: Verifier | None,
        *,
        imposable: Sequence[int],
        max_running: int,
        device: torch.device,
        overlap: bool,
    ) -> None:
        """`imposable` as in `LogProbabilities`."""
        self._runner = runner
        self._sampler = sampler
        self._verifier = verifier
        self._log_probabilities = LogProbabilities(device, imposable)
        self._newest = torch.zeros(max_running, dtype=torch.int64, device=device) if overlap else None
        """The newest token of each request, by its row: the next step may need it before the host knows it."""
        touched = runner.experts_touched()
        self._experts_touched = None if touched is None else int(touched)

    def sampling(
        self,
        planned: PlannedStep,
        rows: NDArray[np.int64],
        positions: NDArray[np.int64],
        asked: AskedRows | None = None,
    ) -> Work:
        """One token for each request. rows, positions [R] as in `Sampler.rows`."""
        return partial(self._sample, planned, self._sampler.rows(rows, positions), rows, asked)

    def verification(
        self,
        planned: PlannedStep,
        rows: NDArray[np.int64],
        positions: NDArray[np.int64],
        drafts: Sequence[Sequence[int]],
        probabilities: Tensor | None,
        asked: AskedRows | None = None,
    ) -> Work:
        """One token or more for each request, from what was drafted for it. `probabilities` as in `Drafts`."""
        assert self._verifier is not None
        drafted = self._verifier.rows(rows, positions, drafts)
        return partial(self._verify, self._verifier, planned, drafted, probabilities, asked)

    def read(self, result: Sequence[Tensor], asked: AskedRows | None) -> Told:
        """result: what the work gave, on the host. Steps are read in the order in which they ran."""
        tokens, *log_probabilities = result
        told: list[list[int]] = tokens.tolist()
        touched = None
        if self._experts_touched is not None:
            *told, (total, *_) = told
            touched, self._experts_touched = total - self._experts_touched, total
        likely = [] if asked is None else self._log_probabilities.read(log_probabilities, told, asked)
        return Told(told, likely or [[]] * len(told), touched)

    @torch.inference_mode()
    def _sample(
        self, planned: PlannedStep, sampling: SamplingRows, rows: NDArray[np.int64], asked: AskedRows | None
    ) -> tuple[Tensor, ...]:
        """[R, 1] int64, −1 where a request's logits are not finite; and what is asked of the logits."""
        logits = self._runner.run(planned, self._newest)
        tokens = self._sampler.choose(logits, sampling)
        if self._newest is not None:
            # The request of a row of −1 will be dropped, but the next step may be on its way already.
            self._newest[self._sampler.there(rows)] = tokens.clamp(min=0)
        return self._result(logits, tokens[:, None], asked)

    def _verify(
        self,
        verifier: Verifier,
        planned: PlannedStep,
        drafted: DraftedRows,
        probabilities: Tensor | None,
        asked: AskedRows | None,
    ) -> tuple[Tensor, ...]:
        """[R, 1 + most drafts] int64, filled up with −1; and what is asked of the logits."""
        logits = self._runner.run(planned)
        return self._result(logits, verifier.verify(logits, drafted, probabilities), asked)

    def _result(self, logits: Tensor, tokens: Tensor, asked: AskedRows | None) -> tuple[Tensor, ...]:
        """logits: by now with what is biased and penalised."""
        # Where the model routes to experts the tokens get a last row: how many it has touched so far.
        touched = self._runner.experts_touched()
        result = tokens if touched is None else torch.cat((tokens, touched.expand(1, tokens.shape[1])))
        return (result,) if asked is None else (result, *self._log_probabilities.tell(logits, tokens, asked))
