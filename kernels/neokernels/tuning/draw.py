"""Random inputs of kernels; on the `meta` device, where a kernel is only compiled, their shapes alone."""

from __future__ import annotations

import torch
from torch import Tensor


class Draw:
    """The same tensors again from the same seed."""

    def __init__(self, device: torch.device | str, seed: int = 0) -> None:
        self.device = torch.device(device)
        self.only_shapes = self.device.type == "meta"
        self._generator = torch.Generator("cpu" if self.only_shapes else self.device).manual_seed(seed)

    def normal(self, *shape: int, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
        """Standard normal numbers times `scale`."""
        if self.only_shapes:
            return torch.empty(shape, dtype=dtype, device=self.device)
        # Narrow types are rounded from float32: torch draws none of eight bits.
        return (torch.randn(shape, generator=self._generator, device=self.device) * scale).to(dtype)

    def integers(self, low: int, high: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Uniform between `low` and `high`, which is not drawn itself."""
        if self.only_shapes:
            return torch.empty(shape, dtype=dtype, device=self.device)
        return torch.randint(low, high, shape, generator=self._generator, device=self.device, dtype=dtype)

    def permutation(self, count: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """0 to count − 1 in random order: pages of a cache that has been in use for a while."""
        if self.only_shapes:
            return torch.empty(count, dtype=dtype, device=self.device)
        return torch.randperm(count, generator=self._generator, device=self.device).to(dtype)

    def constant(self, values: list[int], dtype: torch.dtype = torch.int64) -> Tensor:
        """What is not random, such as lengths."""
        if self.only_shapes:
            return torch.empty(len(values), dtype=dtype, device=self.device)
        return torch.tensor(values, dtype=dtype, device=self.device)
