"""With batch-invariant numerics a request is answered the same whoever shares its steps, to the last token."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest

from bench.core.sessions import Sampling
from bench.core.spec import NativeEngineSpec
from bench.native.core import EngineCore
from bench.native.load import load_engine
from bench.native.messages import Submit
from bench.native.settings import EngineSettings

OUTPUT = 8
COMPANIES = 200
PROMPTS = tuple(
    tuple(20 + (7 * n + 13 * i * i) % 290 for i in range(length)) for n, length in enumerate((1, 3, 9, 20, 33, 50))
)
SAMPLINGS = (
    Sampling(),
    Sampling(temperature=1.0, seed=5),
    Sampling(temperature=0.8, seed=1 << 47, top_k=20, top_p=0.95),
    Sampling(temperature=1.3, seed=9, min_p=0.02, repetition_penalty=1.2),
    Sampling(temperature=1.0, seed=10, top_p=0.8, logit_bias=((40, 2.0),)),
)
KINDS = [(prompt, sampling) for prompt in PROMPTS for sampling in SAMPLINGS]


def engine(folder: Any, **changes: Any) -> EngineCore:
    values = {"device": "cpu", "threads": 1, "max_running": 8, "step_tokens": 24, "block_tokens": 4}
    spec = NativeEngineSpec.model_validate(
        {**values, "kv_cache_tokens": 2048, "numerics": "batch_invariant", **changes}
    )
    return load_engine(folder, EngineSettings.of(spec.model_dump(exclude={"kind"}))).core


def submit(core: EngineCore, id: int, kind: int) -> None:
    prompt, sampling = KINDS[kind]
    assert core.add(Submit(id, array("i", prompt), OUTPUT, True, 0, sampling)) is None


def hear(core: EngineCore, said: dict[int, list[int]]) -> None:
    for tokens in core.step().tokens:
        said.setdefault(tokens.id, []).extend(tokens.token_ids)


@pytest.fixture(scope="module")
def alone(small_model: Any) -> list[list[int]]:
    """What each kind is answered when it is the only one."""
    core = engine(small_model.folder, prefix_cache=False)
    said: dict[int, list[int]] = {}
    for kind in range(len(KINDS)):
        submit(core, kind, kind)
        while core.has_work:
            hear(core, said)
    return [said[kind] for kind in range(len(KINDS))]


@pytest.mark.parametrize(
    "axes", [{}, {"speculation": {"kind": "ngram", "tokens": 3}, "admission": "optimistic"}], ids=["plain", "drafted"]
)
def test_an_answer_does_not_depend_on_company(small_model: Any, alone: list[list[int]], axes: dict[str, Any]) -> None:
    """Each company begins while the one before it still answers, each of its requests at a step of its own."""
    core, random = engine(small_model.folder, **axes), np.random.default_rng(1)
    kinds: list[int] = []
    said: dict[int, list[int]] = {}
    for _ in range(COMPANIES):
        for kind in random.choice(len(KINDS), random.integers(1, 9), replace=False).tolist():
            submit(core, len(kinds), kind)
            kinds.append(kind)
            for _ in range(random.integers(0, 3)):
                if core.has_work:
                    hear(core, said)
        if core.counters().waiting > 8:
            while core.has_work:
                hear(core, said)
    while core.has_work:
        hear(core, said)
    wrong = [id for id, kind in enumerate(kinds) if said[id] != alone[kind]]
    assert not wrong, f"{len(wrong)} of {len(kinds)} answers differ"
