"""RAG: questions behind long documents that other requests ask about too, drawn from measured lengths.

The requests stand in random order, so that one about the same document comes back after as many others as it did where
the profile was measured.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.core.sessions import Segment, Session, Turn
from bench.core.spec import RagSpec
from bench.workload import field_draws
from bench.workload.profile import RagProfile, load_profile
from bench.workload.stream import SessionStream


def draw_rag(spec: RagSpec) -> SessionStream:
    """`spec.sessions` single-turn sessions. Raises InputError where the profile is not one."""
    profile = load_profile(spec.profile, RagProfile)
    return SessionStream("rag profile", profile.attribution, _sessions(profile, spec.sessions, spec.seed))


def _sessions(profile: RagProfile, count: int, seed: int) -> Iterator[Session]:
    for_asked, for_order, for_document, for_question, for_output = np.random.default_rng(seed).spawn(5)
    asked_of = _documents(field_draws.counts(profile.questions.table, for_asked), count)
    lengths = profile.document_tokens.table.sample_counts(for_document, max(asked_of) + 1).tolist()
    questions = field_draws.counts(profile.question_tokens.table, for_question) if profile.question_tokens else None
    outputs = field_draws.counts(profile.output_tokens.table, for_output)
    for index, document in enumerate(for_order.permutation(asked_of).tolist()):
        prompt = [Segment(f"rag/document-{document}", lengths[document])]
        if questions is not None:
            prompt.append(Segment(f"rag/question-{index}", next(questions)))
        yield Session(f"rag-{index:05d}", (Turn(0, tuple(prompt), next(outputs)),))


def _documents(questions: Iterator[int], count: int) -> list[int]:
    """For each of `count` requests the number of its document; only the last document may be asked too few."""
    asked_of: list[int] = []
    document = 0
    while len(asked_of) < count:
        asked_of += [document] * next(questions)
        document += 1
    return asked_of[:count]
