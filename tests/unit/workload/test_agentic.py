"""Agentic sessions: what continues what, what breaks off, who waits for whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profile_fit import rewritten

from bench.core.errors import InputError
from bench.core.sessions import Session, Turn
from bench.core.spec import AgenticSpec
from bench.workload.agentic import draw_agentic
from bench.workload.agentic_profile import AgenticProfile
from bench.workload.profile import load_profile


def agentic(**fields: object) -> tuple[Session, ...]:
    stream = draw_agentic(AgenticSpec.model_validate({"kind": "agentic", **fields}))
    return tuple(item for item in stream.items if isinstance(item, Session))


def own(session: Session) -> list[Turn]:
    return [turn for turn in session.turns if turn.agent == 0]


def steps(sessions: tuple[Session, ...]) -> list[tuple[Turn, Turn]]:
    return [pair for session in sessions for pair in zip(own(session), own(session)[1:], strict=False)]


def kept(before: Turn, turn: Turn) -> int:
    """Leading segments that two prompts have in common."""
    same = (one == other for one, other in zip(before.prompt, turn.prompt, strict=False))
    return next((place for place, is_same in enumerate(same) if not is_same), len(before.prompt))


def test_a_prompt_continues_the_one_before_it_or_is_compacted() -> None:
    sessions = agentic(sessions=100)
    compacted = 0
    for before, turn in steps(sessions):
        added = {segment.key.rsplit("/", 1)[1]: segment.tokens for segment in turn.prompt[kept(before, turn) :]}
        if kept(before, turn) == len(before.prompt):
            assert added.get("output", 0) <= before.output_tokens
            assert added["human" if turn.delay_class == "human" else "tool"] >= 1
        else:
            compacted += 1
            assert turn.prompt[:2] == before.prompt[:2]
            assert list(added) == ["summary"]
    assert compacted > 10


def test_sessions_share_the_first_layers_and_nothing_else() -> None:
    sessions = agentic(sessions=40)
    ((tools, system),) = {session.turns[0].prompt[:2] for session in sessions}
    profile = load_profile("agentic", AgenticProfile)
    assert profile.tools is not None
    assert (tools.tokens, system.tokens) == (profile.tools.tokens, profile.system.tokens)
    of_session = [{segment.key for turn in s.turns for segment in turn.prompt[2:]} for s in sessions]
    assert sum(map(len, of_session)) == len(set.union(*of_session))


def test_turns_beyond_the_limit_are_not_drawn() -> None:
    lengths = [len(own(session)) for session in agentic(sessions=30, max_turns_per_session=6)]
    assert max(lengths) == 6
    assert min(lengths) < 6


def test_the_same_spec_draws_the_same_sessions_and_another_seed_others() -> None:
    assert agentic(sessions=5, seed=3) == agentic(sessions=5, seed=3)
    assert agentic(sessions=5, seed=3) != agentic(sessions=5, seed=4)
    assert agentic(sessions=9, seed=3)[:5] == agentic(sessions=5, seed=3)


def test_who_launches_sub_agents_waits_for_those_in_the_foreground_and_no_other(tmp_path: Path) -> None:
    profile = rewritten(tmp_path, "agentic", **{"sub_agents.share": 0.3})
    launches = 0
    for session in agentic(sessions=60, profile=profile):
        for before, turn in zip(own(session), own(session)[1:], strict=False):
            launched = session.turns[before.index + 1 : turn.index]
            last_of = {agent.agent: agent for agent in launched}
            joined = [agent.index for agent in last_of.values() if agent.foreground]
            assert turn.after == (before.index, *joined)
            assert [agent.after for agent in launched if agent.index == min_index(launched, agent.agent)] == [
                (before.index,)
            ] * len(last_of)
            if launched:
                launches += 1
                assert (turn.delay_s, turn.delay_class) == (0.0, "none")
        assert all(turn.foreground for turn in own(session))
    assert launches > 100


def min_index(turns: tuple[Turn, ...], agent: int) -> int:
    return min(turn.index for turn in turns if turn.agent == agent)


def test_sub_agents_share_their_first_layers_with_one_another_and_not_with_who_launched_them(tmp_path: Path) -> None:
    profile = rewritten(tmp_path, "agentic", **{"sub_agents.share": 0.3})
    sessions = agentic(sessions=20, profile=profile)
    theirs = [turn for session in sessions for turn in session.turns if turn.agent]
    assert len({turn.prompt[:2] for turn in theirs}) == 1
    own_keys = {segment.key for session in sessions for turn in own(session) for segment in turn.prompt}
    assert own_keys.isdisjoint(segment.key for turn in theirs for segment in turn.prompt)


def test_how_sub_agents_turn_out_changes_nothing_in_who_launches_them(tmp_path: Path) -> None:
    one, other = (
        agentic(sessions=20, profile=rewritten(tmp_path, "agentic", **{"sub_agents.share": 0.3, key: value}))
        for key, value in (("sub_agents.background.share", 0.0), ("sub_agents.turns.quantiles", {1.0: 3}))
    )
    for left, right in zip(one, other, strict=True):
        assert [(t.prompt, t.output_tokens, t.delay_s) for t in own(left)] == [
            (t.prompt, t.output_tokens, t.delay_s) for t in own(right)
        ]


def test_a_role_finds_its_prompt_again_and_shares_nothing_with_the_others() -> None:
    sessions = agentic(sessions=40, profile="multi_agent")
    switches = resumed = 0
    for session in sessions:
        last_of: dict[str, Turn] = {}
        before = session.turns[0]
        for turn in session.turns:
            role = turn.prompt[0].key
            if role in last_of:
                assert kept(last_of[role], turn) == len(last_of[role].prompt)
            if turn.index and role != before.prompt[0].key:
                assert kept(before, turn) == 0
                switches += 1
                resumed += role in last_of
            last_of[role] = before = turn
        assert 1 < len(last_of) <= 5
    assert 0 < resumed < switches


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
def test_a_session_is_a_graph_without_cycles_whatever_is_drawn(
    tmp_path: Path, seed: int, launch: float, background: float, roles: bool
) -> None:
    fields = {"sub_agents.share": launch, "sub_agents.background.share": background, "compaction.share": 0.2}
    if roles:
        fields["roles"] = {"count": {"source": "weka", "roles": 3}, "switch": {"source": "weka", "share": 0.5}}
    for session in agentic(sessions=2, seed=seed, profile=rewritten(tmp_path, "agentic", **fields)):
        assert [turn.index for turn in session.turns] == list(range(len(session.turns)))
        for turn in session.turns:
            assert all(0 <= index < turn.index for index in turn.after)
            assert len(set(turn.after)) == len(turn.after)
            assert bool(turn.after) == (turn.index > 0)
            assert turn.delay_s >= 0
            assert turn.output_tokens >= 1
            assert all(segment.tokens >= 1 for segment in turn.prompt)
            assert turn.foreground or turn.agent
        agents = [turn.agent for turn in session.turns]
        assert set(agents) == set(range(max(agents) + 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tool_classes.file.share": 0.1}, "add up to"),
        ({"human_delay_s": None}, "human_delay_s where human.share is above 0"),
        ({"sub_agents.share": 1.5}, "sub_agents.share = 1.5"),
        ({"sub_agents.tools.source": "nobody"}, "sub_agents.tools.source = 'nobody'"),
        ({"compaction.summary_tokens.quantiles": {}}, "one quantile or more"),
        ({"roles": {"count": {"source": "weka", "roles": 1}}}, "roles.count.roles = 1"),
    ],
)
def test_a_broken_profile_is_told_by_its_place(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = rewritten(tmp_path, "agentic", **change)
    with pytest.raises(InputError) as caught:
        load_profile(path, AgenticProfile)
    assert str(caught.value).startswith(path)
    assert message in str(caught.value)
