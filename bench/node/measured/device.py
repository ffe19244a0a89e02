"""What one GPU reads, copies and multiplies in a second, what a launch costs, and how fast the host reaches it.

The host's part is done on the CPUs next to the GPU: from those of another socket it is slower, and which ones the
process happened to run on would be told as a difference between nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from neokernels.roofline import Load, copy_stream, narrow_product, product, read_stream, seconds_of

from bench.node.measured.affinity import bound_to
from bench.node.measured.figure import Figure, figure
from bench.node.measured.rates import load_rate, mebibytes, times
from bench.node.measured.trials import Step, repeated, step

_HOST_COPY_BYTES = 256 << 20
_LAUNCHES = 1000


def device_steps(
    name: str, find: Callable[[str], torch.device], cpus: frozenset[int], weight: float = 1.0
) -> list[Step]:
    """Every figure of the GPU that the tables call `name`, which is next to `cpus`; `find` gives torch's device, or
    raises AbsentError."""
    return [
        step(f"{name}_{figure_name}", partial(_alone, partial(find, name), cpus, measure), weight)
        for figure_name, measure in _MEASURES.items()
    ]


def _alone(
    find: Callable[[], torch.device],
    cpus: frozenset[int],
    measure: Callable[[torch.device, float], Figure],
    seconds: float,
) -> Figure:
    """On `cpus`, with no memory held that an earlier figure took."""
    device = find()
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # starts CUDA there, which takes seconds and is no part of a figure
        torch.cuda.empty_cache()
        # Pinned memory too, which lies where the CPUs next to the last GPU are.
        torch._C._host_emptyCache()
    with bound_to(cpus):
        return measure(device, seconds)


def _read_rate(device: torch.device, seconds: float) -> Figure:
    load = read_stream(device)
    return load_rate(device, load, seconds, f"sum over {mebibytes(load.amount)} of device memory")


def _copy_rate(device: torch.device, seconds: float) -> Figure:
    load = copy_stream(device)
    method = f"copy of {mebibytes(load.amount // 2)} within device memory; counts what is read and written"
    return load_rate(device, load, seconds, method)


def _bfloat16_rate(device: torch.device, seconds: float) -> Figure:
    return _product_rate(device, product(device, torch.bfloat16), seconds, "bfloat16 matrices")


def _float8_rate(device: torch.device, seconds: float) -> Figure:
    factors = "float8_e4m3fn matrices, one scale each, to bfloat16, without fast accumulation"
    return _product_rate(device, narrow_product(device), seconds, factors)


def _product_rate(device: torch.device, load: Load, seconds: float, factors: str) -> Figure:
    return load_rate(device, load, seconds, f"square product of {load.amount:,} operations, of {factors}")


def _launch_time(device: torch.device, seconds: float) -> Figure:
    launch = partial(torch.zeros(1, device=device).add_, 1)
    method = f"a kernel that adds to one number, launched by torch {_LAUNCHES:,} times without waiting; the mean"
    queue = partial(times, _LAUNCHES, launch)
    return figure(repeated(lambda: seconds_of(device, queue) / _LAUNCHES, seconds), method)


def _launch_to_end_time(device: torch.device, seconds: float) -> Figure:
    launch = partial(torch.zeros(1, device=device).add_, 1)
    method = "a kernel that adds to one number, launched by torch, until the host knows that it is done"
    return figure(repeated(lambda: seconds_of(device, launch), seconds), method)


def _host_to_device_rate(device: torch.device, seconds: float) -> Figure:
    return _host_copy_rate(device, seconds, to_device=True)


def _device_to_host_rate(device: torch.device, seconds: float) -> Figure:
    return _host_copy_rate(device, seconds, to_device=False)


def _host_copy_rate(device: torch.device, seconds: float, *, to_device: bool) -> Figure:
    there = torch.empty(_HOST_COPY_BYTES, dtype=torch.uint8, device=device)
    here = torch.ones(_HOST_COPY_BYTES, dtype=torch.uint8).pin_memory()
    source, target = (here, there) if to_device else (there, here)
    load = Load(partial(target.copy_, source, non_blocking=True), source.nbytes)
    return load_rate(device, load, seconds, f"copy of {mebibytes(source.nbytes)}, pinned on the host")


_MEASURES: dict[str, Callable[[torch.device, float], Figure]] = {
    "read_bytes_per_s": _read_rate,
    "copy_bytes_per_s": _copy_rate,
    "matmul_bfloat16_flops_per_s": _bfloat16_rate,
    "matmul_float8_e4m3fn_flops_per_s": _float8_rate,
    "launch_s": _launch_time,
    "launch_to_end_s": _launch_to_end_time,
    "host_to_device_bytes_per_s": _host_to_device_rate,
    "device_to_host_bytes_per_s": _device_to_host_rate,
}
