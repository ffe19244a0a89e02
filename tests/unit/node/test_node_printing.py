"""How a node reads on a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.node.show import describe_node
from bench.report.node import Line, node_lines, print_node
from tests.support.gpu_answers import HGX_H100
from tests.support.server_trees import write_x86_server

GIB = 1 << 30


def text_of(lines: list[Line], name: str) -> str:
    (line,) = [line for line in lines if line.name.strip() == name]
    return line.text


def test_what_devices_have_in_common_is_told_once_and_what_differs_by_device() -> None:
    devices = [{"name": "H100", "power_limit_w": watts, "missing": {}} for watts in (700.0, 700.0, 650.0)]
    lines = list(node_lines({"devices": devices, "missing": {}}))
    assert text_of(lines, "devices") == "3: gpu0, gpu1, gpu2"
    assert text_of(lines, "name") == "H100"
    assert text_of(lines, "power_limit_w") == "700 (gpu0 gpu1), 650 (gpu2)"


def test_a_part_that_tells_nothing_for_one_reason_is_one_line() -> None:
    silent = {"enabled": None, "preset": None, "missing": {"enabled": "Not Supported", "preset": "Not Supported"}}
    assert list(node_lines({"smoothing": silent})) == [Line("smoothing", "Not Supported", told=False)]
    half = {"enabled": True, "preset": None, "missing": {"preset": "Not Supported"}}
    assert list(node_lines({"smoothing": half})) == [
        Line("smoothing.enabled", "yes"),
        Line("smoothing.preset", "Not Supported", told=False),
    ]


def test_a_part_that_only_one_device_does_not_tell_is_told_of_that_one() -> None:
    tells = {"smoothing": {"enabled": True, "missing": {}}, "missing": {}}
    silent = {"smoothing": {"enabled": None, "missing": {"enabled": "Not Supported"}}, "missing": {}}
    lines = list(node_lines({"devices": [tells, silent]}))
    assert text_of(lines, "smoothing.enabled") == "yes (gpu0)"
    assert text_of(lines, "smoothing") == "Not Supported (gpu1)"


def test_devices_that_follow_one_another_in_a_mapping_are_told_together() -> None:
    health = {"cpu": {"load": 1.0}, "gpu0": {"clock": 1980.0}, "gpu1": {"clock": 1410.0}}
    assert list(node_lines(health)) == [
        Line("cpu.load", "1"),
        Line("gpu", "2: gpu0, gpu1"),
        Line("  clock", "1980 (gpu0), 1410 (gpu1)"),
    ]


def test_a_scope_without_a_sensor_is_told_with_its_reason() -> None:
    lines = list(node_lines({"sensors": {"gpu0": "NVML counter"}, "missing": {"rack": "no controller is named"}}))
    assert lines == [Line("sensors.gpu0", "NVML counter"), Line("rack", "no controller is named", told=False)]


def test_attacks_whose_names_end_in_a_number_are_no_devices_and_what_needs_no_reason_has_no_line() -> None:
    attacks = {"spectre_v1": "Mitigation: barriers", "spectre_v2": "Vulnerable"}
    assert list(node_lines({"vulnerabilities": attacks, "remark": None, "missing": {}})) == [
        Line("vulnerabilities.spectre_v1", "Mitigation: barriers"),
        Line("vulnerabilities.spectre_v2", "Vulnerable"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("total_bytes", 1536 * GIB, "1.5 TiB"),
        ("memory_available_bytes", 2.5 * GIB, "2.5 GiB"),
        ("swap_bytes", 0, "0 bytes"),
        ("threads", 1024, "1024"),
        ("max_mhz", 3800.0, "3800"),
        ("load", 1.25, "1.25"),
        ("ecc_enabled", False, "no"),
        ("flags", ["avx2", "bf16"], "avx2, bf16"),
        ("parameters", [], "none"),
    ],
)
def test_values_are_read_as_a_person_reads_them(name: str, value: Any, text: str) -> None:
    assert list(node_lines({name: value})) == [Line(name, text)]


def test_a_node_is_printed_whole(
    tmp_path: Path, write: Callable[[str, object], Path], h100s: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_x86_server(tmp_path, write)
    print_node(describe_node({}, {"results": root}, root=root, api=h100s(2, **HGX_H100)))
    printed = capsys.readouterr().out
    assert printed.startswith("2 × nvidia-h100-80gb-hbm3, priced by the accelerator\n")
    for told in ("Supermicro", "2: gpu0, gpu1", "enx", "power_smoothing", "facility", "temperature_c"):
        assert told in printed


def test_a_narrow_terminal_breaks_a_reason_beside_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = {
        "hardware": {"units": 1, "key": "cpu", "unit": "node"},
        "cpu": {"model": "AMD", "turbo": None, "missing": {"turbo": "nothing tells whether clocks are boosted"}},
    }
    print_node(node)
    assert capsys.readouterr().out.endswith("  model  AMD\n  turbo  – nothing tells whether clocks are boosted\n")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    print_node(node)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert lines[-2:] == ["  turbo  – nothing tells whether clocks", " " * 9 + "are boosted"]
