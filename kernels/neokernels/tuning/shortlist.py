"""Which schedules of a kernel are worth trying for a problem."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import product
from typing import Any

from neokernels.device import Device
from neokernels.tuning.space import Config, Knob, Problem, TunableKernel, Value

_NEAR_SHARE = 0.75
"""Of a shortlist: nearest to the rule of thumb. The rest is drawn from everywhere, for where the rule is wrong."""


def space_size(kernel: TunableKernel[Any]) -> int:
    """How many settings the knobs have."""
    return math.prod(len(knob.values) for knob in kernel.knobs)


def allowed(kernel: TunableKernel[Any], problem: Problem, device: Device) -> Iterator[Config]:
    """Every setting of the knobs that makes sense for the problem."""
    names = [knob.name for knob in kernel.knobs]
    for values in product(*(knob.values for knob in kernel.knobs)):
        config = Config(**dict(zip(names, values, strict=True)))
        if kernel.allows(problem, config, device):
            yield config


def shortlist(
    kernel: TunableKernel[Any], problem: Problem, device: Device, *, limit: int, seed: int
) -> tuple[Config, ...]:
    """At most `limit` schedules, the rule of thumb first; the same again from the same `seed`.

    Empty where no setting makes sense: the kernel is not for this device.
    """
    heuristic = kernel.heuristic(problem, device)
    others = [config for config in allowed(kernel, problem, device) if config != heuristic]
    if not others and not kernel.allows(problem, heuristic, device):
        return ()
    # Shuffled before it is sorted, so that of equally near ones no knob's first values are preferred.
    draw = random.Random(f"{seed} {kernel.name} {problem}")
    draw.shuffle(others)
    others.sort(key=lambda config: _steps(kernel.knobs, config, heuristic))
    wanted = limit - 1
    near = others if len(others) <= wanted else others[: round(wanted * _NEAR_SHARE)]
    rest = others[len(near) :]
    return (heuristic, *near, *draw.sample(rest, min(len(rest), wanted - len(near))))


def neighbours(kernel: TunableKernel[Any], problem: Problem, device: Device, config: Config) -> Iterator[Config]:
    """The schedules that make sense and differ from `config` in one knob, by one step."""
    for knob in kernel.knobs:
        place = _place(knob, config[knob.name])
        for value in knob.values[max(0, place - 1) : place + 2]:
            other = config.changed(**{knob.name: value})
            if other != config and kernel.allows(problem, other, device):
                yield other


def _steps(knobs: tuple[Knob, ...], config: Config, heuristic: Config) -> int:
    """How many values of knobs lie between the two, over all knobs."""
    return sum(abs(_place(knob, config[knob.name]) - _place(knob, heuristic[knob.name])) for knob in knobs)


def _place(knob: Knob, value: Value) -> int:
    """Of a value among the knob's; of one that is none of them, where the nearest number is."""
    if value in knob.values:
        return knob.values.index(value)
    numbers = [other if isinstance(other, int) else 0 for other in knob.values]
    return min(range(len(numbers)), key=lambda index: abs(numbers[index] - value) if isinstance(value, int) else index)
