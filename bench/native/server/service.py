"""What every request to the server is answered with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tokenizers import Tokenizer

from bench.core.chat_template import ChatTemplate
from bench.core.clock import Clock
from bench.core.protocols import Engine
from bench.native.server.admission import Places
from bench.native.server.detokenizer import Vocabulary
from bench.native.server.marks import Marks


@dataclass(frozen=True)
class Service:
    engine: Engine
    """Started."""
    model: str
    """What the model is called here."""
    tokenizer: Tokenizer
    longest_token: int | None
    """Most characters of a text that one of its tokens can stand for; None where nothing bounds them."""
    template: ChatTemplate | None
    """None for a model without one, which can only go on with a text."""
    clock: Clock
    admission: Places

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the tokenizer's tokens read."""
        return Vocabulary(self.tokenizer)

    @cached_property
    def marks(self) -> Marks:
        """How the model marks its thinking."""
        return Marks.of(self.tokenizer)

    @cached_property
    def endings(self) -> frozenset[int]:
        """The special tokens that may end an output, which marks of thinking do not."""
        return self.vocabulary.special - self.marks.all
