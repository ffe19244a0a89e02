"""What a schedule may depend on of the device a kernel runs on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch


@dataclass(frozen=True, slots=True)
class Device:
    name: str
    """As the driver calls it; two devices of one name are taken to run a kernel alike."""
    capability: int
    """Major and minor compute capability as one number: 90 is Hopper, 100 and 103 are Blackwell."""
    multiprocessors: int
    l2_bytes: int

    @property
    def shared_bytes(self) -> int:
        """Most shared memory of one program, what the driver keeps of it included (CUDA C++ Programming Guide, table of
        technical specifications by compute capability)."""
        return {80: 164 << 10, 86: 100 << 10, 87: 164 << 10, 89: 100 << 10, 120: 100 << 10}.get(
            self.capability, 228 << 10
        )

    @property
    def has_bulk_copies(self) -> bool:
        """Whether tensor descriptors become copies of the hardware's own (TMA)."""
        return self.capability >= 90

    @property
    def has_dependent_launches(self) -> bool:
        """Whether a kernel may start while the one before it ends (programmatic dependent launch)."""
        return self.capability >= 90

    @property
    def wide_products(self) -> tuple[str, ...]:
        """What PTX calls products of 64 rows or more, which tensor cores compute by themselves; empty where none do."""
        return {9: ("wgmma.mma_async",), 10: ("tcgen05.mma",)}.get(self.capability // 10, ())

    @property
    def scales_in_tensor_cores(self) -> bool:
        """Whether products of block-scaled 4- and 8-bit numbers are instructions."""
        return self.capability >= 100


DATASHEET_DEVICES = (
    Device("NVIDIA H100 80GB HBM3", 90, multiprocessors=132, l2_bytes=50 << 20),
    Device("NVIDIA B200", 100, multiprocessors=148, l2_bytes=126 << 20),
    Device("NVIDIA GB300", 103, multiprocessors=152, l2_bytes=126 << 20),
)
"""One device for each capability that kernels are compiled for where there is none.

H100: NVIDIA's H100 architecture whitepaper. B200: its multiprocessors and second-level cache as its driver gives them.
GB300: the multiprocessors of GB200 (pull request 2768 of facebookexperimental/triton); its cache is taken to be B200's.
"""


@cache
def cuda_device(index: int) -> Device:
    """A CUDA device as its driver describes it. Raises RuntimeError where there is none of that index."""
    properties = torch.cuda.get_device_properties(index)
    return Device(
        name=properties.name,
        capability=properties.major * 10 + properties.minor,
        multiprocessors=properties.multi_processor_count,
        l2_bytes=properties.L2_cache_size,
    )
