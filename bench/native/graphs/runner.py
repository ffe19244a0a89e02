"""Runs steps, in CUDA graphs where there is one for them and eagerly where there is none, and keeps count of both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from neokernels.registry import Choice
from torch import Tensor

from bench.core.errors import EngineError
from bench.native.batch import HostBatch
from bench.native.device import is_out_of_memory
from bench.native.first_steps import first_steps
from bench.native.graphs.buffers import StaticBuffers, StaticStep
from bench.native.graphs.capture import CudaGraphs, GraphBackend, garbage_collection_off
from bench.native.graphs.dispatcher import BatchKey, Decision, Dispatcher
from bench.native.graphs.modes import GraphSettings, resolve_mode
from bench.native.graphs.statistics import StepCounts
from bench.native.graphs.step_graphs import Boundary, StepGraph, StepPieces, WholeStep
from bench.native.kv_pool import KvPool
from bench.native.models.decoder import Decoder


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step and where it will run."""

    batch: HostBatch
    decision: Decision

    @property
    def graph_key(self) -> str:
        return self.decision.graph_key

    @property
    def padding_tokens(self) -> int:
        return self.decision.key.tokens - len(self.batch.token_ids)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What compiling and capturing took."""

    compile_s: float
    """Of kernels that are compiled when they are first launched; 0 where there are none."""
    graphs: int
    """Shapes there are graphs for."""
    capture_s: float
    pool_bytes: int


class StepRunner:
    """Stands between an engine and its model.

    On a device without graphs every step runs eagerly, as it is, and what would have run is counted beside it.
    """

    def __init__(
        self,
        model: Decoder,
        pool: KvPool,
        settings: GraphSettings,
        choices: Sequence[Choice],
        device: torch.device,
        backend: GraphBackend | None = None,
    ) -> None:
        """`choices`: what the registry resolved for the model. `backend`: None is the device's own, if it has one."""
        if backend is None and device.type == "cuda":
            backend = CudaGraphs(device)
        self.block_tokens = pool.block_tokens
        self._model = model
        self._pool = pool
        self._device = device
        self._backend = backend
        self._mode = mode = resolve_mode(settings, choices, device, capturable=backend is not None)
        self._not_captured = "not captured yet" if mode.captured == mode.planned else mode.downgrades[-1].reason
        self._dispatcher = Dispatcher(mode.planned, settings, mode.query_lens)
        self._graphs: dict[str, StepGraph] = {}
        self._logits = torch.empty(0)
        self._settings = settings
        self._warm_up = WarmUp(0.0, 0, 0.0, 0)
        self._ran = StepCounts()
        self._decided = StepCounts()

    def warm_up(self) -> WarmUp:
        """Compile what steps are made of, then capture every graph there is to be, the largest first.

        The KV pool must not be in use yet: its first blocks are written. Raises EngineError where memory runs out.
        """
        if self._device.type == "cuda":
            began = time.monotonic()
            self._compile()
            self._warm_up = replace(self._warm_up, compile_s=time.monotonic() - began)
        graphs = self._dispatcher.graphs()
        if self._backend is not None and graphs:
            began = time.monotonic()
            with garbage_collection_off():
                self._capture(graphs, self._backend)
            self._warm_up = WarmUp(
                self._warm_up.compile_s, len(graphs), time.monotonic() - began, self._backend.pool_bytes
            )
        return self._warm_up

    def plan(self, step: HostBatch) -> PlannedStep:
        """Where `step` runs, which is counted."""
        key = BatchKey.of(step)
        decision = decided = self._dispatcher.dispatch(key, len(step.logit_rows))
        if decided.mode != "eager" and decided.graph_key not in self._graphs:
            decision = Decision("eager", key, self._not_captured)
        self._decided.add(decided, key.tokens)
        self._ran.add(decision, key.tokens)
        return PlannedStep(step, decision)

    @torch.inference_mode()
    def run(self, planned: PlannedStep, newest: Tensor | None = None) -> Tensor:
        """The logits of the step's logit rows, [L, V] float32; the next step may write over them.

        `newest` as in `HostBatch.on`.
        """
        step = planned.batch
        if planned.decision.mode == "eager":
            return self._model.forward(step.on(self._device, newest), self._pool)
        self._graphs[planned.graph_key].run(step, newest)
        return self._logits[: len(step.logit_rows)]

    def experts_touched(self) -> Tensor | None:
        """As `Model.experts_touched` says."""
        return self._model.experts_touched()

    def collectives(self) -> dict[str, Any] | None:
        """As `Collectives.statistics` says."""
        return self._model.collectives.statistics()

    def clear_statistics(self) -> None:
        """Forget the steps that ran so far."""
        self._ran = StepCounts()
        self._decided = StepCounts()

    def statistics(self) -> dict[str, Any]:
        """What was asked for, what became of it and what it did, in plain values for the record.

        `would_have_run` stands only where the device has no graphs: what the kernels, were they on one that has, would
        have run in them.
        """
        mode = self._mode
        statistics = {
            "requested_mode": mode.requested,
            "mode": mode.captured,
            "downgrades": [asdict(downgrade) for downgrade in mode.downgrades],
            "decode_sizes": {str(length): list(sizes) for length, sizes in self._dispatcher.decode_sizes.items()},
            "mixed_sizes": list(self._dispatcher.mixed_sizes),
            **asdict(self._warm_up),
            **self._ran.summary(),
        }
        if mode.captured != mode.planned:
            statistics["would_have_run"] = {"mode": mode.planned, **self._decided.summary()}
        return statistics

    @torch.inference_mode()
    def _compile(self) -> None:
        """Every launch finds its kernel from here on."""
        for step in first_steps(
            max_running=self._settings.max_running,
            step_tokens=self._settings.step_tokens,
            context_tokens=self._model.config.max_positions,
            blocks=self._pool.blocks,
            block_tokens=self._pool.block_tokens,
        ):
            self._model.forward(step.on(self._device), self._pool)
        torch.cuda.synchronize(self._device)

    @torch.inference_mode()
    def _capture(self, graphs: Sequence[Decision], backend: GraphBackend) -> None:
        keys = [graph.key for graph in graphs]
        most_rows = max(self._dispatcher.logit_rows(key) for key in keys)
        largest = keys[0]
        try:
            buffers = StaticBuffers(
                tokens=largest.tokens,
                requests=max(key.requests for key in keys),
                logit_rows=most_rows,
                context_tokens=min(self._model.config.max_positions, self._pool.blocks * self._pool.block_tokens),
                block_tokens=self._pool.block_tokens,
                device=self._device,
            )
            self._logits = torch.zeros((most_rows, self._model.config.vocabulary), device=self._device)
            boundary: Boundary | None = None
            for graph in graphs:
                static = StaticStep(buffers, graph.key, self._dispatcher.logit_rows(graph.key))
                logits = self._logits[: static.logit_rows]
                made: StepGraph
                if graph.mode == "full":
                    made = WholeStep(self._model, self._pool, static, logits, backend)
                else:
                    boundary = boundary or Boundary(self._model, self._pool, static.bounds, self._device)
                    made = StepPieces(self._model, self._pool, static, boundary, logits, backend)
                self._graphs[graph.graph_key] = made
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise EngineError(
                f"CUDA graphs for steps of up to {largest.tokens} tokens do not fit beside weights and KV pool: lower "
                "graph_max_tokens or kv_memory_share"
            ) from error
