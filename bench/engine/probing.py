"""What an engine says is likely at each position of given texts, asked as turns: it need not tell it of its prompts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench.core.protocols import Engine, Handle
from bench.core.records import Chunk, Finish
from bench.core.sessions import Sampling, Segment, Turn, TurnRequest
from bench.engine.reference_process import Likely


class UntoldError(Exception):
    """Why it is not known what is likely, in one line."""


class _Place:
    """The sink of a turn of one token."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._finish: Finish | None = None
        self._told: tuple[tuple[int | str, float], ...] = ()

    def chunk(self, chunk: Chunk) -> None:
        if not self._told and chunk.logprobs:
            self._told = chunk.logprobs[0].top

    def finish(self, finish: Finish) -> None:
        self._finish = finish
        self.ended.set()

    def likely(self) -> Likely:
        if self._finish is not None and self._finish.reason == "failed":
            raise UntoldError(f"a text could not be asked: {self._finish.error}")
        told = tuple((token, logprob) for token, logprob in self._told if isinstance(token, int))
        if not told:
            raise UntoldError("tokens came by their text, not by id" if self._told else "no log probabilities came")
        return told


async def likely_after(
    engine: Engine, probes: Sequence[Sequence[int]], *, most: int, timeout_s: float
) -> list[list[Likely]]:
    """The `most` likely tokens after each beginning of each of `probes`, as [probes][tokens].

    The engine has started; all probes are asked together, of one length after another, so that what it keeps of
    prompts serves the next. Raises UntoldError where it does not tell, or not all of it in `timeout_s`.
    """
    told: list[list[Likely]] = [[] for _ in probes]
    open_turns: list[Handle] = []
    try:
        async with asyncio.timeout(timeout_s):
            for tokens in range(1, len(probes[0]) + 1):
                places = [_Place() for _ in probes]
                requests = [_request(number, probe[:tokens], most) for number, probe in enumerate(probes)]
                open_turns = [
                    await engine.submit(engine.prepare(request), place)
                    for request, place in zip(requests, places, strict=True)
                ]
                await asyncio.gather(*(place.ended.wait() for place in places))
                for found, place in zip(told, places, strict=True):
                    found.append(place.likely())
    except TimeoutError:
        for turn in open_turns:
            await engine.cancel(turn)
        raise UntoldError(f"the texts were not through after {timeout_s:g} s") from None
    for number in range(len(probes)):
        await engine.end_session(_session(number))
    return told


def _request(number: int, prompt: Sequence[int], most: int) -> TurnRequest:
    turn = Turn(len(prompt) - 1, (Segment(_session(number), len(prompt)),), output_tokens=1)
    return TurnRequest(_session(number), turn, tuple(prompt), 1, ignore_eos=True, sampling=Sampling(), logprobs=most)


def _session(number: int) -> str:
    return f"accuracy/{number}"
