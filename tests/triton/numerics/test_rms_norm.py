"""The RMS norm, with and without the residual sum."""

from __future__ import annotations

import pytest
from neokernels.cuda.rows.rms_norm import RMS_NORM, RowNorm
from neokernels.tuning.space import Config


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (1, 128), (3, 100), (7, 1000), (33, 96)])
def test_norm_is_that_of_the_reference(check, rows, width, dtype, adds):
    check(RMS_NORM, RowNorm(rows, width, dtype, adds))


@pytest.mark.parametrize("rows_per_program", [1, 2, 8])
def test_every_schedule_gives_the_same(check, rows_per_program):
    check(RMS_NORM, RowNorm(5, 96, "float32", adds=True), Config(ROWS=rows_per_program, num_warps=4))


def test_nothing_comes_of_no_rows(check):
    check(RMS_NORM, RowNorm(0, 96, "float32", adds=True))
