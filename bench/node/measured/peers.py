"""Bandwidth from one GPU's memory to another's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations

import torch
from neokernels.roofline import Load

from bench.node.measured.figure import Figure
from bench.node.measured.rates import load_rate, mebibytes
from bench.node.measured.trials import Step, step

_BYTES = 256 << 20


def peer_steps(names: Sequence[str], find: Callable[[str], torch.device], weight: float = 1.0) -> list[Step]:
    """Bytes a second of every ordered pair, as `peer_gpu0_to_gpu1_bytes_per_s`; `find` is that of `device_steps`."""
    return [
        step(f"peer_{source}_to_{target}_bytes_per_s", partial(_copy_rate, find, source, target), weight)
        for source, target in permutations(names, 2)
    ]


def _copy_rate(find: Callable[[str], torch.device], source_name: str, target_name: str, seconds: float) -> Figure:
    source, target = find(source_name), find(target_name)
    direct = torch.cuda.can_device_access_peer(target, source)
    here = torch.ones(_BYTES, dtype=torch.uint8, device=source)
    there = torch.empty(_BYTES, dtype=torch.uint8, device=target)
    # torch has the target wait for a copy that the source makes: once the target is done, both are.
    load = Load(partial(there.copy_, here, non_blocking=True), here.nbytes)
    way = "from one to the other" if direct else "through the host"
    return load_rate(target, load, seconds, f"copy of {mebibytes(_BYTES)}, {way}")
