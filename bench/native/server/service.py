"""What every request to the server is answered with."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from tokenizers import Tokenizer

from bench.core.chat_template import ChatTemplate
from bench.core.clock import Clock
from bench.core.protocols import Engine
from bench.native.server.detokenizer import Vocabulary
from bench.native.server.marks import Marks


class Admission(Protocol):
    """Who may ask the engine now."""

    def enter(self, generations: int) -> AbstractAsyncContextManager[None]:
        """Hold a place for each of a request's generations.

        Raises ApiError with status 429 where there are not so many, 503 where the server is about to end. Whatever
        answers is cancelled when its client has left, its time is over or the server ends. Leave it then and there: an
        async generator that was cancelled where it is read runs its `finally` only when it is collected, or closed.
        """


@dataclass(frozen=True)
class Service:
    engine: Engine
    """Started."""
    model: str
    """What the model is called here."""
    tokenizer: Tokenizer
    template: ChatTemplate | None
    """None for a model without one, which can only go on with a text."""
    clock: Clock
    admission: Admission

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the tokenizer's tokens read."""
        return Vocabulary(self.tokenizer)

    @cached_property
    def marks(self) -> Marks:
        """How the model marks its thinking."""
        return Marks.of(self.tokenizer)
