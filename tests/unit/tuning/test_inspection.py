"""Candidates compiled ahead of time, for a GPU that is not there."""

from __future__ import annotations

from typing import Any

import pytest
from neokernels.cuda.rows.rms_norm import RMS_NORM, RowNorm
from neokernels.device import DATASHEET_DEVICES
from neokernels.tuning.inspection import AheadOfTime
from neokernels.tuning.space import Config

H100 = DATASHEET_DEVICES[0]


@pytest.mark.slow
def test_what_spills_is_refused() -> None:
    problem = RowNorm(64, 16384, "bfloat16", adds=True)
    configs = [Config(ROWS=1, num_warps=warps, launch_pdl=False) for warps in (16, 1)]
    with AheadOfTime(H100, processes=2) as inspector:
        fits, spills = inspector.inspect(RMS_NORM, problem, configs)
    assert fits.refusal is None
    assert fits.resources is not None
    assert 0 < fits.resources.registers < 255
    assert spills.refusal == "spills"
    assert "bytes of stack" in str(spills.detail)


@pytest.mark.slow
def test_a_compiler_that_crashes_is_a_refusal_of_what_crashed_it(simulated: Any) -> None:
    configs = [Config(BLOCK=block, num_warps=4) for block in (16, 32, 64)]
    with AheadOfTime(H100, processes=1) as inspector:
        inspections = list(inspector.inspect(simulated.Crashes(), simulated.Rows(1, 1), configs))
    assert [inspection.detail for inspection in inspections] == [None, "the compiler crashed", None]
