"""What is said of energy: a table of rungs, and a line each for what they rest on."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from bench.report.energy import energy_lines, joules, print_energy


def headline(value: float | None, basis: str = "measured", spread: float = 0.1) -> dict[str, Any]:
    if value is None:
        return {"value": None, "low": None, "high": None, "basis": basis, "method": "too short to tell"}
    return {"value": value, "low": value * (1 - spread), "high": value * (1 + spread), "basis": basis}


def rung(source: str | None, per_token: float | None, basis: str = "measured", **more: Any) -> dict[str, Any]:
    return {
        "source": source,
        "joules": None if per_token is None else 1000 * per_token,
        "mean_watts": None if per_token is None else 100 * per_token,
        "joules_per_output_token": headline(per_token, basis),
        "counter_over_integral": None,
        "model": None,
        "above_idle": None,
        **more,
    }


LADDER = {
    "node": rung("modelled", 4.0, "projected", model="gpu + 500 W an accelerator"),
    "gpu": rung("counter", 2.0, counter_over_integral=1.02, above_idle={"joules_per_output_token": headline(1.5)}),
    "module": rung(None, None),
    "cpu": rung("integral", 0.5),
}


def shown(energy: dict[str, Any]) -> list[str]:
    out = io.StringIO()
    record = {"case": {"spec": {"name": "made"}}, "energy": energy}
    print_energy(Console(file=out, width=160), [record])
    return out.getvalue().splitlines()


def test_what_was_measured_goes_before_what_is_modelled() -> None:
    assert joules({"rungs": LADDER}) == "2.0 ±10% gpu, measured\n0.5 ±10% cpu, measured"
    assert joules({"rungs": {"node": LADDER["node"]}}) == "4.0 ±10% node, projected"
    assert joules({"rungs": {}}) == joules(None) == "–"


def test_every_rung_has_a_line_from_the_narrowest_to_the_widest() -> None:
    _, head, *lines = shown({"rungs": LADDER})
    assert head.split()[:3] == ["case", "energy", "of"]
    assert [line.split() for line in lines] == [
        ["made", "gpu", "measured", "counter", "2.0", "±10%", "200", "1.02", "1.5", "±10%"],
        ["cpu", "measured", "integral", "0.5", "±10%", "50.0", "–", "–"],
        ["module", "null", "–", "–", "–", "–"],
        ["node", "modelled", "(projected)", "4.0", "±10%", "400", "–", "–"],
    ]
    assert shown({"rungs": {}}) == []


def test_a_rung_of_an_earlier_version_has_fewer_figures() -> None:
    earlier = {name: LADDER["cpu"][name] for name in ("source", "joules", "mean_watts", "joules_per_output_token")}
    _, _, line = shown({"rungs": {"cpu": earlier}})
    assert line.split() == ["made", "cpu", "measured", "integral", "0.5", "±10%", "50.0", "–", "–"]
    assert list(energy_lines({"rungs": {"cpu": earlier}, "missing": None})) == []


def test_phases_stand_in_one_line_with_how_fine_they_are() -> None:
    told = {
        "joules": {
            "prefill": headline(1200.0, "projected"),
            "decode": headline(3400.0, "projected", 0.02),
            "idle": headline(None, "projected"),
            "tool_wait": headline(0.0, "projected"),
        },
        "joules_per_uncached_input_token": headline(0.02, "projected"),
        "joules_per_output_token": headline(0.4, "projected"),
        "resolution": {"reading_s": 0.1, "step_s": 0.0105, "cell_s": 1.0, "cells": 60},
        "reason": None,
    }
    refused = {"reason": "the engine logs no steps"}
    model, first, second, absent = energy_lines(
        {"rungs": LADDER, "phases": {"gpu": told, "cpu": refused}, "absent": {"rack": "x", "facility": "y"}}
    )
    assert model == "node is modelled: gpu + 500 W an accelerator"
    assert first == (
        "phases of gpu: prefill 1,200 ±10% J, decode 3,400 ±2% J, too short to tell, 0.02 ±10% J a prompt token "
        "computed, 0.4 ±10% J of decode an output token; modelled (projected), "
        "readings every 0.1 s, steps of 10.5 ms, cells of 1.0 s"
    )
    assert second == "phases of cpu: not told apart: the engine logs no steps"
    assert absent == "no joules of rack, facility: energy.absent in the record says why"
    assert list(energy_lines({"rungs": {}, "missing": "no NVML", "absent": {"gpu": "z"}})) == ["no joules: no NVML"]
