"""The process of a rank other than 0: it computes the steps that rank 0 sends, on its part of the model.

It samples nothing and keeps no account. It ends when told to, and also, wherever it is, when rank 0's end of the
connection closes.
"""

from __future__ import annotations

import os
from pathlib import Path
from queue import SimpleQueue

import torch
from neokernels.registry import Registry

from bench.core.errors import EngineError, InputError
from bench.native.command_queue import open_command_queue
from bench.native.device import in_a_line
from bench.native.graphs.runner import StepRunner
from bench.native.kv_pool import KvPool
from bench.native.messages import EngineFailed, InputRefused
from bench.native.model_config import ModelConfig
from bench.native.parallel.collectives import Collectives, GroupCollectives, join_store
from bench.native.parallel.messages import Here, Join, Loaded, Order, Serve, Step
from bench.native.rank import graph_settings, load_part, pool_blocks, rank_devices, target_of, threads_of


def main() -> None:
    connection, orders = open_command_queue()
    connection.send(Here())
    try:
        join = orders.get()
        if isinstance(join, Join):
            follower = _Follower(join)
            connection.send(follower.loaded())
            follower.follow(orders)
    except InputError as error:
        connection.send(InputRefused(error.what, error.where, error.allowed))
    except (EngineError, RuntimeError, MemoryError) as error:
        connection.send(EngineFailed(in_a_line(error)))
    os._exit(0)


class _Follower:
    def __init__(self, join: Join) -> None:
        self._settings = settings = join.settings
        torch.set_num_threads(threads_of(settings))
        folder, device = Path(join.model_folder), rank_devices(settings)[join.ranks.rank]
        if device.type == "cuda":
            torch.cuda.set_device(device)  # kernels that are not torch's are launched on the current one
        self._target = target_of(settings, ModelConfig.from_folder(folder), device)
        self._registry = Registry(settings.kernels)
        store = join_store(join.ranks.size, join.port)
        self._collectives: Collectives = GroupCollectives(join.ranks, device, settings.numerics, store)
        self._model = load_part(folder, self._target, self._registry, join.random_seed, self._collectives)

    def loaded(self) -> Loaded:
        blocks = pool_blocks(self._settings, self._target, self._collectives.ranks, self._model)
        return Loaded(blocks, self._model.parameter_bytes)

    def follow(self, orders: SimpleQueue[Order]) -> None:
        """Until told to leave: in the order rank 0 sends, and so computes, its steps."""
        serve = orders.get()
        if not isinstance(serve, Serve):
            return
        settings, target = self._settings, self._target
        kv_dtype = target.kv_dtype or target.dtype
        pool = KvPool(self._model.cache_shape, serve.blocks, settings.block_tokens, kv_dtype, target.device)
        graphs = graph_settings(settings)
        runner = StepRunner(self._model, pool, graphs, self._registry.choices, target.device)
        runner.warm_up()
        newest = torch.zeros(settings.max_running, dtype=torch.int64, device=target.device)
        while isinstance(step := orders.get(), Step):
            if step.shares_newest:
                self._collectives.broadcast(newest)
            runner.run(runner.plan(step.batch), newest if step.shares_newest else None)


if __name__ == "__main__":
    main()
