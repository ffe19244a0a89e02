"""What makes kernels out of their source on this machine. Imports Triton."""

from __future__ import annotations

import torch
import triton
from triton.backends.nvidia.compiler import get_ptxas

from neokernels.device import Device
from neokernels.tuning.measurement import Stack


def current_stack(device: Device, driver: str | None) -> Stack:
    """`driver` is the version of the GPU's, which neither torch nor Triton tells."""
    return Stack(
        triton=triton.__version__,
        torch=torch.__version__,
        ptxas=get_ptxas(device.capability).version,
        cuda=torch.version.cuda,
        driver=driver,
        fp_fusion=True,
    )
