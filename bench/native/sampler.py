"""From logits to token ids on the host, one for each row, and what a row that holds no numbers gets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from neokernels.registry import Registry, Target
from neokernels.sampling import sample
from torch import Tensor

from bench.native.generation import Generation


class Sampler:
    """Chooses each request's next token with the seed and temperature that are its own."""

    def __init__(self, registry: Registry, device: torch.device) -> None:
        self._device = device
        self._sample = registry.resolve(sample, Target(device, torch.float32))

    @torch.inference_mode()
    def choose(self, logits: Tensor, generations: Sequence[Generation]) -> list[int | None]:
        """The next token of each of the R generations, None where its logits are not finite. logits [R, V] float32."""
        if not generations:
            return []
        tokens = self._sample(
            logits,
            self._column([generation.temperature for generation in generations], torch.float32),
            self._column([generation.seed for generation in generations], torch.int64),
            self._column([generation.request.total for generation in generations], torch.int64),
        )
        # The maximum carries every NaN and +inf of its row, and costs one pass where a test of each logit costs two.
        finite = logits.amax(-1).isfinite()
        chosen = torch.where(finite, tokens, -1).tolist()
        return [token if token >= 0 else None for token in chosen]

    def _column(self, values: list[int] | list[float], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=self._device)
