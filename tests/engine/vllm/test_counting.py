"""What vLLM is told to have done begins when turns are expected: neither a check nor a warm-up is in it."""

from __future__ import annotations

import asyncio

from vllm_asking import answer, fake_spec, request, started


def test_what_was_asked_before_is_no_part_of_what_it_did() -> None:
    async def run() -> None:
        async with started(fake_spec()) as engine:
            await answer(engine, request([3] * 40, 4))
            await engine.expect(2)
            await answer(engine, request([3] * 40, 4))
            assert engine.counters().output_tokens == 4
        did = engine.describe()["did"]
        assert did["prefix_cache"]["queried_tokens"] == 40
        assert did["tokens"]["output_tokens"] == 4

    asyncio.run(run())
