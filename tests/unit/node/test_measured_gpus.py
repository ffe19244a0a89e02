"""What is measured of GPUs: which of them are meant, what is null without one, and what exchanges come to."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

from bench.node.facts import AbsentError
from bench.node.measured import collectives, peers, steps
from bench.node.measured.collectives import BANDWIDTH, LATENCY, all_reduce_figures
from bench.node.measured.cuda_devices import CudaDevices
from bench.node.measured.device import device_steps
from bench.node.measured.peers import peer_steps
from bench.node.measured.steps import all_steps, in_order

CPU = torch.device("cpu")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`cuda("1111…", "2222…")`: torch shows GPUs of these UUIDs."""

    def show(*uuids: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(uuids))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(uuids))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=uuids[index]))

    return show


def test_gpus_are_those_of_the_driver_in_whatever_order_cuda_has_them(h100s: Any, cuda: Callable[..., None]) -> None:
    cuda("00000001-2222-3333-4444-555555555555", "00000000-2222-3333-4444-555555555555")
    devices = CudaDevices(h100s(2))
    assert devices.expected
    assert [devices.device(name).index for name in devices.names] == [1, 0]


def test_a_gpu_that_cuda_does_not_show_is_named_as_hidden(h100s: Any, cuda: Callable[..., None]) -> None:
    cuda("00000001-2222-3333-4444-555555555555")
    with pytest.raises(AbsentError, match="CUDA_VISIBLE_DEVICES or MIG"):
        CudaDevices(h100s(2)).device("gpu0")


def test_a_gpu_that_is_lost_does_not_give_its_name_to_another(h100s: Any, cuda: Callable[..., None]) -> None:
    cuda("00000001-2222-3333-4444-555555555555")
    nvml = h100s(2)
    nvml.gpus[0]["nvmlDeviceGetUUID"] = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    devices = CudaDevices(nvml)
    assert devices.names == ("gpu0", "gpu1")
    assert devices.device("gpu1").index == 0
    with pytest.raises(AbsentError, match="NVML does not tell the UUID of gpu0"):
        devices.device("gpu0")


def test_a_gpu_is_measured_from_the_cpus_next_to_it(
    h100s: Any, write: Callable[[str, object], Path], tmp_path: Path
) -> None:
    cpu = min(os.sched_getaffinity(0))
    nvml = h100s(2)
    for gpu, nearest in zip(nvml.gpus, (f"{cpu}", "4096-4100"), strict=True):
        address = f"0000:{nearest[:1]}8:00.0"
        gpu["nvmlDeviceGetPciInfo"] = SimpleNamespace(busId=address)
        write(f"sys/bus/pci/devices/{address}/local_cpulist", nearest)
    devices = CudaDevices(nvml, tmp_path)
    assert devices.cpus_near("gpu0") == {cpu}
    assert devices.cpus_near("gpu1") == os.sched_getaffinity(0)  # none of them may be used
    bound: list[set[int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.node.measured.device.load_rate", lambda *_: bound.append(os.sched_getaffinity(0)))
        device_steps("gpu0", lambda _: CPU, devices.cpus_near("gpu0"))[0].figures(0.01)
    assert bound == [{cpu}]


def test_without_a_gpu_every_figure_of_one_is_null_with_the_reason(
    no_driver: object, cuda: Callable[..., None], tmp_path: Path
) -> None:
    cuda()
    figures = {
        name: one.figures(1.0)[name]
        for one in all_steps(tmp_path, CudaDevices(no_driver))
        for name in one.names
        if name.startswith(("gpu0_", "all_reduce_"))
    }
    assert {"gpu0_copy_bytes_per_s", "gpu0_launch_s", LATENCY, BANDWIDTH} < figures.keys()
    assert {(one.value, one.reason) for one in figures.values()} == {(None, "torch finds no CUDA device")}


def test_without_a_gpu_all_the_time_is_the_hosts_and_what_is_null_is_told_first(
    no_driver: object, cuda: Callable[..., None], tmp_path: Path
) -> None:
    cuda()
    planned = in_order(all_steps(tmp_path, CudaDevices(no_driver)))
    gpus = [one for one in planned if one.names[0].startswith(("gpu0_", "all_reduce_"))]
    assert planned[: len(gpus)] == gpus
    assert sum(one.weight for one in gpus) < 0.01 * sum(one.weight for one in planned)


def test_a_gpu_that_only_cuda_knows_is_measured_too(no_driver: object, cuda: Callable[..., None]) -> None:
    cuda("00000000-2222-3333-4444-555555555555")
    devices = CudaDevices(no_driver)
    assert devices.expected
    assert [devices.device(name).index for name in devices.names] == [0]


def test_several_gpus_are_measured_alone_in_pairs_and_together(h100s: Any, tmp_path: Path) -> None:
    planned = all_steps(tmp_path, CudaDevices(h100s(3)))
    names = [name for one in planned for name in one.names]
    assert len(set(names)) == len(names)
    assert [name for name in names if name.endswith("_copy_bytes_per_s")] == [
        *("memory_copy_bytes_per_s", "gpu0_copy_bytes_per_s", "gpu1_copy_bytes_per_s", "gpu2_copy_bytes_per_s")
    ]
    assert len([name for name in names if name.startswith("peer_")]) == 6
    assert names[-2:] == [LATENCY, BANDWIDTH]
    assert planned[-1].weight == pytest.approx(0.25 * sum(one.weight for one in planned))


def test_one_gpu_has_none_to_exchange_with(h100s: Any, cuda: Callable[..., None]) -> None:
    cuda("00000000-2222-3333-4444-555555555555")
    with pytest.raises(AbsentError, match="one GPU"):
        steps._all_reduce(CudaDevices(h100s(1)), 1.0)


def test_what_a_device_has_no_way_to_do_is_null_and_the_rest_is_measured() -> None:
    by_name = {one.names[0]: one for one in device_steps("gpu0", lambda _: CPU, frozenset(os.sched_getaffinity(0)))}
    wanted = ("gpu0_read_bytes_per_s", "gpu0_copy_bytes_per_s", "gpu0_matmul_bfloat16_flops_per_s", "gpu0_launch_s")
    for name in wanted:
        told = by_name[name].figures(0.01)[name]
        assert told.value is not None, told.reason
        assert told.value > 0

    def no_such_product(_: torch.device) -> Any:
        raise RuntimeError("torch._scaled_mm is only supported on devices of compute capability 8.9 and above\nmore")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.node.measured.device.narrow_product", no_such_product)
        name = "gpu0_matmul_float8_e4m3fn_flops_per_s"
        told = by_name[name].figures(0.01)[name]
    assert (told.value, told.n) == (None, 0)
    assert told.reason == "torch._scaled_mm is only supported on devices of compute capability 8.9 and above"


def test_a_copy_between_gpus_says_which_way_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_BYTES", 1 << 20)
    for direct, way in ((True, "from one to the other"), (False, "through the host")):
        monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda *_, direct=direct: direct)
        there, _ = peer_steps(("gpu0", "gpu1"), lambda _: CPU)
        told = there.figures(0.01)["peer_gpu0_to_gpu1_bytes_per_s"]
        assert told.value is not None
        assert way in str(told.method)


def test_the_bus_carries_twice_all_but_one_share_of_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {8: [1e-5, 2e-5, 3e-5], 800: [0.1, 0.2, 0.4]}
    monkeypatch.setattr(collectives, "_times_taken", lambda *_: (taken, "there was no time for more"))
    told = all_reduce_figures(["cuda:0"] * 4, 1.0, small_bytes=8, large_bytes=800)
    assert (told[LATENCY].value, told[LATENCY].n) == (2e-5, 3)
    assert told[BANDWIDTH].value == pytest.approx(2 * 3 / 4 * 800 / 0.2)


def test_what_ranks_had_no_time_for_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collectives, "_times_taken", lambda *_: ({8: [1e-5]}, "there was no time for more"))
    told = all_reduce_figures(["cuda:0"] * 2, 1.0, small_bytes=8, large_bytes=800)
    assert told[LATENCY].n == 1
    assert told[BANDWIDTH].reason == "there was no time for more"


@pytest.mark.slow
def test_processes_exchange_and_are_gone() -> None:
    exchange = partial(all_reduce_figures, ["cpu", "cpu"], backend="gloo", small_bytes=64, large_bytes=1 << 20)
    told = exchange(seconds=60.0, trials=3)
    assert told[LATENCY].n >= 3, told[LATENCY].reason
    assert told[BANDWIDTH].value is not None
    assert "2 processes by gloo" in str(told[BANDWIDTH].method)


@pytest.mark.slow
def test_ranks_that_cannot_exchange_say_why() -> None:
    told = all_reduce_figures(["cuda:99", "cuda:98"], 60.0, backend="gloo", small_bytes=64, large_bytes=1024)
    assert told[LATENCY].value is None
    assert told[LATENCY].reason
