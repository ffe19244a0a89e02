"""Size schedules: what each holds, and that every step finds a size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.axes import GraphSizes
from bench.native.graphs.sizes import graph_sizes

SCHEDULES: tuple[GraphSizes, ...] = ("pow2", "vllm", "exact")


def test_powers_of_two() -> None:
    assert graph_sizes("pow2", 64) == (1, 2, 4, 8, 16, 32, 64)


def test_vllm_is_fine_where_steps_are_small() -> None:
    sizes = graph_sizes("vllm", 512)
    assert sizes[:5] == (1, 2, 4, 8, 16)
    assert sizes[-18:] == (248, 256, *range(272, 513, 16))


def test_exact_is_every_size() -> None:
    assert graph_sizes("exact", 5) == (1, 2, 3, 4, 5)


def test_the_largest_is_a_size_whatever_the_schedule() -> None:
    assert graph_sizes("pow2", 20) == (1, 2, 4, 8, 16, 20)
    assert graph_sizes("vllm", 21) == (1, 2, 4, 8, 16, 21)


def test_sizes_are_multiples_of_what_a_request_verifies() -> None:
    assert graph_sizes("pow2", 32, 5) == (5, 10, 20, 30)
    assert graph_sizes("exact", 12, 4) == (4, 8, 12)
    assert graph_sizes("vllm", 3, 4) == ()


@given(schedule=st.sampled_from(SCHEDULES), largest=st.integers(1, 3000), multiple=st.integers(1, 9))
def test_every_step_up_to_the_largest_has_a_size(schedule: GraphSizes, largest: int, multiple: int) -> None:
    sizes = graph_sizes(schedule, largest, multiple)
    assert list(sizes) == sorted(set(sizes))
    assert all(size % multiple == 0 for size in sizes)
    assert (sizes[-1] if sizes else 0) == largest - largest % multiple


@pytest.mark.parametrize(("schedule", "most"), [("pow2", 0.5), ("vllm", 0.5), ("exact", 0.0)])
def test_padding_is_bounded(schedule: GraphSizes, most: float) -> None:
    sizes = graph_sizes(schedule, 512)
    worst = max(1 - tokens / next(size for size in sizes if size >= tokens) for tokens in range(1, 513))
    assert worst <= most
