"""The numbers of tokens that graphs are captured for; a step is padded up to the next.

Few sizes pad much and many take long to capture, so which ones is an axis: powers of two, every size, or vLLM's
schedule, fine where steps are small (1, 2, 4, then every 8th to 256 and every 16th beyond).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, takewhile

from bench.core.axes import GraphSizes

_SCHEDULES: dict[GraphSizes, Callable[[int], Iterable[int]]] = {
    "pow2": lambda largest: takewhile(lambda size: size <= largest, (1 << power for power in range(63))),
    "vllm": lambda largest: chain((1, 2, 4), range(8, 257, 8), range(272, largest + 1, 16)),
    "exact": lambda largest: range(1, largest + 1),
}


def graph_sizes(schedule: GraphSizes, largest: int, multiple: int = 1) -> tuple[int, ...]:
    """The sizes of `schedule` up to `largest`, ascending, each rounded up to a `multiple`.

    `largest`, rounded down to a multiple, is always the last: no step up to it goes without a graph.
    """
    largest -= largest % multiple
    sizes = {-(-size // multiple) * multiple for size in _SCHEDULES[schedule](largest)}
    return tuple(sorted(size for size in sizes | {largest} if 0 < size <= largest))
