"""Every Triton launcher that an operation names exists: nothing else would tell before a GPU asks for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import neokernels
import pytest
from neokernels.launcher import Launcher
from neokernels.registry import Operation


def launchers() -> Iterator[tuple[str, Launcher]]:
    for file in sorted(Path(neokernels.__file__).parent.glob("*.py")):
        if file.stem in ("aot", "golden"):
            continue  # import Triton, and have no operations
        for operation in vars(import_module(f"neokernels.{file.stem}")).values():
            if isinstance(operation, Operation):
                for implementation in operation.implementations:
                    if isinstance(implementation.function, Launcher):
                        yield f"{operation.name}-{implementation.name}", implementation.function


NAMED = dict(launchers())


@pytest.mark.parametrize("name", NAMED)
def test_a_launcher_names_a_function_that_takes_schedules(name: str) -> None:
    function = NAMED[name].function
    assert inspect.signature(function).parameters["schedules"].kind is inspect.Parameter.KEYWORD_ONLY


def test_what_a_model_calls_most_is_among_them() -> None:
    assert {"paged_attention-triton", "linear-triton", "add_rms_norm-triton", "experts-triton"} <= NAMED.keys()
