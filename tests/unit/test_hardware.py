"""Datasheets: what ships is consistent and sourced, and what doubles a figure is refused."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.core.configs import config_root, names
from bench.core.errors import InputError
from bench.hardware.datasheet import load_datasheet, name_patterns
from bench.hardware.power_figures import power_figures

KEYS = {
    *("gb300_nvl72", "gb200_nvl72", "b300_sxm", "b200_sxm", "h200_sxm", "h100_sxm", "h100_pcie"),
    *("mi355x", "mi300x", "l40s", "rtx_pro_6000_server"),
}


@pytest.fixture
def b200() -> dict[str, Any]:
    text = (config_root() / "hardware/b200_sxm.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return copy.deepcopy(document)


def refusal(document: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load_datasheet(str(path))
    line = str(refused.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line


def test_what_ships_is_what_is_promised() -> None:
    assert set(names("hardware")) == KEYS
    for key in KEYS:
        load_datasheet(key)


def test_the_figures_of_gb300_are_dense_and_one_way() -> None:
    sheet = load_datasheet("gb300_nvl72")
    peak = sheet.peak_tflops
    assert peak.fp8 is not None
    assert peak.fp4 is not None
    assert (peak.bf16.value, peak.fp8.value, peak.fp4.value) == (2500, 5000, 15000)
    assert (sheet.scale_up.gb_per_s.value, sheet.scale_up.accelerators.value) == (900, 72)
    assert sheet.rack is not None
    assert sheet.rack.accelerators.value * sheet.tdp_w.value < sheet.rack.kw_low.value * 1000


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H100 80GB HBM3", "h100_sxm"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("NVIDIA H200", "h200_sxm"),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA B300 SXM6 AC", "b300_sxm"),
        ("NVIDIA GB300", "gb300_nvl72"),
        ("NVIDIA GB300-WS", None),
        ("NVIDIA L4", None),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx_pro_6000_server"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", None),
    ],
)
def test_a_name_belongs_to_one_datasheet_or_none(name: str, key: str | None) -> None:
    matching = [k for k, patterns in name_patterns().items() if any(re.fullmatch(p, name) for p in patterns)]
    assert matching == ([] if key is None else [key])


def test_a_sparse_rate_among_dense_ones_is_refused(b200: dict[str, Any], tmp_path: Path) -> None:
    for column in ("bf16", "fp8", "fp4"):
        document = copy.deepcopy(b200)
        document["peak_tflops"][column]["value"] *= 2
        assert "sparsity" in refusal(document, tmp_path)


def test_a_sheet_that_says_sparse_is_refused(b200: dict[str, Any], tmp_path: Path) -> None:
    b200["peak_tflops"]["sparsity"] = "sparse"
    assert "(allowed: 'dense')" in refusal(b200, tmp_path)


def test_both_directions_together_are_refused(b200: dict[str, Any], tmp_path: Path) -> None:
    b200["scale_up"]["gb_per_s"]["value"] = 1800
    assert "one direction" in refusal(b200, tmp_path)


@pytest.mark.parametrize("value", [0, -1, True, "many", float("inf"), float("nan"), None])
def test_a_figure_is_a_number_above_zero(b200: dict[str, Any], tmp_path: Path, value: object) -> None:
    b200["tdp_w"]["value"] = value
    assert "tdp_w.value" in refusal(b200, tmp_path)


def test_an_unknown_key_a_missing_source_and_a_bad_pattern_are_refused(b200: dict[str, Any], tmp_path: Path) -> None:
    assert "unknown key 'tdp'" in refusal({**b200, "tdp": 1000}, tmp_path)
    assert "regular expressions" in refusal({**b200, "nvml_names": ["NVIDIA (B200"]}, tmp_path)
    assert "hearsay" in refusal({**b200, "tdp_w": {"value": 1000, "source": "hearsay"}}, tmp_path)
    assert "'tdp_w.source' is missing" in refusal({**b200, "tdp_w": {"value": 1000}}, tmp_path)


def test_an_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(InputError, match="gb300_nvl72"):
        load_datasheet("gb400")


def test_a_node_that_its_accelerators_alone_would_overload_is_refused(b200: dict[str, Any], tmp_path: Path) -> None:
    b200["node"]["kw"]["value"] = 8.0
    assert "node.kw = 8 (allowed: more than its accelerators draw, 8 kW)" in refusal(b200, tmp_path)


def test_power_around_an_accelerator_is_its_share_with_where_it_was_published() -> None:
    h100, gb300 = power_figures("h100_sxm"), power_figures("gb300_nvl72")
    assert h100 is not None
    assert h100.node is not None
    assert (h100.node.low, h100.node.high, h100.node.basis) == (1275, 1275, "assumed")
    assert "DGX H100" in h100.node.source
    assert (h100.tdp_w, h100.rack, h100.sensor_duty) == (700, None, 0.25)
    assert gb300 is not None
    assert gb300.rack is not None
    assert (gb300.rack.low, gb300.rack.high) == (pytest.approx(132_000 / 72), pytest.approx(140_000 / 72))
    assert (gb300.node, gb300.rack.basis, gb300.sensor_duty) == (None, "published", None)
    assert power_figures("amd-epyc-2c") is None
    for key in KEYS:
        assert power_figures(key) is not None
