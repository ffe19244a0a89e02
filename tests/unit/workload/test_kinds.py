"""Chat, RAG, code completion and multimodal sessions: what they share, what follows what, and what a picture counts."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profile_fit import rewritten

from bench.core.errors import InputError
from bench.core.sessions import Session
from bench.core.spec import ChatSpec, CodeCompletionSpec, MultimodalSpec, RagSpec, WorkloadSpec
from bench.workload.picture_size import PIXELS_PER_SIDE, picture_segment
from bench.workload.scaling import scale_session, scaled_count
from bench.workload.workload import build_workload


def sessions_of(spec: WorkloadSpec) -> tuple[Session, ...]:
    return build_workload(spec, 10**9).sessions


def test_a_conversation_says_again_all_that_was_said() -> None:
    sessions = sessions_of(ChatSpec(kind="chat", sessions=300, idle_gap_cap_s=None))
    assert sum(len(session.turns) for session in sessions) > 350
    for session in sessions:
        for before, turn in pairwise(session.turns):
            assert turn.prompt[: len(before.prompt)] == before.prompt
            answer, message = turn.prompt[len(before.prompt) :]
            assert answer.tokens == before.output_tokens
            assert message.tokens >= 1
            assert (turn.after, turn.delay_class) == ((before.index,), "human")
            assert turn.delay_s > 0
    keys = [segment.key for session in sessions for segment in session.turns[-1].prompt]
    assert len(keys) == len(set(keys))


def test_conversations_end_at_the_limit() -> None:
    sessions = sessions_of(ChatSpec(kind="chat", sessions=300, max_turns_per_session=2))
    assert Counter(len(session.turns) for session in sessions).keys() == {1, 2}


def test_questions_share_a_document_and_nothing_else() -> None:
    sessions = sessions_of(RagSpec(kind="rag", sessions=2000))
    documents = Counter(session.turns[0].prompt[0] for session in sessions)
    assert set(documents.values()) == {1, 2, 3, 4, 5}
    assert len({segment.key for segment in documents}) == len(documents)
    questions = [session.turns[0].prompt[1].key for session in sessions]
    assert len(set(questions)) == len(questions)


def test_a_document_comes_back_after_others() -> None:
    places: dict[str, list[int]] = {}
    for place, session in enumerate(sessions_of(RagSpec(kind="rag", sessions=2000))):
        places.setdefault(session.turns[0].prompt[0].key, []).append(place)
    gaps = [after - before for asked in places.values() for before, after in pairwise(asked)]
    assert 0.2 < sum(gaps) / len(gaps) / 2000 < 0.35  # Random order gives 1/(n + 1) for a document asked n times


def test_a_document_asked_about_alone_is_the_whole_prompt() -> None:
    sessions = sessions_of(RagSpec(kind="rag", sessions=50, profile="long_document"))
    assert len({session.turns[0].prompt for session in sessions}) == 50
    assert all(len(session.turns[0].prompt) == 1 for session in sessions)


def test_code_completions_share_nothing() -> None:
    turns = [session.turns[0] for session in sessions_of(CodeCompletionSpec(kind="code_completion", sessions=200))]
    assert len({segment.key for turn in turns for segment in turn.prompt}) == len(turns)


def test_images_come_first_and_count() -> None:
    workload = build_workload(MultimodalSpec(kind="multimodal", sessions=300), 10**6)
    assert workload.has_pictures
    for session in workload.sessions:
        *images, text = session.turns[0].prompt
        assert images
        assert all(segment.picture is not None for segment in images)
        assert text.picture is None
    assert workload.source.input_tokens == sum(t.prompt_tokens for s in workload.sessions for t in s.turns)
    assert not build_workload(CodeCompletionSpec(kind="code_completion", sessions=3), 10**6).has_pictures


@given(st.integers(1, 5000), st.floats(0.01, 3))
def test_a_scaled_picture_is_as_large_as_one_that_counts_so_many(tokens: int, scale: float) -> None:
    (session,) = sessions_of(CodeCompletionSpec(kind="code_completion", sessions=1))
    turn = session.turns[0]
    pictured = Session("s", (type(turn)(0, (picture_segment("image", tokens), *turn.prompt), 1),))
    image = scale_session(pictured, scale).turns[0].prompt[0]
    assert image == picture_segment("image", scaled_count(tokens, scale))
    assert image.picture is not None
    squares = (image.picture.width // PIXELS_PER_SIDE) * (image.picture.height // PIXELS_PER_SIDE)
    assert abs(squares - image.tokens) <= image.picture.width // PIXELS_PER_SIDE


@pytest.mark.parametrize("name", ["chat", "rag", "code_completion", "multimodal"])
def test_the_same_seed_draws_the_same_and_another_does_not(name: str) -> None:
    kinds: dict[str, type[ChatSpec | RagSpec | CodeCompletionSpec | MultimodalSpec]] = {
        "chat": ChatSpec, "rag": RagSpec, "code_completion": CodeCompletionSpec, "multimodal": MultimodalSpec,
    }  # fmt: skip
    one, again, other = (
        build_workload(kinds[name].model_validate({"kind": name, "sessions": 20, "seed": seed}), 10**6).digest
        for seed in (1, 1, 2)
    )
    assert one == again != other


def test_a_profile_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = rewritten(tmp_path, "rag")
    with pytest.raises(InputError, match="kind = 'rag'"):
        build_workload(ChatSpec(kind="chat", sessions=1, profile=path), 10**6)
