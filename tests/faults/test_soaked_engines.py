"""Soaks of engines that fail, do not start, do not come back, or answer nothing for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import EngineError, InputError
from bench.core.protocols import Handle, Sink
from bench.core.records import Finish, Startup
from bench.core.sessions import TurnRequest
from bench.engine.mock import MockEngine

SUITE = """
specs:
  - name: steady
    model: {path: tiny}
    engine: {kind: mock, ttft_ms: 2, tpot_ms: 0.5}
    workload: {kind: fixed, sessions: 400, prompt_tokens: 8, output_tokens: 8}
    load: {kind: closed, concurrency: 4}
    measure: {percentiles: [0.5], warmup_sessions: 1}
"""
SOAK = ("node", "soak", "--load")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "steady.yaml"
    path.write_text(SUITE)
    return path


class Failing(MockEngine):
    """Does what its number says: 1 and 4 are lost after a hundred turns, 8 and on are well, the others never start."""

    made = 0

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        type(self).made += 1
        self._number = type(self).made
        self._asked = 0

    async def start(self) -> Startup:
        if self._number == 3:
            raise InputError("does not fit beside what the engine before has not given back")
        if self._number in (2, 5, 6, 7):
            raise EngineError("no GPU found")
        return Startup(total_s=0.5)

    async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
        self._asked += 1
        if self._number < 8 and self._asked > 100:
            raise EngineError("lost")
        return await super().submit(request, sink)


class Refusing(MockEngine):
    """Refuses fifty turns after its hundredth, as an endpoint does that is started again."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._asked = 0

    async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
        self._asked += 1
        if not 100 < self._asked <= 150:
            return await super().submit(request, sink)
        await asyncio.sleep(0.005)
        sink.finish(Finish(self._clock.now_ns(), "failed", error="refused"))
        return object()


def build(engine: type[MockEngine]) -> Callable[..., MockEngine]:
    return lambda spec, folder, *, clock, random_seed=None: engine(spec, clock=clock)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Failing, "made", 0)
    monkeypatch.setattr("bench.soak.segment.build_engine", build(Failing))
    monkeypatch.setattr("bench.soak.run.WAITS_S", (0.0, 0.1, 0.1))


@pytest.mark.usefixtures("failing")
@pytest.mark.slow
def test_starts_that_fail_are_of_one_outage_and_the_last_ends_the_soak(
    bench: Callable[..., Any], suite: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    ran = bench(*SOAK, suite, "--hours", "1", "--out", out, "--json")
    assert ran.code == 3, ran.err
    assert "times in a row" in ran.err
    soaked = ran.json["soaked"]
    first, last = soaked["outages"]
    assert (first["failure"], first["starts"], first["repaired"]) == ("lost", 3, True)
    assert (last["failure"], last["starts"], last["repaired"]) == ("lost", 3, False)
    assert first["down_s"] > 0.1  # the wait
    assert soaked["restarts"] == 6
    assert soaked["stability"]["findings"][0]["code"] == "outages"
    assert soaked["invalid"]["engine_failed"]["segments"] == 7
    assert bench("verify", out).code == 0
    shown = bench(*SOAK, suite, "--minutes", "0.01", "--out", tmp_path / "again")
    assert "availability: 100.0000% observed" in shown.out


@pytest.mark.usefixtures("failing")
def test_an_engine_that_never_comes_back_has_no_lower_bound(
    bench: Callable[..., Any], suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.soak.run.WAITS_S", (0.0,))
    ran = bench(*SOAK, suite, "--hours", "1", "--out", tmp_path / "runs", "--json")
    assert ran.code == 3
    (outage,) = ran.json["soaked"]["outages"]
    assert (outage["starts"], outage["repaired"]) == (1, False)
    assert ran.json["soaked"]["availability"]["low"] == 0


def test_an_outage_within_a_segment_is_told(
    bench: Callable[..., Any], suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.soak.segment.build_engine", build(Refusing))
    monkeypatch.setattr("bench.soak.hearing.HICCUP_S", 0.02)
    ran = bench(*SOAK, suite, "--minutes", "0.001", "--out", tmp_path / "runs", "--json")
    assert ran.code == 1, ran.err
    soaked = ran.json["soaked"]
    (outage,) = soaked["outages"]
    assert (outage["failure"], outage["starts"], outage["repaired"]) == ("no request was answered", 0, True)
    assert soaked["availability"]["down_s"] == outage["down_s"] > 0.02
    assert soaked["availability"]["observed"] < 1
    assert (soaked["restarts"], soaked["requests"]["sent"] - soaked["requests"]["completed"]) == (0, 50)
    assert bench("verify", tmp_path / "runs").code == 0


def test_an_engine_that_answers_nothing_is_not_soaked(bench: Callable[..., Any], suite: Path, tmp_path: Path) -> None:
    settings = ("--set", "engine.fail_every=1", "--set", "workload.sessions=8")
    ran = bench(*SOAK, suite, "--hours", "1", "--out", tmp_path / "runs", *settings)
    assert ran.code == 3
    assert "none of 9 requests was answered" in ran.err
