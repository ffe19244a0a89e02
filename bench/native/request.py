"""A request as the scheduler and its policies count it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True, eq=False)
class Request:
    """`computed` tokens chase a `total` that grows with each token generated."""

    id: int
    prompt_tokens: int
    max_tokens: int
    total: int = field(init=False)
    """Prompt and generated tokens; the newest has been sampled but not yet fed to the model."""
    computed: int = 0
    """Tokens whose keys and values lie in the cache."""
    block_table: array[int] = field(default_factory=lambda: array("i"))
    """Blocks of the KV cache it holds, in order."""

    def __post_init__(self) -> None:
        self.total = self.prompt_tokens

    @property
    def pending(self) -> int:
        return self.total - self.computed

    @property
    def decoding(self) -> bool:
        return self.computed >= self.prompt_tokens

    @property
    def generated(self) -> int:
        return self.total - self.prompt_tokens

    @property
    def peak_cached_tokens(self) -> int:
        """The most tokens it can come to hold in the cache: the last one generated is never fed back."""
        return self.prompt_tokens + self.max_tokens - 1


class Slice(NamedTuple):
    """The next `tokens` tokens of `request`."""

    request: Request
    tokens: int
