"""How a step laid out on the host is run through the model."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from bench.native.batch import HostBatch
from bench.native.kv_pool import KvPool
from bench.native.models import Model


class Runner(Protocol):
    @property
    def block_tokens(self) -> int: ...

    def run(self, host: HostBatch, newest: Tensor | None) -> Tensor:
        """The logits [L, V] float32 of the step's `logit_rows`.

        newest [rows] int64: what the tokens below 0 stand for, see `HostBatch.token_ids`; None when there are none.
        """


class EagerRunner:
    def __init__(self, model: Model, pool: KvPool, device: torch.device) -> None:
        self.block_tokens = pool.block_tokens
        self._model = model
        self._pool = pool
        self._device = device

    def run(self, host: HostBatch, newest: Tensor | None) -> Tensor:
        return self._model.forward(host.on(self._device, newest), self._pool)
