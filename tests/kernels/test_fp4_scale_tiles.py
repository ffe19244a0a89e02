"""4-bit weights whose scales lie as tensor memory wants them."""

from __future__ import annotations

import pytest
import torch
from neokernels.formats import mxfp4, nvfp4
from neokernels.formats.fp4_scale_tiles import dequantise, of_mxfp4, of_nvfp4


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (130, 64), (200, 600)])
def test_tiles_stand_for_the_weight_they_were_made_of(shape):
    weight = torch.randn(shape)
    microscaled, quantised = mxfp4.quantise(weight), nvfp4.quantise(weight)
    assert torch.equal(dequantise(of_mxfp4(microscaled), torch.float32), mxfp4.dequantise(microscaled, torch.float32))
    assert torch.equal(dequantise(of_nvfp4(quantised), torch.float32), nvfp4.dequantise(quantised, torch.float32))


def test_scales_of_every_thirty_second_row_lie_side_by_side():
    weight = torch.ones(128, 128) * torch.exp2(torch.arange(128.0) // 32)[:, None]
    tile = of_mxfp4(mxfp4.quantise(weight)).scales[0, 0, 0].flatten()
    smallest = int(tile[0])
    assert (tile[:16] - smallest).tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert torch.equal(tile.view(32, 16), tile[:16].expand(32, 16))
