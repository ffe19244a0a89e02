"""How the measured figures of a node are printed."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from bench.node.measured.figure import absent, figure
from bench.report.measured import figure_line, print_measured


def test_a_figure_is_told_in_a_unit_that_is_read_easily_with_its_quartiles() -> None:
    reads = asdict(figure([1.9e12, 2.0e12, 2.1e12], "a sum"))
    assert (
        figure_line("gpu0_read_bytes_per_s", reads)
        == "gpu0_read_bytes_per_s: 2,000 GB/s (1,950 GB/s to 2,050 GB/s, 3 trials)"
    )
    once = asdict(figure([2e-6], "a wait"))
    assert figure_line("launch_s", once) == "launch_s: 2.0 µs (2.0 µs to 2.0 µs, 1 trial)"
    assert figure_line("gpu0_launch_s", asdict(absent("no GPU"))) == "gpu0_launch_s: – (no GPU)"


def test_what_spoils_a_measurement_is_told_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    failures = [
        {"code": "crashed", "during": ["a_s", "b_s"], "message": "was ended by SIGKILL"},
        {"code": "hung", "during": [], "message": "said nothing"},
    ]
    print_measured({}, {"seconds_taken": 61.2, "others_cpu_share": 0.381, "failures": failures})
    assert capsys.readouterr().out.splitlines() == [
        "measured, in 61.2 s, while others took 38.1% of the processors' time",
        "  crashed during a_s, b_s: was ended by SIGKILL",
        "  hung during the start: said nothing",
    ]
