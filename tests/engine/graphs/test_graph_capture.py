"""Real captures: every mode gives the tokens that plain steps give, and its graphs are few and share their memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.native.batch import BatchItem, HostBatch

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("mode", ["decode_full", "full", "piecewise", "full_and_piecewise"])
def test_same_tokens_as_without_graphs(gpu_bed: Any, workload: Any, mode: str) -> None:
    runner = gpu_bed.runner(gpu_bed.pool(), mode=mode)
    took = runner.warm_up()
    assert runner.statistics()["downgrades"] == []
    assert took.graphs > 0
    assert took.pool_bytes > 0
    assert workload(1).answers(lambda step: runner.run(runner.plan(step))) == workload(1).answers(
        gpu_bed.plain(gpu_bed.pool())
    )
    assert (
        set(runner.statistics()["share_of_steps"])
        == {
            "decode_full": {"eager", "full"},
            "full": {"full"},
            "piecewise": {"piecewise"},
            "full_and_piecewise": {"full", "piecewise"},
        }[mode]
    )


@pytest.mark.parametrize("mode", ["full", "piecewise"])
def test_smaller_graphs_live_in_the_memory_of_the_largest(gpu_bed: Any, mode: str) -> None:
    few = gpu_bed.runner(gpu_bed.pool(), mode=mode, sizes="pow2", max_tokens=32).warm_up()
    many = gpu_bed.runner(gpu_bed.pool(), mode=mode, sizes="exact", max_tokens=32).warm_up()
    assert (few.graphs, many.graphs) == (6, 32)
    assert many.pool_bytes < 2 * few.pool_bytes


def test_a_step_waits_for_nothing(gpu_bed: Any) -> None:
    """Steps are launched one behind the other; the host neither waits for one nor writes over what it has yet to read.

    That is seen in what comes out: every launch has other tokens, and all are compared when all are through.
    """
    pool = gpu_bed.pool()
    runner = gpu_bed.runner(pool, mode="full")
    runner.warm_up()
    steps = [HostBatch.of([BatchItem([20 + index], 0, [index])], pool.block_tokens) for index in range(32)]
    logits = [runner.run(runner.plan(step)).clone() for step in steps]
    for step, row in zip(steps, logits, strict=True):
        torch.testing.assert_close(row, gpu_bed.plain(gpu_bed.pool())(step), atol=1e-4, rtol=1e-4)
