"""All that is measured of a machine: the host before the GPUs, for these cannot take it with them then."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from bench.node.facts import AbsentError
from bench.node.measured import disk
from bench.node.measured.collectives import BANDWIDTH, LATENCY, all_reduce_figures
from bench.node.measured.cuda_devices import CudaDevices
from bench.node.measured.device import device_steps
from bench.node.measured.figure import Figure
from bench.node.measured.host_memory import memory_steps
from bench.node.measured.matmul import product_rate
from bench.node.measured.peers import peer_steps
from bench.node.measured.trials import Step, step
from bench.node.measured.wake_up import timer_lateness, wake_up_time

_NO_TIME = 1e-3
"""Weight of what only says why it is null."""
_PEER_WEIGHT = 0.25
_ALL_REDUCE_SHARE = 0.25
"""Of all the time, where there are several GPUs: their processes take seconds to start."""


def all_steps(folder: Path, devices: CudaDevices, root: Path = Path("/")) -> list[Step]:
    """`folder` is on the file system that is read."""
    host = host_steps(folder, root)
    names = devices.names
    weight = 1.0 if devices.expected else _NO_TIME
    gpus = [one for name in names for one in device_steps(name, devices.device, devices.cpus_near(name), weight)]
    gpus += peer_steps(names, devices.device, _PEER_WEIGHT)
    others = sum(one.weight for one in host + gpus)
    exchanging = others * _ALL_REDUCE_SHARE / (1 - _ALL_REDUCE_SHARE) if len(names) > 1 else _NO_TIME
    return [*host, *gpus, Step((LATENCY, BANDWIDTH), partial(_all_reduce, devices), exchanging)]


def in_order(steps: Sequence[Step]) -> list[Step]:
    """As they are to be measured: what takes no time comes first, and so is told even if later the time is over."""
    return sorted(steps, key=lambda one: one.weight > _NO_TIME)


def host_steps(folder: Path, root: Path = Path("/")) -> list[Step]:
    return [
        *memory_steps(root),
        step("cpu_matmul_float32_flops_per_s", partial(product_rate, torch.float32)),
        step("cpu_matmul_bfloat16_flops_per_s", partial(product_rate, torch.bfloat16)),
        step("wake_up_s", wake_up_time, weight=0.5),
        Step(("timer_late_s", "timer_latest_s"), timer_lateness, weight=0.5),
        step("disk_read_bytes_per_s", partial(disk.read_rate, folder, root=root), weight=2.0),
    ]


def _all_reduce(devices: CudaDevices, seconds: float) -> dict[str, Figure]:
    if devices.expected and len(devices.names) < 2:
        raise AbsentError("there is one GPU, which has none to exchange with")
    found = [devices.device(name) for name in devices.names]
    return all_reduce_figures([str(device) for device in found], seconds)
