"""Many nodes from the command line: fingerprints of a fleet, and a comparison at the median node."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fleets import figure, six_nodes, write_nodes
from quick_run import quick_run


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one result, which nobody changes."""
    return quick_run(tmp_path_factory.mktemp("quick"))


def on_machine(ran: Path, folder: Path, machine: str, faster: float = 1.0) -> Path:
    """A copy of a result as if another machine had made it, at so many times the rate."""
    shutil.copytree(ran, folder)
    (path,) = folder.rglob("record.json")
    record = json.loads(path.read_text())
    record["node"]["host"]["machine"] = machine
    for headline in record["throughput"].values():
        for end in ("value", "low", "high"):
            if "value" in headline and headline[end] is not None:
                headline[end] *= faster
    path.write_text(json.dumps(record))
    return folder


def test_a_fleet_is_told_node_by_node_with_what_gives_each_away(bench: Callable[..., Any], tmp_path: Path) -> None:
    files = write_nodes(tmp_path, six_nodes())
    compared = bench("node", "compare", *files)
    assert compared.code == 0, compared.err
    assert (
        "c gpu0, gpu1: gpu_host_to_device_bytes_per_s 11.9 GB/s where the median of 6 is 25.1 GB/s; "
        "pcie_width 8 where most have 16\n"
    ) in compared.out
    assert "e gpu0, gpu1: gpu_matmul_bfloat16_flops_per_s 560 TFLOP/s where the median of 6 is 680" in compared.out
    (sku,) = bench("node", "compare", *files, "--json").json["skus"]
    assert (sku["hardware"], sku["nodes"]) == ("h100_sxm", list("abcdef"))
    assert {(row["outlier"]["node"], row["figure"]) for row in sku["outliers"]} == {
        ("c", "gpu_host_to_device_bytes_per_s"),
        ("e", "gpu_matmul_bfloat16_flops_per_s"),
    }


def test_this_machine_is_compared_with_the_node_of_its_results(
    bench: Callable[..., Any], ran: Path, tmp_path: Path
) -> None:
    now = tmp_path / "now.json"
    now.write_text(bench("node", "show", "--json").out)
    compared = bench("node", "compare", now, ran, "--json")
    assert compared.code == 0, compared.err
    (sku,) = compared.json["skus"]
    assert sku["nodes"] == ["now", ran.name]
    assert sku["outliers"] == []


def test_files_of_one_name_are_told_apart_by_their_folders(bench: Callable[..., Any], tmp_path: Path) -> None:
    files = []
    for name, description in six_nodes().items():
        (tmp_path / name).mkdir()
        files += write_nodes(tmp_path / name, {"node": description})
    (sku,) = bench("node", "compare", *files, "--json").json["skus"]
    assert sku["nodes"] == [f"{name}/node" for name in "abcdef"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read"),
        ("[1, 2]", "has no hardware.key"),
        ('{"hardware": {"key": "h100_sxm"}, "gpu": {"devices": [3]}}', "is no fingerprint"),
        ('{"hardware": {"key": "h100_sxm"}, "cpu": {}, "measured": {"x_s": {"value": NaN}}}', "NaN is no number"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_broken_file_is_one_line(bench: Callable[..., Any], tmp_path: Path, text: str, told: str) -> None:
    (a, *_) = write_nodes(tmp_path, six_nodes())
    broken = tmp_path / "broken.json"
    broken.write_text(text)
    compared = bench("node", "compare", a, broken)
    assert compared.code == 2
    assert told in compared.err
    assert compared.err.count("\n") == 1


def test_a_missing_file_and_a_lone_node_are_refused(bench: Callable[..., Any], tmp_path: Path) -> None:
    (a, *_) = write_nodes(tmp_path, six_nodes())
    assert "no such file" in bench("node", "compare", a, tmp_path / "absent.json").err
    assert "fleet: 1 node" in bench("node", "compare", a).err


def test_three_machines_show_the_median_beside_what_each_reached(
    bench: Callable[..., Any], ran: Path, offer_of: Callable[[Any], Path], tmp_path: Path
) -> None:
    runs = [on_machine(ran, tmp_path / f"on-{rate}", str(rate), rate) for rate in (0.5, 0.9, 1.0)]
    (path,) = ran.rglob("record.json")
    offer = offer_of(json.loads(path.read_text()))
    plain = bench("compare", *runs, "--offers", offer, "--json").json
    compared = bench("compare", *runs, "--offers", offer, "--normalise", "--json").json
    (group,) = compared["normalised"]
    assert (group["basis"], plain["normalised"]) == ("measured", [])
    assert [node["to_median"] for node in group["nodes"]] == pytest.approx([0.5 / 0.9, 1.0, 1 / 0.9])
    for row, raw in zip(compared["rows"], plain["rows"], strict=True):
        assert row | {"at_median": None} == raw
        whole = row["at_median"]["output_tokens_per_s"]["value"]
        assert row["at_median"]["usd_per_million_output_tokens"]["value"] == pytest.approx(0.36e6 / 3600 / whole)
    assert compared["decision"] == plain["decision"]
    shown = bench("compare", *runs, "--offers", offer, "--normalise").out
    assert "55.6% of the median" in shown


def test_one_machine_is_projected_from_the_figures_of_its_fleet(
    bench: Callable[..., Any], ran: Path, offer_of: Callable[[Any], Path], tmp_path: Path
) -> None:
    """The mock engine tells neither a format nor a roofline: the one is put in, the other leaves everything open."""
    slow = on_machine(ran, tmp_path / "slow", "slow")
    (path,) = slow.rglob("record.json")
    record = json.loads(path.read_text())
    record["engine"]["dtype"] = "float32"
    path.write_text(json.dumps(record))
    nodes = {
        machine: record["node"]
        | {"host": record["node"]["host"] | {"machine": machine}}
        | {"measured": {"memory_read_bytes_per_s": figure(read), "cpu_matmul_float32_flops_per_s": figure(1e11)}}
        for machine, read in (("slow", 20e9), ("one", 40e9), ("other", 40e9))
    }
    fleet = [argument for file in write_nodes(tmp_path, nodes) for argument in ("--fleet", file)]
    compared = bench("compare", slow, "--offers", offer_of(record), "--normalise", *fleet, "--json")
    (group,) = compared.json["normalised"]
    assert (group["basis"], group["why_not"], group["bound_by"]) == ("projected", None, None)
    raw = record["throughput"]["output_tokens_per_s"]
    projected = group["rates"]["output_tokens_per_s"]
    assert (projected["value"], projected["low"]) == (None, pytest.approx(raw["low"]))
    assert projected["high"] == pytest.approx(2 * raw["high"])
    refused = bench("compare", slow, *fleet)
    assert (refused.code, "without --normalise" in refused.err) == (2, True)
