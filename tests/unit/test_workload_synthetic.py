"""The synthetic workloads: what is drawn follows the profile it is drawn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import ArrayLike

from bench.core.configs import resolve
from bench.core.errors import InputError
from bench.core.records import Session, Turn
from bench.core.spec import AgenticSpec, ReasoningSpec
from bench.workload.agentic import draw_agentic
from bench.workload.agentic_profile import AgenticProfile
from bench.workload.profile import ReasoningProfile, load_profile
from bench.workload.quantiles import QuantileTable
from bench.workload.reasoning import draw_reasoning
from bench.workload.stream import SessionStream

TOLERANCE = 0.03
"""Largest difference of cumulative probability at a listed rank: four standard errors of a few thousand draws."""


def reasoning(**fields: object) -> tuple[Session, ...]:
    return drawn_from(draw_reasoning(ReasoningSpec.model_validate({"kind": "reasoning", **fields})))


def agentic(**fields: object) -> tuple[Session, ...]:
    return drawn_from(draw_agentic(AgenticSpec.model_validate({"kind": "agentic", **fields})))


def drawn_from(stream: SessionStream) -> tuple[Session, ...]:
    return tuple(item for item in stream.items if isinstance(item, Session))


def misfit(samples: ArrayLike, table: QuantileTable) -> float:
    """The largest difference between the samples' cumulative share and the table's, over the table's ranks."""
    values = np.asarray(samples)
    return max(
        float(max(np.mean(values < value) - rank, rank - np.mean(values <= value)))
        for rank, value in zip(table.ranks, table.values, strict=True)
    )


def enlarged(table: QuantileTable) -> QuantileTable:
    return QuantileTable(table.ranks, tuple(1.5 * value for value in table.values), table.interpolation)


def steps(sessions: tuple[Session, ...]) -> list[tuple[Turn, Turn]]:
    return [pair for session in sessions for pair in zip(session.turns, session.turns[1:], strict=False)]


def test_reasoning_follows_its_profile() -> None:
    profile = load_profile("reasoning", ReasoningProfile)
    turns = [session.turns[0] for session in reasoning(sessions=4000)]
    drawn: dict[str, tuple[list[float], QuantileTable]] = {
        "input": ([t.prompt_tokens for t in turns], profile.input_tokens.table),
        "output": ([t.output_tokens for t in turns], profile.output_tokens.table),
        "share": ([t.thinking_tokens / t.output_tokens for t in turns], profile.thinking_share.table),
    }
    for name, (samples, table) in drawn.items():
        assert misfit(samples, table) < TOLERANCE, name
        assert misfit(samples, enlarged(table)) > 2 * TOLERANCE, name


def test_thinking_share_keeps_its_two_peaks() -> None:
    turns = [session.turns[0] for session in reasoning(sessions=4000)]
    share, _ = np.histogram([t.thinking_tokens / t.output_tokens for t in turns], bins=np.arange(0, 1.05, 0.1))
    low_peak, valley, high_peak = share[3], share[5], share[8]
    assert low_peak > 1.5 * valley
    assert high_peak > 2 * valley


def test_reasoning_fields_are_independent() -> None:
    turns = [session.turns[0] for session in reasoning(sessions=4000)]
    logs = np.log([[t.prompt_tokens, t.output_tokens, 1 + t.thinking_tokens / t.output_tokens] for t in turns])
    correlation = np.corrcoef(logs.T)
    assert np.abs(correlation[np.triu_indices(3, k=1)]).max() < 0.08


def test_reasoning_sessions_are_single_turns_that_share_nothing_and_answer() -> None:
    sessions = reasoning(sessions=200)
    assert all(len(session.turns) == 1 and session.turns[0].after == () for session in sessions)
    assert len({session.turns[0].prompt[0].key for session in sessions}) == len({s.id for s in sessions}) == 200
    assert all(session.turns[0].thinking_tokens < session.turns[0].output_tokens for session in sessions)


def test_agentic_follows_its_profile() -> None:
    profile = load_profile("agentic", AgenticProfile)
    sessions = agentic(sessions=900)
    turns = [turn for session in sessions for turn in session.turns]
    layers = profile.tools.tokens + profile.system.tokens
    drawn: dict[str, tuple[list[float], QuantileTable]] = {
        "turns": ([len(session.turns) for session in sessions], profile.turns.table),
        "start": ([session.turns[0].prompt_tokens - layers for session in sessions], profile.start_tokens.table),
        "growth": ([b.prompt_tokens - a.prompt_tokens for a, b in steps(sessions)], profile.growth_tokens.table),
        "output": ([turn.output_tokens for turn in turns], profile.output_tokens.table),
        "human": ([t.delay_s for t in turns if t.delay_class == "human"], profile.human_delay_s.table),
    }
    for name, (samples, table) in drawn.items():
        slack = TOLERANCE if len(samples) > 2000 else 0.06
        assert misfit(samples, table) < slack, name
        assert misfit(samples, enlarged(table)) > slack, name


def test_tools_and_humans_are_two_populations() -> None:
    profile = load_profile("agentic", AgenticProfile)
    later = [turn for _, turn in steps(agentic(sessions=300))]
    human = np.mean([turn.delay_class == "human" for turn in later])
    assert human == pytest.approx(profile.human.share, abs=TOLERANCE)
    tool_delays = np.array([turn.delay_s for turn in later if turn.delay_class == "tool"])
    file_share = profile.tool_classes["file"].share
    assert np.mean(tool_delays <= 0.0201) == pytest.approx(file_share, abs=TOLERANCE)
    assert np.median([turn.delay_s for turn in later if turn.delay_class == "human"]) > 30 * np.median(tool_delays)


def test_a_prompt_continues_the_one_before_it_and_sessions_share_the_first_layers() -> None:
    sessions = agentic(sessions=40)
    for before, turn in steps(sessions):
        assert turn.prompt[: len(before.prompt)] == before.prompt
        assert turn.after == (before.index,)
        kept = {s.key.rsplit("/", 1)[1]: s.tokens for s in turn.prompt[len(before.prompt) :]}
        assert kept.get("output", 0) <= before.output_tokens
        assert kept[turn.delay_class] >= 1
    assert len({session.turns[0].prompt[:2] for session in sessions}) == 1
    starts = [session.turns[0].prompt[2].key for session in sessions]
    assert len(set(starts)) == len(starts)


def test_the_same_spec_draws_the_same_sessions_and_another_seed_others() -> None:
    assert agentic(sessions=5, seed=3) == agentic(sessions=5, seed=3)
    assert agentic(sessions=5, seed=3) != agentic(sessions=5, seed=4)
    assert reasoning(sessions=9, seed=3)[:5] == reasoning(sessions=5, seed=3)


def test_turns_beyond_the_limit_are_not_drawn() -> None:
    lengths = [len(session.turns) for session in agentic(sessions=30, max_turns_per_session=6)]
    assert max(lengths) == 6
    assert min(lengths) < 6


def changed(tmp_path: Path, name: str, **fields: object) -> str:
    document = yaml.safe_load(resolve(name, "workloads").read_text())
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**document, **fields}))
    return str(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "agentic"}, "kind = 'agentic'"),
        ({"input_tokens": {"source": "servegen", "quantiles": {0.1: 9, 0.5: 3}}}, "values that never fall"),
        ({"input_tokens": {"source": "nobody", "quantiles": {0.5: 3}}}, "input_tokens.source = 'nobody'"),
        ({"thinking_share": {"source": "servegen", "quantiles": {0.5: 3}}}, "shares of at most 1"),
        ({"sources": {}}, "source = 'servegen'"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_a_broken_profile_is_told_by_file_and_place(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    path = changed(tmp_path, "reasoning", **fields)
    with pytest.raises(InputError) as caught:
        load_profile(path, ReasoningProfile)
    assert str(caught.value).startswith(path)
    assert message in str(caught.value)


def test_tool_shares_must_add_up(tmp_path: Path) -> None:
    only = {"file": {"source": "weka", "share": 0.5, "delay_s": {"source": "weka", "quantiles": {0.5: 1}}}}
    with pytest.raises(InputError, match=r"add up to 0\.5"):
        load_profile(changed(tmp_path, "agentic", tool_classes=only), AgenticProfile)


def test_a_profile_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(InputError, match="agentic, chat, code_completion"):
        load_profile("resoning", ReasoningProfile)
