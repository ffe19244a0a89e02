"""The cross-check on a real mock server: our record gives its own figures, and another client's are explained."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from asked import draw_requests
from attribution import gaps
from client_neobench import run_neobench
from client_vllm import run_vllm
from clients import Task
from definitions import OURS, measure
from exchanges import Cell
from rounds import Scenario
from servers import MODEL, SERVERS, Running, running

pytestmark = pytest.mark.slow
REQUESTS, WARM_UP = 48, 16
MOCK = SERVERS[0]
CORE = min(os.sched_getaffinity(0))


def task(answering: Running, scenario: Scenario, folder: Path) -> Task:
    folder.mkdir()
    answering.reset()
    chat = scenario.api == "chat"
    return Task(
        url=answering.url,
        model=answering.model,
        tokenizer=MODEL,
        chat=chat,
        load=scenario.load(MOCK),
        requests=draw_requests(MODEL, REQUESTS, 12, 8),
        warm_up=WARM_UP,
        habits=answering.habits(chat=chat),
        core=CORE,
        folder=folder,
    )


@pytest.mark.parametrize("scenario", [Scenario("completions", open_loop=True), Scenario("chat")], ids=["open", "chat"])
def test_our_record_is_found_again_in_its_turns(scenario: Scenario, tmp_path: Path) -> None:
    with running(MOCK, CORE) as answering:
        asked = task(answering, scenario, tmp_path / "ours")
        seen = run_neobench(asked)
        truth = answering.truth(REQUESTS)
    again = measure(seen.exchanges, OURS, asked.load)
    assert again | seen.reported == pytest.approx(again, rel=1e-6)
    assert [one.output_tokens for one in truth] == [8] * REQUESTS
    for ours, its in zip(seen.exchanges, truth, strict=True):
        assert ours.sent_ns <= its.sent_ns <= its.token_ns[0] <= ours.token_ns[0]


@pytest.mark.vllm
def test_every_gap_to_vllms_client_is_explained(tmp_path: Path) -> None:
    chat = Scenario("chat")
    with running(MOCK, CORE) as answering:
        asked = task(answering, chat, tmp_path / "ours")
        ours = Cell(run_neobench(asked), answering.truth(REQUESTS))
        asked = task(answering, chat, tmp_path / "vllm")
        theirs = Cell(run_vllm(asked), answering.truth(REQUESTS))
    found = {gap.metric: gap for gap in gaps(theirs, ours, asked.load, asked.habits)}
    assert len(found) > 10
    assert [gap.unexplained for gap in found.values() if gap.unexplained] == []
    # It takes the role for the first token, which all but ends the wait.
    assert found["ttft_ms p50"].reported < found["ttft_ms p50"].its_whole_run
