"""What each profile says of its fields, and what drawn sessions have of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

from profile_fit import cumulative, misfit, misfit_of_share, misfit_of_table, places
from pydantic import BaseModel

from bench.core.sessions import Session, Turn
from bench.core.spec import AgenticSpec, ChatSpec, CodeCompletionSpec, MultimodalSpec, RagSpec, ReasoningSpec
from bench.workload.agentic import draw_agentic
from bench.workload.agentic_profile import AgenticProfile
from bench.workload.chat_sessions import draw_chat
from bench.workload.code_completion import draw_code_completion
from bench.workload.multimodal import draw_multimodal
from bench.workload.profile import (
    ChatProfile,
    CodeCompletionProfile,
    MultimodalProfile,
    Profile,
    RagProfile,
    ReasoningProfile,
    load_profile,
)
from bench.workload.rag import draw_rag
from bench.workload.reasoning import draw_reasoning
from bench.workload.stream import SessionStream

Samples = Sequence[float]


@dataclass(frozen=True)
class Shipped:
    """A profile that ships, how much of it is drawn, and where its fields are found again."""

    name: str
    kind: type[Profile]
    sessions: int
    counts: dict[str, Callable[[Sequence[Session]], Samples]]
    seconds: dict[str, Callable[[Sequence[Session]], Samples]]
    happened: dict[str, Callable[[Sequence[Session]], Sequence[bool]]]
    """By the place of a share."""
    asked_of: str | None = None
    """The kind of workload that draws it, where that is not its name."""
    altered: tuple[tuple[str, float], ...] = ()
    """Shares to draw with in place of the profile's, so that what is rare is seen often enough."""

    def draw(self, path: str) -> tuple[Session, ...]:
        kind, draw = DRAWN_BY[self.asked_of or self.name]
        spec = kind.model_validate({"kind": self.asked_of or self.name, "sessions": self.sessions, "profile": path})
        return tuple(item for item in draw(spec).items if isinstance(item, Session))

    def shares(self, profile: Profile) -> dict[str, float]:
        return {place: dict(self.altered).get(place, at(profile, place)) for place in self.happened}

    def misfits(self, sessions: Sequence[Session]) -> dict[str, float]:
        """How far each field of `sessions` is from what the profile that ships says of it, in standard errors."""
        profile = load_profile(self.name, self.kind)
        found = {name: misfit_of_table(of(sessions), at(profile, name).table) for name, of in self.counts.items()}
        for name, of in self.seconds.items():
            found[name] = misfit_of_table(of(sessions), at(profile, name).table, counts=False)
        for name, share in self.shares(profile).items():
            found[name] = misfit_of_share(self.happened[name](sessions), share)
        if isinstance(profile, AgenticProfile):
            found["tool_classes"] = _misfit_of_tools(profile, sessions)
        return found


DRAWN_BY: dict[str, tuple[type[BaseModel], Callable[[Any], SessionStream]]] = {
    "agentic": (AgenticSpec, draw_agentic),
    "chat": (ChatSpec, draw_chat),
    "code_completion": (CodeCompletionSpec, draw_code_completion),
    "multimodal": (MultimodalSpec, draw_multimodal),
    "rag": (RagSpec, draw_rag),
    "reasoning": (ReasoningSpec, draw_reasoning),
}


def at(profile: Profile, place: str) -> Any:
    return reduce(getattr, place.split("."), profile)


def turns(sessions: Sequence[Session]) -> list[Turn]:
    return [turn for session in sessions for turn in session.turns]


def own(sessions: Sequence[Session]) -> list[list[Turn]]:
    """The turns of each session's own agent."""
    return [[turn for turn in session.turns if turn.agent == 0] for session in sessions]


def steps(sessions: Sequence[Session]) -> list[tuple[Turn, Turn]]:
    return [pair for chain in own(sessions) for pair in pairwise(chain)]


def role_steps(sessions: Sequence[Session]) -> list[tuple[Turn, Turn]]:
    """Each turn of a role with the one before it of the same role."""
    found: dict[tuple[str, str], list[Turn]] = {}
    for session in sessions:
        for turn in session.turns:
            found.setdefault((session.id, turn.prompt[0].key), []).append(turn)
    return [pair for chain in found.values() for pair in pairwise(chain)]


def sub_agents(sessions: Sequence[Session]) -> list[list[Turn]]:
    """The turns of each sub-agent."""
    found: dict[tuple[str, int], list[Turn]] = {}
    for session in sessions:
        for turn in session.turns:
            if turn.agent:
                found.setdefault((session.id, turn.agent), []).append(turn)
    return list(found.values())


def continues(before: Turn, turn: Turn) -> bool:
    return turn.prompt[: len(before.prompt)] == before.prompt


def prompts(sessions: Sequence[Session]) -> Samples:
    return [turn.prompt_tokens for turn in turns(sessions)]


def outputs(sessions: Sequence[Session]) -> Samples:
    return [turn.output_tokens for turn in turns(sessions)]


def own_outputs(sessions: Sequence[Session]) -> Samples:
    return [turn.output_tokens for chain in own(sessions) for turn in chain]


def lengths(chains: Iterable[Sequence[Turn]]) -> Samples:
    return [len(chain) for chain in chains]


def growths(pairs: Iterable[tuple[Turn, Turn]]) -> Samples:
    return [turn.prompt_tokens - before.prompt_tokens for before, turn in pairs if continues(before, turn)]


def delays(sessions: Sequence[Session], waits_for: str) -> Samples:
    return [turn.delay_s for _, turn in steps(sessions) if turn.delay_class == waits_for]


def launches(sessions: Sequence[Session]) -> list[int]:
    """For each wait that is not for a human, how many sub-agents it is for."""
    counts = []
    for session, chain in zip(sessions, own(sessions), strict=True):
        for before, turn in pairwise(chain):
            if turn.delay_class != "human":
                between = session.turns[before.index + 1 : turn.index]
                counts.append(len({one.agent for one in between}))
    return counts


def _misfit_of_tools(profile: AgenticProfile, sessions: Sequence[Session]) -> float:
    """Delays against the distribution of the slowest of the tools called at once, whatever class each is of."""
    values = places(profile.tool_classes[max(profile.tool_classes, key=_share_of(profile))].delay_s.table, counts=False)
    of_one = sum(tool.share * cumulative(tool.delay_s.table, values) for tool in profile.tool_classes.values())
    calls = profile.tool_calls.table if profile.tool_calls else None
    ranks, numbers = ((0.0, *calls.ranks), calls.values) if calls else ((0.0, 1.0), (1.0,))
    parts = [high - low for low, high in pairwise(ranks)]
    of_all = sum(part * of_one**number for part, number in zip(parts, numbers, strict=True))
    return misfit(delays(sessions, "tool"), values, of_all)


def _share_of(profile: AgenticProfile) -> Callable[[str], float]:
    return lambda name: profile.tool_classes[name].share * (len(profile.tool_classes[name].delay_s.quantiles) > 1)


def _starts(sessions: Sequence[Session], shared: int) -> Samples:
    return [sum(segment.tokens for segment in chain[0].prompt[shared:]) for chain in own(sessions)]


def _questions(sessions: Sequence[Session]) -> Samples:
    asked: dict[str, int] = {}
    for turn in turns(sessions):
        asked[turn.prompt[0].key] = asked.get(turn.prompt[0].key, 0) + 1
    return list(asked.values())


def _documents(sessions: Sequence[Session]) -> Samples:
    return list({turn.prompt[0].key: turn.prompt[0].tokens for turn in turns(sessions)}.values())


SHIPPED = (
    Shipped(
        "reasoning",
        ReasoningProfile,
        20_000,
        {"input_tokens": prompts, "output_tokens": outputs},
        {},
        {},
    ),
    Shipped(
        "chat",
        ChatProfile,
        20_000,
        {
            "turns": lambda s: lengths(own(s)),
            "start_tokens": lambda s: _starts(s, 0),
            "message_tokens": lambda s: [turn.prompt[-1].tokens for _, turn in steps(s)],
            "output_tokens": outputs,
        },
        {"human_delay_s": lambda s: delays(s, "human")},
        {},
    ),
    Shipped(
        "rag",
        RagProfile,
        20_000,
        {
            "questions": _questions,
            "document_tokens": _documents,
            "question_tokens": lambda s: [turn.prompt[1].tokens for turn in turns(s)],
            "output_tokens": outputs,
        },
        {},
        {},
    ),
    Shipped(
        "long_document",
        RagProfile,
        20_000,
        {"document_tokens": prompts, "questions": _questions, "output_tokens": outputs},
        {},
        {},
        asked_of="rag",
    ),
    Shipped(
        "code_completion",
        CodeCompletionProfile,
        20_000,
        {"input_tokens": prompts, "output_tokens": outputs},
        {},
        {},
    ),
    Shipped(
        "multimodal",
        MultimodalProfile,
        10_000,
        {
            "text_tokens": lambda s: [turn.prompt[-1].tokens for turn in turns(s)],
            "images": lambda s: [len(turn.prompt) - 1 for turn in turns(s)],
            "image_tokens": lambda s: [image.tokens for turn in turns(s) for image in turn.prompt[:-1]],
            "output_tokens": outputs,
        },
        {},
        {},
    ),
    Shipped(
        "agentic",
        AgenticProfile,
        400,
        {
            "turns": lambda s: lengths(own(s)),
            "start_tokens": lambda s: _starts(s, 2),
            "growth_tokens": lambda s: growths(steps(s)),
            "output_tokens": own_outputs,
            "compaction.summary_tokens": lambda s: [b.prompt[-1].tokens for a, b in steps(s) if not continues(a, b)],
            "sub_agents.launched": lambda s: [count for count in launches(s) if count],
            "sub_agents.start_tokens": lambda s: [chain[0].prompt[2].tokens for chain in sub_agents(s)],
            "sub_agents.turns": lambda s: lengths(sub_agents(s)),
            "sub_agents.growth_tokens": lambda s: growths(pair for chain in sub_agents(s) for pair in pairwise(chain)),
            "sub_agents.output_tokens": lambda s: [turn.output_tokens for chain in sub_agents(s) for turn in chain],
        },
        {"human_delay_s": lambda s: delays(s, "human")},
        {
            "human.share": lambda s: [turn.delay_class == "human" for _, turn in steps(s)],
            "compaction.share": lambda s: [not continues(before, turn) for before, turn in steps(s)],
            "sub_agents.share": lambda s: [count > 0 for count in launches(s)],
            "sub_agents.background.share": lambda s: [not chain[0].foreground for chain in sub_agents(s)],
        },
        altered=(("sub_agents.share", 0.05),),
    ),
    Shipped(
        "multi_agent",
        AgenticProfile,
        400,
        {
            "turns": lambda s: lengths(own(s)),
            "start_tokens": lambda s: _starts(s, 1),
            "growth_tokens": lambda s: growths(role_steps(s)),
            "output_tokens": own_outputs,
        },
        {},
        {"roles.switch.share": lambda s: [a.prompt[0].key != b.prompt[0].key for a, b in steps(s)]},
        asked_of="agentic",
    ),
)
