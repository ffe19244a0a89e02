"""A step of one shape as graphs: whole, or in the pieces between its attentions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from bench.native.batch import HostBatch
from bench.native.graphs.buffers import StaticStep
from bench.native.graphs.capture import GraphBackend
from bench.native.kv_pool import KvPool
from bench.native.models.decoder import Decoder, Flow


class StepGraph(Protocol):
    def run(self, step: HostBatch, newest: Tensor | None) -> None:
        """Compute `step`, which fits this graph; its logits lead those of the graph. `newest` as in `HostBatch.on`."""


class WholeStep:
    """One graph from token ids to logits. Attention reads the step's lengths on the device."""

    def __init__(self, model: Decoder, pool: KvPool, static: StaticStep, logits: Tensor, backend: GraphBackend) -> None:
        """logits [logit rows of the shape, V] float32, written by every run."""
        self._model, self._pool, self._static, self._logits = model, pool, static, logits
        static.load_rows(static.bounds, None)
        static.load_layout(static.bounds)
        backend.warm_up(self._compute)
        self._graph = backend.capture(self._compute)

    def run(self, step: HostBatch, newest: Tensor | None) -> None:
        padded = self._static.padded(step)
        self._static.load_rows(padded, newest)
        self._static.load_layout(padded)
        self._graph.replay()

    def _compute(self) -> None:
        self._logits.copy_(self._model.forward(self._static.batch, self._pool))


class Boundary:
    """What goes from a graph to the attention behind it and from there to the next graph: rows of the largest step."""

    def __init__(self, model: Decoder, pool: KvPool, largest: HostBatch, device: torch.device) -> None:
        batch = largest.on(device)
        flow = model.begin(batch, pool)
        self.queries = torch.zeros_like(flow.query)
        self.attended = torch.zeros_like(model.attend(0, flow.query, batch, pool))


class StepPieces:
    """A graph for every stretch between two attentions, which run eagerly on the step's own requests.

    What only graphs pass on stays in their pool: a piece is captured while the one before it still holds its results,
    so nothing in between writes over them. What attention takes and gives lies outside, in `Boundary`.
    """

    _flow: Flow

    def __init__(
        self,
        model: Decoder,
        pool: KvPool,
        static: StaticStep,
        boundary: Boundary,
        logits: Tensor,
        backend: GraphBackend,
    ) -> None:
        """logits [logit rows of the shape, V] float32, written by every run."""
        self._model, self._pool, self._static, self._logits = model, pool, static, logits
        self._queries = boundary.queries[: static.key.tokens]
        self._attended = boundary.attended[: static.key.tokens]
        stretches: list[Callable[[], None]] = [self._begin]
        stretches += [partial(self._between, layer) for layer in range(model.layers - 1)]
        stretches.append(self._finish)
        static.load_rows(static.bounds, None)
        backend.warm_up(lambda: self._compute(stretches, static.bounds))
        self._pieces = [backend.capture(stretch).replay for stretch in stretches]
        # The memory behind it is free for the graphs that are captured next; on a replay nobody asks for it by name.
        del self._flow

    def run(self, step: HostBatch, newest: Tensor | None) -> None:
        tokens = len(step.token_ids)
        self._static.load_rows(self._static.padded(step), newest)
        # What an earlier, longer step left there need not be numbers.
        self._attended[tokens:].zero_()
        self._compute(self._pieces, step)

    def _compute(self, stretches: Sequence[Callable[[], None]], step: HostBatch) -> None:
        tokens = len(step.token_ids)
        batch = replace(self._static.batch, layout=step.layout_on(self._queries.device))
        for layer, stretch in enumerate(stretches[:-1]):
            stretch()
            self._attended[:tokens] = self._model.attend(layer, self._queries[:tokens], batch, self._pool)
        stretches[-1]()

    def _begin(self) -> None:
        self._keep(self._model.begin(self._static.batch, self._pool))

    def _between(self, layer: int) -> None:
        self._keep(self._model.between(layer, self._attended, self._flow, self._static.batch, self._pool))

    def _finish(self) -> None:
        self._logits.copy_(self._model.finish(self._attended, self._flow, self._static.batch))

    def _keep(self, flow: Flow) -> None:
        self._queries.copy_(flow.query)
        self._flow = flow
