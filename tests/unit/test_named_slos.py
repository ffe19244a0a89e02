"""SLOs by name: what a suite may say in place of bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.configs import names
from bench.core.errors import InputError
from bench.core.suite import load_suite

SUITE = """
base:
  model: {path: tiny}
  engine: {kind: mock}
  workload: {kind: reasoning, sessions: 4}
  load: {kind: closed, concurrency: 1}
  slo: mlperf-deepseek-r1-server
specs:
  - name: named
  - name: changed
    slo: {tpot_ms: null, share: 0.9}
  - name: own
    slo: own.yaml
"""
OWN = "{e2e_ms: 900, share: 0.5, source: {title: a letter, url: none, version: '1', read: 2026-11-23}}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("suite.yaml").write_text(SUITE)
    Path("own.yaml").write_text(OWN)


def test_a_name_stands_for_bounds_that_can_be_changed_one_by_one() -> None:
    named, changed, own = (spec.slo for spec in load_suite("suite.yaml").specs)
    assert (named.ttft_ms, named.tpot_ms, named.e2e_ms, named.share) == (2000, 80, None, 0.99)
    assert (changed.ttft_ms, changed.tpot_ms, changed.share) == (2000, None, 0.9)
    assert (own.ttft_ms, own.e2e_ms, own.share) == (None, 900, 0.5)
    set_by_name = load_suite("suite.yaml", sets=("slo=mlperf-llama2-70b-interactive",)).specs
    assert {(spec.slo.ttft_ms, spec.slo.tpot_ms, spec.slo.e2e_ms) for spec in set_by_name} == {(450, 40, None)}
    one_by_one = load_suite("suite.yaml", sets=("slo=mlperf-llama2-70b-interactive", "slo.share=0.9")).specs
    assert {(spec.slo.ttft_ms, spec.slo.share) for spec in one_by_one} == {(450, 0.9)}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"mlperf-gpt-oss: no such slo .*mlperf-gpt-oss-120b-server"):
        load_suite("suite.yaml", sets=("slo=mlperf-gpt-oss",))


@pytest.mark.parametrize("name", names("slos"))
def test_every_shipped_slo_binds_and_says_its_share(name: str) -> None:
    slo = load_suite("suite.yaml", sets=(f"slo={name}",)).specs[0].slo
    assert slo.binds
    assert slo.share == 0.99
