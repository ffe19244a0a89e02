"""Every tunable kernel there is, by name. Imports them, and so Triton."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import neokernels.cuda
from neokernels.tuning.space import TunableKernel


@cache
def catalogue() -> dict[str, TunableKernel[Any]]:
    """The kernels that the files of this folder describe, in the order of their names."""
    found: dict[str, TunableKernel[Any]] = {}
    for module in walk_packages(neokernels.cuda.__path__, "neokernels.cuda."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, TunableKernel):
                found[value.name] = value
    return dict(sorted(found.items()))
