"""What a prompt costs the client: realised anew when it is short, and out of pieces it has when it is long.

The aims are 30 us for 100 tokens and 5 ms for 128k, in every form. `share_of_aim` is the median over the aim. Nothing
here is asserted.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.core.protocols import PromptForm
from bench.core.sessions import Segment, Turn
from bench.workload.prompts import PromptSynthesizer

pytestmark = pytest.mark.benchmark(timer=time.thread_time)

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"
FORMS: list[PromptForm] = ["tokens", "text", "chat"]
SHORT_AIM_S, LONG_AIM_S = 30e-6, 5e-3


def tell(benchmark: BenchmarkFixture, aim_s: float) -> None:
    if benchmark.stats is not None:
        benchmark.extra_info["share_of_aim"] = benchmark.stats.stats.median / aim_s


@pytest.mark.parametrize("form", FORMS)
def test_a_short_prompt_that_is_new(benchmark: BenchmarkFixture, form: PromptForm) -> None:
    prompts, number = PromptSynthesizer(TINY, "salt", framing=False, form=form), itertools.count()

    def realise() -> None:
        turn = Turn(0, (Segment(f"{next(number)}", 100),), 1)
        prompts.realise(turn)
        prompts.shared_tokens(turn)

    benchmark(realise)
    tell(benchmark, SHORT_AIM_S)


@pytest.mark.parametrize("form", FORMS)
def test_a_long_prompt_of_known_blocks(benchmark: BenchmarkFixture, form: PromptForm) -> None:
    prompts = PromptSynthesizer(TINY, "salt", framing=False, form=form)
    turn = Turn(0, tuple(Segment(f"{number}", 512) for number in range(256)), 1)
    prompts.realise(turn)
    benchmark(prompts.realise, turn)
    tell(benchmark, LONG_AIM_S)
