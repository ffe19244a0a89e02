"""The suite `engines` through every engine there is: our own in process and served, vLLM in process and its server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from serving import bench_serve

from bench.core.configs import resolve

SUITE = resolve("engines", "suites")
CHECKOUT = Path(__file__).parents[2]
ATTEMPTS = 3
BUSY = {"client_saturated", "not_alone"}


def served(suite: dict[str, Any], url: str) -> dict[str, Any]:
    """The cases of `suite`, asked of the server at `url` and of nobody else."""
    engine = {"kind": "endpoint", "preset": "bench-serve", "base_url": url, "check_accuracy": True}
    specs = [{**spec, "name": f"{spec['name']}.served", "engine": engine} for spec in suite["specs"]]
    return {**suite, "specs": [{key: value for key, value in spec.items() if key != "grid"} for spec in specs]}


def run_until_valid(bench: Callable[..., Any], suite: Path, out: Path) -> None:
    """Run `suite` again where a busy machine kept the client from measuring; nothing else is forgiven."""
    for _ in range(ATTEMPTS):
        ran = bench("run", suite, "--out", out, "--json")
        assert ran.code in (0, 1), ran.err[-2000:]
        verdicts = [record["verdict"] for record in ran.json["records"]]
        if ran.code == 0:
            return
        assert {reason["code"] for told in verdicts for reason in told["reasons"]} <= BUSY, verdicts
    raise AssertionError(f"the machine was busy {ATTEMPTS} times: {verdicts}")


@pytest.mark.vllm
@pytest.mark.slow
def test_every_engine_answers_both_cases_and_they_are_compared(
    bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CHECKOUT)  # where the suite finds vLLM
    suite = yaml.safe_load(SUITE.read_text())
    run_until_valid(bench, SUITE, tmp_path / "runs")
    ours = {key: value for key, value in suite["specs"][0]["grid"]["engine"][0].items() if key != "kind"}
    settings = [part for key, value in ours.items() for part in ("--set", f"{key}={value}")]
    with bench_serve("--model", "tiny", *settings) as server:
        path = tmp_path / "served.yaml"
        path.write_text(yaml.safe_dump(served(suite, server.url)))
        run_until_valid(bench, path, tmp_path / "runs")
    compared = bench("compare", tmp_path / "runs", "--format", "json").json
    kinds = ("native", "vllm", "vllm-server", "served")
    names = {f"{case}.{kind}" for case in ("reasoning", "agentic") for kind in kinds}
    assert {row["case"] for row in compared["rows"] if row["comparable"]} == names
    for case in ("reasoning", "agentic"):
        gaps = [gap for gap in compared["decomposition"]["gaps"] if gap["base"]["case"] == f"{case}.native"]
        assert {gap["target"]["engine"] for gap in gaps} == {"vllm", "vllm-server", "endpoint"}
