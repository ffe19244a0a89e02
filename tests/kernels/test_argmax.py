"""The most likely token, and the first of equally likely ones."""

from __future__ import annotations

import pytest
import torch
from neokernels.argmax import argmax, argmax_in_blocks, argmax_reference


@pytest.mark.parametrize("vocabulary", [1, 127, 128, 300, 1280])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_blocks_find_what_one_pass_finds(rows: int, vocabulary: int) -> None:
    values = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    assert argmax_in_blocks(values).equal(argmax_reference(values))


def test_of_equal_values_the_first_counts() -> None:
    values = torch.zeros(4, 384)
    values[0, [5, 130, 131]] = 1
    values[1, [131, 130, 383]] = 1
    values[2, 383] = 1
    assert argmax(values).tolist() == [5, 130, 383, 0]


def test_a_row_of_what_is_dropped_but_one_gives_that_one() -> None:
    values = torch.full((1, 256), -torch.inf)
    values[0, 200] = -3.0
    assert argmax(values).tolist() == [200]
