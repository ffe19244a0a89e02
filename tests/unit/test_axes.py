"""What core names for those who import no kernels is what the kernels know."""

from __future__ import annotations

from typing import get_args

from neokernels import registry

from bench.core import axes


def test_names_are_those_of_the_registry() -> None:
    assert get_args(axes.KernelSource) == get_args(registry.Source)
    assert get_args(axes.WeightFormat) == get_args(registry.WeightFormat)
