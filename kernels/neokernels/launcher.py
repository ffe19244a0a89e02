"""How the registry names a Triton launcher without importing Triton."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Generic, ParamSpec, TypeVar

import torch

from neokernels.tuning.schedules import Schedules, untuned

P = ParamSpec("P")
T = TypeVar("T")


class Launcher(Generic[P, T]):
    """A function of a file in `neokernels.cuda`, imported when it is first needed.

    The function takes what its operation takes, and `schedules`.
    """

    def __init__(self, file: str, function: str) -> None:
        """`file` as its folder and name, joined by a dot."""
        self._file = file
        self._function = function

    def bound(self, schedules: Schedules) -> Callable[P, T]:
        """The function with the schedules that its kernels are launched with."""
        return partial(self.function, schedules=schedules)

    @property
    def function(self) -> Callable[..., T]:
        """The function itself, imported."""
        function: Callable[..., T] = getattr(import_module(f"neokernels.cuda.{self._file}"), self._function)
        return function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Launch by rules of thumb."""
        first = args[0]
        assert isinstance(first, torch.Tensor)
        return self.bound(untuned(first.device))(*args, **kwargs)
