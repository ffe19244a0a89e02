"""What drafts tokens, and what it hands over."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from bench.native.request import Request, Slice

Judgement = Literal["match", "rejection"]
"""`match`: it is the token the model chooses itself. `rejection`: speculative sampling; see `verify`."""


@dataclass(frozen=True, slots=True)
class Drafts:
    """Tokens drafted for one step."""

    tokens: list[list[int]]
    """Of each slice, as many as it was granted."""
    probabilities: Tensor | None = None
    """[D, V] float32: what each token was drawn from; the first of each request in order of the slices, then the second
    of each that has one, and so on. None when a draft is taken if it is the token the model chooses itself."""


class Speculator(Protocol):
    """Keeps what it needs of each running request at the request's row."""

    @property
    def on_device(self) -> bool:
        """Whether it drafts where the model runs."""

    @property
    def judged_by(self) -> Judgement:
        """What decides whether a drafted token is taken."""

    def begin(self, request: Request, token_ids: array[int]) -> None:
        """A request starts, or starts again after a preemption, at its row, `computed` tokens of it cached.

        `token_ids`: all its tokens; the array grows as more are generated.
        """

    def plan(self, request: Request) -> int:
        """How many tokens it would draft for the next step of a request all of whose tokens are known."""

    def draft(self, slices: Sequence[Slice]) -> Drafts:
        """The tokens for `slices`, as many as each was granted. Called once a step, before anything is advanced."""


def most_drafts(request: Request, tokens: int) -> int:
    """`tokens`, or as many as may all be accepted and followed by one more before the output is at its longest.

    0 while a prompt is computed: the step that ends it gives one token.
    """
    if not request.decoding or request.pending != 1:
        return 0
    return min(tokens, request.max_tokens - request.generated - 1)
