"""From a turn to the request an engine receives, made before it is due."""

from __future__ import annotations

import hashlib
from typing import Protocol

from bench.core.protocols import Engine
from bench.core.sessions import Prompt, Sampling, Turn, TurnRequest
from bench.core.spec import WorkloadSpec


class Prompts(Protocol):
    """Turns segments into what an engine is asked, and its tokens back into text."""

    def realise(self, turn: Turn, play: int = 0) -> Prompt:
        """The prompt of `turn` in the session's `play`-th repetition, which shares nothing with the others."""

    def shared_tokens(self, turn: Turn, play: int = 0) -> int:
        """Leading prompt tokens that earlier calls already covered; called once a turn, in the order of sending."""

    def text_of(self, token_ids: tuple[int, ...]) -> str: ...


class RequestMaker:
    """Makes the requests of one run."""

    def __init__(self, engine: Engine, prompts: Prompts, workload: WorkloadSpec) -> None:
        self._prepare = engine.prepare
        self._realise = prompts.realise
        self._pinned = workload.length_mode == "pinned"
        self._seed = workload.seed
        self._temperature = workload.temperature
        self._filters = (workload.top_k, workload.top_p, workload.min_p, workload.repetition_penalty)
        self._logit_bias = tuple(workload.logit_bias.items())

    def make(self, session_id: str, turn: Turn, play: int) -> TurnRequest:
        """The request for `turn` with everything done that can be before it is due."""
        prompt = self._realise(turn, play)
        sampling = Sampling(self._temperature, self._seed_of(session_id, turn), *self._filters, self._logit_bias)
        return self._prepare(
            TurnRequest(
                session_id, turn, prompt.ids, turn.output_tokens, self._pinned, sampling, messages=prompt.messages
            )
        )

    def _seed_of(self, session_id: str, turn: Turn) -> int:
        """A seed of the turn's own, the same in every run of the case and on every interpreter."""
        name = f"{self._seed}/{session_id}/{turn.index}".encode()
        return int.from_bytes(hashlib.blake2b(name, digest_size=6).digest())
