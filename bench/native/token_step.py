"""What a step does on its device, from the batch to the tokens: run the model, then sample or verify."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.native.executor import Work
from bench.native.graphs.runner import PlannedStep, StepRunner
from bench.native.sampler import Sampler
from bench.native.sampling_rows import SamplingRows
from bench.native.speculative.verify import DraftedRows, Verifier


class TokenSteps:
    """Makes the work of one step after another; each gives the tokens of the R requests that are due some."""

    def __init__(
        self,
        runner: StepRunner,
        sampler: Sampler,
        verifier: Verifier | None,
        *,
        max_running: int,
        device: torch.device,
        overlap: bool,
    ) -> None:
        self._runner = runner
        self._sampler = sampler
        self._verifier = verifier
        self._newest = torch.zeros(max_running, dtype=torch.int64, device=device) if overlap else None
        """The newest token of each request, by its row: the next step may need it before the host knows it."""
        touched = runner.experts_touched()
        self._experts_touched = None if touched is None else int(touched)

    def sampling(self, planned: PlannedStep, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> Work:
        """One token for each request. rows, positions [R] as in `Sampler.rows`."""
        return partial(self._sample, planned, self._sampler.rows(rows, positions), rows)

    def verification(
        self,
        planned: PlannedStep,
        rows: NDArray[np.int64],
        positions: NDArray[np.int64],
        drafts: Sequence[Sequence[int]],
        probabilities: Tensor | None,
    ) -> Work:
        """One token or more for each request, from what was drafted for it. `probabilities` as in `Drafts`."""
        assert self._verifier is not None
        return partial(
            self._verify, self._verifier, planned, self._verifier.rows(rows, positions, drafts), probabilities
        )

    def read(self, result: Tensor) -> tuple[list[list[int]], int | None]:
        """The tokens of each request, and how many experts the step touched where the model routes to some.

        result: what the work gave, on the host. Steps are read in the order in which they ran.
        """
        told: list[list[int]] = result.tolist()
        if self._experts_touched is None:
            return told, None
        *told, (touched, *_) = told
        before, self._experts_touched = self._experts_touched, touched
        return told, touched - before

    @torch.inference_mode()
    def _sample(self, planned: PlannedStep, sampling: SamplingRows, rows: NDArray[np.int64]) -> Tensor:
        """[R, 1] int64; −1 where a request's logits are not finite."""
        tokens = self._sampler.choose(self._runner.run(planned, self._newest), sampling)
        if self._newest is not None:
            # The request of a row of −1 will be dropped, but the next step may be on its way already.
            self._newest[self._sampler.there(rows)] = tokens.clamp(min=0)
        return self._with_experts(tokens[:, None])

    def _verify(
        self, verifier: Verifier, planned: PlannedStep, drafted: DraftedRows, probabilities: Tensor | None
    ) -> Tensor:
        """[R, 1 + most drafts] int64, filled up with −1."""
        return self._with_experts(verifier.verify(self._runner.run(planned), drafted, probabilities))

    def _with_experts(self, tokens: Tensor) -> Tensor:
        """`tokens` and, where the model routes to experts, a last row with how many it has touched so far."""
        touched = self._runner.experts_touched()
        return tokens if touched is None else torch.cat((tokens, touched.expand(1, tokens.shape[1])))
