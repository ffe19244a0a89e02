"""What each request was told, and what of it the driver has yet to hear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.core.records import FinishReason
from bench.native.failures import Failure
from bench.native.generation import Generation
from bench.native.log_probabilities import Likely
from bench.native.messages import Begun, Ended, Tokens


class Ledger:
    """The generations that are open. What is booked is kept until it is taken."""

    def __init__(self, eos_ids: Sequence[int]) -> None:
        self.output_tokens = 0
        self._eos_ids = frozenset(eos_ids)
        self._open: dict[int, Generation] = {}
        self._begun: list[Begun] = []
        self._tokens: list[Tokens] = []
        self._ended: list[Ended] = []

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Generation]:
        return iter(self._open.values())

    def __getitem__(self, request_id: int) -> Generation:
        return self._open[request_id]

    def get(self, request_id: int) -> Generation | None:
        """None for a request that ended or was dropped."""
        return self._open.get(request_id)

    def open(self, generation: Generation) -> None:
        self._open[generation.request.id] = generation

    def drop(self, request_id: int) -> None:
        """Forget a request that nobody waits for; one that is not open is no matter."""
        self._open.pop(request_id, None)

    def begin(self, generation: Generation) -> None:
        self._begun.append(Begun(generation.request.id, generation.request.cached_tokens))

    def tell(self, generation: Generation, token_ids: Sequence[int], likely: Sequence[Likely] = ()) -> int | None:
        """Book the next tokens of an output. Where it ends, how many of them came too late; None where it goes on.

        `likely`: where each of them was chosen, if the request asked.
        """
        request = generation.request
        for place, token_id in enumerate(token_ids):
            logprobs = (likely[place].of(token_id, generation.logprobs),) if likely else None
            self._tokens.append(Tokens(request.id, generation.append(token_id), (token_id,), logprobs))
            self.output_tokens += 1
            reason: FinishReason | None = None
            if token_id in self._eos_ids and not generation.ignore_eos:
                reason = "stop"
            elif generation.output_tokens == request.max_tokens:
                reason = "length"
            if reason is not None:
                self._end(Ended(request.id, reason, None, request.cached_tokens))
                return len(token_ids) - place - 1
        return None

    def fail(self, generation: Generation, failure: Failure) -> None:
        self._end(Ended(generation.request.id, "failed", str(failure), generation.request.cached_tokens))

    def take(self) -> tuple[list[Begun], list[Tokens], list[Ended]]:
        """What was booked since the last call."""
        taken = self._begun, self._tokens, self._ended
        self._begun, self._tokens, self._ended = [], [], []
        return taken

    def _end(self, ended: Ended) -> None:
        self.drop(ended.id)
        self._ended.append(ended)
