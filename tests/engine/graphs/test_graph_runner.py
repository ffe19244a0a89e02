"""The whole runner of graphs on a CPU, with a backend whose graphs do their work again instead of replaying kernels.

Everything but the capture itself is as on a GPU: buffers, padding, order of pieces, slices of the logits, statistics.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from bench.core.errors import EngineError
from bench.native.batch import BatchItem, HostBatch

EVERY_MODE = pytest.mark.parametrize("mode", ["decode_full", "full", "piecewise", "full_and_piecewise"])


@dataclass
class Repeated:
    backend: Repeating
    work: Callable[[], None]

    def replay(self) -> None:
        self.backend.replays += 1
        self.work()


@dataclass
class Repeating:
    """Its graphs run the captured functions again, on the same buffers."""

    captures: int = 0
    warm_ups: int = 0
    replays: int = 0
    pool_bytes: int = 4096
    collecting: set[bool] = field(default_factory=set)

    def warm_up(self, work: Callable[[], None]) -> None:
        self.warm_ups += 1
        work()

    def capture(self, work: Callable[[], None]) -> Repeated:
        self.captures += 1
        self.collecting.add(gc.isenabled())
        work()
        return Repeated(self, work)


def step_of(*lens: int, logit_tokens: int = 1) -> HostBatch:
    """Prompts from their beginning, each in blocks of its own."""
    items, block = [], 0
    for count in lens:
        blocks = -(-count // 4)
        items.append(BatchItem(range(20, 20 + count), 0, range(block, block + blocks), min(count, logit_tokens)))
        block += blocks
    return HostBatch.of(items, 4)


@EVERY_MODE
@pytest.mark.parametrize(("sizes", "seed"), [("pow2", 1), ("vllm", 2), ("exact", 3)])
def test_same_tokens_as_without_graphs(bed: Any, workload: Any, mode: str, sizes: str, seed: int) -> None:
    pool = bed.pool()
    runner = bed.runner(pool, Repeating(), mode=mode, sizes=sizes)
    runner.warm_up()
    keys: set[str] = set()

    def run(step: HostBatch) -> torch.Tensor:
        planned = runner.plan(step)
        keys.add(planned.graph_key.split("/")[0])
        logits = runner.run(planned)
        assert logits.shape == (len(step.logit_rows), bed.model.config.vocabulary)
        return logits

    assert workload(seed).answers(run) == workload(seed).answers(bed.plain(bed.pool()))
    assert (
        keys
        == {
            "decode_full": {"eager", "full"},
            "full": {"full"},
            "piecewise": {"piecewise"},
            "full_and_piecewise": {"full", "piecewise"},
        }[mode]
    )


@EVERY_MODE
def test_logits_of_each_step_shape(bed: Any, mode: str) -> None:
    """Steps of all kinds one after another, each over what the ones before left in the buffers."""
    pool = bed.pool()
    runner = bed.runner(pool, Repeating(), mode=mode, drafted_tokens=2)
    runner.warm_up()
    shapes = [step_of(40), step_of(1), step_of(3, 3, logit_tokens=3), step_of(7, 1, 12), step_of(1, 1, 1)]
    for step in [*shapes, *reversed(shapes)]:
        expected = bed.plain(bed.pool())(step)
        torch.testing.assert_close(runner.run(runner.plan(step)), expected, atol=1e-5, rtol=1e-5)


def test_not_a_number_stays_with_its_step(bed: Any, small_model: Any) -> None:
    """What a request without finite logits leaves in the buffers reaches no later one."""
    pool = bed.pool()
    runner = bed.runner(pool, Repeating(), mode="piecewise")
    runner.warm_up()
    poisoned = replace(step_of(40), token_ids=step_of(40).token_ids * 0 + small_model.poison)
    assert runner.run(runner.plan(poisoned)).isnan().all()
    assert runner.run(runner.plan(step_of(33))).isfinite().all()


@EVERY_MODE
def test_tokens_that_only_the_device_knows(bed: Any, mode: str) -> None:
    step = step_of(1, 1, 1)
    unknown = replace(step, token_ids=step.token_ids.copy())
    unknown.token_ids[1:] = (-1 - 4, -1 - 0)
    newest = torch.tensor([31, 0, 0, 0, 57, 0])
    known = replace(step, token_ids=step.token_ids.copy())
    known.token_ids[1:] = (57, 31)
    runner = bed.runner(bed.pool(), Repeating(), mode=mode)
    runner.warm_up()
    expected = bed.plain(bed.pool())(known)
    torch.testing.assert_close(runner.run(runner.plan(unknown), newest), expected, atol=1e-5, rtol=1e-5)


def test_a_graph_a_stretch_between_attentions(bed: Any) -> None:
    backend = Repeating()
    runner = bed.runner(bed.pool(), backend, mode="piecewise", sizes="pow2", max_tokens=8)
    took = runner.warm_up()
    assert (took.graphs, took.pool_bytes) == (4, 4096)
    assert (backend.warm_ups, backend.captures) == (4, 4 * (bed.model.layers + 1))
    runner.run(runner.plan(step_of(5)))
    assert backend.replays == bed.model.layers + 1


def test_nothing_is_collected_while_graphs_are_captured(bed: Any) -> None:
    backend = Repeating()
    assert gc.isenabled()
    bed.runner(bed.pool(), backend).warm_up()
    assert backend.collecting == {False}
    assert gc.isenabled()


def test_larger_steps_run_eagerly_and_are_counted(bed: Any) -> None:
    runner = bed.runner(bed.pool(), Repeating(), max_tokens=16)
    runner.warm_up()
    planned = [runner.plan(step) for step in (step_of(1, 1, 1), step_of(9), step_of(20), step_of(12, logit_tokens=12))]
    assert [one.graph_key for one in planned] == ["full/4x4q1", "piecewise/16", "eager", "eager"]
    assert [one.padding_tokens for one in planned] == [1, 7, 0, 0]
    statistics = runner.statistics()
    assert statistics["mode"] == statistics["requested_mode"] == "full_and_piecewise"
    assert statistics["downgrades"] == []
    assert statistics["decode_sizes"] == {"1": [1, 2, 4, 6]}
    assert statistics["mixed_sizes"] == [1, 2, 4, 8, 16]
    assert statistics["graphs"] == 9
    assert statistics["share_of_steps"] == {"eager": 0.5, "full": 0.25, "piecewise": 0.25}
    assert statistics["eager_reasons"] == {
        "more rows of logits than the graph gives": 1,
        "more tokens than the largest graph": 1,
    }
    assert statistics["padding_share"] == pytest.approx(8 / (4 + 16 + 20 + 12))
    assert "would_have_run" not in statistics
    runner.clear_statistics()
    assert runner.statistics()["steps"] == 0


def test_a_step_that_comes_before_the_capture_runs_eagerly(bed: Any) -> None:
    runner = bed.runner(bed.pool(), Repeating())
    assert runner.plan(step_of(3)).decision.reason == "not captured yet"
    torch.testing.assert_close(runner.run(runner.plan(step_of(3))), bed.plain(bed.pool())(step_of(3)))


def test_a_cpu_runs_eagerly_and_says_what_would_have_run(bed: Any, workload: Any) -> None:
    runner = bed.runner(bed.pool(), sizes="pow2")
    took = runner.warm_up()
    assert (took.graphs, took.pool_bytes, took.capture_s) == (0, 0, 0.0)

    def run(step: HostBatch) -> torch.Tensor:
        planned = runner.plan(step)
        assert (planned.graph_key, planned.padding_tokens) == ("eager", 0)
        return runner.run(planned)

    assert workload(3).answers(run) == workload(3).answers(bed.plain(bed.pool()))
    statistics = runner.statistics()
    assert statistics["mode"] == "none"
    assert statistics["downgrades"] == [
        {"wanted": "full_and_piecewise", "got": "none", "reason": "a cpu has no graphs"}
    ]
    assert statistics["padding_tokens"] == 0
    assert statistics["eager_reasons"] == {"a cpu has no graphs": statistics["steps"]}
    would = statistics["would_have_run"]
    assert would["mode"] == "full_and_piecewise"
    assert would["steps"] == statistics["steps"]
    assert set(would["share_of_steps"]) == {"full", "piecewise"}
    assert 0 < would["padding_share"] < 0.5


def test_graphs_that_do_not_fit_are_told_with_what_to_lower(bed: Any) -> None:
    class Full(Repeating):
        def capture(self, work: Callable[[], None]) -> Repeated:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(EngineError, match=r"up to 40 tokens do not fit .* lower graph_max_tokens or kv_memory_share"):
        bed.runner(bed.pool(), Full()).warm_up()
    assert gc.isenabled()
