"""A turn of vLLM in flight: which of its tokens are thinking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from bench.core.records import Chunk, TokenKind, TokenLogprob
from bench.engine.turns_in_flight import TurnInFlight
from bench.native.thinking import Harmony, Thinking, ThinkTags


@dataclass(slots=True, eq=False)
class VllmTurn(TurnInFlight):
    """Tells kinds as the native engine does: by the declared count where EOS is ignored, else by the model's marks."""

    marks: ThinkTags | Harmony
    _thinking: Thinking = field(init=False)
    _tokens: int = 0

    def __post_init__(self) -> None:
        self._thinking = self.marks.begin(self.request.prompt_ids)

    def chunks(
        self, t_ns: int, t_engine_ns: int, token_ids: tuple[int, ...], logprobs: tuple[TokenLogprob, ...] | None
    ) -> Iterator[Chunk]:
        """The next tokens of the output, a chunk for each run of one kind."""
        kinds = [self._read(token_id) for token_id in token_ids]
        starts = [0, *(place for place, (one, next) in enumerate(pairwise(kinds), start=1) if one != next)]
        for start, end in pairwise([*starts, len(kinds)]):
            yield Chunk(
                t_ns,
                t_engine_ns,
                end - start,
                kinds[start],
                token_ids[start:end],
                logprobs=None if logprobs is None else logprobs[start:end],
            )

    def _read(self, token_id: int) -> TokenKind:
        self._tokens += 1
        if self.request.ignore_eos:
            return "thinking" if self._tokens <= self.request.turn.thinking_tokens else "answer"
        return self._thinking.read(token_id)
