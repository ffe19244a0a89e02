"""NVIDIA's DCGM exporter on loopback: which GPUs are read, and what is a new reading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from meter_serving import Answer, Meter, meter_serving

from bench.core.errors import InputError
from bench.core.power_spec import DcgmSpec
from bench.core.pseudonym import pseudonym
from bench.core.units import NS_PER_S
from bench.node.dcgm import DcgmSensor
from bench.node.http_reader import MeterError

HEAD = """# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).
# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA GB300"} 1980
"""


def uuid(gpu: int) -> str:
    return f"GPU-{gpu:08x}-2222-3333-4444-555555555555"


def told(*gpus: tuple[int, float | None, float | None], **labels: str) -> str:
    """What the exporter says of GPUs: their index, watts and millijoules."""
    more = "".join(f',{name}="{value}"' for name, value in labels.items())
    lines = [HEAD]
    for gpu, watts, millijoules in gpus:
        of = (
            f'{{gpu="{gpu}",UUID="{uuid(gpu)}",pci_bus_id="00000000:0{gpu}:00.0",modelName="NVIDIA \\"GB300\\""{more}}}'
        )
        lines += [f"DCGM_FI_DEV_POWER_USAGE{of} {watts}\n"] if watts is not None else []
        lines += [f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{of} {millijoules}\n"] if millijoules is not None else []
    return "".join(lines)


@pytest.fixture
def exporter() -> Iterator[Meter]:
    with meter_serving({"/metrics": told((0, 300.0, 900_000), (1, 199.0, 1_900_000))}) as meter:
        yield meter


def opened(exporter: Meter, gpus: list[int] | None = None, **settings: Any) -> DcgmSensor:
    """A sensor whose exporter has looked at both GPUs again since it was opened."""
    ids = None if gpus is None else [pseudonym(uuid(gpu)) for gpu in gpus]
    sensor = DcgmSensor(DcgmSpec(url=f"{exporter.url}/metrics", **settings), ids)
    exporter.tells["/metrics"] = told((0, 300.5, 1_000_000), (1, 200.0, 2_000_000))
    return sensor


def test_only_the_gpus_that_an_engine_uses_are_read(exporter: Meter) -> None:
    sensor = opened(exporter, [1])
    (row,) = sensor.read(0)
    assert (row.scope, row.device, row.watts, row.joules_counter) == ("gpu", "gpu1", 200.0, 2000.0)
    assert sensor.device == "gpu1"
    assert sensor.source.startswith("GPU board as reported by DCGM: DCGM_FI_DEV_POWER_USAGE")
    sensor.close()


def test_all_are_read_where_nobody_knows_which_are_used(exporter: Meter) -> None:
    sensor = opened(exporter)
    assert [row.device for row in sensor.read(0)] == ["gpu0", "gpu1"]
    assert sensor.device == "gpu0, gpu1"
    sensor.close()


def test_what_the_exporter_repeats_is_no_new_reading(exporter: Meter) -> None:
    sensor = opened(exporter)
    counts = [len(sensor.read(second * NS_PER_S)) for second in range(3)]
    exporter.tells["/metrics"] = told((0, 300.5, 1_300_000), (1, 200.0, 2_000_000))
    counts += [len(sensor.read(second * NS_PER_S)) for second in range(3, 7)]
    assert counts == [2, 0, 0, 1, 0, 0, 0]
    faults = sensor.faults.as_list()
    assert [fault["code"] for fault in faults] == ["frozen"]
    assert faults[0]["message"].startswith("DCGM has told the same of gpu1 for ")
    sensor.close()


def test_what_was_told_before_is_no_reading_for_nobody_knows_how_old_it_was(exporter: Meter) -> None:
    sensor = DcgmSensor(DcgmSpec(url=f"{exporter.url}/metrics"), None)
    assert [sensor.read(second * NS_PER_S) for second in range(3)] == [[], [], []]
    exporter.tells["/metrics"] = told((0, 300.5, 1_000_000), (1, 199.0, 1_900_000))
    assert [row.device for row in sensor.read(3 * NS_PER_S)] == ["gpu0"]
    sensor.close()


def test_a_gpu_may_tell_one_of_the_two(exporter: Meter) -> None:
    sensor = opened(exporter)
    exporter.tells["/metrics"] = told((0, 300.5, None), (1, None, 2_000_000))
    assert [(row.watts, row.joules_counter) for row in sensor.read(0)] == [(300.5, None), (None, 2000.0)]
    sensor.close()


def test_a_gpu_that_vanishes_is_null_and_the_other_goes_on(exporter: Meter) -> None:
    sensor = opened(exporter)
    exporter.tells["/metrics"] = told((0, 310.0, 1_100_000))
    first, second = sensor.read(0)
    assert (first.watts, second.watts, second.joules_counter) == (310.0, None, None)
    assert sensor.faults.last == "not_read: DCGM tells nothing of gpu1 any more"
    sensor.close()


def test_pods_that_share_a_gpu_have_a_series_each_of_the_same(exporter: Meter) -> None:
    shared = (0, 300.5, 1_000_000)
    sensor = opened(exporter, [0])
    exporter.tells["/metrics"] = told(shared, pod="a") + told(shared, pod="b")
    assert len(sensor.read(0)) == 1
    exporter.tells["/metrics"] = told(shared, pod="a") + told((0, 301.0, 1_000_000), pod="b")
    assert [(row.watts, row.joules_counter) for row in sensor.read(NS_PER_S)] == [(None, None)]
    assert sensor.faults.last == "malformed: the exporter tells two different DCGM_FI_DEV_POWER_USAGE of one GPU"
    sensor.close()


@pytest.mark.parametrize(
    "text",
    ["", "<html>", HEAD, told((0, 0, 0)), told((0, float("nan"), float("inf"))), 'DCGM_FI_DEV_POWER_USAGE{gpu="0"} 7'],
)
def test_an_exporter_without_power(text: str, exporter: Meter) -> None:
    exporter.tells["/metrics"] = text
    with pytest.raises(MeterError, match=r"^no_power: the exporter tells no DCGM_FI_DEV_POWER_USAGE"):
        opened(exporter)


def test_a_gpu_that_dcgm_does_not_know_makes_the_scope_missing(exporter: Meter) -> None:
    with pytest.raises(MeterError, match=rf"DCGM meters no GPU {pseudonym(uuid(7))}, which the engine uses"):
        opened(exporter, [0, 7])


def test_gpus_of_two_machines_are_not_told_apart_by_their_numbers(exporter: Meter) -> None:
    exporter.tells["/metrics"] = told((0, 300.0, 900_000)) + told((0, 200.0, 700_000)).replace(uuid(0), uuid(9))
    with pytest.raises(MeterError, match=r"^malformed: the exporter has one number for several GPUs"):
        DcgmSensor(DcgmSpec(url=exporter.url), None)
    only = DcgmSensor(DcgmSpec(url=exporter.url), [pseudonym(uuid(9))])
    assert only.device == "gpu0"
    only.close()


@pytest.mark.parametrize(
    ("answer", "code", "again"),
    [(Answer(hangs=True), "timeout", 0), (Answer(status=500), "refused", 0), (Answer(b"\xff"), "not_read", 2)],
)
def test_a_fault_leaves_every_gpu_null(answer: Answer, code: str, again: int, exporter: Meter) -> None:
    """`again` is how many rows an eighth of a second later gives: who does not answer is not asked again so soon."""
    sensor = opened(exporter, timeout_s=0.2)
    exporter.tells["/metrics"] = answer
    rows = sensor.read(0)
    assert [(row.device, row.watts, row.joules_counter) for row in rows] == [("gpu0", None, None), ("gpu1", None, None)]
    assert sensor.faults.as_list()[0]["code"] == code
    assert len(sensor.read(NS_PER_S // 8)) == again
    sensor.close()


def test_a_url_without_a_path_means_the_usual_one(exporter: Meter) -> None:
    sensor = DcgmSensor(DcgmSpec(url=exporter.url), None)
    assert sensor.device == "gpu0, gpu1"
    assert exporter.asked == ["/metrics"]
    sensor.close()


@pytest.mark.parametrize("url", ["127.0.0.1:9400", "http://user:s3cret@127.0.0.1:9400/metrics", "http://h/?s3cret"])
def test_what_cannot_be_asked_is_bad_input(url: str) -> None:
    with pytest.raises(InputError, match=r"^power\.dcgm\.url: ") as refused:
        DcgmSensor(DcgmSpec(url=url), None)
    assert "s3cret" not in str(refused.value)
