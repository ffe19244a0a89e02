"""The steps that an engine runs before anything is timed."""

from __future__ import annotations

from pathlib import Path

import torch
from neokernels.registry import Registry, Target

from bench.native.first_steps import first_steps
from bench.native.kv_pool import KvPool
from bench.native.models import load_model

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"


def test_every_power_of_two_is_met_by_prompts_requests_and_contexts():
    steps = list(first_steps(max_running=5, step_tokens=12, context_tokens=20, blocks=100, block_tokens=8))
    prompts = [step for step in steps if len(step.query_lens) == 1 and step.query_lens[0] == step.context_lens[0]]
    assert {int(step.query_lens[0]) for step in prompts} == {1, 2, 4, 8, 12}
    decodes = {(len(step.query_lens), int(step.context_lens[0])) for step in steps if step.query_lens.max() == 1}
    assert decodes >= {(requests, context) for requests in (1, 2, 4, 5) for context in (1, 2, 4, 8, 16, 20)}


def test_no_step_is_larger_than_the_pool():
    for step in first_steps(max_running=4, step_tokens=64, context_tokens=1000, blocks=3, block_tokens=4):
        assert step.context_lens.sum() <= 12
        assert step.block_tables.max() < 3


def test_a_model_can_run_them():
    cpu = torch.device("cpu")
    model = load_model(TINY, Target(cpu, torch.float32), Registry())
    pool = KvPool(model.cache_shape, 4, 8, torch.float32, cpu)
    with torch.inference_mode():
        for step in first_steps(max_running=2, step_tokens=8, context_tokens=64, blocks=4, block_tokens=8):
            assert model.forward(step.on(cpu), pool).shape == (len(step.query_lens), model.config.vocabulary)
