"""Rank 0's runner of steps: no rank can compute one without the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from neokernels.registry import Choice
from torch import Tensor

from bench.core.errors import EngineError
from bench.native.graphs.modes import GraphSettings
from bench.native.graphs.runner import PlannedStep, StepRunner
from bench.native.kv_pool import KvPool
from bench.native.models.decoder import Decoder
from bench.native.parallel.followers import Followers


class LeadingRunner(StepRunner):
    def __init__(
        self,
        followers: Followers,
        model: Decoder,
        pool: KvPool,
        settings: GraphSettings,
        choices: Sequence[Choice],
        device: torch.device,
    ) -> None:
        super().__init__(model, pool, settings, choices, device)
        self._followers = followers

    def run(self, planned: PlannedStep, newest: Tensor | None = None) -> Tensor:
        """As any runner does. Raises EngineError for whatever fails, for the ranks are then no longer in step."""
        try:
            self._followers.launch(planned.batch, shares_newest=newest is not None)
            if newest is not None:
                self._model.collectives.broadcast(newest)
            return super().run(planned, newest)
        except (RuntimeError, MemoryError, EngineError) as error:
            raise self._followers.failed(error) from error
